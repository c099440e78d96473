//! What workers may use of the machine, and what they do use.
//!
//! Memory is bounded by the kernel: `RLIMIT_DATA` counts what a process can write to and nobody else shares, so that
//! weights mapped from a file don't count and a runaway allocation fails at once, in the worker, without anyone having
//! to look in time. `RLIMIT_AS` would count mapped files and reserved space as well, and resident size can only be
//! watched. It is watched all the same, for what several workers take together. The processor's share is a number of
//! threads, and where that is too coarse, pauses in which workers stand still.

use engine::health::{memory_bytes_wanted, memory_bytes_well};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

/// How much of the processor workers may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare {
    /// Threads of each worker.
    pub threads: u16,
    /// Thousandths of a core that all workers may use together.
    pub permille: u32,
}

impl CpuShare {
    /// Divides this many cores; `threads` of 0 means as many as the share needs.
    pub fn new(cores: u16, threads: u16, percent: u8) -> Self {
        let cores = cores.max(1);
        let permille = (u32::from(cores) * u32::from(percent.clamp(1, 100)) * 10).max(1);
        let needed = u16::try_from(permille.div_ceil(1000)).unwrap_or(u16::MAX);
        let threads = if threads == 0 { needed } else { threads.min(cores) };
        Self { threads: threads.clamp(1, needed.max(1)), permille }
    }

    /// Returns for how much of each period so many busy workers may run; `None` where they need no pauses.
    pub(crate) fn running(self, busy: usize) -> Option<Duration> {
        let wanted = u32::from(self.threads).saturating_mul(u32::try_from(busy).unwrap_or(u32::MAX)) * 1000;
        (wanted > self.permille).then(|| PERIOD.mul_f64(f64::from(self.permille) / f64::from(wanted)))
    }
}

/// Returns what all workers of a node may occupy together, of what the node may use: with all of it taken, the node
/// is still well.
pub const fn memory_of_workers(node_bytes_max: u64) -> u64 {
    memory_bytes_well(node_bytes_max).saturating_sub(NODE_BYTES)
}

/// Returns the least MiB that a node has to be allowed for its workers to occupy this much.
pub(crate) const fn node_mib_for(worker_bytes: u64) -> u64 {
    memory_bytes_wanted(worker_bytes.saturating_add(NODE_BYTES)).div_ceil(1 << 20)
}

/// Bounds the memory of this process as the node that started it says. To be called before anything else.
pub fn bound_own_memory() {
    let said = std::env::var(MEMORY_VARIABLE).ok().and_then(|bytes| bytes.parse().ok());
    let Some(bytes) = said else { return };
    if let Err(error) = setrlimit(Resource::RLIMIT_DATA, bytes, bytes) {
        eprintln!("this worker's memory is not limited: {error}");
    }
}

/// Lets a worker stand still, or go on.
pub(crate) fn hold(pid: u32, still: bool) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have gone by itself.
        let _ = kill(Pid::from_raw(pid), if still { Signal::SIGSTOP } else { Signal::SIGCONT });
    }
}

/// Returns the memory that a process occupies; `None` where it is gone.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/status")).ok()?.take(STATUS_BYTES_MAX).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// What a node holds besides its models, with as many results as it keeps.
const NODE_BYTES: u64 = 20 << 20;
/// Pauses are shares of this.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);
/// What tells a worker how many bytes of memory it may have.
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
            (share.threads, share.running(1).map(|running| running.as_millis()), share.running(2).is_some())
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
