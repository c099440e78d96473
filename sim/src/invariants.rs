//! What must hold at every moment, whatever goes wrong. One property a file.
//!
//! An invariant sees everything that happens to every node, in order, and keeps as much of it as it needs.

mod copies_settle;
mod degree_at_most_max_peers;
mod durable_before_acknowledged;
pub(crate) mod links;
mod no_duplicate_delivery;
mod no_false_death;
mod no_forged_member;
mod no_retry_storm;
mod one_link_per_pair;
mod one_terminal_outcome;
#[cfg(test)]
mod testing;
mod ttl_never_exceeded;
mod view_is_true;

use crate::cluster::{Cluster, NodeIndex};
use crate::scenario::{Scenario, Standing};
use core::fmt;
use engine::record::Record;
use engine::{Input, Instant, Output};
use serde::Serialize;
use std::sync::Arc;

/// Something that happened to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact<'a> {
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

/// A property that must hold at every moment.
pub(crate) trait Invariant: fmt::Debug + Send {
    /// Returns the property's name in scenario files.
    fn name(&self) -> &'static str;

    /// Tells whether the property is about nodes of this standing.
    fn is_about(&self, standing: Standing) -> bool {
        standing == Standing::Member
    }

    /// Takes note of what happened to a node.
    ///
    /// # Errors
    /// What is wrong, in words, where the property does not hold any more.
    fn see(&mut self, now: Instant, node: NodeIndex, fact: Fact<'_>) -> Result<(), String>;

    /// Takes note that other nodes are cut off from each other, or stalled, than before.
    fn network_changed(&mut self, _: Instant) {}

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
    /// On which node; `None` where it is about all of them.
    pub node: Option<u32>,
    /// What is wrong.
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.invariant, self.at)?;
        if let Some(node) = self.node {
            write!(f, " on n{node}")?;
        }
        write!(f, ": {}", self.words)
    }
}

/// The names of all invariants.
pub const NAMES: &[&str] = &[
    copies_settle::NAME,
    degree_at_most_max_peers::NAME,
    durable_before_acknowledged::NAME,
    no_duplicate_delivery::NAME,
    no_false_death::NAME,
    no_forged_member::NAME,
    no_retry_storm::NAME,
    one_link_per_pair::NAME,
    one_terminal_outcome::NAME,
    ttl_never_exceeded::NAME,
    view_is_true::NAME,
];

/// Returns the invariants that a scenario asks for.
pub(crate) fn of(scenario: &Scenario, cluster: &Arc<Cluster>) -> Vec<Box<dyn Invariant>> {
    let (names, nodes) = (&scenario.expect.always, cluster.len());
    let cluster = || Arc::clone(cluster);
    let all: [Box<dyn Invariant>; 11] = [
        Box::new(copies_settle::CopiesSettle::new(cluster())),
        Box::new(degree_at_most_max_peers::DegreeAtMostMaxPeers::new(cluster(), scenario.node.max_peers)),
        Box::new(durable_before_acknowledged::DurableBeforeAcknowledged::new(nodes)),
        Box::new(no_duplicate_delivery::NoDuplicateDelivery::new(nodes)),
        Box::new(no_false_death::NoFalseDeath::new(cluster(), scenario)),
        Box::new(no_forged_member::NoForgedMember::new(cluster())),
        Box::<no_retry_storm::NoRetryStorm>::default(),
        Box::new(one_link_per_pair::OneLinkPerPair::new(cluster())),
        Box::<one_terminal_outcome::OneTerminalOutcome>::default(),
        Box::<ttl_never_exceeded::TtlNeverExceeded>::default(),
        Box::new(view_is_true::ViewIsTrue::new(cluster())),
    ];
    all.into_iter().filter(|invariant| names.contains(&invariant.name())).collect()
}
