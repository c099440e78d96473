//! `/v1/embeddings`: texts or tokens to vectors.

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
    #[serde(default)]
    encoding_format: Encoding,
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
    usage: Usage,
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

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
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
        let longest = made.vectors.first().map_or(0, Vec::len);
        if !(1..=longest).contains(&dimensions) {
            let message = format!("dimensions is {dimensions}; the model gives 1 to {longest}");
            return Err(OpenAiError::bad_request("dimensions", message));
        }
        made.vectors.iter_mut().for_each(|vector| shorten(vector, dimensions));
    }
    let write = |(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: match asked.encoding_format {
            Encoding::Base64 => Written::Base64(base64(vector)),
            Encoding::Float => Written::Float(vector),
        },
    };
    Ok(Json(Embeddings {
        object: "list",
        data: made.vectors.into_iter().enumerate().map(write).collect(),
        model: made.model,
        usage: Usage { prompt_tokens: made.tokens, total_tokens: made.tokens },
    }))
}

/// Leaves the first components of a vector, and gives it unit length again.
fn shorten(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    let length = vector.iter().map(|component| component * component).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|component| *component /= length);
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
    fn a_shortened_vector_has_unit_length() {
        let mut vector = vec![3.0, 4.0, 12.0];
        shorten(&mut vector, 2);
        assert_eq!(vector, [0.6, 0.8]);
        let mut nothing = vec![0.0, 1.0];
        shorten(&mut nothing, 1);
        assert_eq!(nothing, [0.0]);
    }

    #[test]
    fn base64_is_of_little_endian_numbers() {
        assert_eq!(base64(vec![1.0, -2.0]), "AACAPwAAAMA=");
    }
}
