//! The inference port, over simulated models.

use super::{Machine, lock, machine_faults};
use crate::faults::machine::{Draw, job_delay, job_error};
use crate::inference;
use core::time::Duration;
use engine::input::ModelState;
use engine::model::ModelOffer;
use engine::output::InferenceJob;
use engine::time::micros;
use engine::{Fingerprint, InferenceError, JobId};
use runtime::ports::{Inference, InferenceEvent};
use std::sync::Arc;
use tokio::time::Instant;

/// Runs each job in its own time, independent of others.
pub(super) struct SimInference {
    machine: Arc<Machine>,
    incarnation: u32,
    /// Models that are not loaded yet, the next one last.
    loading: Vec<ModelOffer>,
    loaded_at: Instant,
    jobs: Vec<Job>,
}

struct Job {
    id: JobId,
    work: InferenceJob,
    time: Duration,
    due: Instant,
    cancelled: bool,
}

impl SimInference {
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        let incarnation = lock(&machine.process).incarnation;
        let mut loading = inference::all(inference::DEFAULT_MODEL, false);
        loading.reverse();
        Self { incarnation, machine, loading, loaded_at: Instant::now() + MODEL_LOAD, jobs: Vec::new() }
    }
}

impl SimInference {
    fn error(&self, job: &Job) -> Option<InferenceError> {
        let mut observer = lock(&self.machine.observer);
        if observer.clients.any_task_has_input(&lock(&self.machine.poison), &job.work.texts()) {
            observer.mark("poison_taken");
            return Some(InferenceError::Crashed);
        }
        let error = job_error(machine_faults(&lock(&self.machine.machine_faults)), self.draw(job.id))?;
        let crashed = error == InferenceError::Crashed;
        observer.mark(if crashed { "inference_crashed" } else { "inference_failed" });
        Some(error)
    }

    #[allow(clippy::cast_possible_truncation, reason = "it only distinguishes the jobs of a run")]
    fn draw(&self, job: JobId) -> Draw {
        let (random, node) = (self.machine.cluster.random, self.machine.node);
        Draw { random, node, n: (job.0 as u32) ^ self.incarnation << 20 }
    }
}

impl Inference for SimInference {
    fn start(&mut self, id: JobId, _: String, _: Fingerprint, work: InferenceJob) {
        let random = self.machine.cluster.random;
        let range = self.machine.scenario.workload.as_ref().map(|workload| workload.compute);
        let time = range.map(|range| inference::compute_time(random, range, &work)).unwrap_or_default();
        let delay = job_delay(machine_faults(&lock(&self.machine.machine_faults)), self.draw(id));
        if !delay.is_zero() {
            lock(&self.machine.observer).mark("inference_slow");
        }
        let time = time + delay;
        self.jobs.push(Job { id, work, time, due: Instant::now() + time, cancelled: false });
    }

    fn cancel(&mut self, id: JobId) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) {
            job.due = Instant::now();
            job.cancelled = true;
        }
    }

    async fn next(&mut self) -> InferenceEvent {
        if !self.loading.is_empty() {
            tokio::time::sleep_until(self.loaded_at).await;
            if let Some(ModelOffer { name, kind, fingerprint }) = self.loading.pop() {
                return InferenceEvent::Model { name, kind, fingerprint, state: ModelState::Ready };
            }
        }
        let first = self.jobs.iter().enumerate().min_by_key(|(_, job)| job.due);
        let Some((index, due)) = first.map(|(index, job)| (index, job.due)) else {
            return core::future::pending().await;
        };
        tokio::time::sleep_until(due).await;
        let job = self.jobs.remove(index);
        let result = match self.error(&job) {
            _ if job.cancelled => Err(InferenceError::Cancelled),
            Some(error) => Err(error),
            None => {
                Ok(inference::outputs(inference::fingerprint(inference::DEFAULT_MODEL, false), &job.work))
            }
        };
        InferenceEvent::Done { job: job.id, micros: micros(job.time), result }
    }
}

/// How long a node takes to load its models.
const MODEL_LOAD: Duration = Duration::from_millis(20);
