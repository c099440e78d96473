//! Files that nodes give each other, and who wants which of them.

use core::time::Duration;

/// A file that some nodes have from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// Its size.
    pub bytes: u32,
    /// Who has it.
    pub holders: Vec<u32>,
}

/// A node that wants a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// When it is asked for.
    pub at: Duration,
    /// Which node.
    pub node: u32,
    /// Which file.
    pub file: u32,
    /// What is known of it.
    pub by: FetchedBy,
}

/// What is known of a file that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FetchedBy {
    /// The hash against which each piece can be checked.
    #[default]
    Blake3,
    /// One against which only the whole can be.
    Sha256,
}
