//! Downloads one blob, across interrupted and stalled connections, until its hash is right.
//!
//! A partial download stays beside the place of the blob. The next attempt, in this process or a later one, resumes it.
//! An attempt without progress is retried a few times; one with progress does not count. Bytes with a wrong hash are
//! discarded. They are downloaded once more if some came from an earlier attempt; otherwise that is an error.

use super::client::{Client, RequestError, escape};
use super::hash::{BlobHash, Hasher, feed};
use super::{Hub, Progress, PullError};
use crate::home;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::http::{StatusCode, header};

/// A blob to download.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) repository: String,
    pub(super) commit: String,
    pub(super) name: String,
    pub(super) hash: BlobHash,
    pub(super) bytes: u64,
}

/// Receives progress, and may cancel.
pub(super) type Listener<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// Downloads a blob. The caller holds its lock. `done` is the progress of the pull before this file.
pub(super) fn fetch(
    hub: &Hub,
    client: &Client<'_>,
    wanted: &Wanted,
    done: u64,
    listener: &mut Listener<'_>,
) -> Result<(), PullError> {
    let mut arrived = Arrived::open(&hub.cache.incomplete(&wanted.repository, wanted.hash), wanted)?;
    let (mut retries_left, mut backoff) = (RETRIES_MAX, hub.retry_backoff);
    loop {
        let before = arrived.bytes;
        let ended = transfer(hub, client, wanted, &mut arrived, done, listener);
        let (error, wait) = match ended {
            Ok(()) => match arrived.finish(hub, wanted)? {
                None => return Ok(()),
                Some(error) => (error, Duration::ZERO),
            },
            Err(error) if !error.is_passing() => return Err(error),
            Err(error) => {
                let asked = error.retry_after().unwrap_or_default();
                (error, asked.max(backoff))
            }
        };
        if arrived.bytes > before {
            (retries_left, backoff) = (RETRIES_MAX, hub.retry_backoff);
        } else if retries_left == 0 {
            return Err(error);
        } else {
            retries_left -= 1;
            backoff = backoff.saturating_mul(2).min(BACKOFF_MAX);
        }
        let reason = error.to_string();
        wait_for(wait, &mut || listener(Progress::Retry { file: &wanted.name, reason: &reason }))?;
    }
}

/// Requests the missing bytes and appends them.
fn transfer(
    hub: &Hub,
    client: &Client<'_>,
    wanted: &Wanted,
    arrived: &mut Arrived,
    done: u64,
    listener: &mut Listener<'_>,
) -> Result<(), PullError> {
    if arrived.bytes == wanted.bytes {
        return Ok(());
    }
    let pieces: Vec<String> = wanted.name.split('/').map(escape).collect();
    let path = format!("/{}/resolve/{}/{}", wanted.repository, wanted.commit, pieces.join("/"));
    let response = client.open(&path, &wanted.name, arrived.bytes)?;
    let from = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
            range.and_then(first_byte)
        }
        StatusCode::RANGE_NOT_SATISFIABLE => None,
        _ => Some(0),
    };
    if from != Some(arrived.bytes) {
        // The server ignores ranges, or the file has changed.
        arrived.clear()?;
        if from != Some(0) {
            return Err(PullError::Cut {
                file: wanted.name.clone(),
                source: io::ErrorKind::InvalidData.into(),
            });
        }
    }
    let cut = |source: io::Error| PullError::Cut { file: wanted.name.clone(), source: plain(source, hub) };
    let mut body = response.into_body().into_reader();
    let mut piece = vec![0; PIECE_BYTES];
    while arrived.bytes < wanted.bytes {
        let length = match body.read(&mut piece) {
            Ok(0) => return Err(cut(io::ErrorKind::UnexpectedEof.into())),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(cut(error)),
        };
        let room = usize::try_from(wanted.bytes - arrived.bytes).unwrap_or(usize::MAX);
        arrived.add(&piece[..length.min(room)], wanted)?;
        if listener(Progress::Bytes { done: done + arrived.bytes }).is_break() {
            return Err(PullError::Cancelled);
        }
    }
    Ok(())
}

/// A partial download.
struct Arrived {
    path: PathBuf,
    file: File,
    bytes: u64,
    hasher: Hasher,
    /// Whether some of it is from an earlier attempt.
    resumed: bool,
    fresh: Hasher,
}

