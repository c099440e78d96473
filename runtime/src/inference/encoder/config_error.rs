//! Why an encoder's `config.json` is rejected. A file of its own, because the architectures' readers return it too.

use crate::inference::files::json_fields::FieldError;

/// Why an encoder's `config.json` is rejected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A field has the wrong type, or a value that is not supported.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The hidden size is not a multiple of the heads.
    #[error("the hidden size {hidden} is not a multiple of the {heads} attention heads")]
    Heads {
        /// The hidden size.
        hidden: usize,
        /// The heads.
        heads: usize,
    },
    /// The labels are not numbered 0, 1, 2 and so on, or are too many.
    #[error(
        "id2label does not name outputs 0 to n, at most {LABELS_MAX} with at most {LABEL_BYTES_MAX} bytes"
    )]
    Labels,
    /// The file is not a JSON object.
    #[error("config.json is damaged: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A field is missing.
    #[error("config.json does not say {0}")]
    Missing(&'static str),
    /// A dimension is zero or too large.
    #[error("{name} is {value}, expected 1 to {max}")]
    Range {
        /// The field.
        name: &'static str,
        /// Its value.
        value: usize,
        /// The largest accepted value.
        max: usize,
    },
}

/// The maximum number of labels: their scores fit a message to another node.
pub(super) const LABELS_MAX: usize = 4096;
/// The maximum length of a label.
pub(super) const LABEL_BYTES_MAX: usize = 256;
