//! The inference port backed by one worker process, and the task that supervises it.
//!
//! Jobs wait here and are handed to the worker a few at a time, so that it can batch them and a crash loses few.
//!
//! The invariants:
//! - Each started job ends exactly once, whatever the worker does.
//! - All queues on this side are bounded.
//! - A worker that exits, is killed or hangs is restarted, with an exponential backoff while it does nothing useful.

use super::child::{Child, Report};
use super::protocol::{FromWorker, JobResult, ToWorker};
use super::worker_options::{WORKER_JOBS_MAX, WorkerOptions};
use crate::cgroup;
use crate::ports::{Inference, InferenceEvent};
use crate::profile::Samples;
use engine::ids::JobId;
use engine::input::ModelState;
use engine::output::InferenceJob;
use engine::task::{EmbeddingInput, Reranking, TaskKind};
use engine::{Fingerprint, InferenceError};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// The inference port, backed by one worker process. Dropping it kills the worker.
#[derive(Debug)]
pub struct ProcessInference {
    model: String,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<InferenceEvent>,
    /// The jobs that have not ended, and whether each was cancelled.
    open: BTreeMap<JobId, bool>,
    /// Results of jobs that were rejected before they reached the worker.
    rejected: VecDeque<InferenceEvent>,
    worker: watch::Receiver<WorkerState>,
}

/// The state of a worker, published to the pool.
#[derive(Debug, Default)]
struct WorkerState {
    pid: Option<u32>,
    /// The reason, if its model is unusable.
    unusable: Option<String>,
    /// Whether the files of its model have changed.
    changed: bool,
}

#[derive(Debug)]
enum Command {
    Cancel(JobId),
    Profile(ProfileOrder),
    Start(JobId, InferenceJob),
}

/// An order to profile a worker.
#[derive(Debug)]
pub(super) struct ProfileOrder {
    /// Completes, or is dropped, when the profile ends.
    pub(super) end: oneshot::Receiver<()>,
    /// Gets the profile. It is dropped if there is none.
    pub(super) samples: oneshot::Sender<Samples>,
}

impl ProcessInference {
    /// Starts a worker without waiting for it. Must be called inside a tokio runtime.
    pub fn start(options: WorkerOptions) -> Self {
        // Each job is started and cancelled at most once, so the channel has room for all, and for profiles.
        let (commands, to_supervisor) = mpsc::channel(2 * JOBS_MAX + PROFILES_MAX);
        let (to_driver, events) = mpsc::channel(EVENTS_MAX);
        let (worker_state, worker) = watch::channel(WorkerState::default());
        let model = options.model.clone();
        let supervisor = Supervisor {
            options,
            commands: to_supervisor,
            events: to_driver,
            worker_state,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            announced: None,
            unusable: None,
            failures: 0,
            load_failures: 0,
            suspects: 0,
            profile: None,
        };
        tokio::spawn(supervisor.run());
        Self { model, commands, events, open: BTreeMap::new(), rejected: VecDeque::new(), worker }
    }

    /// Makes a port without a worker: every job ends at once with an error.
    pub fn absent() -> Self {
        let ((commands, _), (_, events)) = (mpsc::channel(1), mpsc::channel(1));
        let (_, worker) = watch::channel(WorkerState::default());
        let (open, rejected) = (BTreeMap::new(), VecDeque::new());
        Self { model: String::new(), commands, events, open, rejected, worker }
    }

    /// Returns the process id of the worker, if one runs.
    pub fn worker_pid(&self) -> Option<u32> {
        self.worker.borrow().pid
    }

    /// Returns the reason, if the model is unusable.
    pub(super) fn unusable(&self) -> Option<String> {
        self.worker.borrow().unusable.clone()
    }

    /// Tells whether the files of the model have changed since it was loaded.
    pub(super) fn is_outdated(&self) -> bool {
        self.worker.borrow().changed
    }

