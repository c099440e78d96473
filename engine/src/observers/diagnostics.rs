//! Recent problems between this node and others that a person may have to fix.
//!
//! An observer of events. It keeps the latest issue of each kind and peer while it may still persist, within a fixed
//! bound. An issue that is known to be resolved is removed. It feeds nothing back into the node.

use crate::error::{DialError, PeerFault, StrangerFault};
use crate::event::{Event, RefuseReason};
use crate::ids::NodeId;
use crate::occupancy::Occupancy;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A problem between this node and another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trouble", rename_all = "snake_case")]
pub enum Issue {
    /// The clock of a peer differs from this node's by more than half a minute.
    ClockDiffers {
        /// The peer.
        peer: NodeId,
        /// How far the peer's clock is ahead, in milliseconds.
        ahead_millis: i64,
    },
    /// A known or configured address could not be dialled.
    DialFailed {
        /// The address.
        address: SocketAddr,
        /// The error.
        error: DialError,
    },
    /// Another running node uses this node's key.
    IdentityCopied {
        /// The address that it announces, if known.
        address: Option<SocketAddr>,
        /// Whether this node has isolated itself from the mesh until it is restarted.
        #[serde(rename = "aside")]
        fenced: bool,
    },
    /// A link was refused for a reason that persists.
    LinkRefused {
        /// The peer.
        peer: NodeId,
        /// The reason.
        reason: RefuseReason,
        /// Whether this node refused.
        by_us: bool,
    },
    /// A peer violated the protocol.
    PeerFault {
        /// The peer.
        peer: NodeId,
        /// The violation.
        fault: PeerFault,
    },
    /// An unauthenticated connection failed.
    StrangerFault {
        /// Its address.
        address: IpAddr,
        /// The error.
        fault: StrangerFault,
    },
}

impl Issue {
    fn from_event(event: &Event) -> Option<Self> {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "most events are no issue, and new ones mostly neither"
        )]
        match *event {
            Event::ClockDiffers { peer, ahead_millis } => Some(Self::ClockDiffers { peer, ahead_millis }),
            Event::DialFailed { address, error } => Some(Self::DialFailed { address, error }),
            Event::IdentityCopied { address, fenced } => Some(Self::IdentityCopied { address, fenced }),
            Event::LinkRefused { peer, reason, by_us } => {
                lasts(reason).then_some(Self::LinkRefused { peer, reason, by_us })
            }
            Event::PeerFault { peer, fault } => Some(Self::PeerFault { peer, fault }),
            // A port scan, or a test whether the port is open.
            Event::StrangerFault { fault: StrangerFault::HandshakeLeft, .. } => None,
            Event::StrangerFault { remote, fault } => {
                Some(Self::StrangerFault { address: remote.ip(), fault })
            }
            _ => None,
        }
    }

    /// Tells whether this issue replaces an older one.
    fn succeeds(&self, older: &Self) -> bool {
        match (self, older) {
            (Self::ClockDiffers { peer, .. }, Self::ClockDiffers { peer: before, .. })
            | (Self::LinkRefused { peer, .. }, Self::LinkRefused { peer: before, .. }) => peer == before,
            (Self::DialFailed { address, .. }, Self::DialFailed { address: before, .. }) => address == before,
            // Being fenced says more than that a duplicate exists.
            (Self::IdentityCopied { fenced, .. }, Self::IdentityCopied { fenced: before, .. }) => {
                *fenced || !before
            }
            (Self::PeerFault { .. }, Self::PeerFault { .. })
            | (Self::StrangerFault { .. }, Self::StrangerFault { .. }) => self == older,
            (_, _) => false,
        }
    }
}

/// The recent issues of one node.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    /// In the order in which they were last seen.
    entries: Vec<(Instant, Issue)>,
}

