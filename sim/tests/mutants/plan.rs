//! How each planted bug is caught: the scenario that triggers it, and the invariants that it violates.

use engine::config::Config;
use engine::mutants::Mutant;
use sim::report::Report;
use sim::{Executor, Failure, Options, Scenario};
use std::path::Path;

/// A planted bug, its scenario and the invariants that catch it.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) mutant: Mutant,
    adjust: fn(&mut Config),
    /// A scenario of the repository, or the text of one made for this bug.
    pub(crate) source: Source,
    /// The invariants that may be violated first.
    pub(crate) caught_by: &'static [&'static str],
}

/// A scenario.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    File(&'static str),
    Text(&'static str, &'static str),
}

/// A caught bug.
pub(crate) struct Catch {
    pub(crate) seed: u64,
    pub(crate) invariant: &'static str,
}

impl Source {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File(name) | Self::Text(name, _) => name,
        }
    }

    pub(crate) fn scenario(self) -> Scenario {
        let scenario = match self {
            Self::File(name) => {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
                Scenario::load(&folder.join(format!("{name}.toml")))
            }
            Self::Text(name, text) => Scenario::parse(name, text),
        };
        let on_the_event_queue = |scenario: Scenario| scenario.on(Executor::EventQueue);
        scenario.and_then(on_the_event_queue).unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }
}

impl Plan {
    /// Runs the bug under the seeds until one violates an invariant.
    pub(crate) fn find_catch(
        &self,
        scenario: &Scenario,
        seeds: core::ops::RangeInclusive<u64>,
    ) -> Option<Catch> {
        let mut seeds = seeds;
        seeds.find_map(|seed| {
            let report = sim::run_with(scenario, seed, Options { adjust: Some(self.adjust) });
            violation(&report).map(|invariant| Catch { seed, invariant })
        })
    }
}

/// Returns the invariant that a run violated.
pub(crate) fn violation(report: &Report) -> Option<&'static str> {
    report.failures.iter().find_map(|failure| match failure {
        Failure::Violated(violation) => Some(violation.invariant),
        Failure::AlertActive { .. }
        | Failure::AlertMissing(_)
        | Failure::NotReached(_)
        | Failure::Outcomes { .. } => None,
    })
}

macro_rules! plans {
    ($($mutant:ident: $source:expr => [$($invariant:literal),+];)*) => {
        /// One plan for each planted bug.
        pub(crate) const PLANS: &[Plan] = &[$(Plan {
            mutant: Mutant::$mutant,
            adjust: |config| config.mutant = Some(Mutant::$mutant),
            source: $source,
            caught_by: &[$($invariant),+],
        }),*];
    };
}

