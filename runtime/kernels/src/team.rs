//! Threads that work on one thing together, and wait for the next one.
//!
//! A member that has nothing to do spins for a moment, because the next part usually follows at once, then sleeps.
//!
//! The invariant: when [`Team::each`] returns, no member touches what it was given any more.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

/// The calling thread and its helpers.
pub struct Team {
    helpers: Vec<Helper>,
}

struct Helper {
    post: Arc<Post>,
    thread: Option<JoinHandle<()>>,
}

/// How a helper is told what to do.
#[derive(Default)]
struct Post {
    /// The number of the newest call; changed by the leader.
    called: AtomicU32,
    /// The number of the last call that is done; changed by the helper.
    done: AtomicU32,
    call: UnsafeCell<Option<Call>>,
    failed: AtomicBool,
    leave: AtomicBool,
}

/// A borrowed function and which member it is called for.
#[derive(Clone, Copy)]
struct Call {
    function: *const (dyn Fn(usize) + Sync),
    member: usize,
}

// SAFETY: the function may be called from any thread; that it still exists is what `Team::run` sees to.
unsafe impl Send for Call {}
// SAFETY: `call` is written by the leader while the helper waits, and read by the helper between its seeing a new
// number in `called` and its writing of `done`, both of which order the accesses.
unsafe impl Sync for Post {}

impl Team {
    /// Starts a team of so many threads, the caller's included; at most [`MEMBERS_MAX`].
    #[must_use]
    pub fn new(members: usize) -> Self {
        let helpers = (1..members.clamp(1, MEMBERS_MAX)).filter_map(Helper::start).collect();
        Self { helpers }
    }

    /// A team of the caller's thread.
    #[must_use]
    pub const fn alone() -> Self {
        Self { helpers: Vec::new() }
    }

    /// Returns how many threads it has.
    #[must_use]
    pub fn members(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work` for each element of two slices at once, each on a thread of its own.
    ///
    /// # Panics
    /// Panics where the slices differ in length or have more elements than the team members, and where `work` did.
    pub fn each<T: Send, U: Send>(
        &mut self,
        ones: &mut [T],
        others: &mut [U],
        work: impl Fn(&mut T, &mut U) + Sync,
    ) {
        assert!(ones.len() == others.len() && ones.len() <= self.members(), "more parts than members");
        let count = ones.len();
        let (ones, others) = (Elements(ones.as_mut_ptr()), Elements(others.as_mut_ptr()));
        self.run(count, &|member| {
            // SAFETY: `run` calls this once for each number below the slices' lengths, so that no two calls have the
            // same elements, and returns after all calls; the borrows outlive it.
            unsafe { work(&mut *ones.at(member), &mut *others.at(member)) }
        });
    }

    /// Calls `function` with each number below `count`, and returns when all calls have.
    fn run(&mut self, count: usize, function: &(dyn Fn(usize) + Sync)) {
        if count == 0 {
            return;
        }
        let helpers = &self.helpers[..count - 1];
        // SAFETY: only the lifetime is forgotten. The function is called through this until `wait` has returned for
        // each helper, which happens below even when the leader's own call panics.
        let lasting: *const (dyn Fn(usize) + Sync) =
            unsafe { std::mem::transmute(std::ptr::from_ref(function)) };
        for (helper, member) in helpers.iter().zip(1..) {
            helper.call(Call { function: lasting, member });
        }
        let own = catch_unwind(AssertUnwindSafe(|| function(0)));
        let mut failed = false;
        for helper in helpers {
            failed |= helper.wait();
        }
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(!failed, "a member of the team panicked");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        for helper in &mut self.helpers {
            helper.post.leave.store(true, Ordering::Release);
            if let Some(thread) = helper.thread.take() {
                thread.thread().unpark();
                let _ = thread.join();
            }
        }
    }
}

impl Helper {
    /// Returns none where the system has no thread to give.
    fn start(_: usize) -> Option<Self> {
        let post = Arc::new(Post::default());
        let own = Arc::clone(&post);
        let thread = thread::Builder::new().name("kernels".to_owned()).spawn(move || help(&own)).ok()?;
        Some(Self { post, thread: Some(thread) })
    }

    fn call(&self, call: Call) {
        // SAFETY: the helper waits for a new number and does not look here before.
        unsafe { *self.post.call.get() = Some(call) };
        self.post.called.fetch_add(1, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Waits until the last call is done; tells whether it panicked.
    fn wait(&self) -> bool {
        let called = self.post.called.load(Ordering::Relaxed);
        let mut spins = 0;
        while self.post.done.load(Ordering::Acquire) != called {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { thread::yield_now() }
        }
        self.post.failed.load(Ordering::Relaxed)
    }
}

/// The life of a helper.
fn help(post: &Post) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        let called = loop {
            let called = post.called.load(Ordering::Acquire);
            if called != seen {
                break called;
            }
            if post.leave.load(Ordering::Acquire) {
                return;
            }
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { thread::park() }
        };
        seen = called;
        // SAFETY: the leader wrote the call before the number, and does not write again before `done`.
        if let Some(Call { function, member }) = unsafe { *post.call.get() } {
            // SAFETY: the leader keeps the function alive until it sees `done`.
            let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { (*function)(member) }));
            post.failed.store(outcome.is_err(), Ordering::Relaxed);
        }
        post.done.store(seen, Ordering::Release);
    }
}

/// The first element of a slice whose elements go to different threads.
struct Elements<T>(*mut T);

impl<T> Elements<T> {
    fn at(&self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}

// SAFETY: each thread takes elements of its own, which may go there.
unsafe impl<T: Send> Sync for Elements<T> {}

/// The most threads of a team; beyond, parts get too small.
pub const MEMBERS_MAX: usize = 64;
/// How often a member looks before it sleeps: some ten microseconds.
const SPINS: u32 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_worked_on_once_however_often() {
        for members in [1, 2, 3] {
            let mut team = Team::new(members);
            assert_eq!(team.members(), members);
            let (mut ones, mut others) = (vec![0_u64; members], vec![0_u64; members]);
            for round in 0..500_u64 {
                team.each(&mut ones, &mut others, |one, other| {
                    *one += round;
                    *other += *one;
                });
            }
            assert_eq!(ones, vec![499 * 250; members]);
            let sums: u64 = (0..500_u64).map(|round| round * (round + 1) / 2).sum();
            assert_eq!(others, vec![sums; members]);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let mut team = Team::new(2);
        for bad in [0, 1] {
            let mut indices = [0, 1];
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                team.each(&mut indices, &mut [(), ()], |index, ()| assert_ne!(*index, bad));
            }));
            assert!(outcome.is_err());
        }
        let mut numbers = [1, 2];
        team.each(&mut numbers, &mut [(), ()], |number, ()| *number *= 10);
        assert_eq!(numbers, [10, 20]);
    }
}
