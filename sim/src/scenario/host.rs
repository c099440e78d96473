//! Nodes that are not like the others: what a scenario says of each, as plain data.

use super::range::Range;
use core::time::Duration;

/// A node that is not like the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Which.
    pub node: u32,
    /// When it starts, if not with the others.
    pub start: Option<Range>,
    /// The version of the protocol that it speaks, if another.
    pub protocol: Option<u16>,
    /// Which models it has under the names that all nodes give theirs, if others than most.
    pub model: Option<u16>,
    /// The node whose key it has a copy of.
    pub identity: Option<u32>,
    /// Whether the address that it names first is one at which nobody can reach it.
    pub unreachable_address: bool,
    /// What it does to others, if it means them ill.
    pub hostile: Vec<Hostility>,
    /// When it begins to do so.
    pub hostile_at: Duration,
}

/// What a hostile node does. It is a member like any other, with a key of its own, and does all else as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hostility {
    /// It announces nodes that it made up at addresses where nobody answers, and others there or as leaving, 200 times a
    /// second in all.
    Announce,
    /// It passes nothing on, and takes work that it never answers.
    BlackHole,
    /// It sends adverts, now and then so many of them that no link may carry them: new ones of its own, and some of
    /// nodes that it made up.
    Flood,
    /// It sends adverts, messages and outcomes in the name of others.
    Forge,
    /// It sends random bytes, and frames that have no place where they come.
    Garbage,
    /// It sends again what it once received, to anybody.
    Replay,
    /// It gives another file under the name of each that it has.
    WrongFiles,
    /// It gives pieces of files that are not part of them.
    WrongPieces,
}

impl Hostility {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Announce,
        Self::BlackHole,
        Self::Flood,
        Self::Forge,
        Self::Garbage,
        Self::Replay,
        Self::WrongFiles,
        Self::WrongPieces,
    ];

    /// Returns the kind's name in a scenario file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::BlackHole => "black_hole",
            Self::Flood => "flood",
            Self::Forge => "forge",
            Self::Garbage => "garbage",
            Self::Replay => "replay",
            Self::WrongFiles => "wrong_files",
            Self::WrongPieces => "wrong_pieces",
        }
    }
}

/// What a node's own account is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeRole {
    /// It holds the key of another node, and is to give way to it.
    Copy,
    /// It means others ill: nothing is asked of it, and nothing that it says counts.
    Hostile,
    /// One that all is asked of.
    Member,
}
