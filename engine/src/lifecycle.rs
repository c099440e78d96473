//! A node's life: INITIALIZING, REGISTERING, ACTIVE, SHUTTING_DOWN, STOPPED, and nothing out of turn.

use core::fmt;
use serde::{Deserialize, Serialize};

/// The exit status of a node that cut work off when it left.
pub const CUT_OFF: u8 = 130;

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Configuration, storage and keys are being loaded.
    Initializing,
    /// They are loaded; the self-checks run.
    Registering,
    /// Every self-check passed: the node is discoverable and takes work.
    Active,
    /// The node takes nothing new and ends what it has.
    ShuttingDown,
    /// Nothing runs any more.
    Stopped,
}

impl State {
    /// Tells whether `next` may follow this state.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Initializing, Self::Registering | Self::ShuttingDown)
                | (Self::Registering, Self::Active | Self::ShuttingDown)
                | (Self::Active, Self::ShuttingDown)
                | (Self::ShuttingDown, Self::Stopped)
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initializing => "INITIALIZING",
            Self::Registering => "REGISTERING",
            Self::Active => "ACTIVE",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Stopped => "STOPPED",
        })
    }
}
