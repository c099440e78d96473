//! The fingerprints of a catalog's models.

use super::Found;
use crate::hub::{Format, Present};
use crate::inference::{FileHashes, FingerprintError, ModelFile, ModelSpec, Precision};
use api::ModelStatus;
use engine::task::TaskKind;
use std::io;

impl Found {
    /// Hashes the files of the first model without a fingerprint, so that one large model does not delay all others.
    /// Hashes models again that had a fingerprint `before`.
    pub(super) fn identify(&mut self, before: &Self, hashes: &FileHashes) {
        let mut refused = Vec::new();
        let mut is_done = false;
        for model in self.models.iter_mut().filter(|model| model.fingerprint.is_none()) {
            let same = |known: &&ModelSpec| known.name == model.name && known.files == model.files;
            let had_one = before.models.iter().find(same).is_some_and(|known| known.fingerprint.is_some());
            if is_done && !had_one {
                continue;
            }
            is_done |= !had_one;
            match hashes.compute(&model.files, precision_name(model)) {
                Ok(fingerprint) => model.fingerprint = Some(fingerprint),
                Err(error @ FingerprintError::Changed(_)) => {
                    tracing::debug!(component = "models", model = model.name, %error, "not hashed yet");
                }
                Err(error @ FingerprintError::Read { .. }) => {
                    refused.push((model.name.clone(), error.to_string()));
                }
            }
        }
        self.models.retain(|model| refused.iter().all(|(name, _)| *name != model.name));
        refused.into_iter().for_each(|(name, reason)| self.refuse(&name, reason));
    }
}

/// Returns all files that determine what a model computes.
pub(super) fn files(present: &Present) -> io::Result<Vec<ModelFile>> {
    // A single file is the same model under any name.
    let single = match present.format {
        Format::Gguf => Some("model.gguf"),
        Format::Safetensors if present.path.is_file() => Some("model.safetensors"),
        Format::Safetensors => None,
    };
    let own = present.files.iter().map(|file| {
        let name = single.map_or_else(|| file.name.clone(), str::to_owned);
        ModelFile::at(name, file.path.clone())
    });
    let mut files: Vec<ModelFile> = own.collect::<io::Result<_>>()?;
    let beside = present.path.parent().filter(|_| present.format == Format::Gguf);
    for path in beside.into_iter().flat_map(|folder| BESIDE_GGUF.map(|name| folder.join(name))) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files.extend(ModelFile::at(name, path).ok());
    }
    Ok(files)
}

/// Returns the name of a model's precision. Models with the same files are equal only if their precision is.
pub(super) fn precision_name(model: &ModelSpec) -> &'static str {
    match (model.kinds.contains(&TaskKind::Generation), model.precision) {
        (true, Precision::Int8) => Precision::Int8.name(),
        // The weights keep the format of their files.
        (true, Precision::Auto | Precision::Bf16 | Precision::F32) => "stored",
        (false, precision) => precision.name(),
    }
}

/// Tells whether a model has no fingerprint yet.
pub(super) fn is_pending(models: &[ModelStatus]) -> bool {
    models.iter().any(|model| model.fingerprint.is_none() && model.reason.is_none())
}

/// The files that are read beside a GGUF file.
const BESIDE_GGUF: [&str; 1] = ["tokenizer.json"];
