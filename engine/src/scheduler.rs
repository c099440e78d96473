//! Which worker gets a task: the one that is expected to finish it first.
//!
//! The estimate is what this origin has measured: the time a worker took for a task, divided by the number of tasks
//! that it had from here. The choice among the nearly best workers is random, so that many origins do not all pick the
//! same idle node. An unknown worker is assumed to be as fast as the best known one. A worker whose lease expired took
//! at least that long; measurements survive when a worker leaves and comes back.

use crate::event::Estimate;
use crate::ids::{NodeId, TaskId};
use crate::rng::Rng;
use crate::time::{Instant, micros};
use core::time::Duration;
use std::collections::BTreeMap;

/// What an origin knows about its workers.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    workers: BTreeMap<NodeId, Worker>,
    /// The worker of each assigned task.
    holders: BTreeMap<TaskId, NodeId>,
}

/// A node that could get a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The node.
    pub(crate) node: NodeId,
    /// Number of tasks that it reported to have, from all origins.
    pub(crate) load: u16,
    /// Round trip of a message to it, in microseconds.
    pub(crate) round_trip_micros: u64,
    /// Whether it has loaded the model.
    pub(crate) loaded: bool,
}

/// What this origin has measured of one worker.
#[derive(Debug, Default)]
struct Worker {
    outstanding: u64,
    /// Smoothed time per task, in microseconds; 0 before the first measurement.
    service_micros: u64,
    /// The worker's queue was full: do not choose it before this time.
    full_until: Option<Instant>,
}

impl Scheduler {
    /// Returns what is expected of each candidate.
    pub(crate) fn estimate(
        &self,
        now: Instant,
        candidates: impl Iterator<Item = Candidate>,
    ) -> Vec<Estimate> {
        let measured = self.workers.values().map(|worker| worker.service_micros).filter(|&micros| micros > 0);
        let guess = measured.min().unwrap_or(SERVICE_GUESS_MICROS);
        let expected = |candidate: Candidate| {
            let fresh = Worker::default();
            let worker = self.workers.get(&candidate.node).unwrap_or(&fresh);
            let has_room =
                worker.outstanding < OUTSTANDING_MAX && worker.full_until.is_none_or(|until| until <= now);
            let service = if worker.service_micros == 0 { guess } else { worker.service_micros };
            // `load` includes the tasks of this origin and those of others.
            let ahead = worker.outstanding.max(u64::from(candidate.load));
            let load = if candidate.loaded { 0 } else { LOAD_GUESS_MICROS };
            let finish = service.saturating_mul(ahead + 1).saturating_add(candidate.round_trip_micros + load);
            Estimate {
                node: candidate.node,
                finish_micros: finish,
                service_micros: (worker.service_micros > 0).then_some(worker.service_micros),
                ahead,
                round_trip_micros: candidate.round_trip_micros,
                loaded: candidate.loaded,
                full: !has_room,
            }
        };
        candidates.map(expected).collect()
    }

    /// Chooses a worker; `None` if all are full now.
    pub(crate) fn choose(estimates: &[Estimate], rng: &mut Rng) -> Option<NodeId> {
        let open = || estimates.iter().filter(|estimate| !estimate.full);
        let best = open().map(|estimate| estimate.finish_micros).min()?;
        let near = best.saturating_add(best / 5);
        let near: Vec<NodeId> =
            open().filter(|estimate| estimate.finish_micros <= near).map(|estimate| estimate.node).collect();
        rng.index(near.len()).map(|at| near[at])
    }

    /// Records that a worker was assigned a task.
    pub(crate) fn handle_assigned(&mut self, task: TaskId, worker: NodeId) {
        self.handle_ended(task);
        self.holders.insert(task, worker);
        self.workers.entry(worker).or_default().outstanding += 1;
    }

