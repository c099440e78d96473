//! Faults of one node's machine: its clocks, its disk, its models, its processor.

use super::range::Range;
use core::time::Duration;

/// A fault of one node's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineFault {
    /// Its clocks run at another rate.
    ClockDrift {
        /// How fast they run, in parts per million; negative for slow.
        ppm: i32,
    },
    /// Its wall clock is set to another time.
    ClockJump {
        /// The change in milliseconds; negative for back.
        millis: i64,
    },
    /// Some writes fail.
    DiskError {
        /// The failing writes per million.
        per_million: u32,
    },
    /// Every write fails because the disk is full.
    DiskFull,
    /// Writes take longer.
    DiskSlow {
        /// The additional time of each write.
        add: Range,
    },
    /// Some inference jobs crash the process that runs the model.
    InferenceCrash {
        /// The crashing jobs per million.
        per_million: u32,
    },
    /// Some inference jobs fail with an error.
    InferenceError {
        /// The failing jobs per million.
        per_million: u32,
    },
    /// Inference jobs take longer.
    InferenceSlow {
        /// The additional time of each job.
        add: Range,
    },
    /// The machine sleeps, like a closed laptop: its monotonic clock stops, nothing reaches it, and what others send
    /// to it is lost.
    MachineAsleep,
    /// The node uses this share of its memory limit.
    MemoryUsed {
        /// The used memory, in millionths of the limit.
        per_million: u32,
    },
    /// Its model files are replaced by other models: running jobs end without an outcome.
    ModelReplaced,
    /// Its models are not loaded.
    ModelUnready,
    /// Its process is suspended: time passes, and what arrives waits and is processed all at once when the process
    /// resumes.
    ProcessStopped,
}

impl MachineFault {
    /// Returns the fault's name in scenario files.
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
            Self::MemoryUsed { .. } => "memory_used",
            Self::ModelReplaced => "model_replaced",
            Self::ModelUnready => "model_unready",
            Self::ProcessStopped => "process_stopped",
        }
    }

    /// Returns whether others may declare such a node dead.
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
            | Self::MemoryUsed { .. }
            | Self::ModelReplaced
            | Self::ModelUnready => false,
            // A node whose writes take long does not become active in time.
            Self::DiskSlow { add } => add.to > DELAY_MAX,
        }
    }

    /// Returns whether the fault outlasts the healing of everything: nobody can say which clock is right.
    pub(crate) const fn is_permanent(&self) -> bool {
        matches!(self, Self::ClockDrift { .. } | Self::ClockJump { .. })
    }
}

/// The longest additional delay under which no live node is declared dead.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(1);
