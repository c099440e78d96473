//! A published model folder: `config.json`, `tokenizer.json` and weights in safetensors files.
//!
//! The invariants: a file in the folder cannot make the reader leave the folder (symbolic links in the folder, as in
//! Hugging Face's cache, are followed); and each kind of file has a size limit.

use super::json_fields::within;
use super::metadata_file::{MetadataError, is_plain, rejected};
use super::tokenizer_json::{TOKENIZER, TokenizerFile, VOCABULARY};
use super::weights::{Weights, WeightsError};
use crate::inference::encoder::config::{CONFIG_BYTES_MAX, TOKENIZER_BYTES_MAX};
use crate::regular_file;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A folder of a model.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// Why the weights of a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There are no weights.
    #[error("{0}")]
    Absent(String),
    /// A file is invalid.
    #[error("{file}: {source}")]
    File {
        /// Its name in the folder.
        file: String,
        /// The fault.
        source: WeightsError,
    },
    /// The index of weight files is invalid.
    #[error("{INDEX}: {0}")]
    Index(String),
}

impl Folder {
    /// Refers to a folder, without reading anything.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Reads a small file, if it exists.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, MetadataError> {
        let large = [TOKENIZER, VOCABULARY].iter().any(|file| name.rsplit('/').next() == Some(file));
        let max = if large { TOKENIZER_BYTES_MAX } else { CONFIG_BYTES_MAX };
        read_bounded(&self.root.join(name), max)
            .map_err(|reason| MetadataError::File { file: name.to_owned(), reason })
    }

    /// Tells whether a file of this name exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.root.join(name).exists()
    }

    /// Reads the tokenizer file of the transformer in the subfolder `root`.
    pub(crate) fn tokenizer(&self, root: &str) -> Result<TokenizerFile<'static>, MetadataError> {
        if let Some(json) = self.read(&within(root, TOKENIZER))? {
            return Ok(TokenizerFile::Json(json.into()));
        }
        match self.read(&within(root, VOCABULARY))? {
            Some(words) => Ok(TokenizerFile::Vocabulary(words.into())),
            None => Err(rejected(&within(root, TOKENIZER), "is missing")),
        }
    }

    /// Refers to a subfolder.
    pub(crate) fn within(&self, root: &str) -> Self {
        Self { root: self.root.join(root) }
    }

    /// Opens the weights: one file, or several with an index.
    pub(crate) fn weights(&self) -> Result<Weights<'static>, FolderError> {
        if self.has(WEIGHTS) {
            return Weights::open(&self.root.join(WEIGHTS)).map_err(in_file(WEIGHTS));
        }
        let index = read_bounded(&self.root.join(INDEX), INDEX_BYTES_MAX).map_err(FolderError::Index)?;
        let Some(index) = index else { return Err(FolderError::Absent(self.what_there_is())) };
        let index: Index =
            serde_json::from_slice(&index).map_err(|error| FolderError::Index(error.to_string()))?;
        let files: BTreeSet<&String> = index.weight_map.values().collect();
        if files.is_empty() || files.len() > FILES_MAX {
            let reason = format!("names {} files, expected 1 to {FILES_MAX}", files.len());
            return Err(FolderError::Index(reason));
        }
        let mut weights: Option<Weights<'static>> = None;
        for file in files {
            if !is_plain(file) || file.contains('/') || !file.ends_with(".safetensors") {
                return Err(FolderError::Index(format!("{file:?} is no safetensors file of this folder")));
            }
            let path = self.root.join(file);
            match &mut weights {
                None => weights = Some(Weights::open(&path).map_err(in_file(file))?),
                Some(weights) => weights.open_another(&path).map_err(in_file(file))?,
            }
        }
        let weights = weights.ok_or_else(|| FolderError::Index("names no file".to_owned()))?;
        match index.weight_map.keys().find(|name| !weights.contains(name)) {
            None => Ok(weights),
            Some(name) => {
                Err(FolderError::Index(format!("names a tensor {name}, which is in none of its files")))
            }
        }
    }

    /// Describes why there are no weights.
    fn what_there_is(&self) -> String {
        match OTHER_WEIGHTS.iter().find(|name| self.has(name)) {
            Some(other) => {
                format!("{WEIGHTS} is missing; {other} is there, but only safetensors are supported")
            }
            None => format!("{WEIGHTS} is missing"),
        }
    }
}

/// Reads a file, up to `max` bytes whatever its metadata says.
fn read_bounded(path: &Path, max: u64) -> Result<Option<Vec<u8>>, String> {
    let file = match regular_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let failed = |error: io::Error| format!("cannot be read: {error}");
    let found = file.metadata().map_err(failed)?.len();
    if found > max {
        return Err(format!("has {found} bytes, at most {max} are accepted"));
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

fn in_file(file: &str) -> impl Fn(WeightsError) -> FolderError {
    move |source| FolderError::File { file: file.to_owned(), source }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weights, if they are in one file.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The index of tensors, if the weights are in several files.
const INDEX: &str = "model.safetensors.index.json";
/// Weights in other formats, to name them in the error.
const OTHER_WEIGHTS: [&str; 4] = ["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx"];
/// The maximum number of weight files.
const FILES_MAX: usize = 256;
/// The maximum size of an index.
const INDEX_BYTES_MAX: u64 = 16 << 20;
