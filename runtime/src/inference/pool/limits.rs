//! Memory and CPU limits of workers, and their measured use.
//!
//! The kernel enforces the memory limit with `RLIMIT_DATA`. It counts private writable memory, so weights mapped from a
//! file do not count, and a runaway allocation fails at once in the worker. `RLIMIT_AS` would also count mapped files
//! and reserved address space; resident size can only be measured. The pool measures it all the same, to limit all
//! workers together. The CPU share is a number of threads and, for a finer share, intervals in which workers are
//! suspended.

use engine::health::{memory_bytes_wanted, memory_bytes_well};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

/// The share of the CPU that workers may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare {
    /// Threads of each worker.
    pub threads: u16,
    /// The CPU time of all workers together, in thousandths of a core.
    pub permille: u32,
}

impl CpuShare {
    /// Makes a share of `percent` of this many cores. With `threads` of 0, as many threads as the share needs.
    pub fn new(cores: u16, threads: u16, percent: u8) -> Self {
        let cores = cores.max(1);
        let permille = (u32::from(cores) * u32::from(percent.clamp(1, 100)) * 10).max(1);
        let needed = u16::try_from(permille.div_ceil(1000)).unwrap_or(u16::MAX);
        let threads = if threads == 0 { needed } else { threads.min(cores) };
        Self { threads: threads.clamp(1, needed.max(1)), permille }
    }

    /// Returns the time in each period for which `busy` workers may run, or `None` if they need not be suspended.
    pub(crate) fn run_time(self, busy: usize) -> Option<Duration> {
        let wanted = u32::from(self.threads).saturating_mul(u32::try_from(busy).unwrap_or(u32::MAX)) * 1000;
        (wanted > self.permille).then(|| CPU_PERIOD.mul_f64(f64::from(self.permille) / f64::from(wanted)))
    }
}

/// Returns the memory limit of all workers for the memory limit of their node. Workers that use all of it leave the
/// node healthy.
pub const fn memory_of_workers(node_bytes_max: u64) -> u64 {
    memory_bytes_well(node_bytes_max).saturating_sub(NODE_BYTES)
}

/// Returns the smallest memory limit of a node, in MiB, that allows its workers this much.
pub(crate) const fn node_mib_for(worker_bytes: u64) -> u64 {
    memory_bytes_wanted(worker_bytes.saturating_add(NODE_BYTES)).div_ceil(1 << 20)
}

/// Limits the memory of this process as its node demands. Must be called before anything else.
pub fn bound_own_memory() {
    let said = std::env::var(MEMORY_VARIABLE).ok().and_then(|bytes| bytes.parse().ok());
    let Some(bytes) = said else { return };
    if let Err(error) = setrlimit(Resource::RLIMIT_DATA, bytes, bytes) {
        eprintln!("this worker's memory is not limited: {error}");
    }
}

/// Suspends or resumes a worker.
pub(crate) fn suspend(pid: u32, suspended: bool) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have exited already.
        let _ = kill(Pid::from_raw(pid), if suspended { Signal::SIGSTOP } else { Signal::SIGCONT });
    }
}

/// Returns the resident memory of a process, or `None` if it is gone.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/status")).ok()?.take(STATUS_BYTES_MAX).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// The memory of a node besides its models, with as many results as it keeps.
const NODE_BYTES: u64 = 20 << 20;
/// The period in which workers run for their CPU share.
pub(crate) const CPU_PERIOD: Duration = Duration::from_millis(100);
/// The environment variable that tells a worker its memory limit.
pub(crate) const MEMORY_VARIABLE: &str = "P2P_AI_WORKER_MEMORY_BYTES";
const STATUS_BYTES_MAX: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::health::{Verdict, judge_memory};

    #[test]
    fn a_node_whose_workers_take_all_that_they_may_is_well() {
        for mib in (128..2_000).chain([16_384]) {
            let most = memory_of_workers(mib << 20);
            assert_eq!(judge_memory(most + NODE_BYTES, mib << 20), Verdict::Pass, "{mib} MiB");
            assert_eq!(node_mib_for(most), mib, "what was refused fits once the limit is as the hint says");
            assert_eq!(node_mib_for(most + 1), mib + 1);
        }
    }

    #[test]
    fn a_share_is_threads_first_and_pauses_for_the_rest() {
        let share = |cores, threads, percent| {
            let share = CpuShare::new(cores, threads, percent);
            (share.threads, share.run_time(1).map(|running| running.as_millis()), share.run_time(2).is_some())
        };
        assert_eq!(share(2, 0, 100), (2, None, true));
        assert_eq!(share(2, 0, 50), (1, None, true));
        assert_eq!(share(2, 0, 80), (2, Some(80), true));
        assert_eq!(share(1, 0, 25), (1, Some(25), true));
        assert_eq!(share(8, 2, 100), (2, None, false));
        assert_eq!(share(8, 64, 100), (8, None, true));
        assert_eq!(share(8, 8, 25), (2, None, true));
    }

    #[test]
    fn what_a_process_occupies_is_known_while_it_lives() {
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 20);
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
