//! The counts and latencies of a stress test.

use crate::error::Failure;
use crate::output;
use engine::NodeId;
use engine::task::TaskStatus;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// The result of a stress test.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Whether Ctrl-C ended it.
    pub(super) interrupted: bool,
    /// How long tasks were submitted.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    pub(super) elapsed: Duration,
    /// The rate that was asked for, in tasks a second.
    task_rate: u32,
    /// Tasks that were sent to the node.
    pub(super) submitted: u64,
    /// Tasks that were due and not sent, because too many were in flight or the node asked for a pause.
    pub(super) held_back: u64,
    /// Tasks that the node refused with 429.
    #[serde(rename = "refused_429")]
    pub(super) refused_busy: u64,
    completed: u64,
    failed: u64,
    timed_out: u64,
    cancelled: u64,
    /// Requests that the node refused otherwise or did not answer.
    pub(super) errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_error: Option<String>,
    /// Tasks without an outcome at the end.
    pub(super) unfinished: u64,
    /// Latencies of completed tasks, from the time at which each was due.
    #[serde(rename = "latency_us", serialize_with = "percentiles")]
    pub(super) latencies: Histogram<u64>,
    /// Completed tasks of each node.
    workers: BTreeMap<NodeId, u64>,
}

/// The percentiles that are shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Percentiles {
    least: u64,
    median: u64,
    p90: u64,
    p99: u64,
    most: u64,
}

impl Summary {
    pub(super) fn new(task_rate: u32) -> Self {
        // The bounds are constants, and two digits are within what the type allows.
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 2)
            .unwrap_or_else(|error| unreachable!("the bounds are valid: {error}"));
        Self {
            interrupted: false,
            elapsed: Duration::ZERO,
            task_rate,
            submitted: 0,
            held_back: 0,
            refused_busy: 0,
            completed: 0,
            failed: 0,
            timed_out: 0,
            cancelled: 0,
            errors: 0,
            last_error: None,
            unfinished: 0,
            latencies,
            workers: BTreeMap::new(),
        }
    }

    /// Counts a task with an outcome.
    pub(super) fn count(&mut self, status: TaskStatus, worker: Option<NodeId>, latency: Duration) {
        match status {
            TaskStatus::Completed => {
                self.completed += 1;
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                self.latencies.saturating_record(micros.max(1));
                if let Some(worker) = worker {
                    *self.workers.entry(worker).or_default() += 1;
                }
            }
            TaskStatus::Timeout => self.timed_out += 1,
            TaskStatus::Cancelled => self.cancelled += 1,
            TaskStatus::Failed | TaskStatus::Queued | TaskStatus::Running => self.failed += 1,
        }
    }

    /// Tells whether tasks were completed and all others were only held back or refused for now.
    pub(super) fn is_good(&self) -> bool {
        self.completed > 0 && self.failed + self.timed_out + self.errors + self.unfinished == 0
    }

    /// Returns the state in one line.
    pub(super) fn line(&self, elapsed: Duration, in_flight: usize) -> String {
        let Percentiles { median, p99, .. } = Percentiles::of(&self.latencies);
        format!(
            "{} completed ({:.0}/s), {in_flight} in flight, {} held back, median {}, p99 {}",
            self.completed,
            self.rate(elapsed),
            self.held_back,
            output::micros(median),
            output::micros(p99)
        )
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        let Percentiles { least, median, p90, p99, most } = Percentiles::of(&self.latencies);
        let [least, median, p90, p99, most] = [least, median, p90, p99, most].map(output::micros);
        let mut rows = vec![
            ("Duration", output::duration(u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX))),
            ("Submitted", format!("{} ({} a second wanted)", self.submitted, self.task_rate)),
            ("Held back", self.held_back.to_string()),
            ("Refused (429)", self.refused_busy.to_string()),
            ("Completed", format!("{} ({:.1} a second)", self.completed, self.rate(self.elapsed))),
            (
                "Failed",
                format!("{}, {} timed out, {} cancelled", self.failed, self.timed_out, self.cancelled),
            ),
        ];
        if self.errors > 0 {
            let last = self.last_error.as_deref().unwrap_or_default();
            rows.push(("Errors", format!("{}, the last: {last}", self.errors)));
        }
        if self.unfinished > 0 {
            rows.push(("Unfinished", self.unfinished.to_string()));
        }
        if !self.latencies.is_empty() {
            let latency = format!("least {least}, median {median}, p90 {p90}, p99 {p99}, most {most}");
            rows.push(("Latency", latency));
        }
        rows.extend(
            self.workers.iter().map(|(worker, count)| ("Worker", format!("{worker} ({count} tasks)"))),
        );
        output::properties(&rows)
    }

    fn rate(&self, elapsed: Duration) -> f64 {
        if elapsed.is_zero() { 0.0 } else { self.completed as f64 / elapsed.as_secs_f64() }
    }
}

impl Percentiles {
    fn of(latencies: &Histogram<u64>) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile);
        let least = if latencies.is_empty() { 0 } else { latencies.min() };
        Self { least, median: at(0.5), p90: at(0.9), p99: at(0.99), most: latencies.max() }
    }
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn percentiles<S: Serializer>(latencies: &Histogram<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    Percentiles::of(latencies).serialize(serializer)
}

/// The longest latency that is told apart: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_completed_tasks_only() {
        let mut summary = Summary::new(10);
        assert!(!summary.is_good(), "nothing was completed");
        for millis in 1..=100 {
            summary.count(TaskStatus::Completed, Some(NodeId([1; 16])), Duration::from_millis(millis));
        }
        assert!(summary.is_good());
        summary.count(TaskStatus::Failed, None, Duration::from_secs(99));
        assert!(!summary.is_good());
        let found = Percentiles::of(&summary.latencies);
        assert_eq!(found.least / 1000, 1, "{found:?}");
        for (value, wanted) in [(found.median, 50), (found.p90, 90), (found.p99, 99), (found.most, 100)] {
            assert!((value / 1000).abs_diff(wanted) <= 1, "{found:?}");
        }
        summary.count(TaskStatus::Completed, None, Duration::from_secs(9_999));
        assert!(Percentiles::of(&summary.latencies).most >= LATENCY_US_MAX, "it is not lost");
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!((json["completed"].as_u64(), json["failed"].as_u64()), (Some(101), Some(1)));
        assert!(json["latency_us"]["p99"].is_u64());
    }
}
