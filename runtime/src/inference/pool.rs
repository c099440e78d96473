//! The worker pool, which is the inference port of a real node: one worker process for each loaded model.
//!
//! Eager models are loaded at start, others on their first job. If memory is short, the least recently used idle model
//! is evicted. A job whose model does not fit yet waits here.
//!
//! The invariants:
//! - Each started job ends exactly once.
//! - Whenever a worker was started, all running workers together fitted the memory limit. Each counts with its expected
//!   or its actual memory, whichever is larger.

mod child;
pub(super) mod limits;
pub(super) mod protocol;
pub(super) mod supervisor;
pub(super) mod worker_options;

use super::encoder::Precision;
use super::files::fingerprint::ModelFile;
use crate::clock;
use crate::ports::{Inference, InferenceEvent};
use crate::profile::Samples;
use api::ModelStatus;
use engine::ids::JobId;
use engine::input::ModelState;
use engine::output::InferenceJob;
use engine::task::TaskKind;
use engine::{Fingerprint, InferenceError};
use limits::{CPU_PERIOD, CpuShare};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;
use supervisor::{ProcessInference, ProfileOrder};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};
use worker_options::WorkerOptions;

/// A model that a node can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// The name under which jobs ask for it.
    pub name: String,
    /// The arguments that tell the worker program what to load.
    pub source: Vec<OsString>,
    /// The kinds of task that it can do.
    pub kinds: Vec<TaskKind>,
    /// The size of its files.
    pub bytes: u64,
    /// The memory that it is expected to need.
    pub memory_bytes: u64,
    /// The fingerprint of its files; `None` while they are being hashed. A model is not loaded before.
    pub fingerprint: Option<Fingerprint>,
    /// Its files as they were when they were hashed.
    pub files: Vec<ModelFile>,
    /// The precision to compute in.
    pub precision: Precision,
    /// Whether to load it at start.
    pub eager: bool,
    /// The place of its files, for display.
    pub place: String,
}

/// The configuration of a worker pool.
#[derive(Clone, Debug)]
pub struct WorkerPoolOptions {
    /// The program of a worker.
    pub program: PathBuf,
    /// Its first arguments; those of the model are appended.
    pub arguments: Vec<OsString>,
    /// The memory limit of all workers together.
    pub memory_bytes_max: u64,
    /// The CPU limit of all workers together.
    pub cpu: CpuShare,
}

/// The inference port, backed by a worker process for each loaded model. Dropping it kills them.
#[derive(Debug)]
pub struct WorkerPool {
    options: WorkerPoolOptions,
    /// The runtime that supervises the workers, whichever thread calls.
    runtime: tokio::runtime::Handle,
    models: BTreeMap<String, Slot>,
    /// The model of each job that has not ended.
    jobs: BTreeMap<JobId, String>,
    /// Jobs that wait for memory for their model, oldest first.
    waiting: VecDeque<(JobId, Fingerprint, InferenceJob)>,
    events: VecDeque<InferenceEvent>,
    lists: mpsc::Receiver<Vec<ModelSpec>>,
    profiles: mpsc::Receiver<oneshot::Sender<Vec<WorkerProfile>>>,
    status: watch::Sender<Vec<ModelStatus>>,
    measure_timer: Interval,
    cpu_interval: Option<CpuInterval>,
    uses: u64,
}

/// The handle of a pool: sets the list of models and reads their status.
#[derive(Clone, Debug)]
pub struct WorkerPoolHandle {
    lists: mpsc::Sender<Vec<ModelSpec>>,
    profiles: mpsc::Sender<oneshot::Sender<Vec<WorkerProfile>>>,
    status: watch::Receiver<Vec<ModelStatus>>,
}

/// A profile that is being taken of a model's process. Dropping it ends the profile.
#[derive(Debug)]
pub(crate) struct WorkerProfile {
    /// The model.
    pub(crate) model: String,
    end: oneshot::Sender<()>,
    samples: oneshot::Receiver<Samples>,
}

