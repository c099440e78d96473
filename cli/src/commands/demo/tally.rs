//! Counts and latencies of the tasks that were given to a demo.

use super::names;
use api::{DemoBatch, DemoLatency, DemoTask, DemoTasks};
use engine::task::TaskStatus;
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The outcome of many tasks.
#[derive(Debug)]
pub(super) struct Tally {
    completed: u64,
    failed: u64,
    pub(super) resubmitted: u64,
    latencies: Histogram<u64>,
    /// Completed tasks of each node.
    workers: BTreeMap<u32, u64>,
}

/// All tasks that were given to a demo.
#[derive(Debug)]
pub(super) struct Total {
    pub(super) tally: Tally,
    submitted: u64,
    /// Tasks that wait for a running node.
    pub(super) waiting: u64,
    /// The newest is at the front.
    last: VecDeque<DemoTask>,
}

impl Tally {
    pub(super) fn new() -> Self {
        // The bounds are constants, and two digits are within what the type allows.
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 2)
            .unwrap_or_else(|error| unreachable!("the bounds are valid: {error}"));
        Self { completed: 0, failed: 0, resubmitted: 0, latencies, workers: BTreeMap::new() }
    }

    /// Counts a task that has ended; `worker` ran it.
    pub(super) fn end(&mut self, task: &DemoTask, worker: Option<u32>) {
        if task.status == TaskStatus::Completed {
            self.completed += 1;
            self.latencies.saturating_record(task.elapsed_us.max(1));
            if let Some(worker) = worker {
                *self.workers.entry(worker).or_default() += 1;
            }
        } else {
            self.failed += 1;
        }
    }

    /// Returns the figures of one batch, which took `elapsed`.
    pub(super) fn batch(&self, elapsed: Duration) -> DemoBatch {
        DemoBatch {
            completed: self.completed,
            failed: self.failed,
            resubmitted: self.resubmitted,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            latency_us: self.latency(),
            workers: self.workers_by_name(),
        }
    }

    fn latency(&self) -> Option<DemoLatency> {
        let at = |quantile| self.latencies.value_at_quantile(quantile);
        let latency = || DemoLatency { median: at(0.5), p99: at(0.99), max: self.latencies.max() };
        (!self.latencies.is_empty()).then(latency)
    }

    fn workers_by_name(&self) -> BTreeMap<String, u64> {
        self.workers.iter().map(|(node, count)| (names::name(*node), *count)).collect()
    }
}

impl Total {
    pub(super) fn new() -> Self {
        Self { tally: Tally::new(), submitted: 0, waiting: 0, last: VecDeque::new() }
    }

    /// Counts a task that begins.
    pub(super) const fn begin(&mut self) {
        self.submitted += 1;
    }

    /// Forgets a task that has begun: its client left before it ended.
    pub(super) const fn cancel(&mut self) {
        self.submitted = self.submitted.saturating_sub(1);
    }

    /// Counts a task that has ended; `worker` ran it.
    pub(super) fn end(&mut self, task: &DemoTask, worker: Option<u32>) {
        self.tally.end(task, worker);
        self.last.truncate(LAST_MAX - 1);
        self.last.push_front(task.clone());
    }

    /// Returns how many tasks a node has completed.
    pub(super) fn of_worker(&self, node: u32) -> u64 {
        self.tally.workers.get(&node).copied().unwrap_or_default()
    }

    /// Returns all figures.
    pub(super) fn tasks(&self) -> DemoTasks {
        DemoTasks {
            submitted: self.submitted,
            completed: self.tally.completed,
            failed: self.tally.failed,
            resubmitted: self.tally.resubmitted,
            waiting: self.waiting,
            latency_us: self.tally.latency(),
            workers: self.tally.workers_by_name(),
            last: self.last.iter().cloned().collect(),
        }
    }
}

/// The longest latency that is told apart: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Tasks that are listed.
const LAST_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::task::TaskKind;

    #[test]
    fn tasks_are_counted_and_the_last_are_kept() {
        let mut total = Total::new();
        assert_eq!(total.tasks().latency_us, None);
        let task = |status, elapsed_us| DemoTask {
            id: None,
            kind: TaskKind::Embedding,
            status,
            origin: "amber".to_owned(),
            worker: Some("birch".to_owned()),
            elapsed_us,
            output_preview: String::new(),
            error: None,
        };
        for micros in 1..=200 {
            total.begin();
            total.end(&task(TaskStatus::Completed, micros * 1_000), Some(1));
        }
        total.begin();
        total.end(&task(TaskStatus::Timeout, 0), None);
        let tasks = total.tasks();
        assert_eq!((tasks.submitted, tasks.completed, tasks.failed), (201, 200, 1));
        assert_eq!((tasks.last.len(), tasks.last[0].status), (LAST_MAX, TaskStatus::Timeout));
        assert_eq!(tasks.workers, BTreeMap::from([("birch".to_owned(), 200)]));
        let DemoLatency { median, p99, max } = tasks.latency_us.unwrap();
        assert!(median.abs_diff(100_000) < 2_000 && p99.abs_diff(198_000) < 4_000 && max >= 198_000);
        total.begin();
        total.cancel();
        assert_eq!(total.tasks().submitted, 201);
        assert_eq!(total.of_worker(0), 0);
        assert_eq!(total.tally.batch(Duration::from_secs(1)).elapsed_ms, 1_000);
    }
}
