//! `/v1/embeddings`: embeds texts or tokens.

use super::error::OpenAiError;
use super::usage::Usage;
use crate::http::error::ApiError;
use crate::http::fields::{Integer, Truncate};
use crate::http::input::refuse_empty;
use crate::http::state::Api;
use crate::http::truncated::TruncationReport;
use crate::http::{embedding_batch, fields, prompts};
use api::InputBody;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::Rejection;
use engine::task::EmbeddingInput;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct EmbeddingsRequest {
    model: Option<String>,
    input: InputBody,
    encoding_format: Option<Encoding>,
    dimensions: Option<Integer>,
    /// Voyage's name of `dimensions`.
    output_dimension: Option<Integer>,
    /// Extension: whether to truncate long texts; if not, they are rejected.
    truncate: Option<Truncate>,
    /// Voyage's name of `truncate`.
    truncation: Option<bool>,
    /// Extension: whether to normalise vectors; if not, they stay as the model computes them.
    normalize: Option<bool>,
    /// Jina's name of `normalize`.
    normalized: Option<bool>,
    /// Extension: the name of a prompt of the model, which is put before each text.
    prompt_name: Option<String>,
}

/// Encoding of vectors.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// Little-endian 32-bit floats in base64: a third of the size.
    Base64,
    #[default]
    Float,
}

/// Response with the vectors of a request.
#[derive(Serialize)]
pub(super) struct Embeddings {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
    /// Extension: truncated inputs.
    #[serde(skip_serializing_if = "TruncationReport::is_empty")]
    truncated: TruncationReport,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: EncodedVector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EncodedVector {
    Base64(String),
    Float(Vec<f32>),
}

pub(super) async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, OpenAiError> {
    let mut request: EmbeddingsRequest =
        fields::read(&headers, &bytes, "a request for embeddings", fields::EMBEDDINGS)?;
    drop(bytes);
    let options = Options::from_request(&request)?;
    let mut inputs = request.input.into_inputs();
    if !(1..=embedding_batch::INPUTS_MAX).contains(&inputs.len()) {
        let message = format!("{} inputs; 1 to {} are allowed", inputs.len(), embedding_batch::INPUTS_MAX);
        return Err(OpenAiError::bad_request("input", message));
    }
    // OpenAI rejects empty inputs too; white space counts as text.
    let about_input = |error: ApiError| if error.is_about_input() { error.about("input") } else { error };
    refuse_empty(&inputs).map_err(|fault| about_input(Rejection::Input(fault).into()))?;
    if let Some(name) = &request.prompt_name {
        prompts::prepend(&api, &mut request.model, name, &mut inputs).await?;
    }
    let inputs =
        if options.truncate { inputs } else { inputs.into_iter().map(EmbeddingInput::whole).collect() };
    let mut batch = embedding_batch::embed(&api, request.model, inputs).await.map_err(about_input)?;
    if let Some((name, dimensions)) = options.dimensions {
        batch.shorten(dimensions).map_err(|error| OpenAiError::bad_request(name, error.to_string()))?;
    }
    if options.normalize {
        batch.normalize();
    }
    let encoding = request.encoding_format.unwrap_or_default();
    let write = |(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Base64 => EncodedVector::Base64(base64(vector)),
            Encoding::Float => EncodedVector::Float(vector),
        },
    };
    let truncated = batch.truncated;
    Ok(truncated.clone().attach_to(Json(Embeddings {
        object: "list",
        data: batch.vectors.into_iter().enumerate().map(write).collect(),
        model: batch.model,
        usage: Usage::from_tokens(batch.tokens),
        truncated,
    })))
}

/// Parameters of a request apart from its inputs.
struct Options {
    truncate: bool,
    normalize: bool,
    /// The field with the number of dimensions, and its value.
    dimensions: Option<(&'static str, usize)>,
}

impl Options {
    fn from_request(request: &EmbeddingsRequest) -> Result<Self, OpenAiError> {
        let truncate = match &request.truncate {
            Some(truncate) => truncate.read()?,
            None => request.truncation.unwrap_or(true),
        };
        let given = [("dimensions", request.dimensions), ("output_dimension", request.output_dimension)];
        let given = given.into_iter().find_map(|(name, number)| Some((name, number?)));
        // A negative number is as invalid as 0.
        let dimensions = given.map(|(name, number)| (name, number.count().unwrap_or_default()));
        let normalize = request.normalize.or(request.normalized) == Some(true);
        Ok(Self { truncate, normalize, dimensions })
    }
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