#[derive(Debug)]
struct Slot {
    spec: ModelSpec,
    worker: Option<ProcessInference>,
    loaded_at: Option<String>,
    memory_bytes: Option<u64>,
    reason: Option<String>,
    hint: Option<String>,
    /// The last announced state, by kind of task.
    announced: BTreeMap<TaskKind, (Option<Fingerprint>, ModelState)>,
    last_used: u64,
    /// The model is no longer listed, and is removed once it is idle.
    leaving: bool,
    /// The worker has loaded another model than the one listed now, and is stopped once it is idle.
    stale: bool,
}

/// The current interval in which workers run or are suspended, to stay within their CPU share.
#[derive(Debug)]
struct CpuInterval {
    suspended: bool,
    over: std::pin::Pin<Box<Sleep>>,
}

impl ModelSpec {
    /// Returns the status of a model without a worker.
    pub fn status(&self) -> ModelStatus {
        ModelStatus {
            kinds: self.kinds.iter().map(ToString::to_string).collect(),
            fingerprint: self.fingerprint,
            bytes: self.bytes,
            place: self.place.clone(),
            ..ModelStatus::from_name(&self.name)
        }
    }
}

impl WorkerPoolOptions {
    /// Tells whether a model fits the memory limit at all.
    pub const fn fits(&self, model: &ModelSpec) -> bool {
        model.memory_bytes <= self.memory_bytes_max
    }
}

impl WorkerPoolHandle {
    /// Replaces the list of models.
    pub async fn list(&self, models: Vec<ModelSpec>) {
        // The pool may be gone; then there is nothing to update.
        let _ = self.lists.send(models).await;
    }

    /// Starts to profile the processes of all loaded models.
    pub(crate) async fn profile(&self) -> Vec<WorkerProfile> {
        let (reply, started) = oneshot::channel();
        // The pool may be gone; then there is nothing to profile.
        let _ = self.profiles.send(reply).await;
        started.await.unwrap_or_default()
    }

    /// Returns the status of all models.
    pub fn status(&self) -> Vec<ModelStatus> {
        self.status.borrow().clone()
    }

    /// Waits until the status of a model changes. Returns false if the pool is gone.
    pub async fn changed(&mut self) -> bool {
        self.status.changed().await.is_ok()
    }
}

impl WorkerProfile {
    /// Ends the profile and returns it; `None` if the process has ended or cannot be profiled.
    pub(crate) async fn end(self) -> Option<Samples> {
        // The supervisor may be gone.
        let _ = self.end.send(());
        tokio::time::timeout(PROFILE_TIMEOUT, self.samples).await.ok()?.ok()
    }
}

impl WorkerPool {
    /// Starts the pool and the workers of eager models. Must be called inside a tokio runtime.
    pub fn start(options: WorkerPoolOptions, models: Vec<ModelSpec>) -> (Self, WorkerPoolHandle) {
        let (to_pool, lists) = mpsc::channel(LISTS_MAX);
        let (to_profile, profiles) = mpsc::channel(1);
        let status = watch::Sender::new(Vec::new());
        let handle = WorkerPoolHandle { lists: to_pool, profiles: to_profile, status: status.subscribe() };
        let mut measure_timer = interval(MEASURE_INTERVAL);
        measure_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pool = Self {
            options,
            runtime: tokio::runtime::Handle::current(),
            models: BTreeMap::new(),
            jobs: BTreeMap::new(),
            waiting: VecDeque::new(),
            events: VecDeque::new(),
            lists,
            profiles,
            status,
            measure_timer,
            cpu_interval: None,
            uses: 0,
        };
        pool.set_models(models);
        (pool, handle)
    }

    /// Returns the process id of a model's worker, if one runs.
    pub fn worker_pid(&self, model: &str) -> Option<u32> {
        self.models.get(model)?.worker.as_ref()?.worker_pid()
    }

