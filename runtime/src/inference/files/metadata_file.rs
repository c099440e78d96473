//! One file of a model's metadata: how it is read, and what is wrong with it.

use super::json_fields::{self, FieldError, Object};
use crate::inference::encoder::config_error::ConfigError;
use std::path::{Component, Path};

/// Why metadata is rejected.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// `config.json` is invalid or not supported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another file is invalid, or asks for something that is not supported.
    #[error("{file}: {reason}")]
    File {
        /// Its name within the model.
        file: String,
        /// The fault.
        reason: String,
    },
}

/// Reads a file of the model by its name. Returns `None` if it does not exist.
pub(crate) type ReadFile<'r> = &'r dyn Fn(&str) -> Result<Option<Vec<u8>>, MetadataError>;

/// Reads a file with a JSON object, if it exists.
pub(crate) fn object(read: ReadFile<'_>, name: &str) -> Result<Option<Object>, MetadataError> {
    let json = read(name)?;
    json.map(|json| json_fields::parse(&json).map_err(|reason| rejected(name, &reason))).transpose()
}

/// Adds the file name to a field error.
pub(crate) fn in_file(file: &str) -> impl Fn(FieldError) -> MetadataError {
    move |error| rejected(file, &error.to_string())
}

/// Tells whether a relative path stays inside its folder.
pub(crate) fn is_plain(path: &str) -> bool {
    !path.contains(['\\', '\0'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

pub(crate) fn rejected(file: &str, reason: &str) -> MetadataError {
    MetadataError::File { file: file.to_owned(), reason: reason.to_owned() }
}

/// The configuration of a model.
pub(crate) const CONFIG: &str = "config.json";
