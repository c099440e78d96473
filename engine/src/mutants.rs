//! Bugs put back on purpose, so that tests can show that they are caught.
//!
//! Outside of tests [`shows`] is a constant `false`, so a production build has nothing of this. In a test build the node
//! that is at work says which bug it has; sub-machines need not be told.

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
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

mutants! {
    /// A task that has its outcome takes another.
    AcceptSecondResult,
    /// A node becomes ACTIVE before its storage took a write.
    ActiveUnchecked,
    /// A new attempt has the number of the last one.
    AttemptNumberKept,
    /// A worker goes on with what its origin cancelled.
    CancelIgnored,
    /// A worker is not told that its task is no longer wanted.
    CancelNotSent,
    /// Nodes that somebody else announces are dialled like any.
    ClaimsTrusted,
    /// Results are forgotten when the wall clock jumps past the time until which they are kept.
    ClockJumpBelieved,
    /// A task whose attempts die is given to another worker for ever.
    CrashesNotCounted,
    /// A silent peer never counts as dead.
    DeadNeverDeclared,
    /// A worker begins what is past its deadline.
    DeadlineIgnored,
    /// A node that leaves and waits for a last word looks for it without a pause.
    DeadlineInThePast,
    /// A task that was accepted before a restart has no deadline any more.
    DeadlineLostOnRestart,
    /// A message that arrives again is handed on again.
    DedupDropped,
    /// A change of the map does not change its digest.
    DigestNotRecomputed,
    /// An advert counts whoever signed it.
    ForgedAdvertAccepted,
    /// Who sent a piece that is not part of a file is asked for more of it.
    ForgerAskedAgain,
    /// A goodbye is not heeded.
    GoodbyeIgnored,
    /// A worker never says that it still has its tasks.
    LeaseNotRenewed,
    /// A node that leaves waits for its work for as long as it takes.
    LeavesLate,
    /// What a member says of its links changes no path.
    LinksIgnored,
    /// A node takes one link too many.
    MaxPeersOffByOne,
    /// Any node that has a model of the name is assigned the task and runs it, even if its fingerprint differs.
    NameIsIdentity,
    /// A message is sent once and given up.
    NeverRetried,
    /// A dial that failed is tried again at once.
    NoBackoff,
    /// Two messages of a session have the same number.
    NonceReused,
    /// An advert counts although a newer one is held.
    OlderAdvertAccepted,
    /// The outcome of a task is acknowledged to its worker before it is durable.
    OutcomeAcknowledgedEarly,
    /// An outcome that its origin did not acknowledge in time is given up.
    OutcomeForgotten,
    /// An outcome counts whoever it comes from.
    OutcomeFromAnybody,
    /// A node never says to itself that it still has its own tasks.
    OwnLeaseNotRenewed,
    /// Peers are judged by a time in which the node did not run itself.
    OwnPauseIgnored,
    /// A piece of a file is kept whatever it is.
    PieceUnchecked,
    /// The answer to a ping is no sign of life.
    PongIsNoLife,
    /// A purge takes a task that has no outcome.
    PurgesOpenTask,
    /// A task is accepted although the queue is full.
    QueueBoundIgnored,
    /// What an ended task took of the queue is not given back.
    QueueBytesLeak,
    /// A task that was accepted before a restart is not given to a worker any more.
    RecoveredNotQueued,
    /// Promises go out before the records they rest on are durable.
    ReplyBeforeDurable,
    /// All pieces of a file are asked for at once.
    RequestsUnbounded,
    /// An outcome is told before it is durable.
    ResultToldBeforeDurable,
    /// A peer that does not answer gets new work.
    SlowGetsWork,
    /// The tasks of a peer that does not answer stay with it.
    SlowKeepsTasks,
    /// The return of an old attempt takes the task from whoever has it now.
    StaleReturnTakesTask,
    /// Crossing a link costs a message nothing.
    TtlNotSpent,
    /// A message may cross one link too many.
    TtlOffByOne,
    /// Both links of two nodes that dialled each other stay.
    TwoLinksKept,
    /// Those who wait for a task are not told its end.
    WaitersForgotten,
    /// How long a node was away is taken from the wall clock.
    WallClockBelieved,
    /// A task stays with a worker that is gone.
    WorkerLossIgnored,
    /// A node that leaves begins new work.
    WorksWhileLeaving,
    /// A write that failed counts as done.
    WriteFailureBelieved,
}

/// Tells whether a bug is to be shown.
#[cfg(not(feature = "testing"))]
pub(crate) const fn shows(_: Mutant) -> bool {
    false
}

#[cfg(feature = "testing")]
pub(crate) use active::{enter, shows};

#[cfg(feature = "testing")]
mod active {
    use super::Mutant;
    use core::cell::Cell;

    thread_local! {
        /// The bug of the node that is at work on this thread.
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Tells whether a bug is to be shown.
    pub(crate) fn shows(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }

    /// A node goes to work, with its bug if it has one.
    pub(crate) fn enter(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }
}
