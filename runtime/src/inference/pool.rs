//! The inference port of a real node: a worker process for each model, loaded when it is needed, within the memory
//! that there is.
//!
//! Models that are marked so are loaded at once, the others when their first job comes. When memory is short, the one
//! that was used least recently and does nothing is unloaded; a job whose model has to wait for that waits here. The
//! invariants: each job that was started ends exactly once; the workers that run, each counted with what it is
//! expected to need or does occupy, whichever is more, were within the limit when the last of them was started.

mod child;
pub(super) mod limits;
pub(super) mod protocol;
pub(super) mod supervisor;
pub(super) mod worker_options;

use super::encoder::Precision;
use super::files::fingerprint::ModelFile;
use crate::clock;
use crate::ports::{Inference, InferenceEvent};
use api::ModelStatus;
use engine::ids::JobId;
use engine::input::ModelState;
use engine::output::InferenceJob;
use engine::task::TaskKind;
use engine::{Fingerprint, InferenceError};
use limits::{CpuShare, PERIOD};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::Duration;
use supervisor::ProcessInference;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};
use worker_options::WorkerOptions;

/// A model that a node can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// The name under which jobs ask for it.
    pub name: String,
    /// What the worker's program is to load, as its arguments.
    pub source: Vec<OsString>,
    /// What it can do.
    pub kinds: Vec<TaskKind>,
    /// The size of its files.
    pub bytes: u64,
    /// What it needs of memory.
    pub memory_bytes: u64,
    /// Which model it is; `None` while its files are being hashed. It is not loaded before that is known.
    pub fingerprint: Option<Fingerprint>,
    /// Its files as they were when that was found out.
    pub files: Vec<ModelFile>,
    /// How exactly it computes.
    pub precision: Precision,
    /// Whether to load it at once.
    pub eager: bool,
    /// Where it is, for people.
    pub place: String,
}

/// What a pool has to work with.
#[derive(Clone, Debug)]
pub struct WorkerPoolOptions {
    /// The program of a worker.
    pub program: PathBuf,
    /// Its first arguments; those of the model follow.
    pub arguments: Vec<OsString>,
    /// What all workers may occupy together.
    pub memory_bytes_max: u64,
    /// What they may use of the processor.
    pub cpu: CpuShare,
}

/// The inference port, backed by a worker process for each loaded model. Dropping it kills them.
#[derive(Debug)]
pub struct WorkerPool {
    options: WorkerPoolOptions,
    /// What workers are looked after by, whichever thread asks for them.
    runtime: tokio::runtime::Handle,
    models: BTreeMap<String, Slot>,
    /// The model of each job that has not ended.
    jobs: BTreeMap<JobId, String>,
    /// Jobs that wait for room for their model, oldest first.
    waiting: VecDeque<(JobId, Fingerprint, InferenceJob)>,
    events: VecDeque<InferenceEvent>,
    lists: mpsc::Receiver<Vec<ModelSpec>>,
    status: watch::Sender<Vec<ModelStatus>>,
    look: Interval,
    pause: Option<Pause>,
    uses: u64,
}

/// The other end of a pool, for whoever knows which models there are.
#[derive(Clone, Debug)]
pub struct WorkerPoolHandle {
    lists: mpsc::Sender<Vec<ModelSpec>>,
    status: watch::Receiver<Vec<ModelStatus>>,
}

#[derive(Debug)]
struct Slot {
    spec: ModelSpec,
    worker: Option<ProcessInference>,
    loaded_at: Option<String>,
    memory_bytes: Option<u64>,
    reason: Option<String>,
    hint: Option<String>,
    /// What was last said of it, by kind.
    announced: BTreeMap<TaskKind, (Option<Fingerprint>, ModelState)>,
    last_used: u64,
    /// It is no longer on the list, and goes once it has nothing to do.
    leaving: bool,
    /// Its worker has another model than the list says by now, and goes once it has nothing to do.
    stale: bool,
}

/// The time in which workers run or stand still, so that they keep to their share.
#[derive(Debug)]
struct Pause {
    still: bool,
    over: std::pin::Pin<Box<Sleep>>,
}

impl ModelSpec {
    /// Returns how it stands where nothing runs it.
    pub fn status(&self) -> ModelStatus {
        ModelStatus {
            kinds: self.kinds.iter().map(ToString::to_string).collect(),
            fingerprint: self.fingerprint,
            bytes: self.bytes,
            place: self.place.clone(),
            ..ModelStatus::of_name(&self.name)
        }
    }
}

impl WorkerPoolOptions {
    /// Tells whether a model can ever be loaded.
    pub const fn fits(&self, model: &ModelSpec) -> bool {
        model.memory_bytes <= self.memory_bytes_max
    }
}

