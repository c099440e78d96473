//! Downloads a whole model into the cache: finds what is missing, checks the space, fetches one file after the other.
//!
//! The revision points to the new commit only when all of its files are there, so an interrupted pull changes nothing.
//! Several processes may pull the same model at once: each blob is downloaded by one of them.

use super::cache::CacheError;
use super::client::{Client, RequestError, escape};
use super::download::{Listener, Wanted, fetch};
use super::hash::{BlobHash, hash_file};
use super::id::{MAIN, ModelId, Part};
use super::listing::{CONFIG, Listed, Listing, ListingError, SelectionError, TRANSFORMER};
use super::present::{Present, PresentError, architecture};
use super::{Hub, Neighbours};
use crate::catalog::model_types;
use crate::home;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The progress of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The file list is known.
    Begin {
        /// The number of files.
        files: usize,
        /// Their total size.
        bytes: u64,
    },
    /// Bytes have arrived.
    Bytes {
        /// The number of bytes of the model on this machine.
        done: u64,
    },
    /// The next file starts.
    File {
        /// Its path in the repository.
        file: &'a str,
    },
    /// A transfer failed and is retried.
    Retry {
        /// The file.
        file: &'a str,
        /// The reason.
        reason: &'a str,
    },
    /// Waits for another process that downloads the file.
    Wait {
        /// The file.
        file: &'a str,
    },
}

/// A model that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The model.
    pub present: Present,
    /// The number of bytes that were downloaded.
    pub bytes_fetched: u64,
}

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// It was cancelled.
    #[error("the pull was cancelled")]
    Cancelled,
    /// A transfer failed repeatedly.
    #[error("the transfer of {file} failed")]
    Cut {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The disk has too little space.
    #[error(
        "insufficient_disk_space: {bytes_needed} bytes are needed in {}, {bytes_free} are free, \
         {ROOM_LEFT_BYTES} of which stay free for others",
        .path.display()
    )]
    InsufficientDiskSpace {
        /// The path of the disk.
        path: PathBuf,
        /// The bytes needed.
        bytes_needed: u64,
        /// The bytes free.
        bytes_free: u64,
    },
    /// The hub's file list is invalid.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The id is a local path.
    #[error("{} is a local path; only models of a hub can be pulled", .0.display())]
    Local(PathBuf),
    /// It was downloaded and is incomplete.
    #[error(transparent)]
    Present(#[from] PresentError),
    /// The hub rejected a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The repository lacks what was requested.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// It is too large.
    #[error("the model has {bytes} bytes, at most {BYTES_MAX} are accepted")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Its architecture is not supported.
    #[error("its architecture {architecture} is not supported here; these are: {supported}")]
    Unsupported {
        /// The architecture in its configuration.
        architecture: String,
        /// The supported model types.
        supported: String,
    },
    /// The hub states no hash of a file.
    #[error("the hub states no hash and size of {0}, so it cannot be verified")]
    Unstated(String),
    /// The downloaded file does not match its hash.
    #[error("{file} arrived damaged: its hash is {found}, not {expected}")]
    WrongHash {
        /// The file.
        file: String,
        /// The hash that the hub states.
        expected: BlobHash,
        /// The hash of the downloaded file.
        found: BlobHash,
    },
}

