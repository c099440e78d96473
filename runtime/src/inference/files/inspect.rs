//! What a model is by its small files alone: whether it can run here and what it does, known without loading it and by the
//! same reading that loads it.

use super::fingerprint::Stat;
use super::folder::{Folder, TOKENIZER, VOCABULARY, WEIGHTS};
use super::metadata::{CONFIG, ModelMetadata};
use super::tokenizer_json::TokenizerFile;
use super::weights::Weights;
use crate::inference::encoder::config::EncoderConfig;
use crate::inference::encoder::model::{LoadError, single};
use engine::task::TaskKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

impl EncoderConfig {
    /// Returns what a model of this configuration can do. One that makes embeddings also classifies, by their
    /// similarity; one with a single score for a text also ranks texts by a query, as cross-encoders do.
    pub(crate) fn kinds(&self) -> &'static [TaskKind] {
        match &self.classifier {
            None => &[TaskKind::Embedding, TaskKind::Classification],
            Some(classifier) if classifier.labels.len() == 1 => {
                &[TaskKind::Classification, TaskKind::Reranking]
            }
            Some(_) => &[TaskKind::Classification],
        }
    }
}

/// Says what an encoder can do, by its files; its weights are not read. Blocks.
///
/// # Errors
/// [`LoadError`] where it cannot run here.
pub fn inspect(path: &Path) -> Result<&'static [TaskKind], LoadError> {
    let description = describe(path)?;
    let transformer = path.join(&description.root);
    if transformer.join(CONFIG).is_file() {
        check_tokenizer(&transformer)?;
    }
    Ok(description.config.kinds())
}

/// Checks the tokenizer in a folder; one that is as it was at the last look is not read again.
fn check_tokenizer(path: &Path) -> Result<(), LoadError> {
    let mut looked = LOOKED.lock().unwrap_or_else(PoisonError::into_inner);
    let stats = [TOKENIZER, VOCABULARY].map(|name| Stat::at(&path.join(name)));
    if looked.get(path) == Some(&stats) {
        return Ok(());
    }
    let file: TokenizerFile<'_> = Folder::at(path).tokenizer("")?;
    let (name, _) = file.parts();
    file.check().map_err(|reason| LoadError::Tokenizer { file: name, reason })?;
    if looked.len() >= LOOKED_MAX {
        looked.clear();
    }
    looked.insert(path.to_owned(), stats);
    Ok(())
}

/// Reads the description of a folder, or of one file.
pub(crate) fn describe(path: &Path) -> Result<ModelMetadata, LoadError> {
    if path.is_file() {
        return single(&Weights::open(path)?);
    }
    let folder = Folder::at(path);
    if !folder.has(CONFIG) && folder.has(WEIGHTS) {
        return single(&folder.weights()?);
    }
    Ok(ModelMetadata::read(&|name| folder.read(name), None)?)
}

/// The tokenizers that were sound when they were last looked at, as their files were.
static LOOKED: Mutex<BTreeMap<PathBuf, [Option<Stat>; 2]>> = Mutex::new(BTreeMap::new());
const LOOKED_MAX: usize = 256;