    /// Starts a profile of each worker that has loaded its model.
    fn profile(&self) -> Vec<WorkerProfile> {
        let loaded = self.models.iter().filter(|(_, slot)| slot.loaded_at.is_some());
        let workers = loaded.filter_map(|(name, slot)| Some((name, slot.worker.as_ref()?)));
        let start = |(name, worker): (&String, &ProcessInference)| {
            let (end, ended) = oneshot::channel();
            let (samples, sampled) = oneshot::channel();
            worker.profile(ProfileOrder { end: ended, samples });
            WorkerProfile { model: name.clone(), end, samples: sampled }
        };
        workers.map(start).collect()
    }

    /// Replaces the list of models.
    fn set_models(&mut self, specs: Vec<ModelSpec>) {
        for slot in self.models.values_mut() {
            slot.leaving = true;
        }
        for spec in specs.into_iter().take(MODELS_MAX) {
            let name = spec.name.clone();
            match self.models.get_mut(&name) {
                Some(slot) if slot.spec == spec => slot.leaving = false,
                // Another model of the same name: the next worker loads the new one.
                Some(slot) => {
                    (slot.leaving, slot.reason, slot.hint, slot.spec) = (false, None, None, spec);
                    slot.stale = slot.worker.is_some();
                }
                None => {
                    self.models.insert(name, Slot::new(spec));
                }
            }
        }
        let names: Vec<String> = self.models.keys().cloned().collect();
        for name in names {
            self.settle(&name);
        }
        self.publish_status();
    }

    /// Loads, unloads, removes or announces a model as its slot requires.
    fn settle(&mut self, name: &str) {
        let Some(slot) = self.models.get_mut(name) else { return };
        if slot.leaving {
            slot.announce(&ModelState::Away, &mut self.events);
            if slot.is_idle() && !self.has_waiting_jobs(name) {
                self.models.remove(name);
            }
            return;
        }
        if slot.stale && slot.is_idle() {
            slot.unload();
        }
        if slot.worker.is_some() || slot.reason.is_some() {
            if slot.loaded_at.is_some() && slot.spec.fingerprint.is_some() {
                slot.announce(&ModelState::Ready, &mut self.events);
            }
            return;
        }
        if slot.spec.fingerprint.is_none() {
            slot.announce(&ModelState::Away, &mut self.events);
            return;
        }
        let max = self.options.memory_bytes_max;
        if !self.options.fits(&slot.spec) {
            let (needed, allowed) = (slot.spec.memory_bytes.div_ceil(1 << 20), max >> 20);
            let reason = format!(
                "it needs about {needed} MiB of memory, at most {allowed} MiB of max_memory_mb are for models"
            );
            let hint = format!(
                "raise max_memory_mb to {}, in the settings or with P2P_AI_MAX_MEMORY_MB, and restart the node",
                limits::node_mib_for(slot.spec.memory_bytes)
            );
            tracing::warn!(component = "inference", model = name, hint, "{reason}");
            (slot.reason, slot.hint) = (Some(reason.clone()), Some(hint));
            slot.announce(&ModelState::Unusable(reason.into()), &mut self.events);
        } else if !(slot.spec.eager && slot.last_used == 0 && self.load(name))
            && let Some(slot) = self.models.get_mut(name)
        {
            // It is usable all the same: its next job loads it.
            slot.announce(&ModelState::Ready, &mut self.events);
        }
    }

    fn has_waiting_jobs(&self, name: &str) -> bool {
        self.waiting.iter().any(|(job, ..)| self.jobs.get(job).is_some_and(|of| of == name))
    }