impl PullError {
    /// Returns the stable error id.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Cache(_) => "cache_unusable",
            Self::Cancelled => "cancelled",
            Self::Cut { .. } => "transfer_broken",
            Self::InsufficientDiskSpace { .. } => "insufficient_disk_space",
            Self::Listing(_) | Self::Unstated(_) => "hub_malformed",
            Self::Local(_) => "model_is_local",
            Self::Present(_) => "model_incomplete",
            Self::Request(error) => match error {
                RequestError::Forbidden { .. } => "model_forbidden",
                RequestError::NotFound { .. } => "model_not_found",
                RequestError::Offline => "offline",
                RequestError::Redirected(_) | RequestError::TooLong { .. } => "hub_malformed",
                RequestError::Status { .. } => "hub_failed",
                RequestError::Unreachable { .. } => "hub_unreachable",
            },
            Self::Selection(_) | Self::Unsupported { .. } => "model_unsupported",
            Self::TooLarge { .. } => "model_too_large",
            Self::WrongHash { .. } => "wrong_hash",
        }
    }

    /// Returns what to do about the error.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Cache(_) => "check who may use the cache (HF_HOME, HF_HUB_CACHE), and its disk",
            Self::Cut { .. } => "run it again: what has arrived is kept, and only the rest is fetched",
            Self::InsufficientDiskSpace { .. } => {
                "make room, for example with: p2p-ai-agents model rm; or put the cache elsewhere with HF_HOME"
            }
            Self::Local(_) => "use it as it is, by its path",
            Self::Request(RequestError::Forbidden { with_token: false, .. }) => {
                "check the name; for a private or gated model, get access on its page and set HF_TOKEN"
            }
            Self::Request(RequestError::Forbidden { with_token: true, .. }) => {
                "ask for access on the model's page, with the account that the token (HF_TOKEN) belongs to"
            }
            Self::Request(RequestError::NotFound { .. }) => "check the name, and the revision after the @",
            Self::Request(RequestError::Offline) => {
                "leave out --offline and HF_HUB_OFFLINE, or copy the model into the cache from another machine"
            }
            Self::Request(RequestError::Unreachable { .. }) => {
                "check the network; HF_ENDPOINT names another hub, and a folder or file works without any"
            }
            Self::Request(RequestError::Status { .. }) => "try again later",
            Self::Selection(SelectionError::GgufOnly(_) | SelectionError::NoSuchFile { .. }) => {
                "name one as owner/name:Q4_0 or owner/name/file.gguf"
            }
            Self::Selection(SelectionError::Ambiguous(_)) => "name one as owner/name/file.gguf",
            Self::Selection(SelectionError::NoWeights(_) | SelectionError::Missing(_)) => {
                "choose a repository with safetensors weights and a tokenizer.json, or with a GGUF file"
            }
            Self::Unsupported { .. } => {
                "nothing but its configuration was fetched; choose a model of one of these architectures, or a GGUF file"
            }
            Self::WrongHash { .. } => "it was removed; run it again to fetch it",
            Self::Cancelled
            | Self::Listing(_)
            | Self::Present(_)
            | Self::Request(RequestError::Redirected(_) | RequestError::TooLong { .. })
            | Self::Selection(SelectionError::Split(_))
            | Self::TooLarge { .. }
            | Self::Unstated(_) => return None,
        })
    }
}

