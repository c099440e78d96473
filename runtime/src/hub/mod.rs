//! Models from a Hugging Face hub, in the disk cache that its tools share.
//!
//! A [`ModelId`] names a model. A [`Hub`] knows where its files are and downloads the missing ones. The [`Cache`] is
//! the tree of blobs and links that stores them, by the hub's documented rules. The invariant: when a blob gets its
//! final name, it has the hash that the hub states. All functions block, so call them from a thread that may wait.

mod cache;
mod client;
mod download;
mod hash;
mod id;
mod listing;
mod present;
mod pull;

pub use cache::{Cache, CacheError, Cached, Damage};
pub use client::{RequestError, escape};
pub use hash::{BlobHash, Hasher, hash_file};
pub use id::{ModelId, ModelIdError, Part};
pub use listing::{ListingError, SelectionError};
pub use present::{Format, Present, PresentError};
pub use pull::{Progress, PullError, Pulled};

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A hub and its cache.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The cache.
    pub cache: Cache,
    /// The URL of the hub, without a trailing slash.
    pub endpoint: String,
    /// The access token.
    token: Option<Secret>,
    /// Whether to download nothing.
    pub offline: bool,
    /// How long a transfer may receive nothing before it counts as stalled.
    pub stall_timeout: Duration,
    /// The delay before the first retry. It doubles with each further one.
    pub retry_backoff: Duration,
    /// Asked for a blob before the hub.
    pub neighbours: Option<Neighbours>,
    /// The architectures to accept; any if empty. Of other models only the configuration is downloaded.
    pub architectures: Vec<&'static str>,
}

/// A way to get a blob from other nodes.
#[derive(Clone)]
pub struct Neighbours(pub Arc<AskNeighbours>);

/// Takes the SHA-256 hash and size of a blob, its path, and a progress listener. Returns whether the blob is there.
pub type AskNeighbours =
    dyn Fn([u8; 32], u64, &Path, &mut dyn FnMut(u64) -> ControlFlow<()>) -> bool + Send + Sync;

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Neighbours")
    }
}

/// A token. Its `Debug` does not show it.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Hub {
    /// Reads the variables that all tools of the hub use: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT`, and their fallbacks.
    ///
    /// # Errors
    /// There is neither such a variable nor a home directory.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoCacheError> {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?.trim().to_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(path("HOME")?.join(".cache/huggingface")));
        let root = path("HF_HUB_CACHE").or_else(|| Some(home.clone()?.join("hub"))).ok_or(NoCacheError)?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
        let token = text("HF_TOKEN").or_else(|| {
            let saved = std::fs::read_to_string(token_file?).ok()?.trim().to_owned();
            Some(saved).filter(|token| !token.is_empty())
        });
        let stall_seconds = text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|seconds| seconds.parse::<u64>().ok());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Ok(Self {
            cache: Cache::at(root),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.map(Secret),
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            stall_timeout: stall_seconds
                .map_or(STALL_TIMEOUT, |seconds| Duration::from_secs(seconds.clamp(1, STALL_SECONDS_MAX))),
            retry_backoff: RETRY_BACKOFF,
            neighbours: None,
            architectures: Vec::new(),
        })
    }
}

/// There is no place for a cache.
#[derive(Debug, thiserror::Error)]
#[error("there is no place for models: none of HF_HUB_CACHE, HF_HOME and HOME is set")]
pub struct NoCacheError;

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
}

/// The public hub.
const ENDPOINT: &str = "https://huggingface.co";
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
const STALL_SECONDS_MAX: u64 = 3600;
const RETRY_BACKOFF: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        Hub::from_environment(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
        .unwrap()
    }

    #[test]
    fn the_variables_of_the_hub_s_tools_count_in_their_order() {
        let root = |variables: &[(&str, &str)]| hub(variables).cache.root().display().to_string();
        assert_eq!(root(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(root(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(root(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")]), "/f/hub");
        assert_eq!(root(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), "/c");
        assert!(Hub::from_environment(|_| None).is_err());
    }

    #[test]
    fn a_token_is_read_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), "hf_saved\n").unwrap();
        let home = directory.path().to_str().unwrap();
        let saved = hub(&[("HF_HOME", home)]);
        assert_eq!(saved.token.as_ref().unwrap().0, "hf_saved");
        assert!(!format!("{saved:?}").contains("hf_saved"));
        assert_eq!(hub(&[("HF_HOME", home), ("HF_TOKEN", " hf_given ")]).token.unwrap().0, "hf_given");
        assert!(hub(&[("HF_HOME", "/nowhere")]).token.is_none());
    }

    #[test]
    fn the_rest_has_defaults() {
        let plain = hub(&[("HOME", "/h")]);
        assert_eq!((plain.endpoint.as_str(), plain.offline), ("https://huggingface.co", false));
        assert_eq!(plain.stall_timeout, Duration::from_secs(10));
        let set = hub(&[
            ("HOME", "/h"),
            ("HF_ENDPOINT", "http://127.0.0.1:1/"),
            ("HF_HUB_OFFLINE", "YES"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "3"),
        ]);
        assert_eq!((set.endpoint.as_str(), set.offline), ("http://127.0.0.1:1", true));
        assert_eq!(set.stall_timeout, Duration::from_secs(3));
    }
}
