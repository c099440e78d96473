//! `/v1/embeddings`: texts or tokens to vectors.

use super::ReadTokens;
use super::error::OpenAiError;
use crate::http::new_task::InputBody;
use crate::http::{Api, body, vectors};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    input: InputBody,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

/// How vectors are written.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// Little-endian 32-bit numbers in base64: a third of the size.
    Base64,
    #[default]
    Float,
}

/// The vectors of a request.
#[derive(Serialize)]
pub(super) struct Embeddings {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: ReadTokens,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Written,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written {
    Base64(String),
    Float(Vec<f32>),
}

pub(super) async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Embeddings>, OpenAiError> {
    let asked: Asked = body::json(&headers, &bytes, "a request for embeddings")?;
    drop(bytes);
    let inputs = asked.input.into_inputs();
    if !(1..=vectors::INPUTS_MAX).contains(&inputs.len()) {
        let message = format!("{} inputs; 1 to {} are allowed", inputs.len(), vectors::INPUTS_MAX);
        return Err(OpenAiError::bad_request("input", message));
    }
    let mut made = vectors::make(&api, asked.model, inputs).await?;
    if let Some(dimensions) = asked.dimensions {
        made.shorten(dimensions)
            .map_err(|error| OpenAiError::bad_request("dimensions", error.to_string()))?;
    }
    let encoding = asked.encoding_format.unwrap_or_default();
    let write = |(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Base64 => Written::Base64(base64(vector)),
            Encoding::Float => Written::Float(vector),
        },
    };
    Ok(Json(Embeddings {
        object: "list",
        data: made.vectors.into_iter().enumerate().map(write).collect(),
        model: made.model,
        usage: ReadTokens::of(made.tokens),
    }))
}

fn base64(vector: Vec<f32>) -> String {
    let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_of_little_endian_numbers() {
        assert_eq!(base64(vec![1.0, -2.0]), "AACAPwAAAMA=");
    }
}