impl Arrived {
    fn open(path: &Path, wanted: &Wanted) -> Result<Self, PullError> {
        let fault = |source| PullError::from_disk_error(path, source, wanted.bytes);
        fs::create_dir_all(path.parent().unwrap_or(path)).map_err(fault)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fault)?;
        let fresh = Hasher::new(wanted.hash, wanted.bytes);
        let mut hasher = fresh.clone();
        let mut bytes = feed(&mut file, &mut hasher, wanted.bytes).map_err(fault)?;
        if file.metadata().map_err(fault)?.len() > bytes {
            // Too long, so it belongs to another file.
            file.set_len(0).and_then(|()| file.rewind()).map_err(fault)?;
            (bytes, hasher) = (0, fresh.clone());
        }
        Ok(Self { path: path.to_owned(), file, bytes, hasher, resumed: bytes > 0, fresh })
    }

    fn add(&mut self, bytes: &[u8], wanted: &Wanted) -> Result<(), PullError> {
        self.file
            .write_all(bytes)
            .map_err(|source| PullError::from_disk_error(&self.path, source, wanted.bytes - self.bytes))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), PullError> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(|source| PullError::from_disk_error(&self.path, source, 0))?;
        (self.bytes, self.hasher, self.resumed) = (0, self.fresh.clone(), false);
        Ok(())
    }

    /// Verifies the blob and renames it. Returns an error if a new attempt from the beginning is worthwhile.
    fn finish(&mut self, hub: &Hub, wanted: &Wanted) -> Result<Option<PullError>, PullError> {
        let found = self.hasher.clone().finish();
        if found != wanted.hash {
            let again = self.resumed;
            self.clear()?;
            let (file, expected) = (wanted.name.clone(), wanted.hash);
            let error = PullError::WrongHash { file, expected, found };
            if again {
                return Ok(Some(error));
            }
            // If it stays, the next attempt still starts with an empty file.
            let _ = home::remove_file(&self.path);
            return Err(error);
        }
        let blob = hub.cache.blob(&wanted.repository, wanted.hash);
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &blob))
            .map_err(|source| PullError::from_disk_error(&blob, source, wanted.bytes))?;
        Ok(None)
    }
}

/// Sleeps, and checks for cancellation meanwhile.
fn wait_for(backoff: Duration, go_on: &mut dyn FnMut() -> ControlFlow<()>) -> Result<(), PullError> {
    let until = Instant::now() + backoff;
    loop {
        if go_on().is_break() {
            return Err(PullError::Cancelled);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(POLL_INTERVAL));
    }
}

/// Returns the first byte of a range such as `bytes 5-9/10`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Describes an interrupted transfer.
fn plain(error: io::Error, hub: &Hub) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    let stalled = matches!(inner, Some(ureq::Error::Timeout(_))) || error.kind() == io::ErrorKind::TimedOut;
    if stalled {
        let seconds = hub.stall_timeout.as_secs_f32();
        return io::Error::new(io::ErrorKind::TimedOut, format!("nothing arrived for {seconds} s"));
    }
    error
}

impl PullError {
    /// Converts a disk error. A full disk is reported with the missing space.
    pub(super) fn from_disk_error(path: &Path, source: io::Error, bytes_needed: u64) -> Self {
        if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
            return Self::InsufficientDiskSpace { path: path.to_owned(), bytes_needed, bytes_free: 0 };
        }
        Self::Cache(super::CacheError { path: path.to_owned(), source })
    }

    fn is_passing(&self) -> bool {
        match self {
            Self::Cut { .. } => true,
            // During a pull, the hub was reachable a moment ago.
            Self::Request(RequestError::Unreachable { .. }) => true,
            Self::Request(error) => error.is_passing(),
            Self::Cache(_)
            | Self::Cancelled
            | Self::InsufficientDiskSpace { .. }
            | Self::Listing(_)
            | Self::Local(_)
            | Self::Present(_)
            | Self::Selection(_)
            | Self::TooLarge { .. }
            | Self::Unstated(_)
            | Self::Unsupported { .. }
            | Self::WrongHash { .. } => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let Self::Request(error) = self else { return None };
        error.retry_after()
    }
}

const PIECE_BYTES: usize = 64 << 10;
/// Maximum number of retries in a row without progress.
const RETRIES_MAX: u32 = 4;
/// The longest delay between two attempts, unless the hub asks for a longer one.
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// How often a delay checks for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
