//! Runs the tasks of one request on the nodes of a demo.
//!
//! Each running node takes its turn as the origin of a task; the nodes themselves decide which of them runs it. If an
//! origin stops, its task is submitted to another one. While no node runs, tasks wait.

use super::backend::{Backend, RunError};
use super::control::Refusal;
use super::names;
use super::tally::{Tally, Total};
use crate::commands::sample_task;
use api::{DemoTask, DemoTaskLine, NewDemoTasks, NewTask, Task};
use engine::task::TaskStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The tasks of one request.
pub(super) struct Batch<B> {
    pub(super) backend: Arc<B>,
    /// Counts the tasks of all requests.
    pub(super) total: Arc<Mutex<Total>>,
    /// Whether the demo has stopped.
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) tasks: NewDemoTasks,
    /// The node that accepts all of them.
    pub(super) node: Option<u32>,
    pub(super) lines: mpsc::Sender<DemoTaskLine>,
}

impl<B: Backend> Batch<B> {
    /// Runs the tasks. Ends early if the client is gone, or the demo has stopped.
    pub(super) async fn run(self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            // Without a sender, the demo is gone.
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = self.run_all() => {}
        }
    }

    async fn run_all(self) {
        let begun = Instant::now();
        let shared = Arc::new(Shared {
            backend: self.backend,
            total: self.total,
            own: Mutex::new(Tally::new()),
            waits: AtomicBool::new(false),
            lines: self.lines.clone(),
        });
        let mut in_flight = JoinSet::new();
        let mut next = 0;
        let mut look = tokio::time::interval(WAIT_REPORT_INTERVAL);
        while next < self.tasks.count || !in_flight.is_empty() {
            while next < self.tasks.count && in_flight.len() < IN_FLIGHT_MAX {
                let task = sample_task::new(
                    self.tasks.kind,
                    self.tasks.input.clone().unwrap_or_else(|| sample_task::text(next)),
                    self.tasks.model.clone(),
                );
                let (shared, node, turn) = (Arc::clone(&shared), self.node, next);
                in_flight.spawn(async move { shared.run_one(&task, node, turn).await });
                next += 1;
            }
            tokio::select! {
                biased;
                // Dropping the set ends the tasks that are under way.
                () = self.lines.closed() => return,
                // A stream without a line counts as broken.
                _ = look.tick() => {
                    if shared.waits.load(Ordering::Relaxed) {
                        shared.report_wait(self.node).await;
                    }
                }
                ended = in_flight.join_next() => match ended {
                    Some(Ok(task)) => drop(self.lines.send(DemoTaskLine::Task(task)).await),
                    Some(Err(error)) => tracing::error!(%error, "a task of the demo failed"),
                    None => {}
                },
            }
        }
        let done = lock(&shared.own).batch(begun.elapsed());
        // The client may be gone.
        let _ = self.lines.send(DemoTaskLine::Done(done)).await;
    }
}

/// What the tasks of one request share.
struct Shared<B> {
    backend: Arc<B>,
    total: Arc<Mutex<Total>>,
    own: Mutex<Tally>,
    /// Whether the client knows that tasks wait.
    waits: AtomicBool,
    lines: mpsc::Sender<DemoTaskLine>,
}

impl<B: Backend> Shared<B> {
    async fn run_one(&self, task: &NewTask, node: Option<u32>, turn: u32) -> DemoTask {
        let begun = Instant::now();
        let under_way = UnderWay::begin(&self.total);
        let (origin, outcome) = self.outcome(task, node, turn).await;
        let elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut ended = DemoTask {
            id: None,
            kind: task.kind,
            status: TaskStatus::Failed,
            origin: names::name(origin),
            worker: None,
            elapsed_us,
            output_preview: String::new(),
            error: None,
        };
        let mut worker = None;
        match outcome {
            Ok(task) => {
                worker = task.worker.and_then(|id| self.backend.index_of(id));
                ended.id = Some(task.id);
                ended.status = task.status;
                ended.worker = worker.map(names::name);
                if let Some(result) = task.result {
                    ended.output_preview = result.output_preview;
                    ended.error = result.error;
                }
            }
            Err(detail) => ended.error = Some(detail),
        }
        lock(&self.total).end(&ended, worker);
        lock(&self.own).end(&ended, worker);
        under_way.end();
        ended
    }

    /// Submits a task until a node has run it or rejected it. Returns the last origin, too.
    async fn outcome(
        &self,
        task: &NewTask,
        node: Option<u32>,
        mut turn: u32,
    ) -> (u32, Result<Task, api::ErrorDetail>) {
        let mut changes = self.backend.changes();
        loop {
            changes.borrow_and_update();
            let Some(origin) = self.choose(node, turn) else {
                let _waiting = Waiting::begin(self);
                self.explain_wait(node).await;
                if changes.changed().await.is_err() {
                    // No node will run any more.
                    return (node.unwrap_or_default(), Err(Refusal::Stopping.into()));
                }
                continue;
            };
            self.waits.store(false, Ordering::Relaxed);
            match self.backend.run(origin, task).await {
                Ok(task) => return (origin, Ok(task)),
                Err(RunError::Busy(pause)) => tokio::time::sleep(pause.min(BUSY_PAUSE_MAX)).await,
                Err(RunError::Rejected(detail)) => return (origin, Err(detail)),
                Err(RunError::Stopped) => {
                    lock(&self.total).tally.resubmitted += 1;
                    lock(&self.own).resubmitted += 1;
                    turn = turn.wrapping_add(1);
                    // The backend may learn of the stop a little later.
                    tokio::time::sleep(STOPPED_PAUSE).await;
                }
            }
        }
    }

