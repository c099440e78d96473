//! A team of threads that run one call together, phase by phase, and stay for the next call.
//!
//! The items of a phase are divided into shares, which running threads take from one atomic counter. A phase ends when
//! all its shares are done, not when all threads have arrived. A thread that the scheduler delays therefore holds up
//! nobody unless it has a share; when it comes back, it finds its phases over. Waiting threads spin for a moment,
//! because the next phase usually follows at once, and then sleep.
//!
//! The invariants:
//! - Every share is done exactly once, and writes of a phase are visible in later phases.
//! - A phase lasts while any thread has a share of it.
//! - When [`ThreadTeam::run`] returns, no thread uses its argument any more.
//! - A share that panics counts as done; the caller panics at the end.

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// The calling thread and its helper threads.
pub struct ThreadTeam {
    state: Arc<State>,
    helpers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    call: Mutex<Call>,
    /// The number of the latest call; changed under the lock.
    called: AtomicU32,
    /// Helpers that run the call; more enter only under the lock.
    inside: AtomicUsize,
    failed: AtomicBool,
    /// Notified when a call begins.
    begun: Condvar,
    /// Notified when the last helper has left.
    left: Condvar,
    phases: Phases,
}

/// The call that helpers are to run.
#[derive(Default)]
struct Call {
    /// The function to run, while there is one.
    work: Option<Work>,
    sleeping: usize,
    /// Whether the caller sleeps until all helpers have left.
    awaited: bool,
    over: bool,
}

/// The function of a call, valid while the call runs.
type Work = &'static (dyn Fn(&TeamThread<'_>) + Sync);

/// The current phase of a call. Its two counters are on different cache lines, so that waiting threads do not slow down
/// working ones.
#[derive(Default)]
struct Phases {
    taken: Taken,
    done: Done,
    sleeping: AtomicUsize,
    lock: Mutex<()>,
    /// Notified when a phase is over.
    over: Condvar,
}

/// The phase number in the upper half, the first item that is not taken in the lower half.
#[derive(Default)]
#[repr(align(128))]
struct Taken(AtomicU64);

/// The number of items of the phase that are done.
#[derive(Default)]
#[repr(align(128))]
struct Done(AtomicUsize);

/// One thread of a team during a call.
pub(crate) struct TeamThread<'a> {
    state: &'a State,
    /// The thread's index, below the size of the team.
    pub(crate) index: usize,
    phase: Cell<u32>,
}

