//! The generation jobs of a worker: a few run at a time and take turns pass by pass, the others wait.
//!
//! The invariants:
//! - Each job ends exactly once, a cancelled one before its next pass.
//! - A generated text does not depend on the other jobs.
//! - Only running jobs use memory for a cache, and their number is bounded. A job whose cache cannot be allocated waits
//!   until another job has ended.

use crate::inference::decoder::{BeginError, Generator, Session, Step};
use crate::inference::pool::protocol::{FromWorker, JobResult};
use engine::InferenceError;
use engine::ids::JobId;
use engine::task::{Generation, TaskOutput};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The generation jobs of a worker.
#[derive(Default)]
pub(super) struct Generations {
    jobs: Mutex<Jobs>,
    /// Notified when a job is added.
    more: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(JobId, Box<Generation>)>,
    running: BTreeSet<JobId>,
    /// The running jobs that were cancelled.
    cancelled: BTreeSet<JobId>,
}

/// A job that is being generated.
struct Running {
    job: JobId,
    session: Session,
    text: String,
    micros: u64,
}

/// Sends a message to the node.
pub(super) type SendMessage<'s> = &'s dyn Fn(FromWorker);

impl Generations {
    /// Adds a job.
    pub(super) fn start(&self, job: JobId, generation: Box<Generation>) {
        self.jobs().waiting.push_back((job, generation));
        self.more.notify_all();
    }

    /// Cancels a job. A waiting job ends at once.
    pub(super) fn cancel(&self, job: JobId, send: SendMessage<'_>) {
        let mut jobs = self.jobs();
        if jobs.running.contains(&job) {
            jobs.cancelled.insert(job);
        } else if let Some(at) = jobs.waiting.iter().position(|(waiting, _)| *waiting == job) {
            jobs.waiting.remove(at);
            drop(jobs);
            send(done(job, 0, Err(InferenceError::Cancelled)));
        }
    }

    /// Generates texts for ever.
    pub(super) fn run(&self, generator: &mut Generator, send: SendMessage<'_>) {
        let mut running = VecDeque::new();
        // Set while no further job fits; cleared when one ends.
        let mut is_full = false;
        loop {
            while !is_full && let Some((job, generation)) = self.take(running.is_empty()) {
                let started = Instant::now();
                match generator.begin(&generation) {
                    Ok(session) => {
                        let micros = micros_since(started);
                        running.push_back(Running { job, session, text: String::new(), micros });
                    }
                    Err(BeginError::Memory { .. }) if !running.is_empty() => {
                        self.put_back(job, generation);
                        is_full = true;
                    }
                    Err(error) => {
                        let rejected = Ok(vec![Err(InferenceError::InputRejected(error.to_string().into()))]);
                        self.end(job);
                        send(done(job, micros_since(started), rejected));
                    }
                }
            }
            let Some(mut next) = running.pop_front() else { continue };
            match self.pass(generator, &mut next, send) {
                None => running.push_back(next),
                Some(result) => {
                    let Running { job, session, micros, .. } = next;
                    generator.end(session);
                    is_full = false;
                    self.end(job);
                    send(done(job, micros, result));
                }
            }
        }
    }

    /// Runs one pass for a job. Returns its result if that was the last one.
    fn pass(&self, generator: &mut Generator, it: &mut Running, send: SendMessage<'_>) -> Option<JobResult> {
        if self.jobs().cancelled.contains(&it.job) {
            return Some(Err(InferenceError::Cancelled));
        }
        let started = Instant::now();
        let step = generator.step(&mut it.session);
        it.micros = it.micros.saturating_add(micros_since(started));
        let (text, finish) = match step {
            Ok(Step::Going { text }) => (text, None),
            Ok(Step::Done { text, finish }) => (text, Some(finish)),
            Err(reason) => return Some(Err(InferenceError::ModelFailed(reason.into()))),
        };
        it.text.push_str(&text);
        let tokens = it.session.tokens();
        if !text.is_empty() {
            send(FromWorker::Progress { job: it.job, text, tokens });
        }
        let text = finish.map(|_| std::mem::take(&mut it.text))?;
        let prompt_tokens = it.session.prompt_tokens();
        finish.map(|finish| Ok(vec![Ok(TaskOutput::Generation { text, prompt_tokens, tokens, finish })]))
    }

    /// Takes the next job if another one may run. With `wait`, blocks until there is one.
    fn take(&self, wait: bool) -> Option<(JobId, Box<Generation>)> {
        let mut jobs = self.jobs();
        while wait && jobs.waiting.is_empty() && jobs.running.is_empty() {
            jobs = self.more.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        if jobs.running.len() >= SESSIONS_MAX {
            return None;
        }
        let next = jobs.waiting.pop_front()?;
        jobs.running.insert(next.0);
        Some(next)
    }

    /// Puts a job that has not begun back to the front of the queue.
    fn put_back(&self, job: JobId, generation: Box<Generation>) {
        let mut jobs = self.jobs();
        jobs.running.remove(&job);
        jobs.waiting.push_front((job, generation));
    }

    fn end(&self, job: JobId) {
        let mut jobs = self.jobs();
        jobs.running.remove(&job);
        jobs.cancelled.remove(&job);
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done(job: JobId, micros: u64, result: JobResult) -> FromWorker {
    FromWorker::Done { job, micros, result }
}

fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The maximum number of jobs that take turns. Each has a cache for all of its tokens.
const SESSIONS_MAX: usize = 4;
