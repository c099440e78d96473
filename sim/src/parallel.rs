//! Runs many seeds in parallel and returns the reports in the order of the seeds.
//!
//! Each simulation stays on one thread, so the number of threads changes nothing but the duration. A bounded window of
//! reports limits how far other threads may run ahead of a slow seed.

use crate::report::Report;
use crate::run::{Options, run_with};
use crate::scenario::Scenario;
use core::num::NonZero;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Runs in progress. When it is dropped no further run starts; those in progress end by themselves.
pub(crate) struct Runs {
    shared: Arc<Shared>,
    threads: usize,
}

struct Shared {
    scenario: Scenario,
    options: Options,
    last: u64,
    /// How far ahead of the awaited seed other runs may start.
    window: u64,
    progress: Mutex<Progress>,
    changed: Condvar,
}

struct Progress {
    /// The next seed to start; `None` after the last.
    next: Option<u64>,
    /// The next seed to return; `None` after the last.
    awaited: Option<u64>,
    ended: BTreeMap<u64, Report>,
    abandoned: bool,
}

impl Runs {
    pub(crate) fn start(
        scenario: &Scenario,
        seeds: RangeInclusive<u64>,
        jobs: NonZero<usize>,
        options: Options,
    ) -> Self {
        let (first, last) = seeds.into_inner();
        let first = (first <= last).then_some(first);
        let progress = Progress { next: first, awaited: first, ended: BTreeMap::new(), abandoned: false };
        let window = u64::try_from(jobs.get()).unwrap_or(u64::MAX).saturating_mul(WINDOW_PER_JOB);
        let shared = Arc::new(Shared {
            scenario: scenario.clone(),
            options,
            last,
            window,
            progress: Mutex::new(progress),
            changed: Condvar::new(),
        });
        let spawn = |job: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("sim-{job}")).spawn(move || shared.run_seeds()).is_ok()
        };
        // If no thread can be spawned, the caller's own runs the seeds.
        let threads = (0..jobs.get()).map_while(|job| spawn(job).then_some(())).count();
        Self { shared, threads }
    }

    /// Returns the report of the next seed; `None` after the last, or soon after `stop` was set.
    pub(crate) fn next(&mut self, stop: &AtomicBool) -> Option<Report> {
        loop {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let mut progress = self.shared.lock();
            let awaited = progress.awaited?;
            if let Some(report) = progress.ended.remove(&awaited) {
                progress.awaited = self.shared.after(awaited);
                self.shared.changed.notify_all();
                return Some(report);
            }
            if self.threads == 0 {
                progress.awaited = self.shared.after(awaited);
                drop(progress);
                return Some(run_with(&self.shared.scenario, awaited, self.shared.options));
            }
            drop(self.shared.changed.wait_timeout(progress, POLL_INTERVAL));
        }
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.shared.lock().abandoned = true;
        self.shared.changed.notify_all();
    }
}

/// Ensures that nobody waits for the report of a thread that panicked.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut progress = self.0.lock();
            progress.abandoned = true;
            progress.awaited = None;
            self.0.changed.notify_all();
        }
    }
}

impl Shared {
    fn run_seeds(&self) {
        let _guard = Ended(self);
        while let Some(seed) = self.begin() {
            let report = run_with(&self.scenario, seed, self.options);
            self.lock().ended.insert(seed, report);
            self.changed.notify_all();
        }
    }

    /// Waits until another seed may start and returns it; `None` if there is none left.
    fn begin(&self) -> Option<u64> {
        let mut progress = self.lock();
        loop {
            if progress.abandoned {
                return None;
            }
            let (next, awaited) = progress.next.zip(progress.awaited)?;
            if next - awaited < self.window {
                progress.next = self.after(next);
                return Some(next);
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn after(&self, seed: u64) -> Option<u64> {
        (seed < self.last).then(|| seed + 1)
    }

    /// Locks the progress. It is consistent at every moment, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const WINDOW_PER_JOB: u64 = 16;

/// How often a waiting caller checks `stop`.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(seeds: RangeInclusive<u64>, jobs: usize, most: usize) -> Vec<(u64, String)> {
        let scenario = Scenario::parse("one", "nodes = 2\nduration = \"1s\"\n").unwrap();
        let scenario = scenario.on(crate::Executor::EventQueue).unwrap();
        let mut runs = Runs::start(&scenario, seeds, NonZero::new(jobs).unwrap(), Options::default());
        let mut seen = Vec::new();
        while seen.len() < most
            && let Some(report) = runs.next(&AtomicBool::new(false))
        {
            seen.push((report.seed, report.trace.hash));
        }
        seen
    }

    #[test]
    fn seeds_come_in_their_order_however_many_run_at_a_time() {
        let one = seeds(3..=90, 1, usize::MAX);
        assert_eq!(one.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(), (3..=90).collect::<Vec<_>>());
        assert_eq!(seeds(3..=90, 4, usize::MAX), one);
        assert_eq!(seeds(3..=90, 4, 5), one[..5]);
    }

    #[test]
    fn the_last_seed_of_all_is_the_end_and_no_seed_is_no_run() {
        let last: Vec<u64> = seeds(u64::MAX - 1..=u64::MAX, 2, 9).iter().map(|(seed, _)| *seed).collect();
        assert_eq!(last, [u64::MAX - 1, u64::MAX]);
        #[allow(clippy::reversed_empty_ranges, reason = "an empty range is the case under test")]
        let none = seeds(2..=1, 2, 9);
        assert!(none.is_empty());
    }

    #[test]
    fn a_stopped_sweep_returns_no_report() {
        let scenario = Scenario::parse("one", "nodes = 2\nduration = \"1s\"\n").unwrap();
        let mut runs = Runs::start(&scenario, 0..=u64::MAX, NonZero::<usize>::MIN, Options::default());
        assert!(runs.next(&AtomicBool::new(true)).is_none());
    }
}
