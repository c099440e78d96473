//! What can be wrong with one node's machine: its clock, its disk, its models, its processor.

use super::range::Range;
use core::time::Duration;

/// What is wrong with one node's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineFault {
    /// Its clocks run at another rate than others'.
    ClockDrift {
        /// By how many parts in a million they run fast; slow where negative.
        ppm: i32,
    },
    /// Its wall clock is set to another time.
    ClockJump {
        /// By how many milliseconds forward; back where negative.
        millis: i64,
    },
    /// Some writes fail.
    DiskError {
        /// How many of a million.
        per_million: u32,
    },
    /// No write finds any space.
    DiskFull,
    /// Writes take longer.
    DiskSlow {
        /// How much longer each takes.
        add: Range,
    },
    /// Some jobs end with the death of the process that runs the model.
    InferenceCrash {
        /// How many of a million.
        per_million: u32,
    },
    /// Some jobs end with an error.
    InferenceError {
        /// How many of a million.
        per_million: u32,
    },
    /// Jobs take longer.
    InferenceSlow {
        /// How much longer each takes.
        add: Range,
    },
    /// The machine sleeps, as a laptop does that is closed: its clock of elapsed time stands still, nothing reaches it,
    /// and what others send is lost.
    MachineAsleep,
    /// The files of its models are those of other models: what runs ends without an outcome.
    ModelReplaced,
    /// Its models are not loaded.
    ModelUnready,
    /// Its process is stopped: time goes on, what arrives waits for it, and it takes all of that in at once when it
    /// goes on.
    ProcessStopped,
}

impl MachineFault {
    /// Returns the name of the fault in a scenario file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ClockDrift { .. } => "clock_drift",
            Self::ClockJump { .. } => "clock_jump",
            Self::DiskError { .. } => "disk_error",
            Self::DiskFull => "disk_full",
            Self::DiskSlow { .. } => "disk_slow",
            Self::InferenceCrash { .. } => "inference_crash",
            Self::InferenceError { .. } => "inference_error",
            Self::InferenceSlow { .. } => "inference_slow",
            Self::MachineAsleep => "machine_asleep",
            Self::ModelReplaced => "model_replaced",
            Self::ModelUnready => "model_unready",
            Self::ProcessStopped => "process_stopped",
        }
    }

    /// Tells whether others may take such a node for dead.
    pub(crate) fn may_hide_live_nodes(&self) -> bool {
        match self {
            Self::MachineAsleep | Self::ProcessStopped => true,
            Self::ClockDrift { .. }
            | Self::ClockJump { .. }
            | Self::DiskError { .. }
            | Self::DiskFull
            | Self::InferenceCrash { .. }
            | Self::InferenceError { .. }
            | Self::InferenceSlow { .. }
            | Self::ModelReplaced
            | Self::ModelUnready => false,
            // A node that cannot write for long does not get to know anybody.
            Self::DiskSlow { add } => add.to > DELAY_MAX,
        }
    }

    /// Tells whether the fault outlasts the healing of all: nobody can say which clock is right.
    pub(crate) const fn is_permanent(&self) -> bool {
        matches!(self, Self::ClockDrift { .. } | Self::ClockJump { .. })
    }
}

/// How late what is sent may be without anybody's counting as dead.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(1);
