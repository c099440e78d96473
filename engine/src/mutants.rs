//! Bugs put back on purpose, so that tests can show that they are caught.
//!
//! Without the feature `mutants`, `shows` is a constant `false`, so a production build contains none of this. In a
//! test build the running node sets the bug for its thread, so sub-machines need not be told.

use serde::{Deserialize, Serialize};

macro_rules! mutants {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// A bug that a correct test suite must catch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Mutant {
            $($(#[$doc])* $variant,)*
        }

        impl Mutant {
            /// All mutants.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

mutants! {
    /// A task that has an outcome accepts another.
    AcceptSecondResult,
    /// A node becomes ACTIVE before a write to its storage succeeded.
    ActiveUnchecked,
    /// An alert is raised again while it is active.
    AlertRaisedAgain,
    /// A new attempt has the number of the previous one.
    AttemptNumberKept,
    /// A worker continues a task that its origin cancelled.
    CancelIgnored,
    /// A worker is not told that its task was cancelled.
    CancelNotSent,
    /// Nodes announced by another host are dialled like any other.
    ClaimsTrusted,
    /// Results are deleted when the wall clock jumps past their expiry.
    ClockJumpBelieved,
    /// A task whose attempts crash is reassigned without limit.
    CrashesNotCounted,
    /// A silent peer is never declared DEAD.
    DeadNeverDeclared,
    /// A worker starts a task past its deadline.
    DeadlineIgnored,
    /// A node that shuts down and waits for acknowledgements polls without a delay.
    DeadlineInThePast,
    /// A task that was accepted before a restart loses its deadline.
    DeadlineLostOnRestart,
    /// A duplicate of a message is delivered again.
    DedupDropped,
    /// A change of the membership map does not change its digest.
    DigestNotRecomputed,
    /// An advert is accepted whatever key signed it.
    ForgedAdvertAccepted,
    /// A node that sent an invalid piece of a file is asked for more of it.
    ForgerAskedAgain,
    /// A goodbye is ignored.
    GoodbyeIgnored,
    /// A worker does not renew the leases of its tasks.
    LeaseNotRenewed,
    /// A node that shuts down waits for its tasks without a limit.
    LeavesLate,
    /// The links that a member advertises change no path.
    LinksIgnored,
    /// A node accepts one link too many.
    MaxPeersOffByOne,
    /// A task is assigned to, and run by, any node that has a model of the name, even if its fingerprint differs.
    NameIsIdentity,
    /// A message is not retransmitted.
    NeverRetried,
    /// A failed dial is retried without a backoff.
    NoBackoff,
    /// Two messages of a session use the same nonce.
    NonceReused,
    /// An advert older than the current one is accepted.
    OlderAdvertAccepted,
    /// The outcome of a task is acknowledged to its worker before it is durable.
    OutcomeAcknowledgedEarly,
    /// An outcome that its origin did not acknowledge in time is dropped.
    OutcomeForgotten,
    /// An outcome is accepted from any node.
    OutcomeFromAnybody,
    /// A node does not renew the leases of its own tasks.
    OwnLeaseNotRenewed,
    /// The failure detector counts time in which the node itself did not run.
    OwnPauseIgnored,
    /// A piece of a file is stored without verification.
    PieceUnchecked,
    /// The answer to a ping does not count as a sign of life.
    PongIsNoLife,
    /// A purge deletes a task that has no outcome.
    PurgesOpenTask,
    /// A task is accepted although the queue is full.
    QueueBoundIgnored,
    /// An ended task does not release its share of the queue.
    QueueBytesLeak,
    /// A task that was accepted before a restart is not assigned again.
    RecoveredNotQueued,
    /// Messages go out before the records they rely on are durable.
    ReplyBeforeDurable,
    /// All pieces of a file are requested at once.
    RequestsUnbounded,
    /// An outcome is reported before it is durable.
    ResultToldBeforeDurable,
    /// The metrics leave out the outcomes of tasks that had more than one attempt.
    RetriedOutcomesUncounted,
    /// A SLOW peer is assigned new tasks.
    SlowGetsWork,
    /// The tasks of a SLOW peer stay with it.
    SlowKeepsTasks,
    /// A worker that returns an old attempt takes the task from its present worker.
    StaleReturnTakesTask,
    /// Outcomes do not carry the trace of their task.
    TraceLost,
    /// Crossing a link does not decrement the TTL of a message.
    TtlNotSpent,
    /// A message may cross one link too many.
    TtlOffByOne,
    /// Two nodes that dialled each other keep both links.
    TwoLinksKept,
    /// Requests that wait for a task are not told its end.
    WaitersForgotten,
    /// How long a node was away is measured by the wall clock.
    WallClockBelieved,
    /// A task stays with a worker that has left.
    WorkerLossIgnored,
    /// A node that shuts down starts new tasks.
    WorksWhileLeaving,
    /// A failed write counts as done.
    WriteFailureBelieved,
}

/// Tells whether a bug is active.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn shows(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub(crate) use active::{enter, shows};

#[cfg(feature = "mutants")]
mod active {
    use super::Mutant;
    use core::cell::Cell;

    thread_local! {
        /// The bug of the node that runs on this thread.
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Tells whether a bug is active.
    pub(crate) fn shows(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }

    /// Activates the bug of the node that runs on this thread from now on.
    pub(crate) fn enter(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }
}