plans! {
    AcceptSecondResult: Source::File("two_workers_finish") => ["one_terminal_outcome"];
    ActiveUnchecked: Source::File("two_nodes_meet") => ["lifecycle_along_arrows"];
    AlertRaisedAgain: Source::File("alerts_peers") => ["alerts_alternate"];
    AttemptNumberKept: Source::File("worker_dies") => ["origin_follows_its_model"];
    CancelIgnored: STALLED_WORKER => ["nothing_starts_late"];
    CancelNotSent: STALLED_WORKER => ["origin_follows_its_model"];
    ClaimsTrusted: Source::File("announcement_flood") => ["liveness"];
    ClockJumpBelieved: CLOCK_SET_AHEAD => ["accepted_exists"];
    CrashesNotCounted: Source::File("model_crashes") => ["attempts_within_limit"];
    DeadNeverDeclared: SILENT_DEATH => ["view_is_true", "liveness"];
    DeadlineIgnored: STALLED_DEADLINES => ["nothing_starts_late"];
    DeadlineInThePast: LEAVING_UNHEARD => ["deadlines_lie_ahead"];
    DeadlineLostOnRestart: AWAY_FOR_LONG => ["deadlines_are_kept"];
    DedupDropped: Source::File("two_workers_finish") => ["no_duplicate_delivery"];
    DigestNotRecomputed: QUIET => ["neighbours_agree_at_rest"];
    ForgedAdvertAccepted: Source::File("hostile_peer") => ["no_forged_member"];
    ForgerAskedAgain: Source::File("model_from_neighbours") => ["fetched_files_are_true"];
    GoodbyeIgnored: LEAVING => ["goodbye_is_heard"];
    LeaseNotRenewed: LONG_TASKS => ["no_false_suspicion", "no_live_lease_lost"];
    LeavesLate: LEAVING => ["lifecycle_along_arrows"];
    LinksIgnored: Source::File("line_of_five") => ["view_is_true", "liveness"];
    MaxPeersOffByOne: FULL_HOUSE => ["degree_at_most_max_peers", "within_bounds"];
    NameIsIdentity: Source::File("same_name_two_models") => ["one_model_per_request"];
    NeverRetried: Source::File("partition_heals") => ["messages_are_retried"];
    NoBackoff: SILENT_DEATH => ["dials_back_off"];
    NonceReused: Source::File("line_of_five") => ["honest_peers_make_no_faults"];
    OlderAdvertAccepted: Source::File("everything_goes_wrong") => ["adverts_go_forward", "view_is_true"];
    OutcomeAcknowledgedEarly: Source::File("worker_dies") => ["durable_before_acknowledged"];
    OutcomeForgotten: Source::File("origin_sleeps") => ["no_work_twice"];
    OutcomeFromAnybody: ORIGIN_LOSES_POWER => ["no_effect_from_strangers"];
    OwnLeaseNotRenewed: Source::File("jobs_longer_than_a_lease") => ["no_live_lease_lost"];
    OwnPauseIgnored: STOPPED_WHILE_ASKING => ["asks_before_it_judges"];
    PieceUnchecked: Source::File("model_from_neighbours") => ["fetched_files_are_true"];
    PongIsNoLife: QUIET => ["no_false_suspicion"];
    PurgesOpenTask: LONG_TASKS => ["accepted_exists", "within_bounds"];
    QueueBoundIgnored: FULL_QUEUE => ["within_bounds", "origin_follows_its_model"];
    QueueBytesLeak: Source::File("worker_dies") => ["liveness"];
    RecoveredNotQueued: Source::File("origin_restarts") => ["liveness"];
    ReplyBeforeDurable: Source::File("power_lost_while_writing") => ["durable_before_acknowledged"];
    RequestsUnbounded: Source::File("model_from_neighbours") => ["within_bounds"];
    ResultToldBeforeDurable: Source::File("worker_dies") => ["durable_before_acknowledged"];
    RetriedOutcomesUncounted: Source::File("worker_dies") => ["counters_agree"];
    SlowGetsWork: STALLED_WORKER => ["no_work_for_the_slow"];
    SlowKeepsTasks: STALLED_WORKER => ["origin_follows_its_model"];
    StaleReturnTakesTask: LEAVING_UNHEARD => ["origin_follows_its_model"];
    TraceLost: Source::File("worker_dies") => ["messages_carry_traces"];
    TtlNotSpent: Source::File("line_of_five") => ["ttl_never_exceeded"];
    TtlOffByOne: LONG_LINE => ["ttl_never_exceeded"];
    TwoLinksKept: CROSSED_DIALS => ["one_link_per_pair"];
    WaitersForgotten: Source::File("worker_dies") => ["liveness"];
    WallClockBelieved: AWAY_FOR_LONG => ["deadlines_are_kept"];
    WorkerLossIgnored: WORKER_KILLED => ["origin_follows_its_model"];
    WorksWhileLeaving: LEAVING => ["lifecycle_along_arrows"];
    WriteFailureBelieved: Source::File("disk_fills_up") => ["durable_before_acknowledged"];
}

/// A worker that is partitioned for a while has many cancelled attempts when it is reachable again. The latency
/// lengthens the time in which a peer is slow but not yet dead.
const STALLED_WORKER: Source = Source::Text(
    "stalled_worker",
    r#"
nodes = 3
duration = "200s"
[network]
latency = "400ms..450ms"
[node]
max_concurrent_tasks = 1
[workload]
type = "generation"
tasks = 30
at = "5s"
every = "400ms"
origin = "n0"
compute = "4s..5s"
timeout = "180s"
[[fault]]
at = "9500ms"
kind = "stall"
groups = [["n1"], ["n0", "n2"]]
heal_after = "6s"
[liveness]
after = "30s"
within = "165s"
"#,
);

/// Processes are suspended while most of them have just probed a peer, because the links are long.
const STOPPED_WHILE_ASKING: Source = Source::Text(
    "stopped_while_asking",
    r#"
nodes = 4
duration = "120s"
[network]
latency = "900ms..950ms"
[[fault]]
at = "20s..40s"
kind = "process_stopped"
node = "n1"
heal_after = "6s"
[[fault]]
at = "60s..80s"
kind = "process_stopped"
node = "n2"
heal_after = "6s"
"#,
);

/// As [`STALLED_WORKER`], and the deadlines of the worker's attempts elapse meanwhile.
const STALLED_DEADLINES: Source = Source::Text(
    "stalled_deadlines",
    r#"
nodes = 2
duration = "90s"
[network]
latency = "400ms..450ms"
[node]
max_concurrent_tasks = 1
[workload]
type = "generation"
tasks = 30
at = "3s"
every = "300ms"
origin = "n0"
compute = "2s"
timeout = "6s"
[[fault]]
at = "9500ms"
kind = "stall"
groups = [["n0"], ["n1"]]
heal_after = "7500ms"
[liveness]
after = "30s"
within = "55s"
"#,
);

/// One machine loses power for good, and another node's process ends for good.
const SILENT_DEATH: Source = Source::Text(
    "silent_death",
    r#"
nodes = 4
duration = "90s"
[[fault]]
at = "3s"
kind = "power_loss"
node = "n1"
[[fault]]
at = "4s"
kind = "kill"
node = "n2"
[liveness]
after = "50s"
within = "35s"
"#,
);

