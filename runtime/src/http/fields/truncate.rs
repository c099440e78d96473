//! The `truncate` field of all supported APIs.

use crate::http::error::ApiError;
use serde::Deserialize;

/// Whether to truncate long texts: a boolean as in text-embeddings-inference and Jina, or a side as in Cohere and
/// NVIDIA.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "truncate must be true, false, \"END\" or \"NONE\"")]
pub(in crate::http) enum Truncate {
    Flag(bool),
    Side(String),
}

impl Truncate {
    /// Returns whether texts are truncated at their end; if not, long ones are rejected.
    ///
    /// # Errors
    /// If another kind of truncation is requested.
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
