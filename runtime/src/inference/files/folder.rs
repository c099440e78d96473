//! A model as it is published: a folder with `config.json`, `tokenizer.json` and weights in safetensors files.
//!
//! The invariants: nothing outside the folder is read because a file in it says so (what the folder itself links to,
//! as Hugging Face's cache does, is), and no file is read that is larger than any of its kind should be.

use super::json_fields::within;
use super::metadata::{MetadataError, is_plain, refusal};
use super::tokenizer_json::TokenizerFile;
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

/// Why the weights of a folder are of no use.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There are none.
    #[error("{0}")]
    Absent(String),
    /// A file is wrong.
    #[error("{file}: {source}")]
    File {
        /// Its name in the folder.
        file: String,
        /// What is wrong with it.
        source: WeightsError,
    },
    /// The list of the files is wrong.
    #[error("{INDEX}: {0}")]
    Index(String),
}

impl Folder {
    /// Names a folder; nothing is read yet.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Returns the content of a small file, if it is there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, MetadataError> {
        let large = [TOKENIZER, VOCABULARY].iter().any(|file| name.rsplit('/').next() == Some(file));
        let max = if large { TOKENIZER_BYTES_MAX } else { CONFIG_BYTES_MAX };
        read_bounded(&self.root.join(name), max)
            .map_err(|reason| MetadataError::File { file: name.to_owned(), reason })
    }

    /// Tells whether there is a file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.root.join(name).exists()
    }

    /// Returns what the tokenizer of a transformer in the folder `root` is made of.
    pub(crate) fn tokenizer(&self, root: &str) -> Result<TokenizerFile<'static>, MetadataError> {
        if let Some(json) = self.read(&within(root, TOKENIZER))? {
            return Ok(TokenizerFile::Json(json.into()));
        }
        match self.read(&within(root, VOCABULARY))? {
            Some(words) => Ok(TokenizerFile::Vocabulary(words.into())),
            None => Err(refusal(&within(root, TOKENIZER), "is missing")),
        }
    }

    /// Names a folder within this one.
    pub(crate) fn within(&self, root: &str) -> Self {
        Self { root: self.root.join(root) }
    }

    /// Opens the weights, in one file or in several with an index.
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

    /// Says why there are no weights.
    fn what_there_is(&self) -> String {
        match OTHER_WEIGHTS.iter().find(|name| self.has(name)) {
            Some(other) => {
                format!("{WEIGHTS} is missing; {other} is there, but only safetensors are supported")
            }
            None => format!("{WEIGHTS} is missing"),
        }
    }
}

/// Reads a file that must not have more than `max` bytes, however large it says it is.
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

/// The tokenizer, as the library of that name writes it.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// The words of BERT's tokenizer, one a line, in older layouts.
pub(crate) const VOCABULARY: &str = "vocab.txt";
/// The weights, where they are in one file.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Which tensor is in which file, where there are several.
const INDEX: &str = "model.safetensors.index.json";
/// Weights in other formats, to say why they are not used.
const OTHER_WEIGHTS: [&str; 4] = ["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx"];
/// The most files of one model.
const FILES_MAX: usize = 256;
/// The largest index.
const INDEX_BYTES_MAX: u64 = 16 << 20;