    /// Tells whether all jobs have ended.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.rejected.is_empty()
    }

    /// Starts a profile of the worker. The order is dropped if no worker runs.
    pub(super) fn profile(&self, order: ProfileOrder) {
        let _ = self.commands.try_send(Command::Profile(order));
    }

    /// Polls for the next event.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<InferenceEvent> {
        if let Some(event) = self.rejected.pop_front() {
            return Poll::Ready(event);
        }
        match self.events.poll_recv(cx) {
            Poll::Ready(Some(event)) => {
                if let InferenceEvent::Done { job, .. } = &event {
                    self.open.remove(job);
                }
                Poll::Ready(event)
            }
            // The supervisor is gone: there are no more events.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn reject(&mut self, job: JobId, reason: String) {
        let result = Err(InferenceError::ModelFailed(reason.into()));
        self.rejected.push_back(InferenceEvent::Done { job, micros: 0, result });
    }
}

impl Inference for ProcessInference {
    fn start(&mut self, job: JobId, model: String, _: Fingerprint, work: InferenceJob) {
        if self.open.contains_key(&job) {
            tracing::error!(component = "inference", ?job, "a job was started twice");
            return;
        }
        if model != self.model {
            return self
                .reject(job, format!("no model named {model:?} here; this node runs {:?}", self.model));
        }
        let bytes = bytes_of(&work);
        if work.parts() > JOB_TEXTS_MAX || bytes > JOB_BYTES_MAX {
            let limits = format!("at most {JOB_TEXTS_MAX} texts and {JOB_BYTES_MAX} bytes fit one job");
            return self.reject(job, format!("{} texts of {bytes} bytes; {limits}", work.parts()));
        }
        if self.open.len() >= JOBS_MAX {
            return self.reject(job, format!("{JOBS_MAX} jobs wait already"));
        }
        if self.commands.try_send(Command::Start(job, work)).is_ok() {
            self.open.insert(job, false);
        } else {
            self.reject(job, "the worker's supervisor is gone".to_owned());
        }
    }

    fn cancel(&mut self, job: JobId) {
        if let Some(cancelled @ false) = self.open.get_mut(&job) {
            *cancelled = true;
            // The supervisor is gone: there is nothing left to cancel.
            let _ = self.commands.try_send(Command::Cancel(job));
        }
    }

