//! The lifecycle of a node: INITIALIZING, REGISTERING, ACTIVE, SHUTTING_DOWN, STOPPED, in that order only.

use core::fmt;
use serde::{Deserialize, Serialize};

/// The exit status of a node that cut tasks off at its shutdown.
pub const CUT_OFF: u8 = 130;

/// The lifecycle state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Configuration, storage and keys are being loaded.
    Initializing,
    /// They are loaded, and the self-checks run.
    Registering,
    /// All self-checks passed: the node is discoverable and accepts tasks.
    Active,
    /// The node accepts nothing new, and completes or returns its tasks.
    ShuttingDown,
    /// The node has ended.
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
