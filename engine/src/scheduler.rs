//! Which worker gets a task: the one expected to finish it first.
//!
//! The expectation is what this origin has measured: how long a task took a worker, for each task that it had from
//! here at the time. A choice among the nearly best is left to chance, so that many origins do not all turn to the
//! same idle node at once. Of a worker that nothing is known of, no more is expected than of the best that is known;
//! one that let a lease run out took at least that long, and going away and coming back makes nobody forget it.

use crate::ids::{NodeId, TaskId};
use crate::rng::Rng;
use crate::time::{Instant, micros};
use core::time::Duration;
use std::collections::BTreeMap;

/// What an origin knows of its workers.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    workers: BTreeMap<NodeId, Worker>,
    /// Who has each task that is with a worker.
    holders: BTreeMap<TaskId, NodeId>,
}

/// A node that could take a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The node.
    pub(crate) node: NodeId,
    /// Tasks that it said it has, from whomever.
    pub(crate) load: u16,
    /// Time that a message to it takes, both ways, in microseconds.
    pub(crate) round_trip_micros: u64,
    /// Whether the model is loaded there.
    pub(crate) loaded: bool,
}

#[derive(Debug, Default)]
struct Worker {
    outstanding: u64,
    /// Smoothed time per task, in microseconds; 0 before the first.
    service_micros: u64,
    /// It had no room; until when not to ask again.
    full_until: Option<Instant>,
}

impl Scheduler {
    /// Chooses a worker; `None` where none has room now.
    pub(crate) fn choose(
        &self,
        now: Instant,
        candidates: impl Iterator<Item = Candidate>,
        rng: &mut Rng,
    ) -> Option<NodeId> {
        let measured = self.workers.values().map(|worker| worker.service_micros).filter(|&micros| micros > 0);
        let guess = measured.min().unwrap_or(SERVICE_GUESS_MICROS);
        let expected = |candidate: Candidate| {
            let fresh = Worker::default();
            let worker = self.workers.get(&candidate.node).unwrap_or(&fresh);
            let has_room =
                worker.outstanding < OUTSTANDING_MAX && worker.full_until.is_none_or(|until| until <= now);
            let service = if worker.service_micros == 0 { guess } else { worker.service_micros };
            // What others gave it comes on top of what this origin did.
            let ahead = worker.outstanding.max(u64::from(candidate.load));
            let load = if candidate.loaded { 0 } else { LOAD_GUESS_MICROS };
            let finish = service.saturating_mul(ahead + 1).saturating_add(candidate.round_trip_micros + load);
            has_room.then_some((finish, candidate.node))
        };
        let expected: Vec<(u64, NodeId)> = candidates.filter_map(expected).collect();
        let best = expected.iter().map(|(finish, _)| *finish).min()?;
        let near = best.saturating_add(best / 5);
        let near: Vec<NodeId> =
            expected.iter().filter(|(finish, _)| *finish <= near).map(|(_, node)| *node).collect();
        rng.index(near.len()).map(|at| near[at])
    }

    /// Takes note that a worker got a task.
    pub(crate) fn handle_assigned(&mut self, task: TaskId, worker: NodeId) {
        self.handle_ended(task);
        self.holders.insert(task, worker);
        self.workers.entry(worker).or_default().outstanding += 1;
    }

    /// Takes note that a worker no longer has a task; `took` is the time from its assignment where it finished
    /// it, or had all the time that there was. What it does not have changes nothing: a late outcome may come from one
    /// from whom the task was taken before.
    pub(crate) fn handle_returned(&mut self, task: TaskId, worker: NodeId, took: Option<Duration>) {
        if self.holders.get(&task) != Some(&worker) {
            return;
        }
        if let Some(took) = took {
            let entry = self.workers.entry(worker).or_default();
            // The task shared the worker with all others that this origin had there.
            let sample = (micros(took) / entry.outstanding.max(1)).max(1);
            let smoothed = (entry.service_micros * 3 + sample) / 4;
            entry.service_micros = if entry.service_micros == 0 { sample } else { smoothed };
        }
        self.handle_ended(task);
    }

    /// Takes note that no worker has a task any more.
    pub(crate) fn handle_ended(&mut self, task: TaskId) {
        let holder = self.holders.remove(&task);
        if let Some(entry) = holder.and_then(|holder| self.workers.get_mut(&holder)) {
            entry.outstanding = entry.outstanding.saturating_sub(1);
        }
    }

    /// Returns how long a worker is expected to need for all that it has from here; `None` before any was measured.
    pub(crate) fn expected(&self, worker: NodeId) -> Option<Duration> {
        let worker = self.workers.get(&worker).filter(|worker| worker.service_micros > 0)?;
        Some(Duration::from_micros(worker.service_micros.saturating_mul(worker.outstanding)))
    }

    /// Takes note that a worker had no room.
    pub(crate) fn handle_full(&mut self, now: Instant, worker: NodeId) {
        self.workers.entry(worker).or_default().full_until = Some(now.after(FULL_PAUSE));
    }

    /// Takes note that a worker is gone, and with it all that it had.
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

    /// Returns how many tasks are with workers.
    pub(crate) fn outstanding(&self) -> usize {
        self.holders.len()
    }

    /// Returns when a worker that had no room may be asked again.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.workers.values().filter_map(|worker| worker.full_until).filter(|until| *until > now).min()
    }
}

/// Tasks that one origin leaves with one worker: some batches ahead, the rest is better kept for whoever is free.
const OUTSTANDING_MAX: u64 = 64;
/// Workers remembered; beyond, those that have nothing to do are forgotten once one is gone.
const WORKERS_MAX: usize = 4_096;
/// The time per task before any was measured.
const SERVICE_GUESS_MICROS: u64 = 10_000;
/// The time that a model takes to load.
const LOAD_GUESS_MICROS: u64 = 500_000;
const FULL_PAUSE: Duration = Duration::from_millis(500);

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
        scheduler.choose(Instant::from_micros(now), candidates().into_iter(), rng)
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
