//! What can be said of a model without loading it: whether its files ask for something that nothing here does.
//!
//! Said when models are listed, so that none is offered whose first task would fail. Files that are damaged are left to
//! whoever loads them, which has them fetched again. Files are looked at again when they change.

use super::architectures::llama::LlamaConfig;
use super::generator::check_folder;
use super::tensor_source::TensorSource;
use super::vocabulary;
use super::{DecoderError, GgufError};
use crate::inference::files::fingerprint::Stat;
use crate::inference::files::folder::{Folder, TOKENIZER};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Says why a folder or a GGUF file of this family cannot be run, if its small files or its header tell. Blocks.
///
/// # Errors
/// Names what is not supported.
pub fn inspect(path: &Path) -> Result<(), String> {
    let stats = stats(path);
    if let Some((_, verdict)) = seen().get(path).filter(|(known, _)| *known == stats) {
        return verdict.clone();
    }
    let found = if path.is_dir() { check_folder(&Folder::at(path)) } else { check_gguf(path) };
    let verdict = match found {
        Err(error @ (DecoderError::Config(_) | DecoderError::Tokenizer(_))) => Err(error.to_string()),
        Err(DecoderError::Gguf { source, .. }) if is_unsupported(&source) => Err(source.to_string()),
        Ok(()) | Err(_) => Ok(()),
    };
    let mut seen = seen();
    if seen.len() >= SEEN_MAX {
        seen.clear();
    }
    seen.insert(path.to_owned(), (stats, verdict.clone()));
    verdict
}

fn check_gguf(path: &Path) -> Result<(), DecoderError> {
    let (_, gguf) = TensorSource::from_gguf(path)?;
    LlamaConfig::from_gguf(&gguf, None)?;
    let beside = path.with_file_name(TOKENIZER);
    if beside.exists() {
        return Ok(());
    }
    vocabulary::check_kind_of_gguf(&gguf).map_err(DecoderError::Tokenizer)
}

const fn is_unsupported(error: &GgufError) -> bool {
    matches!(error, GgufError::BigEndian | GgufError::TypeOfTensor { .. } | GgufError::Version(_))
}

/// The files that are looked at, as they are; nothing for one that is not there.
fn stats(path: &Path) -> Vec<Option<Stat>> {
    if path.is_dir() {
        return FILES.iter().map(|name| Stat::at(&path.join(name))).collect();
    }
    vec![Stat::at(path), Stat::at(&path.with_file_name(TOKENIZER))]
}

/// What was found, by the place of a model.
type Seen = BTreeMap<PathBuf, (Vec<Option<Stat>>, Result<(), String>)>;

fn seen() -> std::sync::MutexGuard<'static, Seen> {
    static SEEN: Mutex<Seen> = Mutex::new(BTreeMap::new());
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files of a folder that are looked at.
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "special_tokens_map.json", TOKENIZER, "tokenizer_config.json"];
/// Models that are remembered.
const SEEN_MAX: usize = 1024;