impl Hub {
    /// Downloads the missing or damaged files of a model. If offline, a complete model counts as pulled.
    ///
    /// # Errors
    /// [`PullError`]. A partial download is kept for the next attempt.
    pub fn pull(
        &self,
        id: &ModelId,
        mut listener: impl FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Pulled, PullError> {
        let ModelId::Hub { repository, revision, part } = id else {
            let ModelId::Local(path) = id else { return Err(PullError::Cancelled) };
            return Err(PullError::Local(path.clone()));
        };
        if self.offline {
            return match self.find(id) {
                Ok(present) => Ok(Pulled { present, bytes_fetched: 0 }),
                Err(PresentError::NotFetched(_) | PresentError::Incomplete { .. }) => {
                    Err(RequestError::Offline.into())
                }
                Err(error) => Err(error.into()),
            };
        }
        let client = Client::new(self);
        let wanted = self.look_up(&client, repository, revision, part)?;
        let bytes_fetched = self.fetch_missing(&client, &wanted, &mut listener)?;
        if let Some(first) = wanted.first() {
            self.cache.set_ref(repository, revision, &first.commit)?;
        }
        Ok(Pulled { present: self.find(id)?, bytes_fetched })
    }

    /// Asks the hub for the files of a model.
    fn look_up(
        &self,
        client: &Client<'_>,
        repository: &str,
        revision: &str,
        part: &Part,
    ) -> Result<Vec<Wanted>, PullError> {
        let path = format!("/api/models/{repository}/revision/{}?blobs=true", escape(revision));
        let at = if revision == MAIN { String::new() } else { format!("@{revision}") };
        let what = format!("model {repository}{at}");
        let listing = Listing::parse(&self.patiently(|| client.read(&path, &what, LISTING_BYTES_MAX))?)?;
        let mut wanted = Vec::new();
        let mut files = listing.select(part)?;
        // It decides whether the others are needed.
        files.sort_by_key(|file| !is_config(&file.name));
        for file in files {
            let (hash, bytes) = self.stated(client, repository, &listing.commit, &file)?;
            let (repository, commit) = (repository.to_owned(), listing.commit.clone());
            wanted.push(Wanted { repository, commit, name: file.name, hash, bytes });
        }
        Ok(wanted)
    }

    /// Returns the hash and size of a file, with a further request if the list lacks them.
    fn stated(
        &self,
        client: &Client<'_>,
        repository: &str,
        commit: &str,
        file: &Listed,
    ) -> Result<(BlobHash, u64), PullError> {
        if let (Some(hash), Some(bytes)) = (file.hash, file.bytes) {
            return Ok((hash, bytes));
        }
        let pieces: Vec<String> = file.name.split('/').map(escape).collect();
        let path = format!("/{repository}/resolve/{commit}/{}", pieces.join("/"));
        let stated = self.patiently(|| client.stated(&path, &file.name))?;
        let hash = stated.etag.and_then(|etag| etag.parse().ok()).or(file.hash);
        let bytes = stated.bytes.or(file.bytes);
        hash.zip(bytes).ok_or_else(|| PullError::Unstated(file.name.clone()))
    }

    fn fetch_missing(
        &self,
        client: &Client<'_>,
        wanted: &[Wanted],
        listener: &mut Listener<'_>,
    ) -> Result<u64, PullError> {
        let bytes =
            wanted.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.bytes)).unwrap_or(u64::MAX);
        if bytes > BYTES_MAX {
            return Err(PullError::TooLarge { bytes });
        }
        tell(listener, Progress::Begin { files: wanted.len(), bytes })?;
        let mut missing = Vec::new();
        for file in wanted {
            if !self.has(file)? {
                missing.push(file);
            }
        }
        self.check_room(&missing)?;
        let (mut done, mut fetched) = (0, 0);
        for file in wanted {
            tell(listener, Progress::File { file: &file.name })?;
            let mut cancelled = false;
            let lock = self.cache.lock(&file.repository, file.hash, || {
                cancelled = listener(Progress::Wait { file: &file.name }).is_break();
            })?;
            if cancelled {
                return Err(PullError::Cancelled);
            }
            if missing.iter().any(|missing| missing.name == file.name) && !self.has(file)? {
                if !self.ask_neighbours(file, done, listener)? {
                    fetch(self, client, file, done, listener)?;
                }
                fetched += file.bytes;
            }
            self.cache.link(&file.repository, &file.commit, &file.name, file.hash)?;
            drop(lock);
            if is_config(&file.name) {
                self.check_architecture(file)?;
            }
            done += file.bytes;
            tell(listener, Progress::Bytes { done })?;
        }
        Ok(fetched)
    }

    /// Rejects an architecture that cannot run, by its configuration.
    fn check_architecture(&self, config: &Wanted) -> Result<(), PullError> {
        let found = architecture(&self.cache.blob(&config.repository, config.hash));
        let known = |name: &String| self.architectures.contains(&name.as_str());
        match found.filter(|name| !self.architectures.is_empty() && !known(name)) {
            None => Ok(()),
            Some(name) => Err(PullError::Unsupported {
                architecture: name.chars().take(NAME_CHARS_SHOWN).collect(),
                supported: model_types(self.architectures.iter().copied()),
            }),
        }
    }

    /// Asks other nodes for a blob. Small files have git's SHA-1 hash only, by which other nodes do not know them.
    fn ask_neighbours(
        &self,
        file: &Wanted,
        done: u64,
        listener: &mut Listener<'_>,
    ) -> Result<bool, PullError> {
        let (Some(Neighbours(ask)), BlobHash::Sha256(hash)) = (&self.neighbours, file.hash) else {
            return Ok(false);
        };
        let mut cancelled = false;
        let mut told = |bytes| {
            let flow = listener(Progress::Bytes { done: done.saturating_add(bytes) });
            cancelled |= flow.is_break();
            flow
        };
        let blob = self.cache.blob(&file.repository, file.hash);
        let given = ask(hash, file.bytes, &blob, &mut told);
        if cancelled {
            return Err(PullError::Cancelled);
        }
        // Verifies the hash again, whichever node sent the file.
        if given { self.has(file) } else { Ok(false) }
    }

    /// Tells whether a blob is present and valid. Removes an invalid one.
    fn has(&self, file: &Wanted) -> Result<bool, PullError> {
        let blob = self.cache.blob(&file.repository, file.hash);
        match fs::metadata(&blob) {
            Ok(metadata) if metadata.len() == file.bytes => {}
            Ok(_) => return self.discard(&blob),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(CacheError { path: blob, source }.into()),
        }
        match hash_file(&blob, file.hash) {
            Ok(found) if found == file.hash => Ok(true),
            Ok(_) => self.discard(&blob),
            Err(source) => Err(CacheError { path: blob, source }.into()),
        }
    }

    fn discard(&self, blob: &Path) -> Result<bool, PullError> {
        let removed = home::remove_file(blob).map(|()| false);
        Ok(removed.map_err(|source| CacheError { path: blob.to_owned(), source })?)
    }

    /// Rejects a model that does not fit on the disk, before the download starts.
    fn check_room(&self, missing: &[&Wanted]) -> Result<(), PullError> {
        if missing.is_empty() {
            return Ok(());
        }
        let needed = |file: &&Wanted| {
            let arrived = fs::metadata(self.cache.incomplete(&file.repository, file.hash));
            file.bytes.saturating_sub(arrived.map_or(0, |metadata| metadata.len()))
        };
        let bytes_needed: u64 = missing.iter().map(needed).sum();
        let root = self.cache.root();
        fs::create_dir_all(root).map_err(|source| PullError::from_disk_error(root, source, bytes_needed))?;
        let room = nix::sys::statvfs::statvfs(root)
            .map_err(|error| CacheError { path: root.to_owned(), source: error.into() })?;
        let bytes_free = room.blocks_available().saturating_mul(room.fragment_size());
        if bytes_needed.saturating_add(ROOM_LEFT_BYTES) > bytes_free {
            return Err(PullError::InsufficientDiskSpace { path: root.to_owned(), bytes_needed, bytes_free });
        }
        Ok(())
    }

    /// Retries while the error is temporary.
    fn patiently<T>(&self, ask: impl Fn() -> Result<T, RequestError>) -> Result<T, RequestError> {
        let mut retries_left = LOOKUP_RETRIES_MAX;
        loop {
            match ask() {
                Err(error) if retries_left > 0 && error.is_passing() => {
                    retries_left -= 1;
                    std::thread::sleep(error.retry_after().unwrap_or(self.retry_backoff));
                }
                answered => return answered,
            }
        }
    }
}

/// Tells whether a file is the model's configuration.
fn is_config(name: &str) -> bool {
    name.strip_prefix(TRANSFORMER).unwrap_or(name) == CONFIG
}

fn tell(listener: &mut Listener<'_>, progress: Progress<'_>) -> Result<(), PullError> {
    if listener(progress).is_break() { Err(PullError::Cancelled) } else { Ok(()) }
}

const NAME_CHARS_SHOWN: usize = 100;
/// Maximum size of a model.
const BYTES_MAX: u64 = 4 << 40;
/// Free space that a pull leaves on the disk.
const ROOM_LEFT_BYTES: u64 = 32 << 20;
const LISTING_BYTES_MAX: u64 = 16 << 20;
/// Maximum number of retries of a metadata request.
const LOOKUP_RETRIES_MAX: u32 = 2;
