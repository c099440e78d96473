//! What clients say about texts that are too long.

use crate::http::error::ApiError;
use serde::Deserialize;

/// Whether texts that are too long are cut: a truth as text-embeddings-inference and Jina have it, or the side as Cohere and
/// NVIDIA have it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "truncate must be true, false, \"END\" or \"NONE\"")]
pub(in crate::http) enum Truncate {
    Flag(bool),
    Side(String),
}

impl Truncate {
    /// Tells whether they are cut at their end; else they are refused.
    ///
    /// # Errors
    /// Where they are to be cut otherwise.
    pub(in crate::http) fn read(&self) -> Result<bool, ApiError> {
        let side = match self {
            Self::Flag(flag) => return Ok(*flag),
            Self::Side(side) => side.to_ascii_uppercase(),
        };
        match side.as_str() {
            "END" | "RIGHT" => Ok(true),
            "NONE" => Ok(false),
            _ => {
                let message =
                    "truncate must be true, false, \"END\" or \"NONE\" here: texts are cut at their end";
                Err(ApiError::invalid_value("truncate", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_their_end_or_not_at_all() {
        let read = |json: &str| serde_json::from_str::<Truncate>(json).unwrap().read().ok();
        for (json, truncate) in [
            ("true", Some(true)),
            ("false", Some(false)),
            ("\"END\"", Some(true)),
            ("\"none\"", Some(false)),
            ("\"START\"", None),
        ] {
            assert_eq!(read(json), truncate, "{json}");
        }
    }
}