impl ThreadTeam {
    /// Starts a team of this many threads including the caller, at most [`TEAM_THREADS_MAX`]. The team is smaller if
    /// the system cannot start that many.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let mut team = Self::alone();
        for index in 1..threads.clamp(1, TEAM_THREADS_MAX) {
            let state = Arc::clone(&team.state);
            let helper = thread::Builder::new().name(format!("kernels-{index}"));
            team.helpers.extend(helper.spawn(move || state.help(index)));
        }
        team
    }

    /// Makes a team of only the calling thread.
    #[must_use]
    pub fn alone() -> Self {
        Self { state: Arc::default(), helpers: Vec::new() }
    }

    /// Returns the number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work` for each pair of elements of two slices, in parallel.
    ///
    /// # Panics
    /// Panics if the slices differ in length, or if `work` panics.
    pub fn each<T: Send, U: Send>(
        &mut self,
        ones: &mut [T],
        others: &mut [U],
        work: impl Fn(&mut T, &mut U) + Sync,
    ) {
        assert!(ones.len() == others.len(), "slices of different lengths");
        let count = ones.len();
        let (ones, others) = (Elements(ones.as_mut_ptr()), Elements(others.as_mut_ptr()));
        self.run(&|thread| {
            thread.share(count, 1, |elements| {
                for index in elements {
                    // SAFETY: each index below the slices' lengths is in one share, so that no two calls have the same
                    // elements, and `run` returns after all calls; the borrows outlive it.
                    unsafe { work(&mut *ones.at(index), &mut *others.at(index)) }
                }
            });
        });
    }

    /// Runs `work` on all threads that arrive in time, and returns when it is done.
    ///
    /// # Panics
    /// Panics if `work` panics on any thread.
    pub(crate) fn run(&mut self, work: &(dyn Fn(&TeamThread<'_>) + Sync)) {
        let state = &*self.state;
        state.phases.restart();
        if !self.helpers.is_empty() {
            // SAFETY: only the lifetime is extended. Helpers use it between `begin` and `close`, and `close` returns
            // when none does any more. It is called below even if the caller's own part panics.
            state.begin(unsafe { std::mem::transmute::<&(dyn Fn(&TeamThread<'_>) + Sync), Work>(work) });
        }
        let own = catch_unwind(AssertUnwindSafe(|| work(&TeamThread::new(state, 0))));
        if !self.helpers.is_empty() {
            state.close();
        }
        let failed = state.failed.swap(false, Ordering::Relaxed);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(!failed, "a thread of the team panicked");
    }
}

impl Drop for ThreadTeam {
    fn drop(&mut self) {
        self.state.lock().over = true;
        self.state.called.fetch_add(1, Ordering::Release);
        self.state.begun.notify_all();
        for helper in self.helpers.drain(..) {
            // Its panics were caught.
            let _ = helper.join();
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a call to the helpers.
    fn begin(&self, work: Work) {
        let mut call = self.lock();
        call.work = Some(work);
        let sleeping = call.sleeping > 0;
        self.called.fetch_add(1, Ordering::Release);
        drop(call);
        if sleeping {
            self.begun.notify_all();
        }
    }

    /// Withdraws the call and waits for the helpers that run it; does not wait for helpers that have not arrived.
    fn close(&self) {
        self.lock().work = None;
        if spin_until(|| self.inside.load(Ordering::Acquire) == 0) {
            return;
        }
        let mut call = self.lock();
        call.awaited = true;
        while self.inside.load(Ordering::Acquire) > 0 {
            call = self.left.wait(call).unwrap_or_else(PoisonError::into_inner);
        }
        call.awaited = false;
    }

    /// Runs calls on a helper thread until the team is dropped.
    fn help(&self, index: usize) {
        let mut seen = 0;
        loop {
            spin_until(|| self.called.load(Ordering::Acquire) != seen);
            let mut call = self.lock();
            while self.called.load(Ordering::Acquire) == seen && !call.over {
                call.sleeping += 1;
                call = self.begun.wait(call).unwrap_or_else(PoisonError::into_inner);
                call.sleeping -= 1;
            }
            if call.over {
                return;
            }
            seen = self.called.load(Ordering::Acquire);
            let Some(work) = call.work else { continue };
            self.inside.fetch_add(1, Ordering::Relaxed);
            drop(call);
            if catch_unwind(AssertUnwindSafe(|| work(&TeamThread::new(self, index)))).is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            let call = self.lock();
            if self.inside.fetch_sub(1, Ordering::Release) == 1 && call.awaited {
                self.left.notify_one();
            }
        }
    }
}

impl Phases {
    /// Starts again with phase zero. No thread may be in a call.
    fn restart(&self) {
        self.taken.0.store(0, Ordering::Relaxed);
        self.done.0.store(0, Ordering::Relaxed);
    }

    /// Takes the next share of a phase, if the phase is not over and items are left.
    fn take(&self, phase: u32, total: usize, size: usize) -> Option<Range<usize>> {
        let mut seen = self.taken.0.load(Ordering::Acquire);
        loop {
            let first = (seen & ITEMS) as usize;
            if seen >> PHASE_SHIFT != u64::from(phase) || first >= total {
                return None;
            }
            let end = total.min(first + size.max(1));
            let next = seen - first as u64 + end as u64;
            match self.taken.0.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(first..end),
                Err(found) => seen = found,
            }
        }
    }

    /// Records that some items are done. Returns true if they were the last, which ends the phase.
    fn finish(&self, phase: u32, count: usize, total: usize) -> bool {
        if self.done.0.fetch_add(count, Ordering::AcqRel) + count < total {
            return false;
        }
        self.done.0.store(0, Ordering::Relaxed);
        // Sequentially consistent with `sleeping`: a thread that goes to sleep after this checks once more, and sees
        // it.
        self.taken.0.store(u64::from(phase + 1) << PHASE_SHIFT, Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.over.notify_all();
        }
        true
    }

    /// Waits until a phase is over.
    fn wait(&self, phase: u32) {
        let is_over = || self.taken.0.load(Ordering::SeqCst) >> PHASE_SHIFT > u64::from(phase);
        if spin_until(is_over) {
            return;
        }
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        let mut lock = self.lock();
        while !is_over() {
            lock = self.over.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> TeamThread<'a> {
    fn new(state: &'a State, index: usize) -> Self {
        Self { state, index, phase: Cell::new(0) }
    }

    /// Runs a phase: takes shares of `size` items until none is left, and returns when all are done. All threads must
    /// run the same phases in the same order. Only `work` may read data that later phases write: outside of it, other
    /// threads may be in a later phase already.
    pub(crate) fn share(&self, total: usize, size: usize, mut work: impl FnMut(Range<usize>)) {
        if total == 0 {
            return;
        }
        assert!(total as u64 <= ITEMS - SHARE_MAX && size as u64 <= SHARE_MAX, "{total} items");
        let phase = self.phase.get();
        self.phase.set(phase + 1);
        let phases = &self.state.phases;
        while let Some(share) = phases.take(phase, total, size) {
            let count = share.len();
            if catch_unwind(AssertUnwindSafe(|| work(share))).is_err() {
                self.state.failed.store(true, Ordering::Relaxed);
            }
            if phases.finish(phase, count, total) {
                return;
            }
        }
        phases.wait(phase);
    }
}

/// Spins for a moment until a condition is true. Returns the condition.
fn spin_until(is_so: impl Fn() -> bool) -> bool {
    for _ in 0..SPINS_MAX {
        if is_so() {
            return true;
        }
        std::hint::spin_loop();
    }
    is_so()
}

/// The first element of a slice whose elements are given to different threads.
struct Elements<T>(*mut T);

impl<T> Elements<T> {
    fn at(&self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}

// SAFETY: each thread takes its own elements, and `T: Send` lets them go there.
unsafe impl<T: Send> Sync for Elements<T> {}

/// The maximum size of a team. With more threads, shares get too small.
pub const TEAM_THREADS_MAX: usize = 64;
/// Iterations of spinning before a thread sleeps: some hundred microseconds.
const SPINS_MAX: u32 = 4_000;
/// The bit position of the phase number, above the item number.
const PHASE_SHIFT: u32 = 32;
const ITEMS: u64 = (1 << PHASE_SHIFT) - 1;
const SHARE_MAX: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_worked_on_once_however_often() {
        for threads in [1, 2, 3] {
            let mut team = ThreadTeam::new(threads);
            assert_eq!(team.threads(), threads);
            let (mut ones, mut others) = (vec![0_u64; 5], vec![0_u64; 5]);
            for round in 0..500_u64 {
                team.each(&mut ones, &mut others, |one, other| {
                    *one += round;
                    *other += *one;
                });
            }
            assert_eq!(ones, vec![499 * 250; 5]);
            let sums: u64 = (0..500_u64).map(|round| round * (round + 1) / 2).sum();
            assert_eq!(others, vec![sums; 5]);
        }
    }

    #[test]
    fn every_share_is_done_once_before_the_next_phase() {
        // More threads than any machine has cores, so that some are held up.
        for threads in [1, 2, 3, TEAM_THREADS_MAX] {
            let mut team = ThreadTeam::new(threads);
            for _ in 0..50 {
                let phases: Vec<Vec<AtomicUsize>> =
                    (0..4).map(|_| (0..37).map(|_| AtomicUsize::new(0)).collect()).collect();
                team.run(&|thread| {
                    for (index, phase) in phases.iter().enumerate() {
                        thread.share(37, 4, |share| {
                            assert!(
                                phases[..index]
                                    .iter()
                                    .flatten()
                                    .all(|done| done.load(Ordering::Relaxed) == 1)
                            );
                            for item in share {
                                phase[item].fetch_add(1, Ordering::Relaxed);
                            }
                        });
                        assert!(phase.iter().all(|done| done.load(Ordering::Relaxed) == 1));
                    }
                });
            }
        }
    }

    #[test]
    fn a_delayed_thread_delays_no_other_thread() {
        let mut team = ThreadTeam::new(2);
        let [ahead, caught_up] = [const { AtomicBool::new(false) }; 2];
        let phases: Vec<Vec<AtomicUsize>> =
            (0..10).map(|_| (0..8).map(|_| AtomicUsize::new(0)).collect()).collect();
        let wait_for = |flag: &AtomicBool| {
            while !flag.load(Ordering::Acquire) {
                thread::yield_now();
            }
        };
        team.run(&|thread| {
            if thread.index == 1 {
                wait_for(&ahead);
            }
            for (index, phase) in phases.iter().enumerate() {
                thread.share(8, 1, |share| {
                    phase[share.start].fetch_add(1, Ordering::Relaxed);
                    if thread.index == 0 && index == 5 {
                        ahead.store(true, Ordering::Release);
                        wait_for(&caught_up);
                    }
                });
                if thread.index == 1 && index == 4 {
                    caught_up.store(true, Ordering::Release);
                }
            }
        });
        assert!(phases.iter().flatten().all(|done| done.load(Ordering::Relaxed) == 1), "{phases:?}");
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_still_works() {
        let mut team = ThreadTeam::new(2);
        for bad in [0, 1] {
            let (mut indices, after) = ([0, 1], AtomicUsize::new(0));
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                team.each(&mut indices, &mut [(), ()], |index, ()| assert_ne!(*index, bad));
            }));
            assert!(outcome.is_err());
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                team.run(&|thread| {
                    thread.share(2, 1, |share| assert!(!share.contains(&bad)));
                    thread.share(2, 1, |share| {
                        after.fetch_add(share.len(), Ordering::Relaxed);
                    });
                    assert_ne!(thread.index, bad);
                });
            }));
            assert!(outcome.is_err() && after.into_inner() == 2);
        }
        let mut numbers = [1, 2];
        team.each(&mut numbers, &mut [(), ()], |number, ()| *number *= 10);
        assert_eq!(numbers, [10, 20]);
    }
}
