//! What must hold at every moment, whatever goes wrong. One property a file.
//!
//! An invariant sees everything that happens to every node, in order, and keeps as much of it as it needs.

mod accepted_exists;
mod adverts_go_forward;
mod asks_before_it_judges;
mod attempts_within_limit;
mod copies_settle;
mod deadlines_are_kept;
mod degree_at_most_max_peers;
mod dials_back_off;
mod durable_before_acknowledged;
mod fetched_files_are_true;
mod goodbye_is_heard;
mod honest_peers_make_no_faults;
mod lifecycle_along_arrows;
pub(crate) mod links;
mod messages_are_retried;
mod neighbours_agree_at_rest;
mod no_duplicate_delivery;
mod no_effect_from_strangers;
mod no_false_death;
mod no_false_suspicion;
mod no_forged_member;
mod no_live_lease_lost;
mod no_retry_storm;
mod no_work_for_the_slow;
mod no_work_twice;
mod nothing_starts_late;
mod one_link_per_pair;
mod one_model_per_request;
mod one_terminal_outcome;
mod streams_agree;
mod terminal_never_changes;
#[cfg(test)]
pub(crate) mod testing;
mod ttl_never_exceeded;
mod view_is_true;
mod within_bounds;

use crate::cluster::{Cluster, NodeIndex};
use crate::reference::{origin, store};
use crate::scenario::{Scenario, Standing};
use core::fmt;
use core::ops::BitOr;
use engine::record::{Record, Saved};
use engine::wire::Payload;
use engine::{Input, Instant, MessageId, Node, NodeId, Output};
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

/// What two neighbours say to each other end to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    /// Whether the node says it; else it hears it.
    pub(crate) sent: bool,
    pub(crate) message: MessageId,
    pub(crate) origin: NodeId,
    pub(crate) destination: NodeId,
    pub(crate) payload: &'a Payload,
}

/// What a property is about, so that nobody is shown what is of no interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wants(u8);