    /// Returns the running node whose turn it is, or the wanted one if it runs.
    fn choose(&self, wanted: Option<u32>, turn: u32) -> Option<u32> {
        let mut running = self.backend.running();
        running.retain(|node| wanted.is_none_or(|wanted| wanted == *node));
        let count = u32::try_from(running.len()).ok().filter(|count| *count > 0)?;
        running.get(usize::try_from(turn % count).ok()?).copied()
    }

    /// Tells the client why tasks wait, unless it knows.
    async fn explain_wait(&self, wanted: Option<u32>) {
        if !self.waits.swap(true, Ordering::Relaxed) {
            self.report_wait(wanted).await;
        }
    }

    async fn report_wait(&self, wanted: Option<u32>) {
        let who = wanted.map_or_else(
            || "all nodes are stopped".to_owned(),
            |node| format!("{} is stopped", names::name(node)),
        );
        let reason = format!("{who}; the tasks wait in the demo until p2p-ai-agents demo heal");
        // The client may be gone.
        let _ = self.lines.send(DemoTaskLine::Waiting { reason }).await;
    }
}

/// Counts a task, and forgets it again if it is dropped before its end.
struct UnderWay<'a>(Option<&'a Mutex<Total>>);

impl<'a> UnderWay<'a> {
    fn begin(total: &'a Mutex<Total>) -> Self {
        lock(total).begin();
        Self(Some(total))
    }

    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(total) = self.0 {
            lock(total).cancel();
        }
    }
}

/// Counts a waiting task while it waits.
struct Waiting<'a>(&'a Mutex<Total>);

impl<'a> Waiting<'a> {
    fn begin<B>(shared: &'a Shared<B>) -> Self {
        lock(&shared.total).waiting += 1;
        Self(&shared.total)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(self.0).waiting -= 1;
    }
}

pub(super) fn lock<T>(counts: &Mutex<T>) -> MutexGuard<'_, T> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tasks under way at once, less than the queue of one node.
const IN_FLIGHT_MAX: usize = 128;
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Shorter than the time after which the command line gives a silent stream up.
const WAIT_REPORT_INTERVAL: Duration = Duration::from_secs(15);
const STOPPED_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::demo::backend::testing::Stopped;
    use engine::task::TaskKind;
    use tokio::time::timeout;

    fn start(
        changes: Option<watch::Sender<u64>>,
        stopped: &watch::Sender<bool>,
    ) -> (mpsc::Receiver<DemoTaskLine>, Arc<Mutex<Total>>) {
        let (lines, inbox) = mpsc::channel(8);
        let (backend, total) = (Arc::new(Stopped(changes)), Arc::new(Mutex::new(Total::new())));
        let tasks =
            NewDemoTasks { count: 2, kind: TaskKind::Embedding, input: None, node: None, model: None };
        let (stopped, counted) = (stopped.subscribe(), Arc::clone(&total));
        tokio::spawn(Batch { backend, total, stopped, tasks, node: None, lines }.run());
        (inbox, counted)
    }

    async fn next(lines: &mut mpsc::Receiver<DemoTaskLine>) -> Option<DemoTaskLine> {
        timeout(Duration::from_secs(10), lines.recv()).await.expect("the tasks still wait")
    }

    #[tokio::test]
    async fn waiting_tasks_end_with_the_demo() {
        let stopped = watch::Sender::new(false);
        let (mut lines, total) = start(Some(watch::Sender::new(0)), &stopped);
        assert!(matches!(next(&mut lines).await, Some(DemoTaskLine::Waiting { .. })));
        stopped.send_replace(true);
        assert_eq!(next(&mut lines).await, None, "the last line is missing");
        let tasks = lock(&total).tasks();
        assert_eq!((tasks.submitted, tasks.waiting), (0, 0));
    }

    #[tokio::test]
    async fn tasks_fail_if_no_node_will_run_any_more() {
        let stopped = watch::Sender::new(false);
        let (mut lines, _) = start(None, &stopped);
        let mut codes = Vec::new();
        let done = loop {
            match next(&mut lines).await {
                Some(DemoTaskLine::Task(task)) => codes.push(task.error.unwrap().code),
                Some(DemoTaskLine::Waiting { .. }) => {}
                Some(DemoTaskLine::Done(done)) => break done,
                None => panic!("no last line"),
            }
        };
        assert_eq!((codes, done.failed), (vec!["demo_not_running".to_owned(); 2], 2));
    }
}
