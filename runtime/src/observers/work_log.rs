//! Summaries of what a node runs, for its log: for which node it works, since when, and how much it has done.
//!
//! A line for each task would fill the log. So there is a line when work for an origin starts and one when none is left,
//! each at most once a minute for an origin. The second counts all tasks since the one before.

use engine::event::AttemptEnding;
use engine::task::TaskKind;
use engine::{Event, Instant, NodeId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What to log about the work for an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WorkLine {
    /// The last running task of the origin has ended.
    Finished {
        /// The origin.
        origin: NodeId,
        /// Tasks that ended since the last such line.
        tasks: u64,
        /// How many of them have no output.
        failed: u64,
        /// Time since the first of them started.
        elapsed: Duration,
    },
    /// A task of the origin runs, and none did before.
    Started {
        /// The origin.
        origin: NodeId,
        /// The kind of the task.
        kind: TaskKind,
        /// The model's name.
        model: String,
    },
}

/// The work of a node, by origin.
#[derive(Debug, Default)]
pub(super) struct WorkLog {
    origins: BTreeMap<NodeId, OriginLog>,
}

#[derive(Debug, Default)]
struct OriginLog {
    running: BTreeSet<TaskId>,
    tasks: u64,
    failed: u64,
    /// The start of the first task that is counted.
    since: Option<Instant>,
    started_at: Option<Instant>,
    finished_at: Option<Instant>,
}

impl WorkLog {
    /// Handles an event. Returns what to log, if anything.
    pub(super) fn handle_event(&mut self, now: Instant, event: &Event) -> Option<WorkLine> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these events are about the work of a node")]
        match event {
            Event::TaskStarted { task, origin, kind, model, .. } => {
                let log = self.origin(*origin)?;
                log.since.get_or_insert(now);
                let idle = log.running.is_empty();
                // The worker holds few attempts at a time.
                log.running.insert(*task);
                let is_due = idle && log.started_at.is_none_or(|at| now.since(at) >= INTERVAL);
                is_due.then(|| {
                    log.started_at = Some(now);
                    WorkLine::Started { origin: *origin, kind: *kind, model: model.clone() }
                })
            }
            Event::AttemptEnded(end) => {
                let log = self.origins.get_mut(&end.origin)?;
                if !log.running.remove(&end.task) {
                    return None;
                }
                log.tasks += 1;
                log.failed += u64::from(end.ending != AttemptEnding::Completed);
                let is_due = log.finished_at.is_none_or(|at| now.since(at) >= INTERVAL);
                if !log.running.is_empty() || !is_due {
                    return None;
                }
                let elapsed = log.since.take().map_or(Duration::ZERO, |since| now.since(since));
                let (tasks, failed) = (std::mem::take(&mut log.tasks), std::mem::take(&mut log.failed));
                log.finished_at = Some(now);
                Some(WorkLine::Finished { origin: end.origin, tasks, failed, elapsed })
            }
            _ => None,
        }
    }

    /// Returns the log of an origin. An idle origin makes room for a new one; without one, the new one is not logged.
    fn origin(&mut self, origin: NodeId) -> Option<&mut OriginLog> {
        if self.origins.len() >= ORIGINS_MAX && !self.origins.contains_key(&origin) {
            let idle = self.origins.iter().find(|(_, log)| log.running.is_empty()).map(|(id, _)| *id)?;
            self.origins.remove(&idle);
        }
        Some(self.origins.entry(origin).or_default())
    }
}

/// The shortest time between two lines of one kind about an origin.
const INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of origins to remember.
const ORIGINS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::TraceContext;
    use engine::event::AttemptEnd;

    const ORIGIN: NodeId = NodeId([7; 16]);

    fn started(task: u8) -> Event {
        Event::TaskStarted {
            task: TaskId([task; 16]),
            origin: ORIGIN,
            attempt: 1,
            kind: TaskKind::Embedding,
            model: "m".to_owned(),
            queued_micros: 1,
            batch: 1,
            trace: TraceContext::NONE,
        }
    }

    fn ended(task: u8, ending: AttemptEnding) -> Event {
        Event::AttemptEnded(Box::new(AttemptEnd {
            task: TaskId([task; 16]),
            attempt: 1,
            origin: ORIGIN,
            kind: TaskKind::Embedding,
            model: "m".to_owned(),
            ending,
            queued_micros: 1,
            run_micros: Some(1),
            compute_micros: 1,
            batch: 1,
            input_tokens: 1,
            output_tokens: 0,
            first_token_micros: None,
            trace: TraceContext::NONE,
        }))
    }

    #[test]
    fn work_for_an_origin_has_a_line_at_its_start_and_its_end() {
        let mut log = WorkLog::default();
        let mut at =
            |seconds: u64, event: &Event| log.handle_event(Instant::from_micros(seconds * 1_000_000), event);
        let (kind, model) = (TaskKind::Embedding, "m".to_owned());
        assert_eq!(at(0, &started(1)), Some(WorkLine::Started { origin: ORIGIN, kind, model }));
        assert_eq!(at(1, &started(2)), None);
        // The origin lost track and assigned the task again.
        assert_eq!(at(2, &started(2)), None);
        assert_eq!(at(3, &ended(1, AttemptEnding::Completed)), None);
        let finished = at(4, &ended(2, AttemptEnding::Crashed));
        let elapsed = Duration::from_secs(4);
        assert_eq!(finished, Some(WorkLine::Finished { origin: ORIGIN, tasks: 2, failed: 1, elapsed }));
        assert_eq!(at(5, &ended(9, AttemptEnding::Expired)), None, "it never started");
    }

    #[test]
    fn many_short_tasks_have_few_lines_and_are_all_counted() {
        let mut log = WorkLog::default();
        let mut lines = Vec::new();
        for second in 0..=120 {
            let now = Instant::from_micros(second * 1_000_000);
            lines.extend(log.handle_event(now, &started(1)));
            lines.extend(log.handle_event(now, &ended(1, AttemptEnding::Completed)));
        }
        let tasks: u64 = lines
            .iter()
            .map(|line| match line {
                WorkLine::Finished { tasks, .. } => *tasks,
                WorkLine::Started { .. } => 0,
            })
            .sum();
        assert_eq!((lines.len(), tasks), (6, 121));
    }
}
