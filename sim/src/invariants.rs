//! What must hold at every moment, whatever goes wrong. One property a file.
//!
//! An invariant sees everything that happens to every node, in order, and keeps as much of it as it needs.

mod durable_before_acknowledged;
mod no_duplicate_delivery;
mod one_terminal_outcome;
mod ttl_never_exceeded;

use crate::cluster::NodeIndex;
use core::fmt;
use engine::record::Record;
use engine::{Input, Instant, Output};
use serde::Serialize;

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

    /// Takes note of what happened to a node.
    ///
    /// # Errors
    /// What is wrong, in words, where the property does not hold any more.
    fn see(&mut self, node: NodeIndex, fact: Fact<'_>) -> Result<(), String>;

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
    durable_before_acknowledged::NAME,
    no_duplicate_delivery::NAME,
    one_terminal_outcome::NAME,
    ttl_never_exceeded::NAME,
];

/// Returns the invariants of these names.
pub(crate) fn of(names: &[&'static str], nodes: usize) -> Vec<Box<dyn Invariant>> {
    let all: [Box<dyn Invariant>; 4] = [
        Box::new(durable_before_acknowledged::DurableBeforeAcknowledged::new(nodes)),
        Box::new(no_duplicate_delivery::NoDuplicateDelivery::new(nodes)),
        Box::<one_terminal_outcome::OneTerminalOutcome>::default(),
        Box::<ttl_never_exceeded::TtlNeverExceeded>::default(),
    ];
    all.into_iter().filter(|invariant| names.contains(&invariant.name())).collect()
}