    /// Starts a model's worker if it fits, evicting idle models if necessary. Returns whether it runs.
    fn load(&mut self, name: &str) -> bool {
        let Some(needed) = self.models.get(name).map(|slot| slot.spec.memory_bytes) else { return false };
        let others = |pool: &Self| {
            let others = pool.models.iter().filter(|(of, _)| *of != name);
            others.map(|(_, slot)| slot.memory_to_count()).fold(0, u64::saturating_add)
        };
        while others(self).saturating_add(needed) > self.options.memory_bytes_max {
            if !self.evict_one(name) {
                return false;
            }
        }
        self.uses += 1;
        let Some(slot) = self.models.get_mut(name) else { return false };
        let options = WorkerOptions {
            program: self.options.program.clone(),
            arguments: [self.options.arguments.as_slice(), slot.spec.source.as_slice()].concat(),
            model: name.to_owned(),
            kinds: slot.spec.kinds.clone(),
            fingerprint: slot.spec.fingerprint,
            files: slot.spec.files.clone(),
            precision: slot.spec.precision,
            threads: self.options.cpu.threads,
            memory_bytes: Some(self.options.memory_bytes_max.saturating_add(MEMORY_SLACK_BYTES)),
        };
        let _here = self.runtime.enter();
        slot.worker = Some(ProcessInference::start(options));
        slot.last_used = self.uses;
        true
    }

    /// Evicts the least recently used idle model. Returns false if there is none.
    fn evict_one(&mut self, spared: &str) -> bool {
        let frees = |slot: &Slot| slot.memory_to_count() > 0 && slot.is_idle();
        let idle = self.models.iter_mut().filter(|(name, slot)| *name != spared && frees(slot));
        let Some((name, slot)) = idle.min_by_key(|(_, slot)| slot.last_used) else { return false };
        tracing::info!(component = "inference", model = name, "unloaded, for want of memory");
        slot.unload();
        slot.announce(&ModelState::from_ready(!slot.leaving), &mut self.events);
        true
    }

    /// Hands waiting jobs to the workers of their models, as far as these fit.
    fn dispatch_waiting(&mut self) {
        let mut left = VecDeque::new();
        for (job, fingerprint, work) in std::mem::take(&mut self.waiting) {
            let Some(name) = self.jobs.get(&job).cloned() else { continue };
            let slot = self.models.get(&name);
            if slot.and_then(|slot| slot.spec.fingerprint) != Some(fingerprint) {
                self.jobs.remove(&job);
                self.end_unstarted(job, InferenceError::ModelChanged);
                continue;
            }
            let (runs, stale) = slot.map_or((false, false), |slot| (slot.worker.is_some(), slot.stale));
            // A worker with the previous model of this name must end first.
            if stale || !runs && !self.load(&name) {
                left.push_back((job, fingerprint, work));
                continue;
            }
            self.uses += 1;
            if let Some(slot) = self.models.get_mut(&name) {
                slot.last_used = self.uses;
                if let Some(worker) = &mut slot.worker {
                    Inference::start(worker, job, name, fingerprint, work);
                }
            }
        }
        self.waiting = left;
    }

    fn reject(&mut self, job: JobId, reason: String) {
        self.end_unstarted(job, InferenceError::ModelFailed(reason.into()));
    }

    fn end_unstarted(&mut self, job: JobId, error: InferenceError) {
        self.events.push_back(InferenceEvent::Done { job, micros: 0, result: Err(error) });
    }

    /// Handles an event of a worker.
    fn handle_event(&mut self, name: &str, event: InferenceEvent) {
        match event {
            InferenceEvent::Done { job, .. } => {
                self.jobs.remove(&job);
                self.events.push_back(event);
                self.settle(name);
            }
            InferenceEvent::Model { kind, state, .. } => {
                let Some(slot) = self.models.get_mut(name) else { return };
                if slot.stale || slot.worker.as_ref().is_some_and(ProcessInference::is_outdated) {
                    return self.handle_changed_files(name);
                }
                let ready = state == ModelState::Ready;
                if slot.loaded_at.is_some() != ready {
                    slot.loaded_at = ready.then(|| clock::wall().to_string());
                }
                slot.reason = slot.worker.as_ref().and_then(ProcessInference::unusable);
                let state = if slot.leaving { ModelState::Away } else { state };
                slot.announce_kind(kind, &state, &mut self.events);
                self.publish_status();
            }
            InferenceEvent::Progress { .. } => self.events.push_back(event),
        }
    }

