//! The inference port of a real node: a worker process, watched over by a task.
//!
//! Jobs wait here and are handed to the worker a few at a time, so that it can merge them and a crash takes few with
//! it. The invariants: each job that was started ends exactly once, whatever the worker does; what this side holds is
//! bounded; a worker that died, was killed or hangs is replaced, after a pause that grows while it fails to load.

use super::child::{Child, Report};
use super::protocol::{FromWorker, JobResult, ToWorker};
use super::worker_options::{WORKER_JOBS_MAX, WorkerOptions};
use crate::cgroup;
use crate::ports::{Inference, InferenceEvent};
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
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// The inference port, backed by one worker process. Dropping it kills the worker.
#[derive(Debug)]
pub struct ProcessInference {
    model: String,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<InferenceEvent>,
    /// The jobs that have not ended, and whether each was cancelled.
    open: BTreeMap<JobId, bool>,
    /// Ends of jobs that never reached the worker.
    refused: VecDeque<InferenceEvent>,
    worker: watch::Receiver<WorkerState>,
}

/// How a worker is, for whoever wants to know.
#[derive(Debug, Default)]
struct WorkerState {
    pid: Option<u32>,
    /// Why its model cannot be used, if that is so.
    unusable: Option<String>,
    /// Whether the files of its model are not as they were.
    changed: bool,
}

#[derive(Debug)]
enum Command {
    Cancel(JobId),
    Start(JobId, InferenceJob),
}

impl ProcessInference {
    /// Starts a worker, and returns without waiting for it. Call it inside a tokio runtime.
    pub fn start(options: WorkerOptions) -> Self {
        // A job is told to start and to stop once each, so that the channel is never full.
        let (commands, to_supervisor) = mpsc::channel(2 * JOBS_MAX);
        let (to_driver, events) = mpsc::channel(EVENTS_MAX);
        let (worker_is, worker) = watch::channel(WorkerState::default());
        let model = options.model.clone();
        let supervisor = Supervisor {
            options,
            commands: to_supervisor,
            events: to_driver,
            worker_is,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            announced: None,
            unusable: None,
            failures: 0,
            load_failures: 0,
            suspects: 0,
        };
        tokio::spawn(supervisor.run());
        Self { model, commands, events, open: BTreeMap::new(), refused: VecDeque::new(), worker }
    }

    /// Runs no worker: whatever job is started ends at once, with an error.
    pub fn absent() -> Self {
        let ((commands, _), (_, events)) = (mpsc::channel(1), mpsc::channel(1));
        let (_, worker) = watch::channel(WorkerState::default());
        let (open, refused) = (BTreeMap::new(), VecDeque::new());
        Self { model: String::new(), commands, events, open, refused, worker }
    }

    /// Returns the process id of the worker, while one runs.
    pub fn worker_pid(&self) -> Option<u32> {
        self.worker.borrow().pid
    }

    /// Returns why the model cannot be used, if that is so.
    pub(super) fn unusable(&self) -> Option<String> {
        self.worker.borrow().unusable.clone()
    }

    /// Tells whether the files of the model are not as they were when it was loaded.
    pub(super) fn is_outdated(&self) -> bool {
        self.worker.borrow().changed
    }

