//! Models whose files are all on this machine, in the cache or at a local path.

use super::Hub;
use super::cache::{CacheError, Cached};
use super::id::{GGUF, MAIN, ModelId, Part};
use super::listing::{CONFIG, SelectionError, TOKENIZER, TRANSFORMER, WEIGHTS, WEIGHTS_INDEX, root, select};
use crate::regular_file;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A model that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its id. A GGUF file is named by its file, whichever way it was requested.
    pub id: ModelId,
    /// Its folder, or its only file.
    pub path: PathBuf,
    /// The format of its weights.
    pub format: Format,
    /// The total size of its files.
    pub bytes: u64,
    /// Its commit, if it came from a hub.
    pub commit: Option<String>,
    /// Its files.
    pub files: Vec<Cached>,
    /// The architecture in its configuration, such as `BertModel`.
    pub architecture: Option<String>,
}

/// The format of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One GGUF file.
    Gguf,
    /// Safetensors, in a folder with their configuration or in one file that contains it.
    Safetensors,
}

/// Why a model is not available.
#[derive(Debug, thiserror::Error)]
pub enum PresentError {
    /// The cache cannot be read.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Some of its files are missing.
    #[error("{} is incomplete: {file} is missing", .place.display())]
    Incomplete {
        /// The expected folder.
        place: PathBuf,
        /// A missing file.
        file: String,
    },
    /// It is not a regular file.
    #[error("{} is {what}, not a file", .path.display())]
    NotAFile {
        /// Its path.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// It is not on this machine.
    #[error("{0} is not on this machine")]
    NotFetched(ModelId),
    /// The folder lacks what was requested.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// A local path cannot be read.
    #[error("cannot use {}", .path.display())]
    Unusable {
        /// The place.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl PresentError {
    /// Returns the stable error id.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Cache(_) => "cache_unusable",
            Self::Incomplete { .. } => "model_incomplete",
            Self::NotFetched(_) => "model_not_fetched",
            Self::Selection(_) => "model_unsupported",
            Self::NotAFile { .. } | Self::Unusable { .. } => "path_unusable",
        }
    }
}

impl Hub {
    /// Finds a model on this machine.
    ///
    /// # Errors
    /// [`PresentError`] if it is missing or incomplete.
    pub fn find(&self, id: &ModelId) -> Result<Present, PresentError> {
        match id {
            ModelId::Hub { repository, revision, part } => self.find_cached(id, repository, revision, part),
            ModelId::Local(path) => find_local(path),
        }
    }

    /// Lists the complete models of the cache, by id.
    ///
    /// # Errors
    /// [`CacheError`] if the cache cannot be read.
    pub fn list(&self) -> Result<Vec<Present>, CacheError> {
        let mut models = Vec::new();
        for repository in self.cache.repositories()? {
            let Ok(ModelId::Hub { repository, .. }) = ModelId::repository(&repository) else { continue };
            for revision in self.cache.revisions(&repository)? {
                let id =
                    |part| ModelId::Hub { repository: repository.clone(), revision: revision.clone(), part };
                models.extend(self.find(&id(Part::All)).ok());
                let Some(commit) = self.cache.commit(&repository, &revision) else { continue };
                for file in self.cache.files(&repository, &commit)? {
                    if file.name.ends_with(GGUF) {
                        models.extend(self.find(&id(Part::File(file.name))).ok());
                    }
                }
            }
        }
        Ok(models)
    }

    /// Removes a model from the cache: a whole repository, or one file if the id names it. Returns the number of bytes
    /// freed.
    ///
    /// # Errors
    /// [`PresentError`] if there is nothing to remove, or the removal fails.
    pub fn remove(&self, id: &ModelId) -> Result<u64, PresentError> {
        let absent = || PresentError::NotFetched(id.clone());
        let ModelId::Hub { repository, revision, part } = id else { return Err(absent()) };
        if !self.cache.folder(repository).is_dir() {
            return Err(absent());
        }
        let found;
        let file = match part {
            Part::All => None,
            Part::File(file) => Some(file.as_str()),
            Part::Quantization(_) => {
                found = self.find(id)?;
                found.files.first().map(|file| file.name.as_str())
            }
        };
        let commit = self.cache.commit(repository, revision);
        if let Some(file) = file {
            let files = commit.as_ref().map(|commit| self.cache.files(repository, commit)).transpose()?;
            if !files.unwrap_or_default().iter().any(|cached| cached.name == file) {
                return Err(absent());
            }
        }
        let whole_revision = file.is_none() && revision != MAIN;
        Ok(self.cache.remove(repository, |of, name| {
            let named = file.is_none_or(|file| file == name);
            named && (!whole_revision || commit.as_deref() == Some(of))
        })?)
    }