impl WorkerPoolHandle {
    /// Says which models there are from now on.
    pub async fn list(&self, models: Vec<ModelSpec>) {
        // Without a pool nobody needs to know.
        let _ = self.lists.send(models).await;
    }

    /// Returns how the models stand.
    pub fn status(&self) -> Vec<ModelStatus> {
        self.status.borrow().clone()
    }

    /// Waits until a model stands differently.
    pub async fn changed(&mut self) -> bool {
        self.status.changed().await.is_ok()
    }
}

impl WorkerPool {
    /// Starts the workers of the models that are to be loaded at once. Call it inside a tokio runtime.
    pub fn start(options: WorkerPoolOptions, models: Vec<ModelSpec>) -> (Self, WorkerPoolHandle) {
        let (to_pool, lists) = mpsc::channel(LISTS_MAX);
        let status = watch::Sender::new(Vec::new());
        let handle = WorkerPoolHandle { lists: to_pool, status: status.subscribe() };
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pool = Self {
            options,
            runtime: tokio::runtime::Handle::current(),
            models: BTreeMap::new(),
            jobs: BTreeMap::new(),
            waiting: VecDeque::new(),
            events: VecDeque::new(),
            lists,
            status,
            look,
            pause: None,
            uses: 0,
        };
        pool.take_list(models);
        (pool, handle)
    }

    /// Returns the process id of a model's worker, while one runs.
    pub fn worker_pid(&self, model: &str) -> Option<u32> {
        self.models.get(model)?.worker.as_ref()?.worker_pid()
    }

