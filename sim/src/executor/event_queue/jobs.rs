//! Inference jobs of nodes: each takes its compute time, streams its text, and may fail.

use super::{EventQueue, Scheduled};
use crate::faults::machine::{Draw, job_delay, job_error};
use crate::inference;
use crate::node_set::NodeIndex;
use engine::input::ModelState;
use engine::output::InferenceJob;
use engine::time::micros;
use engine::{Fingerprint, InferenceError, Input, JobId};

impl EventQueue {
    pub(super) fn infer(&mut self, node: NodeIndex, job: JobId, wanted: Fingerprint, work: InferenceJob) {
        let compute = self.scenario.workload.as_ref().map(|workload| workload.compute);
        let time = compute
            .map(|range| inference::compute_time(self.cluster.random, range, &work))
            .unwrap_or_default();
        let delay = job_delay(self.faults.machine_faults(node), self.job_draw(node, job));
        if !delay.is_zero() {
            self.observer.mark("inference_slow");
        }
        let time = time + delay;
        let host = &mut self.hosts[node as usize];
        let incarnation = host.incarnation;
        let pieces = inference::pieces(wanted, &work);
        host.jobs.insert(job, (wanted, work, time));
        let shares = u32::try_from(pieces.len() + 1).unwrap_or(u32::MAX);
        for (tokens, text) in (1..).zip(pieces) {
            self.after(
                time / shares * tokens,
                Scheduled::JobProgress { node, incarnation, job, text, tokens },
            );
        }
        self.after(time, Scheduled::JobEnd { node, incarnation, job, cancelled: false });
    }

    pub(super) fn job_end(&mut self, node: NodeIndex, incarnation: u32, job: JobId, cancelled: bool) {
        if !self.is_running(node, incarnation) {
            return;
        }
        let Some((wanted, work, time)) = self.hosts[node as usize].jobs.remove(&job) else { return };
        let result = match self.job_error(node, job, &work) {
            _ if cancelled => Err(InferenceError::Cancelled),
            // The files were replaced before the job started; running jobs were ended by the replacement.
            _ if wanted != self.model_of(node) => Err(InferenceError::ModelChanged),
            Some(error) => Err(error),
            None => Ok(inference::outputs(wanted, &work)),
        };
        self.handle(node, Input::InferenceDone { job, micros: micros(time), result });
    }

    pub(super) fn job_error(
        &mut self,
        node: NodeIndex,
        job: JobId,
        work: &InferenceJob,
    ) -> Option<InferenceError> {
        if self.observer.clients.any_task_has_input(self.faults.poison(), &work.texts()) {
            self.observer.mark("poison_taken");
            return Some(InferenceError::Crashed);
        }
        let error = job_error(self.faults.machine_faults(node), self.job_draw(node, job))?;
        let crashed = error == InferenceError::Crashed;
        self.observer.mark(if crashed { "inference_crashed" } else { "inference_failed" });
        Some(error)
    }

    #[allow(clippy::cast_possible_truncation, reason = "it only distinguishes the jobs of a run")]
    pub(super) fn job_draw(&self, node: NodeIndex, job: JobId) -> Draw {
        Draw {
            random: self.cluster.random,
            node,
            n: (job.0 as u32) ^ self.hosts[node as usize].incarnation << 20,
        }
    }

    pub(super) fn models_ready(&mut self, node: NodeIndex, incarnation: u32) {
        if self.is_running(node, incarnation) && !self.hosts[node as usize].machine.is_unready() {
            self.notify_models(node, &ModelState::Ready);
        }
    }
}