    fn find_cached(
        &self,
        id: &ModelId,
        repository: &str,
        revision: &str,
        part: &Part,
    ) -> Result<Present, PresentError> {
        let absent = || PresentError::NotFetched(id.clone());
        let commit = self.cache.commit(repository, revision).ok_or_else(absent)?;
        let files = self.cache.files(repository, &commit)?;
        let place = self.cache.snapshot(repository, &commit);
        let mut present = match whole(&place, files, part) {
            // Other, missing files do not matter.
            Err(PresentError::Selection(
                SelectionError::NoSuchFile { .. }
                | SelectionError::NoWeights(_)
                | SelectionError::GgufOnly(_),
            )) => return Err(absent()),
            whole => whole?,
        };
        let part = match (part, present.files.as_slice()) {
            (Part::Quantization(_), [file]) => Part::File(file.name.clone()),
            (part, _) => part.clone(),
        };
        let (repository, revision) = (repository.to_owned(), revision.to_owned());
        present.id = ModelId::Hub { repository, revision, part };
        present.commit = Some(commit);
        Ok(present)
    }
}

fn find_local(path: &Path) -> Result<Present, PresentError> {
    let fault = |source| PresentError::Unusable { path: path.to_owned(), source };
    let place = fs::canonicalize(path).map_err(fault)?;
    let metadata = fs::metadata(&place).map_err(fault)?;
    let mut present = if metadata.is_dir() {
        for folder in [place.clone(), place.join(TRANSFORMER)] {
            for name in [CONFIG, TOKENIZER, WEIGHTS] {
                check_file(&folder.join(name))?;
            }
        }
        whole(&place, folder(&place).map_err(fault)?, &Part::All)?
    } else if metadata.is_file() {
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let format = if name.ends_with(GGUF) { Format::Gguf } else { Format::Safetensors };
        let file = Cached { name, path: place.clone(), bytes: metadata.len(), hash: None };
        Present::from_files(place, format, vec![file], None)
    } else {
        return Err(fault(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a folder nor a file")));
    };
    present.id = ModelId::Local(path.to_owned());
    Ok(present)
}

/// Rejects an existing path that is not a regular file.
fn check_file(path: &Path) -> Result<(), PresentError> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() { "a folder" } else { "a pipe or a device" };
    Err(PresentError::NotAFile { path: path.to_owned(), what })
}

/// Returns a part of a folder, if none of its files is missing.
fn whole(place: &Path, files: Vec<Cached>, part: &Part) -> Result<Present, PresentError> {
    let missing = |file: &str| PresentError::Incomplete { place: place.to_owned(), file: file.to_owned() };
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let wanted: BTreeSet<String> = match select(&names, part) {
        Err(SelectionError::Missing(file)) => return Err(missing(&file)),
        selected => selected?.into_iter().map(str::to_owned).collect(),
    };
    if *part != Part::All {
        let file: Vec<Cached> = files.into_iter().filter(|file| wanted.contains(&file.name)).collect();
        let path = file.first().map_or_else(|| place.to_owned(), |file| file.path.clone());
        return Ok(Present::from_files(path, Format::Gguf, file, None));
    }
    let of_transformer = |file: &str| format!("{}{file}", root(&names));
    if !wanted.contains(&of_transformer(WEIGHTS)) {
        let index = of_transformer(WEIGHTS_INDEX);
        for shard in shards(&place.join(&index)).map_err(|_| missing(&index))? {
            let shard = of_transformer(&shard);
            if !wanted.contains(&shard) {
                return Err(missing(&shard));
            }
        }
    }
    let configuration = read_json::<Configuration>(&place.join(of_transformer(CONFIG))).unwrap_or_default();
    let files = files.into_iter().filter(|file| wanted.contains(&file.name)).collect();
    Ok(Present::from_files(place.to_owned(), Format::Safetensors, files, configuration.name()))
}

impl Present {
    fn from_files(path: PathBuf, format: Format, files: Vec<Cached>, architecture: Option<String>) -> Self {
        let bytes = files.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
        let id = ModelId::Local(path.clone());
        Self { id, path, format, bytes, commit: None, files, architecture }
    }
}

/// Lists the files of a folder and of its direct subfolders.
fn folder(place: &Path) -> io::Result<Vec<Cached>> {
    let mut found = Vec::new();
    let mut look = |directory: &Path, prefix: &str, folders: &mut Vec<(PathBuf, String)>| -> io::Result<()> {
        for entry in fs::read_dir(directory)?.take(FILES_MAX) {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let (name, path) = (format!("{prefix}{name}"), entry.path());
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                folders.push((path, format!("{name}/")));
            } else if metadata.is_file() {
                found.push(Cached { name, path, bytes: metadata.len(), hash: None });
            }
        }
        Ok(())
    };
    let mut folders = Vec::new();
    look(place, "", &mut folders)?;
    for (directory, prefix) in folders {
        look(&directory, &prefix, &mut Vec::new())?;
    }
    found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn shards(index: &Path) -> io::Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    read_json::<Index>(index).map(|index| index.weight_map.into_values().collect())
}

