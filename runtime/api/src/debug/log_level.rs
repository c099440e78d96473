//! The levels of the log, which may be changed while the node runs.

use super::closed::Word;
use serde::{Deserialize, Serialize};

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// Per message.
    Trace,
    /// Details for debugging.
    Debug,
    /// Changes in the life of the node.
    Info,
    /// Needs attention.
    Warn,
    /// The node failed to do something.
    Error,
    /// The node ended because of this.
    Fatal,
}

/// Request to change a log level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLogLevel {
    /// The level; absent to undo a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// The component; absent for all. To undo, absent undoes all changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// How long the change lasts, in seconds; absent until the node restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

/// The log levels in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevels {
    /// The level of the configuration, which applies again after a change.
    pub configured: LogLevel,
    /// The level of all components, then those of components with a level of their own.
    pub levels: Vec<ComponentLevel>,
}

/// The log level of a component, or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentLevel {
    /// The component; absent for all without a level of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Word>,
    /// The level.
    pub level: LogLevel,
    /// Remaining time of the change; absent if it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
}

impl LogLevel {
    /// Returns the level as logs show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}
