//! Threads that stay: they sleep between passes, and meet at barriers within one.
//!
//! The work between two barriers is taken in small shares from one counter, so that a thread that the system holds up
//! leaves its part to the others. A panic in a team ends the process: the others could not go on without it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Some threads, the caller's own among them.
pub(super) struct Team {
    state: Arc<State>,
    helpers: Vec<JoinHandle<()>>,
}

struct State {
    size: usize,
    call: Mutex<Call>,
    /// Told when there is something to do.
    called: Condvar,
    /// Told when all helpers are done.
    done: Condvar,
    arrived: AtomicUsize,
    /// Barriers passed.
    passed: AtomicUsize,
    /// Shares taken since the last barrier.
    taken: AtomicUsize,
}

#[derive(Default)]
struct Call {
    number: u64,
    work: Option<Work>,
    helping: usize,
    over: bool,
}

/// What all members of a team do, for the time of one call.
type Work = &'static (dyn Fn(&Member<'_>) + Sync);

/// One thread's place in a team.
pub(super) struct Member<'a> {
    state: &'a State,
    /// Its number, below the team's size.
    pub(super) index: usize,
}

impl Team {
    /// Starts all but one of so many threads.
    pub(super) fn new(size: usize) -> std::io::Result<Self> {
        let size = size.clamp(1, THREADS_MAX);
        let state = Arc::new(State {
            size,
            call: Mutex::default(),
            called: Condvar::new(),
            done: Condvar::new(),
            arrived: AtomicUsize::new(0),
            passed: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
        });
        let mut team = Self { state, helpers: Vec::new() };
        for index in 1..size {
            let state = Arc::clone(&team.state);
            let helper = std::thread::Builder::new().name(format!("llama-{index}"));
            team.helpers.push(helper.spawn(move || state.help(index))?);
        }
        Ok(team)
    }

    /// How many threads there are.
    pub(super) fn size(&self) -> usize {
        self.state.size
    }

    /// Has every member do this, and waits for all of them.
    pub(super) fn run(&mut self, work: &(dyn Fn(&Member<'_>) + Sync)) {
        let _end = EndOnPanic;
        if self.helpers.is_empty() {
            self.state.taken.store(0, Ordering::Relaxed);
            return work(&Member { state: &self.state, index: 0 });
        }
        // SAFETY: the reference is used by helpers only, and all of them are waited for below; a panic in between ends
        // the process.
        let lasting: Work = unsafe { std::mem::transmute::<&(dyn Fn(&Member<'_>) + Sync), Work>(work) };
        self.state.taken.store(0, Ordering::Relaxed);
        {
            let mut call = self.state.lock();
            call.number += 1;
            call.work = Some(lasting);
            call.helping = self.helpers.len();
        }
        self.state.called.notify_all();
        work(&Member { state: &self.state, index: 0 });
        let mut call = self.state.lock();
        while call.helping > 0 {
            call = self.state.done.wait(call).unwrap_or_else(PoisonError::into_inner);
        }
        call.work = None;
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.state.lock().over = true;
        self.state.called.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper cannot have panicked: that would have ended the process.
            let _ = helper.join();
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a helper.
    fn help(&self, index: usize) {
        let _end = EndOnPanic;
        let mut seen = 0;
        loop {
            let mut call = self.lock();
            while call.number == seen && !call.over {
                call = self.called.wait(call).unwrap_or_else(PoisonError::into_inner);
            }
            if call.over {
                return;
            }
            seen = call.number;
            let work = call.work;
            drop(call);
            if let Some(work) = work {
                work(&Member { state: self, index });
            }
            let mut call = self.lock();
            call.helping -= 1;
            if call.helping == 0 {
                self.done.notify_one();
            }
        }
    }
}

impl Member<'_> {
    /// Waits until all members are here; what each wrote before, all see after. The shares begin anew.
    pub(super) fn barrier(&self) {
        let state = self.state;
        let passed = state.passed.load(Ordering::Acquire);
        if state.arrived.fetch_add(1, Ordering::AcqRel) + 1 == state.size {
            state.arrived.store(0, Ordering::Relaxed);
            state.taken.store(0, Ordering::Relaxed);
            state.passed.store(passed.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0_u32;
        while state.passed.load(Ordering::Acquire) == passed {
            spins += 1;
            if spins < SPINS_MAX {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Takes the next share of `0..total`; no two members get the same before the next barrier. To be asked until it
    /// is `None`, by all with the same numbers.
    pub(super) fn take(&self, total: usize, share: usize) -> Option<Range<usize>> {
        let start = self.state.taken.fetch_add(share, Ordering::Relaxed);
        (start < total).then(|| start..(start + share).min(total))
    }
}

/// Ends the process where it is dropped by a panic.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The most threads in a team.
const THREADS_MAX: usize = 256;
/// How often a thread looks before it lets others run: about a tenth of a millisecond.
const SPINS_MAX: u32 = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_is_taken_once_and_barriers_separate_the_rounds() {
        for size in [1, 2, 3] {
            let mut team = Team::new(size).unwrap();
            for _ in 0..50 {
                let rounds: Vec<Vec<AtomicUsize>> =
                    (0..4).map(|_| (0..37).map(|_| AtomicUsize::new(0)).collect()).collect();
                team.run(&|member| {
                    for round in &rounds {
                        while let Some(share) = member.take(37, 4) {
                            for slot in &round[share] {
                                slot.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        member.barrier();
                        assert!(round.iter().all(|slot| slot.load(Ordering::Relaxed) == 1));
                    }
                });
            }
        }
    }
}