/// Returns the architecture in a `config.json`.
pub(super) fn architecture(config: &Path) -> Option<String> {
    read_json::<Configuration>(config).ok()?.name()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Configuration {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
}

impl Configuration {
    fn name(self) -> Option<String> {
        self.architectures.into_iter().flatten().next().or(self.model_type)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    let mut bytes = Vec::new();
    regular_file::open(path)?.take(JSON_BYTES_MAX).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// Maximum number of entries of a folder.
const FILES_MAX: usize = 1000;
const JSON_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn hub() -> Hub {
        Hub::from_environment(|name| (name == "HOME").then(|| "/nonexistent".into())).unwrap()
    }

    #[test]
    fn a_folder_is_a_model_once_nothing_is_missing() {
        let index = r#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
        let directory = folder_with(&[
            ("config.json", r#"{"architectures":["BertModel"],"model_type":"bert"}"#),
            ("tokenizer.json", "{}"),
            ("1_Pooling/config.json", "{}"),
            ("README.md", "large"),
            ("model.safetensors.index.json", index),
            ("model-00001-of-00002.safetensors", "1"),
        ]);
        let id = ModelId::Local(directory.path().to_owned());
        let said = hub().find(&id).unwrap_err().to_string();
        assert!(said.ends_with("is incomplete: model-00002-of-00002.safetensors is missing"), "{said}");
        fs::write(directory.path().join("model-00002-of-00002.safetensors"), "2").unwrap();
        let present = hub().find(&id).unwrap();
        assert_eq!((present.id, present.format), (id, Format::Safetensors));
        assert_eq!(present.architecture.as_deref(), Some("BertModel"));
        assert_eq!(present.files.len(), 6);
        assert_eq!(present.bytes, 51 + 2 + 2 + index.len() as u64 + 2);
    }

    #[test]
    fn a_transformer_may_be_in_its_own_folder() {
        let directory = folder_with(&[
            ("0_Transformer/config.json", r#"{"architectures":["BertModel"]}"#),
            ("0_Transformer/vocab.txt", "a"),
            ("0_Transformer/model.safetensors", "1"),
            ("1_Pooling/config.json", "{}"),
            ("modules.json", "[]"),
        ]);
        let present = hub().find(&ModelId::Local(directory.path().to_owned())).unwrap();
        assert_eq!(present.architecture.as_deref(), Some("BertModel"));
        assert_eq!(present.files.len(), 5);
    }

    #[test]
    fn what_is_no_file_is_called_what_it_is() {
        let files = [("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors/x", "")];
        let said = |directory: &tempfile::TempDir| {
            hub().find(&ModelId::Local(directory.path().to_owned())).unwrap_err().to_string()
        };
        let none = folder_with(&files[..2]);
        assert_eq!(said(&none), "there are no safetensors weights: model.safetensors is missing");
        let other = folder_with(&[files[0], files[1], ("pytorch_model.bin", "x")]);
        assert_eq!(said(&other), "there are no safetensors weights, only pytorch_model.bin");
        let folder = folder_with(&files);
        assert!(said(&folder).ends_with("model.safetensors is a folder, not a file"), "{}", said(&folder));
        fs::remove_dir_all(folder.path().join("model.safetensors")).unwrap();
        let mode = nix::sys::stat::Mode::S_IRUSR;
        nix::unistd::mkfifo(&folder.path().join("model.safetensors"), mode).unwrap();
        assert!(said(&folder).ends_with("model.safetensors is a pipe or a device, not a file"));
    }

    #[test]
    fn a_file_is_a_model_and_what_is_nothing_is_said_to_be() {
        let directory = folder_with(&[("m.Q4_0.gguf", "GGUF")]);
        let present = hub().find(&ModelId::Local(directory.path().join("m.Q4_0.gguf"))).unwrap();
        assert_eq!((present.format, present.bytes), (Format::Gguf, 4));
        let said = hub().find(&ModelId::Local(directory.path().to_owned())).unwrap_err().to_string();
        assert!(said.contains("GGUF files only; one must be named: m.Q4_0.gguf"), "{said}");
        assert!(matches!(
            hub().find(&ModelId::Local("/nonexistent/x".into())),
            Err(PresentError::Unusable { .. })
        ));
        let id = "owner/name".parse().unwrap();
        assert!(matches!(hub().find(&id), Err(PresentError::NotFetched(_))));
        assert_eq!(hub().list().unwrap(), []);
    }
}