    async fn next(&mut self) -> InferenceEvent {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// Runs one worker after another.
struct Supervisor {
    options: WorkerOptions,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<InferenceEvent>,
    worker_state: watch::Sender<WorkerState>,
    waiting: VecDeque<(JobId, InferenceJob)>,
    /// The jobs that the worker has.
    running: BTreeMap<JobId, Running>,
    /// The last announced state of the model.
    announced: Option<ModelState>,
    /// The reason, if the model cannot be loaded. Jobs then fail with it instead of waiting.
    unusable: Option<String>,
    /// Consecutive workers that ended without having finished a job.
    failures: u32,
    /// Consecutive workers that ended without having loaded the model.
    load_failures: u32,
    /// Jobs to run one at a time, because one of them may have crashed a worker. If it does so again, it takes no other
    /// job with it.
    suspects: usize,
    /// The profile of the worker that is being taken.
    profile: Option<Profiling>,
}

struct Profiling {
    /// Taken once it has ended and the samples are expected.
    end: Option<oneshot::Receiver<()>>,
    samples: oneshot::Sender<Samples>,
}

struct Running {
    items: usize,
    /// When to kill the worker if the cancelled job has not ended.
    overdue_at: Option<Instant>,
}

/// The driver dropped its end of the channels.
struct Abandoned;

/// How a worker ended.
enum WorkerEnd {
    /// The files of its model have changed.
    Changed,
    /// The worker exited or was killed; the reason.
    Ended(String),
    /// The worker could not load its model; the reason.
    NotLoaded(String),
    /// The kernel killed the worker because memory ran out; whose memory.
    OutOfMemory(String),
}

impl Supervisor {
    async fn run(mut self) {
        // Ends only when the driver is gone. Dropping `self` kills the worker.
        let Err(Abandoned) = self.watch().await;
    }

    async fn watch(&mut self) -> Result<std::convert::Infallible, Abandoned> {
        loop {
            let oom_kills_before = cgroup::oom_kills();
            let end = match Child::spawn(&self.options) {
                Ok(mut child) => {
                    self.worker_state.send_modify(|state| state.pid = child.pid());
                    let end = self.serve(&mut child).await;
                    self.worker_state.send_modify(|state| state.pid = None);
                    match (end?, child.kill().await) {
                        (WorkerEnd::Ended(_), Some(status))
                            if status.signal() == Some(Signal::SIGKILL as i32)
                                && cgroup::oom_kills() > oom_kills_before =>
                        {
                            WorkerEnd::OutOfMemory(out_of_memory())
                        }
                        (WorkerEnd::Ended(reason), Some(status)) => {
                            WorkerEnd::Ended(format!("{reason} ({status})"))
                        }
                        (end, _) => end,
                    }
                }
                Err(error) => {
                    let program = self.options.program.display();
                    WorkerEnd::NotLoaded(format!("the worker process {program} cannot be started: {error}"))
                }
            };
            self.handle_end(end).await?;
            self.back_off().await?;
        }
    }

    /// Serves one worker until it ends.
    async fn serve(&mut self, child: &mut Child) -> Result<WorkerEnd, Abandoned> {
        let load_by = Instant::now() + LOAD_TIMEOUT;
        let mut ready = false;
        loop {
            if ready {
                self.dispatch_waiting(child);
            }
            let overdue_at = self.running.values().filter_map(|running| running.overdue_at).min();
            let kill_at = if ready { overdue_at } else { Some(load_by) };
            tokio::select! {
                biased;
                report = child.next() => match report {
                    Report::Message(FromWorker::Ready { kinds }) if kinds == self.options.kinds => {
                        ready = true;
                        self.load_failures = 0;
                        self.set_unusable(None);
                        self.announce(ModelState::Ready).await?;
                    }
                    Report::Message(FromWorker::Ready { kinds }) => {
                        let (found, expected) = (in_words(&kinds), in_words(&self.options.kinds));
                        let reason = format!("{} does {found}, not {expected}", self.options.model);
                        return Ok(WorkerEnd::NotLoaded(reason));
                    }
                    Report::Message(FromWorker::Changed) => return Ok(WorkerEnd::Changed),
                    Report::Message(FromWorker::Failed { reason }) => return Ok(WorkerEnd::NotLoaded(reason)),
                    Report::Message(FromWorker::Done { job, micros, result }) => {
                        self.finish_job(job, micros, result).await?;
                    }
                    Report::Message(FromWorker::Progress { job, text, tokens }) => {
                        if self.running.contains_key(&job) {
                            self.report(InferenceEvent::Progress { job, text, tokens }).await?;
                        }
                    }
                    Report::Message(FromWorker::Profile { samples }) => self.handle_samples(samples),
                    Report::Ended(reason) => return Ok(WorkerEnd::Ended(reason)),
                },
                command = self.commands.recv() => {
                    if let Some(message) = self.handle_command(command.ok_or(Abandoned)?).await? {
                        child.say(&message);
                    }
                }
                () = profile_end(&mut self.profile) => child.say(&ToWorker::Profile { on: false }),
                () = wait_until(kill_at) => {
                    let reason = if ready { "a cancelled job did not stop" } else { "loading took too long" };
                    return Ok(WorkerEnd::Ended(format!("killed: {reason}")));
                }
            }
        }
    }

    /// Sends waiting jobs to the worker, up to its limit.
    fn dispatch_waiting(&mut self, child: &Child) {
        let window = if self.suspects > 0 { 1 } else { WORKER_JOBS_MAX };
        while self.running.len() < window {
            let Some((job, work)) = self.waiting.pop_front() else { return };
            self.running.insert(job, Running { items: work.len(), overdue_at: None });
            child.say(&ToWorker::Start { job, work });
        }
    }

    /// Handles a command. Returns the message for the worker, if any.
    async fn handle_command(&mut self, command: Command) -> Result<Option<ToWorker>, Abandoned> {
        match command {
            Command::Cancel(job) => {
                if let Some(running) = self.running.get_mut(&job) {
                    running.overdue_at = Some(Instant::now() + CANCEL_GRACE);
                    return Ok(Some(ToWorker::Cancel { job }));
                }
                if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == job) {
                    self.waiting.remove(at);
                    self.done(job, 0, Err(InferenceError::Cancelled)).await?;
                }
            }
            // The samples of an earlier one are still on their way. They must not be taken for those of this one.
            Command::Profile(_) if self.profile.is_some() => {}
            Command::Profile(ProfileOrder { end, samples }) => {
                self.profile = Some(Profiling { end: Some(end), samples });
                return Ok(Some(ToWorker::Profile { on: true }));
            }
            Command::Start(job, work) => match &self.unusable {
                Some(reason) => {
                    let result = Err(InferenceError::ModelFailed(reason.clone().into()));
                    self.done(job, 0, result).await?;
                }
                None => self.waiting.push_back((job, work)),
            },
        }
        Ok(None)
    }

    /// Passes a profile on. Ignores one that nobody has asked for.
    fn handle_samples(&mut self, samples: Result<Samples, String>) {
        let Some(Profiling { samples: receiver, .. }) = self.profile.take() else { return };
        match samples {
            // The receiver may be gone.
            Ok(samples) => drop(receiver.send(samples)),
            Err(reason) => tracing::warn!(component = "inference", reason, "a worker cannot be profiled"),
        }
    }

    /// Handles the end of a job. Ignores a job that the worker does not have.
    async fn finish_job(&mut self, job: JobId, micros: u64, result: JobResult) -> Result<(), Abandoned> {
        let Some(running) = self.running.remove(&job) else { return Ok(()) };
        self.failures = 0;
        self.suspects = self.suspects.saturating_sub(1);
        let result = match result {
            Ok(items) if items.len() != running.items => Err(InferenceError::ModelFailed(
                format!("the worker gave {} outputs for {} inputs", items.len(), running.items).into(),
            )),
            result => result,
        };
        self.done(job, micros, result).await
    }

    /// Cleans up after a worker, and fails or requeues its jobs.
    async fn handle_end(&mut self, end: WorkerEnd) -> Result<(), Abandoned> {
        self.profile = None;
        self.failures = self.failures.saturating_add(1);
        if self.announced != Some(ModelState::Ready) {
            self.load_failures += 1;
        }
        let out_of_memory = match &end {
            WorkerEnd::OutOfMemory(reason) => Some(reason.clone()),
            WorkerEnd::Changed | WorkerEnd::Ended(_) | WorkerEnd::NotLoaded(_) => None,
        };
        let changed = matches!(end, WorkerEnd::Changed);
        if changed {
            // Published before the jobs end, so that none is retried with the old model.
            self.announced = None;
            self.worker_state.send_modify(|state| state.changed = true);
        }
        let reason = match end {
            WorkerEnd::Changed => {
                let model = &self.options.model;
                tracing::warn!(
                    component = "inference",
                    model,
                    "the model's files were replaced; it is loaded again"
                );
                None
            }
            WorkerEnd::Ended(reason) | WorkerEnd::OutOfMemory(reason)
                if self.load_failures < LOAD_FAILURES_MAX =>
            {
                tracing::warn!(component = "inference", reason, "the inference worker is gone");
                None
            }
            WorkerEnd::Ended(reason) | WorkerEnd::OutOfMemory(reason) => {
                Some(format!("its worker ends while it loads: {reason}"))
            }
            WorkerEnd::NotLoaded(reason) => Some(reason),
        };
        let reason = reason.map(|reason| {
            if self.unusable.is_none() {
                tracing::error!(
                    component = "inference",
                    "the model {} cannot be used: {reason}",
                    self.options.model
                );
            }
            self.set_unusable(Some(reason.clone()));
            reason
        });
        self.announce(reason.clone().map_or(ModelState::Away, |reason| ModelState::Unusable(reason.into())))
            .await?;
        let running = std::mem::take(&mut self.running);
        self.suspects = self.suspects.max(running.len());
        for (job, running) in running {
            let error = match (running.overdue_at, &out_of_memory) {
                (Some(_), _) => InferenceError::Cancelled,
                (None, Some(reason)) => InferenceError::ModelFailed(reason.clone().into()),
                (None, None) if changed => InferenceError::ModelChanged,
                (None, None) => InferenceError::Crashed,
            };
            self.done(job, 0, Err(error)).await?;
        }
        if changed {
            for (job, _) in std::mem::take(&mut self.waiting) {
                self.done(job, 0, Err(InferenceError::ModelChanged)).await?;
            }
        }
        if let Some(reason) = reason {
            for (job, _) in std::mem::take(&mut self.waiting) {
                self.done(job, 0, Err(InferenceError::ModelFailed(reason.clone().into()))).await?;
            }
        }
        Ok(())
    }

    fn set_unusable(&mut self, reason: Option<String>) {
        self.unusable.clone_from(&reason);
        self.worker_state.send_modify(|state| state.unusable = reason);
    }

    /// Waits before the next worker is started, and handles commands meanwhile.
    async fn back_off(&mut self) -> Result<(), Abandoned> {
        let doublings = self.failures.saturating_sub(1).min(16);
        let longest = if self.unusable.is_some() { UNUSABLE_RETRY_INTERVAL } else { BACKOFF_MAX };
        let over_at = Instant::now() + BACKOFF_MIN.saturating_mul(1 << doublings).min(longest);
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => {
                    self.handle_command(command.ok_or(Abandoned)?).await?;
                    // There is no worker to profile.
                    self.profile = None;
                }
                () = sleep_until(over_at) => return Ok(()),
            }
        }
    }

    async fn announce(&mut self, state: ModelState) -> Result<(), Abandoned> {
        if self.announced.as_ref() == Some(&state) {
            return Ok(());
        }
        self.announced = Some(state.clone());
        for &kind in &self.options.kinds {
            let (name, fingerprint) = (self.options.model.clone(), self.options.fingerprint);
            let state = state.clone();
            self.report(InferenceEvent::Model { name, kind, fingerprint, state }).await?;
        }
        Ok(())
    }

    async fn done(&self, job: JobId, micros: u64, result: JobResult) -> Result<(), Abandoned> {
        self.report(InferenceEvent::Done { job, micros, result }).await
    }

    async fn report(&self, event: InferenceEvent) -> Result<(), Abandoned> {
        self.events.send(event).await.map_err(|_| Abandoned)
    }
}

