//! Checks from the metadata files whether an encoder is supported and what it can do, with the loader's own parsers and
//! without loading weights.

use super::fingerprint::Stat;
use super::folder::{Folder, WEIGHTS};
use super::metadata::ModelMetadata;
use super::metadata_file::CONFIG;
use super::tokenizer_json::TokenizerFile;
use super::tokenizer_json::{TOKENIZER, VOCABULARY};
use super::weights::Weights;
use crate::inference::encoder::config::EncoderConfig;
use crate::inference::encoder::model::{LoadError, metadata_in};
use engine::task::TaskKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The kinds of task of an embedding model. It also classifies, zero-shot, and ranks texts by their similarity to a
/// query.
pub const EMBEDDING_KINDS: [TaskKind; 3] =
    [TaskKind::Embedding, TaskKind::Classification, TaskKind::Reranking];

impl EncoderConfig {
    /// Returns the kinds of task of a model with this configuration. A model with a single score for each text also
    /// ranks texts by a query, as cross-encoders do.
    pub(crate) fn kinds(&self) -> &'static [TaskKind] {
        match &self.classifier {
            None => &EMBEDDING_KINDS,
            Some(classifier) if classifier.labels.len() == 1 => {
                &[TaskKind::Classification, TaskKind::Reranking]
            }
            Some(_) => &[TaskKind::Classification],
        }
    }
}

/// Returns the kinds of task of an encoder, without reading its weights. Blocks.
///
/// # Errors
/// Returns [`LoadError`] if the encoder is invalid or not supported.
pub fn inspect(path: &Path) -> Result<&'static [TaskKind], LoadError> {
    let metadata = read_metadata(path)?;
    let transformer = path.join(&metadata.root);
    if transformer.join(CONFIG).is_file() {
        check_tokenizer(&transformer)?;
    }
    Ok(metadata.config.kinds())
}

/// Checks the tokenizer in a folder, unless its files are unchanged since the last check.
fn check_tokenizer(path: &Path) -> Result<(), LoadError> {
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    let stats = [TOKENIZER, VOCABULARY].map(|name| Stat::at(&path.join(name)));
    if checked.get(path) == Some(&stats) {
        return Ok(());
    }
    let file: TokenizerFile<'_> = Folder::at(path).tokenizer("")?;
    let (name, _) = file.parts();
    file.check().map_err(|reason| LoadError::Tokenizer { file: name, reason })?;
    if checked.len() >= CHECKED_MAX {
        checked.clear();
    }
    checked.insert(path.to_owned(), stats);
    Ok(())
}

/// Reads the metadata of a folder, or of a single file.
pub(crate) fn read_metadata(path: &Path) -> Result<ModelMetadata, LoadError> {
    if path.is_file() {
        return metadata_in(&Weights::open(path)?);
    }
    let folder = Folder::at(path);
    if !folder.has(CONFIG) && folder.has(WEIGHTS) {
        return metadata_in(&folder.weights()?);
    }
    Ok(ModelMetadata::read(&|name| folder.read(name), None)?)
}

/// The tokenizers that passed their last check, with the state of their files.
static CHECKED: Mutex<BTreeMap<PathBuf, [Option<Stat>; 2]>> = Mutex::new(BTreeMap::new());
const CHECKED_MAX: usize = 256;