    /// Records that a worker no longer has a task. `took` is the time since its assignment, if it finished the task or
    /// its lease expired. Does nothing if the worker does not have the task, as its outcome may be late.
    pub(crate) fn handle_returned(&mut self, task: TaskId, worker: NodeId, took: Option<Duration>) {
        if self.holders.get(&task) != Some(&worker) {
            return;
        }
        if let Some(took) = took {
            let entry = self.workers.entry(worker).or_default();
            // The task shared the worker with all others from this origin.
            let sample = (micros(took) / entry.outstanding.max(1)).max(1);
            let smoothed = (entry.service_micros * 3 + sample) / 4;
            entry.service_micros = if entry.service_micros == 0 { sample } else { smoothed };
        }
        self.handle_ended(task);
    }

    /// Records that no worker has a task any more.
    pub(crate) fn handle_ended(&mut self, task: TaskId) {
        let holder = self.holders.remove(&task);
        if let Some(entry) = holder.and_then(|holder| self.workers.get_mut(&holder)) {
            entry.outstanding = entry.outstanding.saturating_sub(1);
        }
    }

    /// Returns the expected time until a worker has finished all tasks from here; `None` before the first measurement.
    pub(crate) fn expected(&self, worker: NodeId) -> Option<Duration> {
        let worker = self.workers.get(&worker).filter(|worker| worker.service_micros > 0)?;
        Some(Duration::from_micros(worker.service_micros.saturating_mul(worker.outstanding)))
    }

    /// Records that a worker's queue was full.
    pub(crate) fn handle_full(&mut self, now: Instant, worker: NodeId) {
        self.workers.entry(worker).or_default().full_until = Some(now.after(FULL_BACKOFF));
    }

    /// Records that a worker has left, and no longer has any tasks.
    pub(crate) fn handle_gone(&mut self, worker: NodeId) {
        self.holders.retain(|_, holder| *holder != worker);
        if let Some(entry) = self.workers.get_mut(&worker) {
            *entry = Worker { service_micros: entry.service_micros, ..Worker::default() };
        }
        while self.workers.len() > WORKERS_MAX
            && let Some(idle) = self.workers.iter().find(|(_, worker)| worker.outstanding == 0)
        {
            let idle = *idle.0;
            self.workers.remove(&idle);
        }
    }

    /// Returns the number of assigned tasks.
    pub(crate) fn outstanding(&self) -> usize {
        self.holders.len()
    }

    /// Returns when the next full worker may be chosen again.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.workers.values().filter_map(|worker| worker.full_until).filter(|until| *until > now).min()
    }
}