    /// Tells whether all jobs have ended.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.refused.is_empty()
    }

    /// Returns the next report, if there is one; else `cx` is woken when there is.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<InferenceEvent> {
        if let Some(event) = self.refused.pop_front() {
            return Poll::Ready(event);
        }
        match self.events.poll_recv(cx) {
            Poll::Ready(Some(event)) => {
                if let InferenceEvent::Done { job, .. } = &event {
                    self.open.remove(job);
                }
                Poll::Ready(event)
            }
            // Without a supervisor nothing is reported any more.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn refuse(&mut self, job: JobId, reason: String) {
        let result = Err(InferenceError::ModelFailed(reason.into()));
        self.refused.push_back(InferenceEvent::Done { job, micros: 0, result });
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
                .refuse(job, format!("no model named {model:?} here; this node runs {:?}", self.model));
        }
        let bytes = bytes_of(&work);
        if work.parts() > JOB_TEXTS_MAX || bytes > JOB_BYTES_MAX {
            let limits = format!("at most {JOB_TEXTS_MAX} texts and {JOB_BYTES_MAX} bytes fit one job");
            return self.refuse(job, format!("{} texts of {bytes} bytes; {limits}", work.parts()));
        }
        if self.open.len() >= JOBS_MAX {
            return self.refuse(job, format!("{JOBS_MAX} jobs wait already"));
        }
        if self.commands.try_send(Command::Start(job, work)).is_ok() {
            self.open.insert(job, false);
        } else {
            self.refuse(job, "the worker's supervisor is gone".to_owned());
        }
    }

    fn cancel(&mut self, job: JobId) {
        if let Some(cancelled @ false) = self.open.get_mut(&job) {
            *cancelled = true;
            // Without a supervisor there is nothing left to stop.
            let _ = self.commands.try_send(Command::Cancel(job));
        }
    }

    async fn next(&mut self) -> InferenceEvent {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// Watches over one worker after the other.
struct Supervisor {
    options: WorkerOptions,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<InferenceEvent>,
    worker_is: watch::Sender<WorkerState>,
    waiting: VecDeque<(JobId, InferenceJob)>,
    /// What the worker has been given.
    running: BTreeMap<JobId, Running>,
    /// What was last said of the model.
    announced: Option<ModelState>,
    /// Why the model cannot be loaded, if that is so: jobs end with this instead of waiting.
    unusable: Option<String>,
    /// Workers in a row that ended without having ended a job.
    failures: u32,
    /// Workers in a row that ended without having loaded the model.
    load_failures: u32,
    /// Jobs to run one by one, since one like them may have killed a worker: only the guilty one shall do so again.
    suspects: usize,
}

struct Running {
    items: usize,
    /// When to kill the worker because of it: it was cancelled, and has not ended.
    overdue_at: Option<Instant>,
}

/// The driver dropped its end: there is nobody left to work for.
struct Abandoned;

/// How the time with one worker ended.
enum Parting {
    /// The files of its model are not as they were.
    Changed,
    /// The worker is gone, or had to be killed; why.
    Ended(String),
    /// The worker says that its model cannot be loaded; why.
    NotLoaded(String),
    /// The kernel killed the worker for want of memory; whose memory.
    OutOfMemory(String),
}

impl Supervisor {
    async fn run(mut self) {
        // The only way out: the driver is gone, and with `self` goes the worker.
        let Err(Abandoned) = self.watch().await;
    }

    async fn watch(&mut self) -> Result<std::convert::Infallible, Abandoned> {
        loop {
            let oom_kills_before = cgroup::oom_kills();
            let parting = match Child::spawn(&self.options) {
                Ok(mut child) => {
                    self.worker_is.send_modify(|state| state.pid = child.pid());
                    let parting = self.attend(&mut child).await;
                    self.worker_is.send_modify(|state| state.pid = None);
                    match (parting?, child.kill().await) {
                        (Parting::Ended(_), Some(status))
                            if status.signal() == Some(Signal::SIGKILL as i32)
                                && cgroup::oom_kills() > oom_kills_before =>
                        {
                            Parting::OutOfMemory(out_of_memory())
                        }
                        (Parting::Ended(reason), Some(status)) => {
                            Parting::Ended(format!("{reason} ({status})"))
                        }
                        (parting, _) => parting,
                    }
                }
                Err(error) => {
                    let program = self.options.program.display();
                    Parting::NotLoaded(format!("the worker process {program} cannot be started: {error}"))
                }
            };
            self.part(parting).await?;
            self.pause().await?;
        }
    }

    /// Works with one worker for as long as it lasts.
    async fn attend(&mut self, child: &mut Child) -> Result<Parting, Abandoned> {
        let load_by = Instant::now() + LOAD_TIMEOUT;
        let mut ready = false;
        loop {
            if ready {
                self.hand_out(child);
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
                        return Ok(Parting::NotLoaded(reason));
                    }
                    Report::Message(FromWorker::Changed) => return Ok(Parting::Changed),
                    Report::Message(FromWorker::Failed { reason }) => return Ok(Parting::NotLoaded(reason)),
                    Report::Message(FromWorker::Done { job, micros, result }) => {
                        self.end(job, micros, result).await?;
                    }
                    Report::Message(FromWorker::Progress { job, text, tokens }) => {
                        if self.running.contains_key(&job) {
                            self.report(InferenceEvent::Progress { job, text, tokens }).await?;
                        }
                    }
                    Report::Ended(reason) => return Ok(Parting::Ended(reason)),
                },
                command = self.commands.recv() => {
                    if let Some(job) = self.obey(command.ok_or(Abandoned)?).await? {
                        child.say(&ToWorker::Cancel { job });
                    }
                }
                () = wait_until(kill_at) => {
                    let reason = if ready { "a cancelled job did not stop" } else { "loading took too long" };
                    return Ok(Parting::Ended(format!("killed: {reason}")));
                }
            }
        }
    }

    /// Gives the worker as many waiting jobs as it may have.
    fn hand_out(&mut self, child: &Child) {
        let window = if self.suspects > 0 { 1 } else { WORKER_JOBS_MAX };
        while self.running.len() < window {
            let Some((job, work)) = self.waiting.pop_front() else { return };
            self.running.insert(job, Running { items: work.len(), overdue_at: None });
            child.say(&ToWorker::Start { job, work });
        }
    }

    /// Takes a command; returns the job that the worker must be told to stop.
    async fn obey(&mut self, command: Command) -> Result<Option<JobId>, Abandoned> {
        match command {
            Command::Cancel(job) => {
                if let Some(running) = self.running.get_mut(&job) {
                    running.overdue_at = Some(Instant::now() + CANCEL_GRACE);
                    return Ok(Some(job));
                }
                if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == job) {
                    self.waiting.remove(at);
                    self.done(job, 0, Err(InferenceError::Cancelled)).await?;
                }
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

    /// Takes a job's end from the worker; one that it was not given is ignored.
    async fn end(&mut self, job: JobId, micros: u64, result: JobResult) -> Result<(), Abandoned> {
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

    /// Clears up after a worker.
    async fn part(&mut self, parting: Parting) -> Result<(), Abandoned> {
        self.failures = self.failures.saturating_add(1);
        if self.announced != Some(ModelState::Ready) {
            self.load_failures += 1;
        }
        let out_of_memory = match &parting {
            Parting::OutOfMemory(reason) => Some(reason.clone()),
            Parting::Changed | Parting::Ended(_) | Parting::NotLoaded(_) => None,
        };
        let changed = matches!(parting, Parting::Changed);
        if changed {
            // Told before the jobs end, so that none is tried again with what is gone.
            self.announced = None;
            self.worker_is.send_modify(|state| state.changed = true);
        }
        let reason = match parting {
            Parting::Changed => {
                let model = &self.options.model;
                tracing::warn!(
                    component = "inference",
                    model,
                    "the model's files were replaced; it is loaded again"
                );
                None
            }
            Parting::Ended(reason) | Parting::OutOfMemory(reason)
                if self.load_failures < LOAD_FAILURES_MAX =>
            {
                tracing::warn!(component = "inference", reason, "the inference worker is gone");
                None
            }
            Parting::Ended(reason) | Parting::OutOfMemory(reason) => {
                Some(format!("its worker ends while it loads: {reason}"))
            }
            Parting::NotLoaded(reason) => Some(reason),
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
        self.worker_is.send_modify(|state| state.unusable = reason);
    }

    /// Waits before the next worker is started; jobs are taken meanwhile.
    async fn pause(&mut self) -> Result<(), Abandoned> {
        let doublings = self.failures.saturating_sub(1).min(16);
        let longest = if self.unusable.is_some() { UNUSABLE_PAUSE } else { PAUSE_MAX };
        let over_at = Instant::now() + PAUSE_MIN.saturating_mul(1 << doublings).min(longest);
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => {
                    self.obey(command.ok_or(Abandoned)?).await?;
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

/// Says why the kernel killed a worker.
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

/// Jobs that wait or run; beyond, they are refused.
const JOBS_MAX: usize = 1024;
/// Texts in one job: their vectors fit one message.
const JOB_TEXTS_MAX: usize = 1024;
/// Bytes of text in one job.
const JOB_BYTES_MAX: usize = 16 << 20;
/// Events on their way to the driver.
const EVENTS_MAX: usize = 256;
/// How long a cancelled job may go on before the worker is killed.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// How long a worker may take until its model is loaded.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause before a worker is replaced, doubled with each that did nothing useful.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(1_500);
/// The pause after which a model that cannot be loaded is tried again.
const UNUSABLE_PAUSE: Duration = Duration::from_secs(5);
/// Workers in a row that may end while they load before the model counts as unusable.
const LOAD_FAILURES_MAX: u32 = 3;