/// An origin is down for most of its tasks' timeout.
const AWAY_FOR_LONG: Source = Source::Text(
    "away_for_long",
    r#"
nodes = 2
duration = "90s"
[workload]
type = "generation"
tasks = 6
at = "2s"
every = "50ms"
origin = "n0"
compute = "15s..20s"
timeout = "10s"
[[fault]]
at = "4s"
kind = "kill"
node = "n0"
restart_after = "5s"
[liveness]
after = "30s"
within = "55s"
"#,
);

/// The clock of a node with results jumps two days ahead.
const CLOCK_SET_AHEAD: Source = Source::Text(
    "clock_set_ahead",
    r#"
nodes = 2
duration = "90s"
[workload]
tasks = 6
at = "2s"
every = "50ms"
origin = "n0"
compute = "100ms"
[[fault]]
at = "20s"
kind = "clock_jump"
node = "n0"
offset = "+48h"
"#,
);

/// Nothing happens.
const QUIET: Source = Source::Text("quiet", "nodes = 4\nduration = \"120s\"\n");

/// A node shuts down with more attempts than it can finish.
const LEAVING: Source = Source::Text(
    "leaving",
    r#"
nodes = 3
duration = "120s"
[node]
max_concurrent_tasks = 1
[workload]
type = "generation"
tasks = 12
at = "2s"
every = "50ms"
origin = "n0"
compute = "8s..16s"
timeout = "110s"
[[fault]]
at = "5s"
kind = "leave"
node = "n1"
[liveness]
after = "30s"
within = "85s"
"#,
);

/// A partitioned node shuts down: others already run the attempts that it hands back.
const LEAVING_UNHEARD: Source = Source::Text(
    "leaving_unheard",
    r#"
nodes = 3
duration = "120s"
[network]
latency = "400ms..450ms"
[node]
max_concurrent_tasks = 1
[workload]
type = "generation"
tasks = 30
at = "5s"
every = "200ms"
origin = "n0"
compute = "2s..3s"
timeout = "110s"
[[fault]]
at = "9500ms"
kind = "stall"
groups = [["n1"], ["n0", "n2"]]
heal_after = "6s"
[[fault]]
at = "11s"
kind = "leave"
node = "n1"
[liveness]
after = "30s"
within = "85s"
"#,
);

/// Tasks take longer than a lease, and some are open when results are purged.
const LONG_TASKS: Source = Source::Text(
    "long_tasks",
    r#"
nodes = 2
duration = "200s"
[node]
max_concurrent_tasks = 1
[workload]
type = "generation"
tasks = 6
at = "2s"
every = "50ms"
origin = "n0"
compute = "33s..35s"
timeout = "180s"
[liveness]
after = "10s"
within = "185s"
"#,
);

/// More nodes want a link than may have one.
const FULL_HOUSE: Source =
    Source::Text("full_house", "nodes = 10\nduration = \"20s\"\n[node]\nmax_peers = 3\n");

/// Neighbours know each other's addresses and dial each other at the same time.
const CROSSED_DIALS: Source = Source::Text(
    "crossed_dials",
    r#"
nodes = 4
duration = "20s"
start = "0s..5ms"
[network]
latency = "20ms..40ms"
topology = "ring"
multicast = false
"#,
);

/// An origin loses power and restarts while outcomes of its tasks are in flight.
const ORIGIN_LOSES_POWER: Source = Source::Text(
    "origin_loses_power",
    r#"
nodes = 4
duration = "120s"
[node]
max_concurrent_tasks = 1
[workload]
type = "generation"
tasks = 16
at = "2s"
every = "20ms"
origin = "n0"
compute = "500ms..3s"
timeout = "110s"
[[fault]]
at = "3s..5s"
kind = "power_loss"
node = "n0"
restart_after = "2s"
[liveness]
after = "30s"
within = "80s"
"#,
);

/// More tasks are submitted than the queue holds.
const FULL_QUEUE: Source = Source::Text(
    "full_queue",
    r#"
nodes = 2
duration = "60s"
[node]
queue_tasks_max = 3
[workload]
tasks = 20
at = "2s"
every = "10ms"
origin = "n0"
compute = "5s"
timeout = "50s"
[liveness]
after = "20s"
within = "35s"
"#,
);

/// A message may make ten hops, and the far end is eleven hops away.
const LONG_LINE: Source = Source::Text(
    "long_line",
    r#"
nodes = 12
duration = "40s"
[network]
topology = "line"
[node]
max_concurrent_tasks = 1
[workload]
type = "generation"
tasks = 60
at = "5s"
every = "20ms"
origin = "n0"
compute = "3s"
timeout = "30s"
"#,
);

/// The process of a busy worker is killed.
const WORKER_KILLED: Source = Source::Text(
    "worker_killed",
    r#"
nodes = 3
duration = "90s"
[workload]
tasks = 20
at = "2s"
every = "50ms"
origin = "n0"
compute = "2s..5s"
timeout = "80s"
[[fault]]
at = "3s"
kind = "kill"
node = "n1"
[liveness]
after = "20s"
within = "65s"
"#,
);