/// Maximum number of tasks that one origin assigns to one worker: a few batches. More are better kept for the next free
/// worker.
const OUTSTANDING_MAX: u64 = 64;
/// Maximum number of workers to remember. Beyond it, idle ones are evicted when a worker leaves.
const WORKERS_MAX: usize = 4_096;
/// The assumed time per task before any measurement.
const SERVICE_GUESS_MICROS: u64 = 10_000;
/// The assumed time to load a model.
const LOAD_GUESS_MICROS: u64 = 500_000;
/// How long a worker whose queue was full is not chosen.
const FULL_BACKOFF: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: NodeId = NodeId([1; 16]);
    const SLOW: NodeId = NodeId([2; 16]);

    fn task(number: usize) -> TaskId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        TaskId(id)
    }

    fn candidates() -> [Candidate; 2] {
        [FAST, SLOW].map(|node| Candidate { node, load: 0, round_trip_micros: 500, loaded: true })
    }

    fn choose(scheduler: &Scheduler, now: u64, rng: &mut Rng) -> Option<NodeId> {
        let estimates = scheduler.estimate(Instant::from_micros(now), candidates().into_iter());
        Scheduler::choose(&estimates, rng)
    }

    #[test]
    fn work_is_shared_in_proportion_to_speed() {
        let (mut scheduler, mut rng) = (Scheduler::default(), Rng::new([1; 32]));
        for (worker, millis) in [(FAST, 10), (SLOW, 30)] {
            scheduler.handle_assigned(task(0), worker);
            scheduler.handle_returned(task(0), worker, Some(Duration::from_millis(millis)));
        }
        let mut given = [0, 0];
        for number in 0..40 {
            let worker = choose(&scheduler, 0, &mut rng).unwrap();
            scheduler.handle_assigned(task(number), worker);
            given[usize::from(worker == SLOW)] += 1;
        }
        assert!((28..=32).contains(&given[0]), "{given:?}");
    }

    #[test]
    fn a_full_worker_is_left_alone_for_a_while() {
        let (mut scheduler, mut rng) = (Scheduler::default(), Rng::new([1; 32]));
        scheduler.handle_full(Instant::ZERO, FAST);
        assert!((0..20).all(|_| choose(&scheduler, 0, &mut rng) == Some(SLOW)));
        scheduler.handle_full(Instant::ZERO, SLOW);
        assert_eq!(choose(&scheduler, 0, &mut rng), None);
        assert_eq!(scheduler.poll_timeout(Instant::ZERO), Some(Instant::from_micros(500_000)));
        assert!(choose(&scheduler, 500_000, &mut rng).is_some());
    }

    #[test]
    fn a_worker_that_never_answers_gets_a_share_once_and_then_nothing() {
        let (mut scheduler, mut rng) = (Scheduler::default(), Rng::new([1; 32]));
        scheduler.handle_assigned(task(99), FAST);
        scheduler.handle_returned(task(99), FAST, Some(Duration::from_millis(800)));
        let mut swallowed = Vec::new();
        for number in 0..20 {
            let worker = choose(&scheduler, 0, &mut rng).unwrap();
            scheduler.handle_assigned(task(number), worker);
            swallowed.extend((worker == SLOW).then_some(task(number)));
        }
        assert!((7..14).contains(&swallowed.len()), "{swallowed:?}");
        swallowed
            .into_iter()
            .for_each(|task| scheduler.handle_returned(task, SLOW, Some(Duration::from_secs(30))));
        scheduler.handle_gone(SLOW);
        assert!((0..20).all(|_| choose(&scheduler, 0, &mut rng) == Some(FAST)));
        (0..=WORKERS_MAX).for_each(|n| {
            let mut id = [9; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            scheduler.handle_assigned(task(n), NodeId(id));
            scheduler.handle_gone(NodeId(id));
        });
        assert!(scheduler.workers.len() <= WORKERS_MAX);
    }

    #[test]
    fn a_task_is_given_back_once() {
        let mut scheduler = Scheduler::default();
        let outstanding =
            |scheduler: &Scheduler| [FAST, SLOW].map(|node| scheduler.workers[&node].outstanding);
        scheduler.handle_assigned(task(1), FAST);
        scheduler.handle_assigned(task(2), FAST);
        scheduler.handle_assigned(task(3), SLOW);
        scheduler.handle_returned(task(1), FAST, None);
        scheduler.handle_assigned(task(1), SLOW);
        assert_eq!(outstanding(&scheduler), [1, 2]);
        // The first one finished after all: it has one task less only once, and the other's was taken from it.
        scheduler.handle_returned(task(1), FAST, Some(Duration::from_secs(1)));
        scheduler.handle_returned(task(1), SLOW, None);
        scheduler.handle_ended(task(1));
        assert_eq!((outstanding(&scheduler), scheduler.outstanding()), ([1, 1], 2));
        scheduler.handle_gone(SLOW);
        scheduler.handle_ended(task(3));
        assert_eq!((outstanding(&scheduler), scheduler.outstanding()), ([1, 0], 1));
    }

    #[test]
    fn equals_share_by_chance() {
        let (scheduler, mut rng) = (Scheduler::default(), Rng::new([1; 32]));
        let fast = (0..100).filter(|_| choose(&scheduler, 0, &mut rng) == Some(FAST)).count();
        assert!((30..70).contains(&fast), "{fast}");
    }
}
