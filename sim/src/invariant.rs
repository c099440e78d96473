//! The invariant trait, what an invariant observes of a run, and what a violation is.
//!
//! An invariant observes everything that happens to every node, in order, and keeps what it needs to decide.

use crate::node_set::NodeIndex;
use crate::scenario::{NodeRole, Scenario};
use core::fmt;
use core::ops::BitOr;
use engine::record::{Record, Saved};
use engine::wire::Payload;
use engine::{Input, Instant, MessageId, Node, NodeId, Output, TraceContext};
use serde::Serialize;

/// Something that happened to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Observation<'a> {
    /// A record became durable.
    Durable(&'a Record),
    /// The node is about to handle an input.
    Input(&'a Input),
    /// The node returned an output.
    Output(&'a Output),
    /// A process started.
    Started,
    /// The process ended.
    Stopped,
}

/// A message between two nodes that are directly linked, unsealed at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectMessage<'a> {
    /// Whether the observed node sends it; otherwise it receives it.
    pub(crate) sent: bool,
    pub(crate) id: MessageId,
    pub(crate) origin: NodeId,
    pub(crate) destination: NodeId,
    pub(crate) payload: &'a Payload,
    pub(crate) trace: TraceContext,
}

/// The kinds of observations that an invariant needs; it is shown no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interests(u8);

impl Interests {
    /// Events of the nodes.
    pub(crate) const EVENTS: Self = Self(1);
    /// Inputs of the nodes.
    pub(crate) const INPUTS: Self = Self(2);
    /// The nodes themselves, after each input.
    pub(crate) const NODES: Self = Self(4);
    /// Outputs of the nodes except events.
    pub(crate) const OUTPUTS: Self = Self(8);
    /// Messages between linked nodes.
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

/// Returns whether every frame arrives eventually: the scenario has no fault under which live nodes may seem dead.
pub(crate) fn is_network_reliable(scenario: &Scenario) -> bool {
    !scenario.faults.iter().any(|fault| fault.kind.may_hide_live_nodes())
}

/// A property that must hold at every moment.
pub(crate) trait Invariant: fmt::Debug + Send {
    /// Returns the property's name in scenario files.
    fn name(&self) -> &'static str;

    /// Returns whether the property must hold for nodes of this role.
    fn applies_to(&self, role: NodeRole) -> bool {
        role == NodeRole::Member
    }

    /// Returns the kinds of observations that it needs. Process starts and stops and durable records are always shown.
    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::OUTPUTS
    }

    /// Observes what happened to a node.
    ///
    /// # Errors
    /// What is wrong, if the property no longer holds.
    fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String>;

    /// Observes a message that one node sends to another, or receives from it, without a relay. A received message is
    /// shown before the input that carries it.
    ///
    /// # Errors
    /// As for [`observe`](Self::observe).
    fn observe_message(&mut self, _: Instant, _: NodeIndex, _: &DirectMessage<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Inspects a node that has handled an input.
    ///
    /// # Errors
    /// As for [`observe`](Self::observe).
    fn inspect(&mut self, _: Instant, _: NodeIndex, _: &Node) -> Result<(), String> {
        Ok(())
    }

    /// Observes what a starting node reads from its disk.
    ///
    /// # Errors
    /// As for [`observe`](Self::observe).
    fn state_loaded(&mut self, _: NodeIndex, _: &Saved) -> Result<(), String> {
        Ok(())
    }

    /// Observes that partitions or stalls between nodes changed.
    fn network_changed(&mut self, _: Instant) {}

    /// Observes that a machine's monotonic clock stops, or runs again.
    fn clock_stopped(&mut self, _now: Instant, _node: NodeIndex, _stopped: bool) {}

    /// Observes that a node's process is suspended, or resumes.
    fn process_suspended(&mut self, _now: Instant, _node: NodeIndex, _suspended: bool) {}

    /// Returns how many times the property was checked.
    fn checks(&self) -> u64;
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// When it was violated.
    pub at: Instant,
    /// The number of inputs that all nodes together had handled by then.
    pub step: u64,
    /// The node that violated it; `None` if it is about all nodes.
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

/// The invariant that a panic violates.
pub(crate) const NO_PANIC: &str = "no_panic";
