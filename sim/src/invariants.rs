//! What must hold at every moment, whatever faults are injected. One property per file.

mod accepted_exists;
mod adverts_go_forward;
pub(crate) mod alerts_alternate;
mod asks_before_it_judges;
mod attempts_within_limit;
mod copies_settle;
mod counters_agree;
mod deadlines_are_kept;
mod degree_at_most_max_peers;
pub mod descriptions;
mod dials_back_off;
mod durable_before_acknowledged;
mod fetched_files_are_true;
mod goodbye_is_heard;
mod honest_peers_make_no_faults;
mod lifecycle_along_arrows;
mod messages_are_retried;
mod messages_carry_traces;
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

use crate::cluster::Cluster;
use crate::invariant::Invariant;
use crate::reference::{origin, store};
use crate::scenario::Scenario;
use std::sync::Arc;

/// The names of all invariants.
pub const NAMES: &[&str] = &[
    accepted_exists::NAME,
    adverts_go_forward::NAME,
    alerts_alternate::NAME,
    asks_before_it_judges::NAME,
    attempts_within_limit::NAME,
    copies_settle::NAME,
    counters_agree::NAME,
    deadlines_are_kept::NAME,
    degree_at_most_max_peers::NAME,
    dials_back_off::NAME,
    durable_before_acknowledged::NAME,
    fetched_files_are_true::NAME,
    goodbye_is_heard::NAME,
    honest_peers_make_no_faults::NAME,
    lifecycle_along_arrows::NAME,
    messages_are_retried::NAME,
    messages_carry_traces::NAME,
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

/// The invariants that a live simulation checks: those that hold under every fault, and that keep nothing whose size
/// grows with the length of the run.
pub(crate) const LIVE: &[&str] = &[
    adverts_go_forward::NAME,
    alerts_alternate::NAME,
    counters_agree::NAME,
    degree_at_most_max_peers::NAME,
    dials_back_off::NAME,
    honest_peers_make_no_faults::NAME,
    no_retry_storm::NAME,
    no_work_for_the_slow::NAME,
    one_link_per_pair::NAME,
    view_is_true::NAME,
    within_bounds::NAME,
];

/// Returns the invariants that a scenario checks.
pub(crate) fn for_scenario(scenario: &Scenario, cluster: &Arc<Cluster>) -> Vec<Box<dyn Invariant>> {
    let (names, nodes) = (&scenario.expect.always, cluster.len());
    let shared = || Arc::clone(cluster);
    let all: [Box<dyn Invariant>; NAMES.len()] = [
        Box::new(accepted_exists::AcceptedExists::new(nodes, cluster.config(0).results_max)),
        Box::new(adverts_go_forward::AdvertsGoForward::new(nodes)),
        Box::new(alerts_alternate::AlertsAlternate::new(nodes)),
        Box::new(asks_before_it_judges::AsksBeforeItJudges::new(nodes)),
        Box::new(attempts_within_limit::AttemptsWithinLimit::new(nodes)),
        Box::new(copies_settle::CopiesSettle::new(shared())),
        Box::new(counters_agree::CountersAgree::new(nodes)),
        Box::new(deadlines_are_kept::DeadlinesAreKept::new(scenario)),
        Box::new(degree_at_most_max_peers::DegreeAtMostMaxPeers::new(shared(), scenario.node.max_peers)),
        Box::new(dials_back_off::DialsBackOff::new(nodes)),
        Box::new(durable_before_acknowledged::DurableBeforeAcknowledged::new(nodes)),
        Box::new(fetched_files_are_true::FetchedFilesAreTrue::new(shared())),
        Box::new(goodbye_is_heard::GoodbyeIsHeard::new(shared(), scenario)),
        Box::new(honest_peers_make_no_faults::HonestPeersMakeNoFaults::new(shared())),
        Box::new(lifecycle_along_arrows::LifecycleAlongArrows::new(nodes)),
        Box::new(messages_are_retried::MessagesAreRetried::new(nodes)),
        Box::<messages_carry_traces::MessagesCarryTraces>::default(),
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
