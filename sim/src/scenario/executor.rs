//! The names of the two executors. What each can model is defined in `crate::executor`.

use core::fmt;
use serde::{Deserialize, Serialize};

/// A way to run a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Executor {
    /// Runs the engine directly: thousands of nodes, many seeds.
    EventQueue,
    /// Runs the real driver, framing and handshake over turmoil's network: a few dozen nodes.
    Turmoil,
}

impl fmt::Display for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventQueue => "event-queue",
            Self::Turmoil => "turmoil",
        })
    }
}

impl core::str::FromStr for Executor {
    type Err = UnknownExecutor;

    fn from_str(text: &str) -> Result<Self, UnknownExecutor> {
        match text {
            "event-queue" => Ok(Self::EventQueue),
            "turmoil" => Ok(Self::Turmoil),
            _ => Err(UnknownExecutor),
        }
    }
}

/// The text names no executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `event-queue` or `turmoil`")]
pub struct UnknownExecutor;
