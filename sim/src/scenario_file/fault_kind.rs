//! The kinds of faults in scenario files: their names, their meaning, and the keys that each takes.
//!
//! One table for the reader, for its messages, and for the manual.

use serde::Deserialize;

/// The keys of a kind of fault besides `at`, `kind` and `probability`.
#[derive(Clone, Copy, Debug)]
pub(super) struct FaultKeys {
    /// The keys without which the fault is not valid.
    pub(super) needed: &'static [&'static str],
    /// The keys that may be left out.
    pub(super) optional: &'static [&'static str],
}

impl FaultKeys {
    /// Returns all keys, the needed ones first.
    pub(super) fn all(self) -> impl Iterator<Item = &'static str> {
        self.needed.iter().chain(self.optional).copied()
    }
}

macro_rules! fault_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:literal [$($needed:literal),*] [$($optional:literal),*])*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        pub(super) enum FaultKind {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $kind,)*
        }

        impl FaultKind {
            /// Every kind, by name.
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The names of all kinds.
            pub(super) const NAMES: &[&'static str] = &[$($name,)*];

            /// Returns the kind's name.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// Returns what happens, as a sentence that starts with a space.
            pub(super) const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!($($doc),+),)*
                }
            }

            /// Returns the keys that the kind takes.
            pub(super) const fn keys(self) -> FaultKeys {
                match self {
                    $(Self::$kind => FaultKeys { needed: &[$($needed),*], optional: &[$($optional),*] },)*
                }
            }
        }
    };
}

fault_kinds! {
    /// Frames from one set of nodes to another are delayed; the opposite direction is not.
    Asymmetry "asymmetry" ["from", "to", "add"] ["heal_after"]
    /// Many tasks are submitted at once, in addition to the workload and like it.
    Burst "burst" ["count"] ["node"]
    /// Nodes stop and start again continually: one per `every`; the seed draws the node and how it stops.
    Churn "churn" ["every", "away", "lasts"] []
    /// The clocks of a machine run at another rate, until the end of the run.
    ClockDrift "clock_drift" ["ppm"] ["node"]
    /// The wall clock of a machine is set to another time.
    ClockJump "clock_jump" ["offset"] ["node", "heal_after"]
    /// All connections of a node break, at both ends at once.
    ConnectionReset "connection_reset" [] ["node"]
    /// One bit of some frames and packets is flipped. A connection fails its integrity check and breaks.
    CorruptFrame "corrupt_frame" ["share"] ["heal_after"]
    /// Some writes to a disk fail.
    DiskError "disk_error" [] ["node", "share", "heal_after"]
    /// Every write fails because the disk is full.
    DiskFull "disk_full" [] ["node", "heal_after"]
    /// Writes to a disk take longer.
    DiskSlow "disk_slow" ["add"] ["node", "heal_after"]
    /// Some multicast packets arrive twice.
    Duplicate "duplicate" ["share"] ["heal_after"]
    /// A link goes down and up repeatedly: groups cannot reach each other during the first half of each `every`.
    Flap "flap" ["groups", "every", "lasts"] []
    /// Some inference jobs crash the process that runs the model.
    InferenceCrash "inference_crash" [] ["node", "share", "heal_after"]
    /// Some inference jobs fail with an error.
    InferenceError "inference_error" [] ["node", "share", "heal_after"]
    /// Inference jobs take longer.
    InferenceSlow "inference_slow" ["add"] ["node", "heal_after"]
    /// One node is partitioned from all others.
    IsolateOne "isolate_one" [] ["node", "heal_after"]
    /// A process is killed: its sockets close, and some of its unfinished writes complete.
    Kill "kill" [] ["node", "restart_after"]
    /// Everything that is sent is delayed.
    LatencyStep "latency_step" ["add"] ["heal_after"]
    /// A node is asked to stop and shuts down gracefully.
    Leave "leave" [] ["node", "restart_after"]
    /// A machine sleeps, like a closed laptop: its monotonic clock stops, and what others send to it is lost.
    MachineAsleep "machine_asleep" [] ["node", "heal_after"]
    /// A node uses a share of its memory limit.
    MemoryUsed "memory_used" [] ["node", "share", "heal_after"]
    /// The model files of a node are replaced by other models: running jobs end without an outcome.
    ModelReplaced "model_replaced" [] ["node", "heal_after"]
    /// The models of a node are not loaded.
    ModelUnready "model_unready" [] ["node", "heal_after"]
    /// Frames from some nodes to others are lost; the opposite direction works.
    OneWayLoss "one_way_loss" ["from", "to"] ["heal_after"]
    /// Groups of nodes cannot reach each other, and all traffic between them is lost.
    Partition "partition" ["groups"] ["heal_after"]
    /// Some inputs of the workload crash every process that runs a model on them.
    PoisonInput "poison_input" ["tasks"] []
    /// A machine loses power: its peers get no notice, and all of its unfinished writes are lost.
    PowerLoss "power_loss" [] ["node", "restart_after"]
    /// A process is suspended: time passes, and what arrives is processed all at once when it resumes.
    ProcessStopped "process_stopped" [] ["node", "heal_after"]
    /// Later multicast packets overtake some earlier ones.
    Reorder "reorder" ["share"] ["heal_after"]
    /// Some multicast packets arrive once more, much later.
    Replay "replay" ["share"] ["heal_after"]
    /// Every node, one after another, is asked to stop and is started again.
    RollingRestart "rolling_restart" ["every", "away"] []
    /// Frames between groups of nodes are held back, and arrive when the stall ends.
    Stall "stall" ["groups"] ["heal_after"]
    /// Some nodes, drawn by the seed, are stalled one after another and then released in another order.
    SwizzleClog "swizzle_clog" ["every"] []
    /// A machine loses power during its writes: the first few unfinished writes complete, and the rest is lost.
    TornWrite "torn_write" [] ["node", "restart_after"]
}
