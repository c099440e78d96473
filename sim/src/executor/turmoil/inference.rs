//! The inference port over simulated models.

use super::Machine;
use crate::model;
use crate::random::Random;
use crate::scenario::Range;
use core::time::Duration;
use engine::output::Work;
use engine::task::TaskKind;
use engine::time::micros;
use engine::{InferenceError, JobId};
use runtime::ports::{Inference, InferenceEvent};
use tokio::time::Instant;

/// Each job takes its time, beside the others.
pub(super) struct SimInference {
    random: Random,
    compute: Option<Range>,
    /// Models that are not loaded yet, the next one last.
    loading: Vec<(String, TaskKind)>,
    loaded_at: Instant,
    jobs: Vec<Job>,
}

struct Job {
    id: JobId,
    work: Work,
    time: Duration,
    due: Instant,
    cancelled: bool,
}

impl SimInference {
    pub(super) fn new(machine: &Machine) -> Self {
        let mut loading = model::all();
        loading.reverse();
        Self {
            random: machine.cluster.random,
            compute: machine.scenario.workload.as_ref().map(|workload| workload.compute),
            loading,
            loaded_at: Instant::now() + MODEL_LOAD,
            jobs: Vec::new(),
        }
    }
}

impl Inference for SimInference {
    fn start(&mut self, id: JobId, _: String, work: Work) {
        let range = self.compute;
        let time = range.map(|range| model::compute_time(self.random, range, &work)).unwrap_or_default();
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
            if let Some((name, kind)) = self.loading.pop() {
                return InferenceEvent::Model { name, kind, ready: true };
            }
        }
        let first = self.jobs.iter().enumerate().min_by_key(|(_, job)| job.due);
        let Some((index, due)) = first.map(|(index, job)| (index, job.due)) else {
            return core::future::pending().await;
        };
        tokio::time::sleep_until(due).await;
        let job = self.jobs.remove(index);
        let result =
            if job.cancelled { Err(InferenceError::Cancelled) } else { Ok(model::outputs(&job.work)) };
        InferenceEvent::Done { job: job.id, micros: micros(job.time), result }
    }
}

/// How long a node takes to load its models.
const MODEL_LOAD: Duration = Duration::from_millis(20);