impl Wants {
    /// Events of the nodes.
    pub(crate) const EVENTS: Self = Self(1);
    /// What goes into nodes.
    pub(crate) const INPUTS: Self = Self(2);
    /// The nodes themselves, after each input.
    pub(crate) const NODES: Self = Self(4);
    /// What comes out of nodes, besides events.
    pub(crate) const OUTPUTS: Self = Self(8);
    /// What neighbours say to each other.
    pub(crate) const WORDS: Self = Self(16);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Wants {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Tells whether a scenario leaves the network alone, so that all that is sent arrives, if late.
fn is_clean(scenario: &Scenario) -> bool {
    !scenario.faults.iter().any(|fault| fault.kind.hides_the_living())
}

/// A property that must hold at every moment.
pub(crate) trait Invariant: fmt::Debug + Send {
    /// Returns the property's name in scenario files.
    fn name(&self) -> &'static str;

    /// Tells whether the property is about nodes of this standing.
    fn is_about(&self, standing: Standing) -> bool {
        standing == Standing::Member
    }

    /// Returns what the property is about. It sees that, and what becomes of processes and disks.
    fn wants(&self) -> Wants {
        Wants::EVENTS | Wants::OUTPUTS
    }

    /// Takes note of what happened to a node.
    ///
    /// # Errors
    /// What is wrong, in words, where the property does not hold any more.
    fn see(&mut self, now: Instant, node: NodeIndex, fact: Fact<'_>) -> Result<(), String>;

    /// Takes note of what one node says to another, or hears from it, without a relay in between. What is heard comes
    /// before the input that brings it.
    ///
    /// # Errors
    /// As above.
    fn hear(&mut self, _: Instant, _: NodeIndex, _: &Word<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Looks into a node that has handled an input.
    ///
    /// # Errors
    /// As above.
    fn look(&mut self, _: Instant, _: NodeIndex, _: &Node) -> Result<(), String> {
        Ok(())
    }

    /// Takes note of what a node that starts reads from its disk.
    ///
    /// # Errors
    /// As above.
    fn reopened(&mut self, _: NodeIndex, _: &Saved) -> Result<(), String> {
        Ok(())
    }

    /// Takes note that other nodes are cut off from each other, or stalled, than before.
    fn network_changed(&mut self, _: Instant) {}

    /// Takes note that a machine's clock of elapsed time stands still from now on, or goes on.
    fn clock_stands(&mut self, _now: Instant, _node: NodeIndex, _stands: bool) {}

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
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, step {}", self.invariant, self.at, self.step)?;
        if let Some(node) = self.node {
            write!(f, " on n{node}")?;
        }
        write!(f, ": {}", self.words)
    }
}

/// The names of all invariants.
pub const NAMES: &[&str] = &[
    accepted_exists::NAME,
    adverts_go_forward::NAME,
    asks_before_it_judges::NAME,
    attempts_within_limit::NAME,
    copies_settle::NAME,
    deadlines_are_kept::NAME,
    degree_at_most_max_peers::NAME,
    dials_back_off::NAME,
    durable_before_acknowledged::NAME,
    fetched_files_are_true::NAME,
    goodbye_is_heard::NAME,
    honest_peers_make_no_faults::NAME,
    lifecycle_along_arrows::NAME,
    messages_are_retried::NAME,
    neighbours_agree_at_rest::NAME,
    no_duplicate_delivery::NAME,
    no_effect_from_strangers::NAME,
    no_false_death::NAME,
    no_false_suspicion::NAME,
    no_forged_member::NAME,
    no_live_lease_lost::NAME,
    no_retry_storm::NAME,
    no_work_for_the_slow::NAME,
    no_work_twice::NAME,
    nothing_starts_late::NAME,
    one_link_per_pair::NAME,
    one_model_per_request::NAME,
    one_terminal_outcome::NAME,
    streams_agree::NAME,
    terminal_never_changes::NAME,
    ttl_never_exceeded::NAME,
    view_is_true::NAME,
    within_bounds::NAME,
    origin::NAME,
    store::NAME,
];

/// Returns the invariants that a scenario asks for.
pub(crate) fn of(scenario: &Scenario, cluster: &Arc<Cluster>) -> Vec<Box<dyn Invariant>> {
    let (names, nodes) = (&scenario.expect.always, cluster.len());
    let shared = || Arc::clone(cluster);
    let all: [Box<dyn Invariant>; NAMES.len()] = [
        Box::new(accepted_exists::AcceptedExists::new(nodes, cluster.config(0).results_max)),
        Box::new(adverts_go_forward::AdvertsGoForward::new(nodes)),
        Box::new(asks_before_it_judges::AsksBeforeItJudges::new(nodes)),
        Box::new(attempts_within_limit::AttemptsWithinLimit::new(nodes)),
        Box::new(copies_settle::CopiesSettle::new(shared())),
        Box::new(deadlines_are_kept::DeadlinesAreKept::new(scenario)),
        Box::new(degree_at_most_max_peers::DegreeAtMostMaxPeers::new(shared(), scenario.node.max_peers)),
        Box::new(dials_back_off::DialsBackOff::new(nodes)),
        Box::new(durable_before_acknowledged::DurableBeforeAcknowledged::new(nodes)),
        Box::new(fetched_files_are_true::FetchedFilesAreTrue::new(shared())),
        Box::new(goodbye_is_heard::GoodbyeIsHeard::new(shared(), scenario)),
        Box::new(honest_peers_make_no_faults::HonestPeersMakeNoFaults::new(shared())),
        Box::new(lifecycle_along_arrows::LifecycleAlongArrows::new(nodes)),
        Box::new(messages_are_retried::MessagesAreRetried::new(nodes)),
        Box::new(neighbours_agree_at_rest::NeighboursAgreeAtRest::new(shared())),
        Box::new(no_duplicate_delivery::NoDuplicateDelivery::new(nodes)),
        Box::new(no_effect_from_strangers::NoEffectFromStrangers::new(shared())),
        Box::new(no_false_death::NoFalseDeath::new(shared(), scenario)),
        Box::new(no_false_suspicion::NoFalseSuspicion::new(shared(), scenario)),
        Box::new(no_forged_member::NoForgedMember::new(shared())),
        Box::new(no_live_lease_lost::NoLiveLeaseLost::new(shared(), scenario)),
        Box::<no_retry_storm::NoRetryStorm>::default(),
        Box::new(no_work_for_the_slow::NoWorkForTheSlow::new(nodes)),
        Box::new(no_work_twice::NoWorkTwice::new(shared())),
        Box::new(nothing_starts_late::NothingStartsLate::new(shared())),
        Box::new(one_link_per_pair::OneLinkPerPair::new(shared())),
        Box::new(one_model_per_request::OneModelPerRequest::new(nodes)),
        Box::<one_terminal_outcome::OneTerminalOutcome>::default(),
        Box::<streams_agree::StreamsAgree>::default(),
        Box::<terminal_never_changes::TerminalNeverChanges>::default(),
        Box::<ttl_never_exceeded::TtlNeverExceeded>::default(),
        Box::new(view_is_true::ViewIsTrue::new(shared())),
        Box::<within_bounds::WithinBounds>::default(),
        Box::new(origin::Origins::new(shared(), scenario.node.queue_tasks_max)),
        Box::new(store::Store::new(nodes)),
    ];
    all.into_iter().filter(|invariant| names.contains(&invariant.name())).collect()
}
