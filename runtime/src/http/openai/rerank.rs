//! `/v1/rerank`: texts in the order in which they answer a query. OpenAI has no such route; its clients' users know the
//! shape from Jina, Cohere, vLLM and llama.cpp.
//!
//! Shape: <https://api.jina.ai/redoc#tag/rerank>.

use super::ReadTokens;
use super::error::OpenAiError;
use crate::http::{Api, body, ranks, vectors};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    query: String,
    documents: Vec<Document>,
    top_n: Option<usize>,
    return_documents: Option<bool>,
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
    model: String,
    results: Vec<Ranked>,
    usage: ReadTokens,
}

#[derive(Serialize)]
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
) -> Result<Json<Reranked>, OpenAiError> {
    let asked: Asked = body::json(&headers, &bytes, "a request to rerank")?;
    let texts: Vec<String> = asked.documents.into_iter().map(Document::into_text).collect();
    if !(1..=vectors::INPUTS_MAX).contains(&texts.len()) {
        let message = format!("{} documents; 1 to {} are allowed", texts.len(), vectors::INPUTS_MAX);
        return Err(OpenAiError::bad_request("documents", message));
    }
    let mut shown = if asked.return_documents == Some(true) { texts.clone() } else { Vec::new() };
    let ranks = ranks::make(&api, asked.model, asked.query, texts).await?;
    let best = ranks.best_first().into_iter().take(asked.top_n.unwrap_or(usize::MAX));
    let ranked = |(index, relevance_score)| Ranked {
        index,
        relevance_score,
        document: shown.get_mut(index).map(|text| Document::Object { text: std::mem::take(text) }),
    };
    Ok(Json(Reranked {
        results: best.map(ranked).collect(),
        model: ranks.model,
        usage: ReadTokens::of(ranks.tokens),
    }))
}

impl Document {
    fn into_text(self) -> String {
        match self {
            Self::Plain(text) | Self::Object { text } => text,
        }
    }
}