    /// Marks a worker whose model files have changed. It is stopped once its jobs have ended. The catalog then hashes
    /// the files again and lists the new model.
    fn handle_changed_files(&mut self, name: &str) {
        let Some(slot) = self.models.get_mut(name) else { return };
        if !slot.stale {
            (slot.stale, slot.spec.fingerprint) = (true, None);
            slot.announce(&ModelState::Away, &mut self.events);
        }
        self.settle(name);
        self.publish_status();
    }

    /// Measures the memory of the workers, and evicts idle models if it is over the limit.
    fn measure(&mut self) {
        for slot in self.models.values_mut() {
            let pid = slot.worker.as_ref().and_then(ProcessInference::worker_pid);
            slot.memory_bytes = pid.and_then(limits::resident_bytes);
        }
        let loaded = |pool: &Self| pool.models.values().filter(|slot| slot.worker.is_some()).count();
        let resident = |pool: &Self| {
            pool.models.values().filter_map(|slot| slot.memory_bytes).fold(0, u64::saturating_add)
        };
        while loaded(self) > 1 && resident(self) > self.options.memory_bytes_max {
            if !self.evict_one("") {
                break;
            }
        }
        self.publish_status();
    }

    /// Suspends and resumes busy workers in turns if they would exceed their CPU share. Returns whether something
    /// changed.
    fn limit_cpu(&mut self, cx: &mut Context<'_>) -> bool {
        let busy: Vec<u32> = self
            .models
            .values()
            .filter(|slot| !slot.is_idle())
            .filter_map(|slot| slot.worker.as_ref()?.worker_pid())
            .collect();
        let Some(running) = self.options.cpu.run_time(busy.len()).filter(|_| !busy.is_empty()) else {
            if self.cpu_interval.take().is_some_and(|cpu_interval| cpu_interval.suspended) {
                self.suspend_all(false);
            }
            return false;
        };
        if let Some(cpu_interval) = &mut self.cpu_interval
            && cpu_interval.over.as_mut().poll(cx).is_pending()
        {
            return false;
        }
        let suspended = self.cpu_interval.as_ref().is_some_and(|cpu_interval| !cpu_interval.suspended);
        let length = if suspended { CPU_PERIOD.saturating_sub(running) } else { running };
        if suspended {
            busy.into_iter().for_each(|pid| limits::suspend(pid, true));
        } else {
            // Resumes idle workers, too.
            self.suspend_all(false);
        }
        self.cpu_interval = Some(CpuInterval { suspended, over: Box::pin(sleep(length)) });
        true
    }

    fn suspend_all(&self, suspended: bool) {
        let workers = self.models.values().filter_map(|slot| slot.worker.as_ref()?.worker_pid());
        workers.for_each(|pid| limits::suspend(pid, suspended));
    }

    fn publish_status(&self) {
        let status: Vec<ModelStatus> = self.models.values().map(Slot::status).collect();
        self.status.send_if_modified(|shown| {
            let differs = *shown != status;
            *shown = status;
            differs
        });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<InferenceEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            let mut reports = Vec::new();
            for (name, slot) in &mut self.models {
                if let Some(Poll::Ready(event)) = slot.worker.as_mut().map(|worker| worker.poll_next(cx)) {
                    reports.push((name.clone(), event));
                }
            }
            let mut done = reports.is_empty();
            for (name, event) in reports {
                self.handle_event(&name, event);
            }
            if let Poll::Ready(Some(list)) = self.lists.poll_recv(cx) {
                self.set_models(list);
                done = false;
            }
            if let Poll::Ready(Some(reply)) = self.profiles.poll_recv(cx) {
                // Dropping the profiles ends them, if the receiver is gone.
                let _ = reply.send(self.profile());
                done = false;
            }
            if self.measure_timer.poll_tick(cx).is_ready() {
                self.measure();
                done = false;
            }
            if !self.waiting.is_empty() && !done {
                self.dispatch_waiting();
            }
            done &= !self.limit_cpu(cx);
            if done && self.events.is_empty() {
                return Poll::Pending;
            }
        }
    }
}