    /// Takes over which models there are.
    fn take_list(&mut self, specs: Vec<ModelSpec>) {
        for slot in self.models.values_mut() {
            slot.leaving = true;
        }
        for spec in specs.into_iter().take(MODELS_MAX) {
            let name = spec.name.clone();
            match self.models.get_mut(&name) {
                Some(slot) if slot.spec == spec => slot.leaving = false,
                // Another model of the same name: the next worker is of the new one.
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
        self.show();
    }

    /// Does for a model what its place on the list asks for.
    fn settle(&mut self, name: &str) {
        let Some(slot) = self.models.get_mut(name) else { return };
        if slot.leaving {
            slot.announce(&ModelState::Away, &mut self.events);
            if slot.is_idle() && !self.waiting_for(name) {
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
            // It can be used all the same: its next job loads it.
            slot.announce(&ModelState::Ready, &mut self.events);
        }
    }

    fn waiting_for(&self, name: &str) -> bool {
        self.waiting.iter().any(|(job, ..)| self.jobs.get(job).is_some_and(|of| of == name))
    }

    /// Starts a model's worker if there is room for it, or can be made; tells whether it runs.
    fn load(&mut self, name: &str) -> bool {
        let Some(needed) = self.models.get(name).map(|slot| slot.spec.memory_bytes) else { return false };
        let others = |pool: &Self| {
            let others = pool.models.iter().filter(|(of, _)| *of != name);
            others.map(|(_, slot)| slot.occupied()).fold(0, u64::saturating_add)
        };
        while others(self).saturating_add(needed) > self.options.memory_bytes_max {
            if !self.unload_one(name) {
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
            memory_bytes: Some(self.options.memory_bytes_max.saturating_add(SLACK_BYTES)),
        };
        let _here = self.runtime.enter();
        slot.worker = Some(ProcessInference::start(options));
        slot.last_used = self.uses;
        true
    }

    /// Unloads the model that was used least recently and has nothing to do.
    fn unload_one(&mut self, spared: &str) -> bool {
        let frees = |slot: &Slot| slot.occupied() > 0 && slot.is_idle();
        let idle = self.models.iter_mut().filter(|(name, slot)| *name != spared && frees(slot));
        let Some((name, slot)) = idle.min_by_key(|(_, slot)| slot.last_used) else { return false };
        tracing::info!(component = "inference", model = name, "unloaded, for want of memory");
        slot.unload();
        slot.announce(&ModelState::from_ready(!slot.leaving), &mut self.events);
        true
    }

    /// Gives the jobs that wait to their models, as far as there is room.
    fn hand_out(&mut self) {
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
            // A worker of the model that the name stood for before ends first.
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

    fn refuse(&mut self, job: JobId, reason: String) {
        self.end_unstarted(job, InferenceError::ModelFailed(reason.into()));
    }

    fn end_unstarted(&mut self, job: JobId, error: InferenceError) {
        self.events.push_back(InferenceEvent::Done { job, micros: 0, result: Err(error) });
    }

    /// Takes in what a worker reported.
    fn note(&mut self, name: &str, event: InferenceEvent) {
        match event {
            InferenceEvent::Done { job, .. } => {
                self.jobs.remove(&job);
                self.events.push_back(event);
                self.settle(name);
            }
            InferenceEvent::Model { kind, state, .. } => {
                let Some(slot) = self.models.get_mut(name) else { return };
                if slot.stale || slot.worker.as_ref().is_some_and(ProcessInference::is_outdated) {
                    return self.note_changed(name);
                }
                let ready = state == ModelState::Ready;
                if slot.loaded_at.is_some() != ready {
                    slot.loaded_at = ready.then(|| clock::wall().to_string());
                }
                slot.reason = slot.worker.as_ref().and_then(ProcessInference::unusable);
                let state = if slot.leaving { ModelState::Away } else { state };
                slot.announce_kind(kind, &state, &mut self.events);
                self.show();
            }
            InferenceEvent::Progress { .. } => self.events.push_back(event),
        }
    }

    /// Takes note that a worker has another model than the files are of by now. It goes once its jobs have ended; which
    /// model the name stands for is found out anew by whoever makes the list.
    fn note_changed(&mut self, name: &str) {
        let Some(slot) = self.models.get_mut(name) else { return };
        if !slot.stale {
            (slot.stale, slot.spec.fingerprint) = (true, None);
            slot.announce(&ModelState::Away, &mut self.events);
        }
        self.settle(name);
        self.show();
    }

    /// Looks at what the workers occupy; unloads what does nothing where it is too much.
    fn measure(&mut self) {
        for slot in self.models.values_mut() {
            let pid = slot.worker.as_ref().and_then(ProcessInference::worker_pid);
            slot.memory_bytes = pid.and_then(limits::resident_bytes);
        }
        let loaded = |pool: &Self| pool.models.values().filter(|slot| slot.worker.is_some()).count();
        let occupied = |pool: &Self| {
            pool.models.values().filter_map(|slot| slot.memory_bytes).fold(0, u64::saturating_add)
        };
        while loaded(self) > 1 && occupied(self) > self.options.memory_bytes_max {
            if !self.unload_one("") {
                break;
            }
        }
        self.show();
    }

    /// Lets busy workers run and stand still in turns, where they would use more than their share.
    fn pace(&mut self, cx: &mut Context<'_>) -> bool {
        let busy: Vec<u32> = self
            .models
            .values()
            .filter(|slot| !slot.is_idle())
            .filter_map(|slot| slot.worker.as_ref()?.worker_pid())
            .collect();
        let Some(running) = self.options.cpu.running(busy.len()).filter(|_| !busy.is_empty()) else {
            if self.pause.take().is_some_and(|pause| pause.still) {
                self.hold_all(false);
            }
            return false;
        };
        if let Some(pause) = &mut self.pause
            && pause.over.as_mut().poll(cx).is_pending()
        {
            return false;
        }
        let still = self.pause.as_ref().is_some_and(|pause| !pause.still);
        let length = if still { PERIOD.saturating_sub(running) } else { running };
        if still {
            busy.into_iter().for_each(|pid| limits::hold(pid, true));
        } else {
            // Those as well that have nothing to do any more.
            self.hold_all(false);
        }
        self.pause = Some(Pause { still, over: Box::pin(sleep(length)) });
        true
    }

    fn hold_all(&self, still: bool) {
        let workers = self.models.values().filter_map(|slot| slot.worker.as_ref()?.worker_pid());
        workers.for_each(|pid| limits::hold(pid, still));
    }

    fn show(&self) {
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
                self.note(&name, event);
            }
            if let Poll::Ready(Some(list)) = self.lists.poll_recv(cx) {
                self.take_list(list);
                done = false;
            }
            if self.look.poll_tick(cx).is_ready() {
                self.measure();
                done = false;
            }
            if !self.waiting.is_empty() && !done {
                self.hand_out();
            }
            done &= !self.pace(cx);
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
            return self.refuse(job, reason);
        };
        if let (None, Some(reason)) = (&slot.worker, &slot.reason) {
            let reason = reason.clone();
            return self.refuse(job, reason);
        }
        if self.waiting.len() >= WAITING_MAX {
            return self.refuse(job, format!("{WAITING_MAX} jobs wait for room already"));
        }
        self.jobs.insert(job, model);
        self.waiting.push_back((job, fingerprint, work));
        self.hand_out();
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

    /// What to count for it: what it occupies, and at least what it is expected to.
    fn occupied(&self) -> u64 {
        // The process of one that cannot be used has ended; what is known of it stays, or it would be tried for ever.
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

/// Models of one node; further ones are not looked at.
pub const MODELS_MAX: usize = 64;
/// Lists of models on their way to a pool.
const LISTS_MAX: usize = 4;
/// Jobs that wait for room for their model.
const WAITING_MAX: usize = 1024;
/// How often to look what workers occupy.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a worker may have beyond the limit before the kernel refuses it: space that it reserves and never touches.
const SLACK_BYTES: u64 = 64 << 20;
