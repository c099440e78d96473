//! Nodes that differ from the others: what a scenario says of each, as plain data.

use super::range::Range;
use core::time::Duration;

/// A node that differs from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The node.
    pub node: u32,
    /// When it starts, if at another time than the others.
    pub start: Option<Range>,
    /// The protocol version that it speaks, if another one.
    pub protocol: Option<u16>,
    /// The number of its models, if they are others than usual under the same names.
    pub model: Option<u16>,
    /// The node whose key it has a copy of.
    pub identity: Option<u32>,
    /// Whether the first address that it announces is unreachable.
    pub unreachable_address: bool,
    /// How it attacks others, if it is hostile.
    pub hostile: Vec<Hostility>,
    /// When the attack starts.
    pub hostile_at: Duration,
}

/// An attack of a hostile node. The node is an authenticated member with its own key and otherwise behaves correctly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hostility {
    /// Announces invented nodes at unreachable addresses, and other nodes there or as leaving, 200 times a second in
    /// total.
    Announce,
    /// Forwards nothing, and accepts tasks that it never answers.
    BlackHole,
    /// Sends adverts, at times far more than a link allows: new ones of its own, and some of invented nodes.
    Flood,
    /// Sends adverts, messages and outcomes in the name of others.
    Forge,
    /// Sends random bytes, and frames that are not allowed where they arrive.
    Garbage,
    /// Sends received frames again, to any peer.
    Replay,
    /// Serves another file under the name of each of its files.
    WrongFiles,
    /// Serves invalid pieces of files.
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

    /// Returns the kind's name in scenario files.
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

/// What the invariants demand of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeRole {
    /// It has the key of another node and must yield to it.
    Copy,
    /// It attacks others: nothing is demanded of it, and its reports do not count.
    Hostile,
    /// Everything is demanded of it.
    Member,
}