/// Describes why the kernel killed a worker.
fn out_of_memory() -> String {
    let limit = cgroup::memory_limit().map_or_else(
        || "this machine's memory ran out".to_owned(),
        |limit| format!("this container's {} MB of memory ran out", limit.bytes >> 20),
    );
    format!("out of memory: {limit}, and the kernel killed the model's process")
}

fn in_words(kinds: &[TaskKind]) -> String {
    kinds.iter().map(TaskKind::to_string).collect::<Vec<_>>().join(" and ")
}

/// Waits until the profile that is being taken ends, by a message or because its receiver is gone.
async fn profile_end(profile: &mut Option<Profiling>) {
    let Some(Profiling { end: Some(end), .. }) = profile else { return std::future::pending().await };
    let _ = end.await;
    if let Some(profile) = profile {
        profile.end = None;
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn bytes_of(work: &InferenceJob) -> usize {
    match work {
        InferenceJob::Classify { inputs } => inputs.iter().map(|input| input.text.len()).sum(),
        InferenceJob::Embed { inputs } => inputs.iter().flatten().map(EmbeddingInput::bytes).sum(),
        InferenceJob::Generate(generation) => generation.prompt.texts().iter().map(|text| text.len()).sum(),
        InferenceJob::Rerank { inputs } => inputs.iter().flat_map(Reranking::all).map(str::len).sum(),
    }
}

/// Profiles that may be asked for before the supervisor handles the first.
const PROFILES_MAX: usize = 2;
/// The maximum number of waiting and running jobs; further ones are rejected.
const JOBS_MAX: usize = 1024;
/// The maximum number of texts of a job: their embeddings fit one message.
const JOB_TEXTS_MAX: usize = 1024;
/// The maximum bytes of text of a job.
const JOB_BYTES_MAX: usize = 16 << 20;
/// The capacity of the channel of events to the driver.
const EVENTS_MAX: usize = 256;
/// The grace period of a cancelled job before the worker is killed.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// The timeout for loading a model.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The backoff before a worker is restarted, doubled with each worker that did nothing useful.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The maximum backoff.
const BACKOFF_MAX: Duration = Duration::from_millis(1_500);
/// The interval at which an unusable model is retried.
const UNUSABLE_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Consecutive workers that may fail to load the model before it counts as unusable.
const LOAD_FAILURES_MAX: u32 = 3;
