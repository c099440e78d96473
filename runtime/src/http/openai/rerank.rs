//! `/v1/rerank` and `/v2/rerank`: texts in the order in which they answer a query. OpenAI has no such route; its clients'
//! users know the shape from Jina, Cohere, Voyage, vLLM and llama.cpp. Cohere's two versions differ in what they leave out.
//!
//! Shapes: <https://api.jina.ai/redoc#tag/rerank>, <https://docs.cohere.com/reference/rerank>.

use super::error::OpenAiError;
use super::usage::ReadTokens;
use crate::http::error::ApiError;
use crate::http::fields::{Truncate, Whole};
use crate::http::state::Api;
use crate::http::truncated::Truncated;
use crate::http::{embedding_batch, fields, rerank};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    query: String,
    documents: Vec<Document>,
    top_n: Option<Whole>,
    /// What Voyage calls it.
    top_k: Option<Whole>,
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
    usage: ReadTokens,
    /// The documents that were cut.
    #[serde(skip_serializing_if = "Truncated::is_empty")]
    truncated: Truncated,
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
    let asked: Asked = fields::read(&headers, &bytes, "a request to rerank", fields::RERANK)?;
    drop(bytes);
    let most = asked.most()?;
    let truncate = match &asked.truncate {
        Some(truncate) => truncate.read()?,
        None => asked.truncation.unwrap_or(true),
    };
    let as_voyage = asked.truncation.is_some() || asked.top_k.is_some();
    let texts: Vec<String> = asked.documents.into_iter().map(Document::into_text).collect();
    if !(1..=embedding_batch::INPUTS_MAX).contains(&texts.len()) {
        let message = format!("{} documents; 1 to {} are allowed", texts.len(), embedding_batch::INPUTS_MAX);
        return Err(OpenAiError::bad_request("documents", message));
    }
    if asked.query.is_empty() {
        return Err(OpenAiError::bad_request("query", "the query is empty"));
    }
    let mut shown = if asked.return_documents == Some(true) { texts.clone() } else { Vec::new() };
    let about_documents =
        |error: ApiError| if error.is_of_input() { error.about("documents") } else { error };
    let ranks = rerank::make(&api, asked.model, asked.query, texts, truncate).await;
    let mut ranks = ranks.map_err(about_documents)?;
    if asked.raw_scores == Some(true) {
        ranks.set_raw(true);
    }
    let best = ranks.best_first().into_iter().take(most);
    let ranked = |(index, relevance_score)| Ranked {
        index,
        relevance_score,
        document: shown.get_mut(index).map(|text| Document::Object { text: std::mem::take(text) }),
    };
    let results: Vec<Ranked> = best.map(ranked).collect();
    let truncated = ranks.truncated;
    Ok(truncated.clone().tell(Json(Reranked {
        id: ranks.task.map(|task| format!("rerank-{task}")).unwrap_or_default(),
        data: as_voyage.then(|| results.clone()),
        results,
        model: ranks.model,
        usage: ReadTokens::of(ranks.tokens),
        truncated,
    })))
}

impl Asked {
    /// Returns how many of the documents the answer is to have.
    fn most(&self) -> Result<usize, OpenAiError> {
        let given = [("top_n", self.top_n), ("top_k", self.top_k)];
        let Some((name, number)) = given.into_iter().find_map(|(name, number)| Some((name, number?))) else {
            return Ok(usize::MAX);
        };
        let Whole(shown) = number;
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
