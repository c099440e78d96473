//! `/v1/rerank` and `/v2/rerank`: sorts documents by relevance to a query. OpenAI has no such route; the shape is that
//! of Jina, Cohere, Voyage, vLLM and llama.cpp. Cohere's two versions differ only in optional fields.
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
    /// Voyage's name of `top_n`.
    top_k: Option<Integer>,
    return_documents: Option<bool>,
    /// Whether to return the logits of a cross-encoder, without its activation.
    raw_scores: Option<bool>,
    /// Whether to truncate long documents; if not, they are rejected.
    truncate: Option<Truncate>,
    /// Voyage's name of `truncate`.
    truncation: Option<bool>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged, expecting = "a document must be a text or an object with one")]
enum Document {
    Plain(String),
    Object { text: String },
}

/// Response with the documents, best first.
#[derive(Serialize)]
pub(super) struct Reranked {
    /// Shown by Cohere's clients.
    id: String,
    model: String,
    results: Vec<Ranked>,
    /// The results under Voyage's name, for requests in its shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<Ranked>>,
    usage: Usage,
    /// Truncated documents.
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
    /// Returns the maximum number of results.
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
