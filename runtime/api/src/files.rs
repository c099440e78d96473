//! Files that nodes fetch from each other.

use crate::error::ErrorDetail;
use engine::blobs::{Hash, Pin};
use engine::request::FetchView;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A file to fetch from other nodes, known by one of its hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFetch {
    /// Its BLAKE3 hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Hash>,
    /// Its SHA-256 hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hash>,
    /// Its size.
    pub bytes: u64,
    /// Where to put it, an absolute path; nothing may be there.
    pub path: PathBuf,
}

/// A line of the answer to a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchLine {
    /// The last: it did not succeed.
    Error(ErrorDetail),
    /// The last: the file lies where it was to.
    Fetched {
        /// Its BLAKE3 hash.
        blake3: Hash,
        /// Nodes that gave pieces of it; none where it was here.
        peers: u32,
        /// How long it took.
        elapsed_ms: u64,
    },
    /// How far it is.
    Progress(Fetch),
}

/// How far a fetch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The hash by which the file is known.
    pub hash: Hash,
    /// Its size.
    pub bytes: u64,
    /// Bytes that are here, about.
    pub present: u64,
    /// Nodes that are known to have it.
    pub holders: u32,
}

/// What is fetched at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetches {
    /// Each of them.
    pub fetches: Vec<Fetch>,
}

/// A file or folder to share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewShare {
    /// Where it lies, an absolute path.
    pub path: PathBuf,
}

impl From<FetchView> for Fetch {
    fn from(view: FetchView) -> Self {
        let FetchView { spec, present, holders } = view;
        let (Pin::Blake3(hash) | Pin::Sha256(hash)) = spec.pin;
        Self { hash, bytes: spec.bytes, present, holders }
    }
}
