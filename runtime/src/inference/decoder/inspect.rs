//! Checks without loading weights whether a decoder asks for something that is not supported.
//!
//! Models are checked when they are listed, so that no model is offered whose first task would fail. Damaged files are
//! not reported here: loading reports them, and has them fetched again. Results are cached until a file changes.

use super::config::DecoderConfig;
use super::generator::{check_folder, folder_config};
use super::tensor_source::TensorSource;
use super::vocabulary;
use super::{CONTEXT_MAX, DecoderError, GgufError};
use crate::inference::files::fingerprint::Stat;
use crate::inference::files::folder::Folder;
use crate::inference::files::tokenizer_json::TOKENIZER;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Checks the metadata files of a folder, or the header of a GGUF file. Blocks.
///
/// # Errors
/// Returns the unsupported feature.
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

/// Returns the maximum number of tokens of a text, and the licence in a GGUF file. `None` if the model cannot be loaded.
pub(in crate::inference) fn details(path: &Path) -> Option<(usize, Option<String>)> {
    let (config, license) = if path.is_dir() {
        (folder_config(&Folder::at(path)).ok()?, None)
    } else {
        let (_, gguf) = TensorSource::from_gguf(path).ok()?;
        (DecoderConfig::from_gguf(&gguf, None).ok()?, gguf.text("general.license").map(str::to_owned))
    };
    Some((config.shape.context.min(CONTEXT_MAX), license))
}

fn check_gguf(path: &Path) -> Result<(), DecoderError> {
    let (_, gguf) = TensorSource::from_gguf(path)?;
    DecoderConfig::from_gguf(&gguf, None)?;
    let beside = path.with_file_name(TOKENIZER);
    if beside.exists() {
        return Ok(());
    }
    vocabulary::check_kind_of_gguf(&gguf).map_err(DecoderError::Tokenizer)
}

const fn is_unsupported(error: &GgufError) -> bool {
    matches!(error, GgufError::BigEndian | GgufError::TypeOfTensor { .. } | GgufError::Version(_))
}

/// Returns the state of the checked files; `None` for a missing file.
fn stats(path: &Path) -> Vec<Option<Stat>> {
    if path.is_dir() {
        return FILES.iter().map(|name| Stat::at(&path.join(name))).collect();
    }
    vec![Stat::at(path), Stat::at(&path.with_file_name(TOKENIZER))]
}

/// Cached verdicts, by the path of a model.
type Seen = BTreeMap<PathBuf, (Vec<Option<Stat>>, Result<(), String>)>;

fn seen() -> std::sync::MutexGuard<'static, Seen> {
    static SEEN: Mutex<Seen> = Mutex::new(BTreeMap::new());
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files of a folder that are checked.
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "special_tokens_map.json", TOKENIZER, "tokenizer_config.json"];
/// The maximum number of cached verdicts.
const SEEN_MAX: usize = 1024;
