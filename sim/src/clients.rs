//! The users of a simulation: they submit tasks, await outcomes and fetch files, and retry when a node was down.

use crate::cluster::Cluster;
use crate::node_set::NodeIndex;
use crate::scenario::{Fetch, FetchedBy, OutcomeKind, Scenario, Workload};
use engine::blobs::Pin;
use engine::request::{Answer, Cursor, FetchSpec, Request, Response, TaskUpdate};
use engine::task::{TaskInput, TaskSpec, TaskStatus};
use engine::{Rejection, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// What each user knows about their task.
#[derive(Debug)]
pub(crate) struct Clients {
    workload: Option<Workload>,
    tasks: Vec<TaskState>,
    /// The node that each task was submitted to. Tasks that found no running node are missing.
    pub(crate) asked: BTreeMap<u32, NodeIndex>,
    /// The pending fetches.
    pub(crate) fetchers: Vec<Fetcher>,
}

#[derive(Clone, Debug)]
enum TaskState {
    Accepted { task: TaskId, at: NodeIndex },
    Ended(OutcomeKind),
    NotSubmitted,
    Rejected(Rejection),
}

impl Clients {
    pub(crate) fn new(workload: Option<Workload>, fetchers: Vec<Fetcher>) -> Self {
        let tasks = workload.as_ref().map_or(0, |workload| workload.submissions.tasks() as usize);
        Self { workload, tasks: vec![TaskState::NotSubmitted; tasks], asked: BTreeMap::new(), fetchers }
    }

    /// Returns the request that submits a task to a node; `None` if there is no such task.
    pub(crate) fn submission(&mut self, number: u32, at: NodeIndex) -> Option<Request> {
        let workload = self.workload.as_ref()?;
        let input = input(workload, number)?;
        self.asked.insert(number, at);
        Some(Request::Submit(TaskSpec {
            input: TaskInput::from_text(workload.kind, input),
            model: None,
            timeout: workload.timeout,
        }))
    }

    /// Adds a task like the others and returns its number; `None` if there is no workload to imitate.
    pub(crate) fn add(&mut self) -> Option<u32> {
        self.workload.as_ref()?;
        self.tasks.push(TaskState::NotSubmitted);
        u32::try_from(self.tasks.len() - 1).ok()
    }

    /// Returns whether one of the texts is the input of one of the tasks.
    pub(crate) fn any_task_has_input(&self, tasks: &BTreeSet<u32>, texts: &[&str]) -> bool {
        let Some(workload) = self.workload.as_ref().filter(|_| !tasks.is_empty()) else { return false };
        tasks
            .iter()
            .filter_map(|&number| input(workload, number))
            .any(|input| texts.contains(&input.as_str()))
    }

    /// Handles the answer to a submission; returns the task to await, if it was accepted.
    pub(crate) fn submitted(&mut self, number: u32, at: NodeIndex, answer: &Answer) -> Option<TaskId> {
        let known = self.tasks.get_mut(number as usize)?;
        match answer {
            Ok(Response::Submitted(task)) => {
                *known = TaskState::Accepted { task: *task, at };
                Some(*task)
            }
            Ok(_) => None,
            Err(rejection) => {
                *known = TaskState::Rejected(rejection.clone());
                None
            }
        }
    }

    /// Handles the answer to a wait; returns the task if it makes sense to retry.
    pub(crate) fn awaited(&mut self, number: u32, answer: &Answer) -> Option<TaskId> {
        let known = self.tasks.get_mut(number as usize)?;
        if let Ok(Response::Task(view)) = answer
            && let Some(outcome) = OutcomeKind::from_status(view.status)
        {
            *known = TaskState::Ended(outcome);
        }
        match known {
            TaskState::Accepted { task, .. } => Some(*task),
            TaskState::Ended(_) | TaskState::NotSubmitted | TaskState::Rejected(_) => None,
        }
    }

    /// Returns the tasks that users still await at a node.
    pub(crate) fn waiting_at(&self, node: NodeIndex) -> Vec<(u32, TaskId)> {
        let numbered = (0_u32..).zip(&self.tasks);
        numbered
            .filter_map(|(number, known)| match known {
                TaskState::Accepted { task, at } if *at == node => Some((number, *task)),
                TaskState::Accepted { .. }
                | TaskState::Ended(_)
                | TaskState::NotSubmitted
                | TaskState::Rejected(_) => None,
            })
            .collect()
    }

    /// Returns a task whose user does not know its outcome, and its origin, if that node runs.
    pub(crate) fn uninformed(&self, runs: impl Fn(NodeIndex) -> bool) -> Option<(TaskId, NodeIndex)> {
        self.tasks.iter().find_map(|known| match known {
            TaskState::Accepted { task, at } if runs(*at) => Some((*task, *at)),
            TaskState::Accepted { .. }
            | TaskState::Ended(_)
            | TaskState::NotSubmitted
            | TaskState::Rejected(_) => None,
        })
    }

    /// Returns a fetch that has not completed, if its node runs.
    pub(crate) fn unserved(&self, runs: impl Fn(NodeIndex) -> bool) -> Option<&Fetcher> {
        self.fetchers.iter().find(|fetcher| !fetcher.done && runs(fetcher.node))
    }

    /// Returns the outcome of each task for its user.
    pub(crate) fn outcomes(&self) -> Vec<OutcomeKind> {
        let outcome = |known: &TaskState| match known {
            TaskState::Accepted { .. } => OutcomeKind::Open,
            TaskState::Ended(outcome) => *outcome,
            TaskState::NotSubmitted => OutcomeKind::Unanswered,
            TaskState::Rejected(_) => OutcomeKind::Rejected,
        };
        self.tasks.iter().map(outcome).collect()
    }

    /// Returns the number of rejected tasks by reason.
    pub(crate) fn rejections(&self) -> BTreeMap<&'static str, u32> {
        let mut counts = BTreeMap::new();
        for known in &self.tasks {
            if let TaskState::Rejected(rejection) = known {
                *counts.entry(rejection.code()).or_default() += 1;
            }
        }
        counts
    }
}

