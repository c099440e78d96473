//! Failure detection.

use serde::{Deserialize, Serialize};

/// What the failure detector says of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It left a heartbeat unanswered for three seconds; it gets no new work.
    Slow,
    /// It left probes unanswered for ten more; its link is closed.
    Dead,
}