impl Diagnostics {
    /// Adds the issue that an event reports, or removes those that it resolves.
    pub(crate) fn handle_event(&mut self, now: Instant, event: &Event) {
        if let Some(issue) = Issue::from_event(event) {
            self.entries.retain(|(_, older)| !issue.succeeds(older));
            if self.entries.len() >= ISSUES_MAX {
                self.entries.remove(0);
            }
            self.entries.push((now, issue));
        }
        if let Event::LinkUp { peer, address, .. } = *event {
            self.entries.retain(|(_, issue)| match *issue {
                Issue::DialFailed { address: failed, .. } => failed != address,
                Issue::LinkRefused { peer: refused, .. } => refused != peer,
                Issue::ClockDiffers { .. }
                | Issue::IdentityCopied { .. }
                | Issue::PeerFault { .. }
                | Issue::StrangerFault { .. } => true,
            });
        }
        if let Event::LinkDown { peer, .. } = *event {
            self.entries.retain(|(_, issue)| {
                !matches!(*issue, Issue::ClockDiffers { peer: differing, .. } if differing == peer)
            });
        }
    }

    /// Returns the number of issues and its limit.
    pub(crate) fn occupancy(&self) -> Occupancy {
        Occupancy::new("diagnostics.issues", self.entries.len(), ISSUES_MAX)
    }

    /// Returns the issues that may still persist, each with the time since it was last seen.
    pub(crate) fn recent(&self, now: Instant) -> impl Iterator<Item = (Duration, &Issue)> {
        // These persist until a restart or the end of a link, and are reported only once.
        let lasting = |issue: &Issue| {
            matches!(issue, Issue::ClockDiffers { .. } | Issue::IdentityCopied { fenced: true, .. })
        };
        self.entries
            .iter()
            .map(move |(then, issue)| (now.since(*then), issue))
            .filter(move |(age, issue)| *age < ISSUE_RETENTION || lasting(issue))
    }
}

/// Tells whether a refusal indicates a problem that persists.
fn lasts(reason: RefuseReason) -> bool {
    match reason {
        RefuseReason::IdentityCopied
        | RefuseReason::NotLocal
        | RefuseReason::OtherNetwork
        | RefuseReason::OtherVersion
        | RefuseReason::SameIdentity => true,
        RefuseReason::Duplicate
        | RefuseReason::Full
        | RefuseReason::Quarantined
        | RefuseReason::ShuttingDown
        | RefuseReason::StandsAside => false,
    }
}

/// Maximum number of issues. On overflow the one seen longest ago is evicted.
const ISSUES_MAX: usize = 64;
/// How long an issue is kept after it was last seen: longer than any retry interval.
const ISSUE_RETENTION: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LinkId;

    const PEER: NodeId = NodeId([1; 16]);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn failed(port: u16) -> Event {
        Event::DialFailed { address: address(port), error: DialError::Timeout }
    }

    fn recent(diagnostics: &Diagnostics, seconds: u64) -> Vec<Issue> {
        diagnostics.recent(Instant::from_micros(seconds * 1_000_000)).map(|(_, issue)| *issue).collect()
    }

    #[test]
    fn what_was_made_good_or_is_long_ago_is_forgotten() {
        let mut diagnostics = Diagnostics::default();
        for port in [1, 2, 1] {
            diagnostics.handle_event(Instant::ZERO, &failed(port));
        }
        let issue = |port| Issue::DialFailed { address: address(port), error: DialError::Timeout };
        assert_eq!(recent(&diagnostics, 1), vec![issue(2), issue(1)]);
        let up = Event::LinkUp { link: LinkId(1), peer: PEER, address: address(2), dialled: true };
        diagnostics.handle_event(Instant::ZERO, &up);
        assert_eq!(recent(&diagnostics, 1), vec![issue(1)]);
        assert_eq!(recent(&diagnostics, 601), vec![]);
        diagnostics.handle_event(Instant::ZERO, &Event::IdentityCopied { address: None, fenced: true });
        diagnostics.handle_event(Instant::ZERO, &Event::IdentityCopied { address: None, fenced: false });
        assert!(recent(&diagnostics, 9999).contains(&Issue::IdentityCopied { address: None, fenced: true }));
    }

    #[test]
    fn there_is_an_end_to_troubles() {
        let mut diagnostics = Diagnostics::default();
        (0..1000).for_each(|port| diagnostics.handle_event(Instant::ZERO, &failed(port)));
        assert_eq!(recent(&diagnostics, 0).len(), ISSUES_MAX);
    }
}