/// A user who fetches a file and retries until it is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetcher {
    pub(crate) node: NodeIndex,
    pub(crate) spec: FetchSpec,
    pub(crate) done: bool,
}

/// Returns the fetches of a scenario.
pub(crate) fn fetchers(scenario: &Scenario, cluster: &Cluster) -> Vec<Fetcher> {
    let fetcher = |fetch: &Fetch| {
        let file = cluster.files.get(fetch.file as usize)?;
        let pin = match fetch.by {
            FetchedBy::Blake3 => Pin::Blake3(file.blob.root),
            FetchedBy::Sha256 => Pin::Sha256(file.sha256),
        };
        Some(Fetcher { node: fetch.node, spec: FetchSpec { pin, bytes: file.blob.bytes }, done: false })
    };
    scenario.fetches.iter().filter_map(fetcher).collect()
}

impl Fetcher {
    pub(crate) const fn request(&self) -> Request {
        Request::Fetch(self.spec)
    }
}

/// How long a user without an outcome waits before retrying.
pub(crate) const RETRY_INTERVAL: core::time::Duration = core::time::Duration::from_secs(1);
/// Returns the input of a task, which may belong to a burst rather than the workload.
fn input(workload: &Workload, number: u32) -> Option<String> {
    let submissions = &workload.submissions;
    submissions.input(number).or_else(|| submissions.input_like_these(number))
}

/// Returns the cursor of a user after reading an update.
pub(crate) const fn advance_cursor(seen: Cursor, status: TaskStatus, news: &TaskUpdate) -> Cursor {
    #[allow(clippy::cast_possible_truncation, reason = "a text is far shorter than 4 GiB")]
    let length = news.text.len() as u32;
    if news.text.is_empty() {
        return Cursor { status, ..seen };
    }
    Cursor { status, attempt: news.attempt, bytes: news.offset.saturating_add(length) }
}
