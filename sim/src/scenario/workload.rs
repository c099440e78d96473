//! The workload of a scenario: which tasks are submitted, when and where.

use super::range::Range;
use super::target::Target;
use core::time::Duration;
use engine::task::TaskKind;

/// The tasks that users submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The tasks.
    pub submissions: Submissions,
    /// How long one takes to compute.
    pub compute: Range,
    /// The kind of the tasks.
    pub kind: TaskKind,
    /// The timeout of each task.
    pub timeout: Duration,
}

/// The submitted tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submissions {
    /// An explicit list, ordered by time.
    Listed(Vec<Submission>),
    /// A series at a fixed interval.
    Series {
        /// The number of tasks.
        tasks: u32,
        /// When the first one is submitted.
        at: Duration,
        /// The interval.
        every: Duration,
        /// The node that they are submitted to.
        origin: Target,
        /// The input, to which the task's number is appended.
        input: String,
    },
}

/// One submitted task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// When it is submitted.
    pub at: Duration,
    /// The node that it is submitted to.
    pub origin: Target,
    /// The input text.
    pub input: String,
}

impl Submissions {
    /// Returns the number of tasks.
    pub fn tasks(&self) -> u32 {
        match self {
            Self::Listed(listed) => u32::try_from(listed.len()).unwrap_or(u32::MAX),
            Self::Series { tasks, .. } => *tasks,
        }
    }

    /// Returns when and where a task is submitted; `None` if there is no such task.
    pub fn when_and_where(&self, number: u32) -> Option<(Duration, Target)> {
        match self {
            Self::Listed(listed) => listed.get(number as usize).map(|one| (one.at, one.origin)),
            Self::Series { tasks, at, every, origin, .. } => {
                (number < *tasks).then(|| (at.saturating_add(every.saturating_mul(number)), *origin))
            }
        }
    }

    /// Returns the input of a task; `None` if there is no such task.
    pub fn input(&self, number: u32) -> Option<String> {
        match self {
            Self::Listed(listed) => listed.get(number as usize).map(|one| one.input.clone()),
            Self::Series { tasks, .. } => self.input_like_these(number).filter(|_| number < *tasks),
        }
    }

    /// Returns the input of an additional task like these; `None` if there is none to imitate.
    pub fn input_like_these(&self, number: u32) -> Option<String> {
        match self {
            Self::Listed(listed) => listed.last().map(|one| format!("{} {number}", one.input)),
            Self::Series { input, .. } => Some(format!("{input} {number}")),
        }
    }

    /// Returns when the last task is submitted; `None` if there is none.
    pub fn last_at(&self) -> Option<Duration> {
        self.when_and_where(self.tasks().checked_sub(1)?).map(|(at, _)| at)
    }
}
