//! The files of a loaded model, watched for as long as it is used.
//!
//! A part of the weights may stay on disk and be read when a text needs it, so a file that is overwritten in place would
//! mix two models in one answer. A write changes a file's times before its content, so a pass that saw any of the new
//! content finds other times when it looks afterwards.

use crate::inference::files::fingerprint::ModelFile;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The files of a model, and when all of them were last looked at.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    weights: Vec<ModelFile>,
    others: Vec<ModelFile>,
    looked_at: Mutex<Option<Instant>>,
}

impl WatchedFiles {
    /// Watches files that are to stay as they were when they were hashed.
    pub(super) fn new(files: Vec<ModelFile>) -> Self {
        let is_weights = |file: &ModelFile| WEIGHTS.iter().any(|end| file.name.ends_with(end));
        let (weights, others) = files.into_iter().partition(is_weights);
        Self { weights, others, looked_at: Mutex::new(None) }
    }

    /// Tells whether a file is not as it was. Weights are looked at each time, as they may be read at any time; the other
    /// files, which are read once, now and then.
    pub(super) fn have_changed(&self) -> bool {
        let is_due = {
            let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = looked_at.is_none_or(|at| at.elapsed() >= OTHERS_EVERY);
            if is_due {
                *looked_at = Some(Instant::now());
            }
            is_due
        };
        let others = if is_due { self.others.as_slice() } else { &[] };
        !self.weights.iter().chain(others).all(ModelFile::is_unchanged)
    }

    /// Tells whether any file is not as it was.
    pub(super) fn have_changed_at_all(&self) -> bool {
        !self.weights.iter().chain(&self.others).all(ModelFile::is_unchanged)
    }
}

/// How the names of files with weights end.
const WEIGHTS: [&str; 2] = [".safetensors", ".gguf"];
/// How often to look at the files that are read only once.
const OTHERS_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_write_or_another_file_in_its_place_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let watched = |content: &str| {
            fs::write(&path, content).unwrap();
            let file = ModelFile::at("model.safetensors".to_owned(), path.clone()).unwrap();
            WatchedFiles::new(vec![file])
        };
        let before = watched("one");
        assert!(!before.have_changed() && !before.have_changed_at_all());
        let other = folder.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(before.have_changed() && before.have_changed_at_all());
        let again = watched("three");
        fs::remove_file(&path).unwrap();
        assert!(again.have_changed());
    }
}
