//! A manifest: the files of a model with their sizes and hashes. With a trusted manifest, the files can come from any
//! node.

use engine::blobs::{BLOB_BYTES_MAX, Hash, SHARED_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Component, Path};

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name of the model: the name of a folder.
    pub name: String,
    /// Its files.
    pub files: Vec<ManifestFile>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its path in the model's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 hash.
    pub blake3: Hash,
    /// Its SHA-256 hash.
    pub sha256: Hash,
}

/// Why a manifest is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It has no files, or too many.
    #[error("it lists {0} files; allowed: 1 to {SHARED_MAX}")]
    Count(usize),
    /// It is not valid JSON of a manifest.
    #[error("it is not a list of files")]
    Malformed(#[from] serde_json::Error),
    /// A path leads out of the folder, or is not in its normal form.
    #[error("{0:?} is not a name within one folder")]
    Name(String),
    /// A file is listed twice.
    #[error("{0:?} is listed twice")]
    Repeated(String),
    /// A file is too large.
    #[error("{0:?} is larger than nodes transfer")]
    TooLarge(String),
}

impl Manifest {
    /// Parses and validates a manifest: every file has a path of its own in one folder.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(text: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(text)?;
        if !(1..=SHARED_MAX).contains(&manifest.files.len()) {
            return Err(ManifestError::Count(manifest.files.len()));
        }
        if !is_within(&manifest.name) || manifest.name.contains('/') {
            return Err(ManifestError::Name(manifest.name));
        }
        let mut seen = BTreeSet::new();
        for file in &manifest.files {
            if !is_within(&file.path) {
                return Err(ManifestError::Name(file.path.clone()));
            }
            if file.bytes > BLOB_BYTES_MAX {
                return Err(ManifestError::TooLarge(file.path.clone()));
            }
            if !seen.insert(&file.path) {
                return Err(ManifestError::Repeated(file.path.clone()));
            }
        }
        Ok(manifest)
    }

    /// Returns the total size of the files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// Tells whether a path stays within its folder and is in normal form.
fn is_within(path: &str) -> bool {
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    let same =
        parts.iter().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/") == path;
    !parts.is_empty() && plain && same && path.len() <= PATH_BYTES_MAX && !path.contains(['\0', '\\'])
}

const PATH_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, paths: &[&str]) -> Vec<u8> {
        let hash = Hash([1; 32]);
        let file =
            |path: &&str| ManifestFile { path: (*path).to_owned(), bytes: 5, blake3: hash, sha256: hash };
        let manifest = Manifest { name: name.to_owned(), files: paths.iter().map(file).collect() };
        serde_json::to_vec(&manifest).unwrap()
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let manifest = Manifest::read(&text("mine", &["config.json", "onnx/model.bin"])).unwrap();
        assert_eq!(serde_json::to_vec(&manifest).unwrap(), text("mine", &["config.json", "onnx/model.bin"]));
        assert_eq!(manifest.bytes(), 10);
    }

    #[test]
    fn no_list_leads_out_of_its_folder() {
        for path in ["", ".", "..", "/etc/passwd", "a/../b", "../x", "a//b", "./a", "a/", "a\\b", "a\0"] {
            assert!(Manifest::read(&text("mine", &[path])).is_err(), "{path:?}");
            assert!(Manifest::read(&text(path, &["a"])).is_err(), "{path:?}");
        }
        assert!(Manifest::read(&text("a/b", &["a"])).is_err(), "a name is one folder");
        assert!(Manifest::read(&text("mine", &["a", "a"])).is_err(), "twice");
        assert!(Manifest::read(&text("mine", &[])).is_err(), "nothing");
        assert!(Manifest::read(b"{}").is_err());
    }
}
