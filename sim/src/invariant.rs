//! A property that must hold at every moment, and what it is shown of a run.
//!
//! An invariant sees everything that happens to every node, in order, and keeps as much of it as it needs.

use crate::node_set::NodeIndex;
use crate::scenario::{NodeRole, Scenario};
use core::fmt;
use core::ops::BitOr;
use engine::record::{Record, Saved};
use engine::wire::Payload;
use engine::{Input, Instant, MessageId, Node, NodeId, Output};
use serde::Serialize;

/// Something that happened to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Observation<'a> {
    /// A record became durable.
    Durable(&'a Record),
    /// An input is about to be handled.
    Input(&'a Input),
    /// An output came out.
    Output(&'a Output),
    /// A process began.
    Started,
    /// The process is gone.
    Stopped,
}

/// What two neighbours say to each other end to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectMessage<'a> {
    /// Whether the node says it; else it hears it.
    pub(crate) sent: bool,
    pub(crate) message: MessageId,
    pub(crate) origin: NodeId,
    pub(crate) destination: NodeId,
    pub(crate) payload: &'a Payload,
}

/// What a property is about, so that nobody is shown what is of no interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interests(u8);

impl Interests {
    /// Events of the nodes.
    pub(crate) const EVENTS: Self = Self(1);
    /// What goes into nodes.
    pub(crate) const INPUTS: Self = Self(2);
    /// The nodes themselves, after each input.
    pub(crate) const NODES: Self = Self(4);
    /// What comes out of nodes, besides events.
    pub(crate) const OUTPUTS: Self = Self(8);
    /// What neighbours say to each other.
    pub(crate) const MESSAGES: Self = Self(16);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Interests {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Tells whether a scenario leaves the network alone, so that all that is sent arrives, if late.
pub(crate) fn is_network_reliable(scenario: &Scenario) -> bool {
    !scenario.faults.iter().any(|fault| fault.kind.may_hide_live_nodes())
}

/// A property that must hold at every moment.
pub(crate) trait Invariant: fmt::Debug + Send {
    /// Returns the property's name in scenario files.
    fn name(&self) -> &'static str;

    /// Tells whether the property is about nodes of this role.
    fn applies_to(&self, role: NodeRole) -> bool {
        role == NodeRole::Member
    }

    /// Returns what the property is about. It sees that, and what becomes of processes and disks.
    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::OUTPUTS
    }

    /// Takes note of what happened to a node.
    ///
    /// # Errors
    /// What is wrong, in words, where the property does not hold any more.
    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String>;

    /// Takes note of what one node says to another, or hears from it, without a relay in between. What is heard comes
    /// before the input that brings it.
    ///
    /// # Errors
    /// As above.
    fn observe_message(&mut self, _: Instant, _: NodeIndex, _: &DirectMessage<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Looks into a node that has handled an input.
    ///
    /// # Errors
    /// As above.
    fn inspect(&mut self, _: Instant, _: NodeIndex, _: &Node) -> Result<(), String> {
        Ok(())
    }

    /// Takes note of what a node that starts reads from its disk.
    ///
    /// # Errors
    /// As above.
    fn state_loaded(&mut self, _: NodeIndex, _: &Saved) -> Result<(), String> {
        Ok(())
    }

    /// Takes note that other nodes are cut off from each other, or stalled, than before.
    fn network_changed(&mut self, _: Instant) {}

    /// Takes note that a machine's clock of elapsed time stands still from now on, or goes on.
    fn clock_stopped(&mut self, _now: Instant, _node: NodeIndex, _stands: bool) {}

    /// Takes note that a node's process does not run at the moment, or does again.
    fn held(&mut self, _now: Instant, _node: NodeIndex, _held: bool) {}

    /// Returns how many times the property was put to the test.
    fn checks(&self) -> u64;
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The property.
    pub invariant: &'static str,
    /// When.
    pub at: Instant,
    /// At which step: how many inputs all nodes had taken by then.
    pub step: u64,
    /// On which node; `None` where it is about all of them.
    pub node: Option<u32>,
    /// What is wrong.
    #[serde(rename = "words")]
    pub description: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, step {}", self.invariant, self.at, self.step)?;
        if let Some(node) = self.node {
            write!(f, " on n{node}")?;
        }
        write!(f, ": {}", self.description)
    }
}

/// The property that a panic violates.
pub(crate) const NO_PANIC: &str = "no_panic";
