//! Detects changes to the files of a loaded model.
//!
//! Some weights stay on disk and are read on demand, so a file that is overwritten in place would mix two models in one
//! result. A write changes a file's timestamps before its content. A pass that read any new content therefore finds
//! other timestamps when it checks afterwards.

use crate::inference::files::fingerprint::ModelFile;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The files of a model, and the time of the last complete check.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    weights: Vec<ModelFile>,
    others: Vec<ModelFile>,
    checked_at: Mutex<Option<Instant>>,
}

impl WatchedFiles {
    /// Watches files for changes since they were hashed.
    pub(super) fn new(files: Vec<ModelFile>) -> Self {
        let is_weights = |file: &ModelFile| WEIGHTS.iter().any(|end| file.name.ends_with(end));
        let (weights, others) = files.into_iter().partition(is_weights);
        Self { weights, others, checked_at: Mutex::new(None) }
    }

    /// Tells whether a file has changed. Checks weights every time, because they may be read at any time. Checks the
    /// other files, which are read once, at an interval.
    pub(super) fn have_changed(&self) -> bool {
        let is_due = {
            let mut checked_at = self.checked_at.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = checked_at.is_none_or(|at| at.elapsed() >= OTHERS_INTERVAL);
            if is_due {
                *checked_at = Some(Instant::now());
            }
            is_due
        };
        let others = if is_due { self.others.as_slice() } else { &[] };
        !self.weights.iter().chain(others).all(ModelFile::is_unchanged)
    }

    /// Tells whether any file has changed, and checks all of them.
    pub(super) fn have_any_changed(&self) -> bool {
        !self.weights.iter().chain(&self.others).all(ModelFile::is_unchanged)
    }
}

/// The suffixes of weight files.
const WEIGHTS: [&str; 2] = [".safetensors", ".gguf"];
/// The interval between checks of the files that are read only once.
const OTHERS_INTERVAL: Duration = Duration::from_secs(1);

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
        assert!(!before.have_changed() && !before.have_any_changed());
        let other = folder.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(before.have_changed() && before.have_any_changed());
        let again = watched("three");
        fs::remove_file(&path).unwrap();
        assert!(again.have_changed());
    }
}