impl Inference for WorkerPool {
    fn start(&mut self, job: JobId, model: String, fingerprint: Fingerprint, work: InferenceJob) {
        if self.jobs.contains_key(&job) {
            tracing::error!(component = "inference", ?job, "a job was started twice");
            return;
        }
        let Some(slot) = self.models.get(&model) else {
            let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
            let reason = format!("no model named {model:?} here; this node runs {}", known.join(", "));
            return self.reject(job, reason);
        };
        if let (None, Some(reason)) = (&slot.worker, &slot.reason) {
            let reason = reason.clone();
            return self.reject(job, reason);
        }
        if self.waiting.len() >= WAITING_MAX {
            return self.reject(job, format!("{WAITING_MAX} jobs wait for room already"));
        }
        self.jobs.insert(job, model);
        self.waiting.push_back((job, fingerprint, work));
        self.dispatch_waiting();
    }

    fn cancel(&mut self, job: JobId) {
        let Some(name) = self.jobs.get(&job) else { return };
        if let Some(at) = self.waiting.iter().position(|(waiting, ..)| *waiting == job) {
            self.waiting.remove(at);
            self.jobs.remove(&job);
            let result = Err(InferenceError::Cancelled);
            self.events.push_back(InferenceEvent::Done { job, micros: 0, result });
        } else if let Some(worker) = self.models.get_mut(name).and_then(|slot| slot.worker.as_mut()) {
            worker.cancel(job);
        }
    }

    async fn next(&mut self) -> InferenceEvent {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

impl Slot {
    const fn new(spec: ModelSpec) -> Self {
        Self {
            spec,
            worker: None,
            loaded_at: None,
            memory_bytes: None,
            reason: None,
            hint: None,
            announced: BTreeMap::new(),
            last_used: 0,
            leaving: false,
            stale: false,
        }
    }

    fn is_idle(&self) -> bool {
        self.worker.as_ref().is_none_or(ProcessInference::is_idle)
    }

    /// Returns the memory to count for the model: its actual memory, at least the expected one.
    fn memory_to_count(&self) -> u64 {
        // The process of an unusable model has ended. Its slot keeps the reason, or it would be retried for ever.
        if self.worker.is_none() || self.reason.is_some() {
            return 0;
        }
        self.spec.memory_bytes.max(self.memory_bytes.unwrap_or_default())
    }

    fn unload(&mut self) {
        (self.worker, self.loaded_at, self.memory_bytes) = (None, None, None);
        (self.reason, self.hint, self.stale) = (None, None, false);
    }

    fn announce(&mut self, state: &ModelState, events: &mut VecDeque<InferenceEvent>) {
        for kind in self.spec.kinds.clone() {
            self.announce_kind(kind, state, events);
        }
    }

    fn announce_kind(&mut self, kind: TaskKind, state: &ModelState, events: &mut VecDeque<InferenceEvent>) {
        let (fingerprint, state) = (self.spec.fingerprint, state.clone());
        let said = self.announced.insert(kind, (fingerprint, state.clone()));
        if said.is_none_or(|said| said != (fingerprint, state.clone())) {
            let name = self.spec.name.clone();
            events.push_back(InferenceEvent::Model { name, kind, fingerprint, state });
        }
    }

    fn status(&self) -> ModelStatus {
        ModelStatus {
            ready: self.loaded_at.is_some(),
            loaded_at: self.loaded_at.clone(),
            memory_bytes: self.memory_bytes,
            reason: self.reason.clone(),
            hint: self.hint.clone(),
            ..self.spec.status()
        }
    }
}

/// The maximum number of models of a node; further ones are ignored.
pub const MODELS_MAX: usize = 64;
/// The capacity of the channel of model lists.
const LISTS_MAX: usize = 4;
/// The maximum number of jobs that wait for memory for their model.
const WAITING_MAX: usize = 1024;
/// How long a worker may take to name the functions of its profile.
const PROFILE_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval at which the memory of workers is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// Memory that a worker may have above the limit before the kernel refuses it: address space that it reserves and never
/// touches.
const MEMORY_SLACK_BYTES: u64 = 64 << 20;
