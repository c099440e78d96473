//! Files that nodes share, and which nodes fetch them.

use core::time::Duration;

/// A file that some nodes have from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// Its size, in bytes.
    pub bytes: u32,
    /// The nodes that have it.
    pub holders: Vec<u32>,
}

/// A fetch of a file by a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// When it starts.
    pub at: Duration,
    /// The node.
    pub node: u32,
    /// The number of the file.
    pub file: u32,
    /// The hash by which the file is requested.
    pub by: FetchedBy,
}

/// The hash by which a file is requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FetchedBy {
    /// BLAKE3, against which each piece can be verified.
    #[default]
    Blake3,
    /// SHA-256, against which only the whole file can be verified.
    Sha256,
}
