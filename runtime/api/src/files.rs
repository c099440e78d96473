//! Files that nodes fetch from each other.

use crate::error::ErrorDetail;
use engine::blobs::{Hash, Pin};
use engine::request::FetchView;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Request to fetch a file from other nodes, identified by exactly one of its hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFetch {
    /// BLAKE3 hash of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Hash>,
    /// SHA-256 hash of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hash>,
    /// Size of the file.
    pub bytes: u64,
    /// Absolute path to write the file to; nothing may exist there.
    pub path: PathBuf,
}

/// One line of the streamed response to a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchLine {
    /// The last line of a failed fetch.
    Error(ErrorDetail),
    /// The last line of a successful fetch.
    Fetched {
        /// BLAKE3 hash of the file.
        blake3: Hash,
        /// Number of nodes that sent pieces; 0 if the file was already here.
        peers: u32,
        /// Duration of the fetch.
        elapsed_ms: u64,
    },
    /// Progress, several times a second.
    Progress(Fetch),
}

/// Progress of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Hash that identifies the file.
    pub hash: Hash,
    /// Size of the file.
    pub bytes: u64,
    /// Bytes received so far, approximately.
    pub present: u64,
    /// Nodes that are known to have the file.
    pub holders: u32,
}

/// Fetches in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetches {
    /// Progress of each fetch.
    pub fetches: Vec<Fetch>,
}

/// Request to share a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewShare {
    /// Absolute path of the file or folder.
    pub path: PathBuf,
}

impl From<FetchView> for Fetch {
    fn from(view: FetchView) -> Self {
        let FetchView { spec, present, holders } = view;
        let (Pin::Blake3(hash) | Pin::Sha256(hash)) = spec.pin;
        Self { hash, bytes: spec.bytes, present, holders }
    }
}
