//! `/v1/rerank` and `/v2/rerank`: texts in the order in which they answer a query. OpenAI has no such route; its clients'
//! users know the shape from Jina, Cohere, Voyage, vLLM and llama.cpp. Cohere's two versions differ in what they leave out.
//!
//! Shapes: <https://api.jina.ai/redoc#tag/rerank>, <https://docs.cohere.com/reference/rerank>.

use super::error::OpenAiError;
use super::usage::Usage;
use crate::http::error::ApiError;
use crate::http::fields::{Integer, Truncate};
use crate::http::state::Api;
use crate::http::truncated::TruncationReport;
use crate::http::{embedding_batch, fields, rerank};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct RerankRequest {
    model: Option<String>,
    query: String,
    documents: Vec<Document>,
    top_n: Option<Integer>,
    /// What Voyage calls it.
    top_k: Option<Integer>,
    return_documents: Option<bool>,
    /// What a cross-encoder computes, before its activation makes scores of it.
    raw_scores: Option<bool>,
    /// Whether documents that are too long are cut, else refused.
    truncate: Option<Truncate>,
    /// What Voyage calls it.
    truncation: Option<bool>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged, expecting = "a document must be a text or an object with one")]
enum Document {
    Plain(String),
    Object { text: String },
}

/// The documents of a request, best first.
#[derive(Serialize)]
pub(super) struct Reranked {
    /// Cohere's clients show it.
    id: String,
    model: String,
    results: Vec<Ranked>,
    /// The same under Voyage's name, for a request in its shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<Ranked>>,
    usage: Usage,
    /// The documents that were cut.
    #[serde(skip_serializing_if = "TruncationReport::is_empty")]
    truncated: TruncationReport,
}

#[derive(Clone, Serialize)]
struct Ranked {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
}

pub(super) async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, OpenAiError> {
    let request: RerankRequest = fields::read(&headers, &bytes, "a request to rerank", fields::RERANK)?;
    drop(bytes);
    let limit = request.limit()?;
    let truncate = match &request.truncate {
        Some(truncate) => truncate.read()?,
        None => request.truncation.unwrap_or(true),
    };
    let as_voyage = request.truncation.is_some() || request.top_k.is_some();
    let texts: Vec<String> = request.documents.into_iter().map(Document::into_text).collect();
    if !(1..=embedding_batch::INPUTS_MAX).contains(&texts.len()) {
        let message = format!("{} documents; 1 to {} are allowed", texts.len(), embedding_batch::INPUTS_MAX);
        return Err(OpenAiError::bad_request("documents", message));
    }
    if request.query.is_empty() {
        return Err(OpenAiError::bad_request("query", "the query is empty"));
    }
    let mut shown = if request.return_documents == Some(true) { texts.clone() } else { Vec::new() };
    let about_documents =
        |error: ApiError| if error.is_about_input() { error.about("documents") } else { error };
    let scores = rerank::score(&api, request.model, request.query, texts, truncate).await;
    let mut scores = scores.map_err(about_documents)?;
    if request.raw_scores == Some(true) {
        scores.set_raw(true);
    }
    let best = scores.best_first().into_iter().take(limit);
    let ranked = |(index, relevance_score)| Ranked {
        index,
        relevance_score,
        document: shown.get_mut(index).map(|text| Document::Object { text: std::mem::take(text) }),
    };
    let results: Vec<Ranked> = best.map(ranked).collect();
    let truncated = scores.truncated;
    Ok(truncated.clone().attach_to(Json(Reranked {
        id: scores.task.map(|task| format!("rerank-{task}")).unwrap_or_default(),
        data: as_voyage.then(|| results.clone()),
        results,
        model: scores.model,
        usage: Usage::from_tokens(scores.tokens),
        truncated,
    })))
}

impl RerankRequest {
    /// Returns how many of the documents the answer is to have.
    fn limit(&self) -> Result<usize, OpenAiError> {
        let given = [("top_n", self.top_n), ("top_k", self.top_k)];
        let Some((name, number)) = given.into_iter().find_map(|(name, number)| Some((name, number?))) else {
            return Ok(usize::MAX);
        };
        let Integer(shown) = number;
        number.count().ok_or_else(|| {
            OpenAiError::bad_request(name, format!("{name} is {shown}; it must not be negative"))
        })
    }
}

impl Document {
    fn into_text(self) -> String {
        match self {
            Self::Plain(text) | Self::Object { text } => text,
        }
    }
}
