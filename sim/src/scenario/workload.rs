//! What users ask for in a scenario: which tasks, when and where.

use super::range::Range;
use super::target::Target;
use core::time::Duration;
use engine::task::TaskKind;

/// What users ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The tasks.
    pub submissions: Submissions,
    /// How long one takes to compute.
    pub compute: Range,
    /// The kind of work.
    pub kind: TaskKind,
    /// How long a task may take.
    pub timeout: Duration,
}

/// The tasks that users submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submissions {
    /// Each by itself, in the order of time.
    Listed(Vec<Submission>),
    /// One after the other.
    Series {
        /// How many.
        tasks: u32,
        /// When the first one is submitted.
        at: Duration,
        /// The time between two.
        every: Duration,
        /// Where they are submitted.
        origin: Target,
        /// The input, to which the task's number is added.
        input: String,
    },
}

/// A task that a user submits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// When.
    pub at: Duration,
    /// Where.
    pub origin: Target,
    /// The text to work on.
    pub input: String,
}

impl Submissions {
    /// Returns how many tasks there are.
    pub fn tasks(&self) -> u32 {
        match self {
            Self::Listed(listed) => u32::try_from(listed.len()).unwrap_or(u32::MAX),
            Self::Series { tasks, .. } => *tasks,
        }
    }

    /// Returns when the task of this number is submitted, and where; `None` where there is none.
    pub fn when_and_where(&self, number: u32) -> Option<(Duration, Target)> {
        match self {
            Self::Listed(listed) => listed.get(number as usize).map(|one| (one.at, one.origin)),
            Self::Series { tasks, at, every, origin, .. } => {
                (number < *tasks).then(|| (at.saturating_add(every.saturating_mul(number)), *origin))
            }
        }
    }

    /// Returns the input of the task of this number; `None` where there is none.
    pub fn input(&self, number: u32) -> Option<String> {
        match self {
            Self::Listed(listed) => listed.get(number as usize).map(|one| one.input.clone()),
            Self::Series { tasks, .. } => self.input_like_these(number).filter(|_| number < *tasks),
        }
    }

    /// Returns the input of a task beside these and like them; `None` where there is none to be like.
    pub fn input_like_these(&self, number: u32) -> Option<String> {
        match self {
            Self::Listed(listed) => listed.last().map(|one| format!("{} {number}", one.input)),
            Self::Series { input, .. } => Some(format!("{input} {number}")),
        }
    }

    /// Returns when the last task is submitted; `None` where there is none.
    pub fn last_at(&self) -> Option<Duration> {
        self.when_and_where(self.tasks().checked_sub(1)?).map(|(at, _)| at)
    }
}
