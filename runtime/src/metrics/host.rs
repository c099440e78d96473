//! What the process of a node and its disk contribute to the metrics. Each call reads it again.

use crate::host::{disk_space, kilobytes, open_files};
use crate::observers::otlp::OtlpCounters;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the figures of one node come from.
#[derive(Clone, Debug)]
pub struct Host {
    store: PathBuf,
    started_millis: u64,
    otlp: Arc<OtlpCounters>,
}

/// Figures of the process and of the disk. A figure that the system does not provide is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostFigures {
    /// Processor time of the process, in microseconds.
    pub cpu_micros: u64,
    /// Physical memory of the process.
    pub resident_bytes: u64,
    /// Virtual memory of the process.
    pub virtual_bytes: u64,
    /// When the node started, in milliseconds since 1970.
    pub started_millis: u64,
    /// Number of open files.
    pub open_files: u64,
    /// Maximum number of open files.
    pub open_files_max: u64,
    /// Number of threads.
    pub threads: u64,
    /// Size of the store's file.
    pub store_bytes: u64,
    /// Free space of its disk.
    pub disk_free_bytes: u64,
    /// Size of its disk.
    pub disk_bytes: u64,
    /// Spans that a collector accepted.
    pub spans_exported: u64,
    /// Spans that could not be sent.
    pub spans_dropped: u64,
    /// Spans that a collector rejected.
    pub spans_rejected: u64,
}

impl Host {
    /// Creates the source for this process, whose node started at this time and has this store. `otlp` counts its spans.
    pub fn new(store: &Path, started_millis: u64, otlp: Arc<OtlpCounters>) -> Self {
        Self { store: store.to_owned(), started_millis, otlp }
    }

    /// Reads the figures. May block for the time of a few system calls.
    pub fn read(&self) -> HostFigures {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name| kilobytes(&status, name).unwrap_or_default();
        let directory = self.store.parent().unwrap_or(&self.store);
        let disk = disk_space(directory);
        HostFigures {
            cpu_micros: cpu_micros(),
            resident_bytes: bytes("VmRSS:"),
            virtual_bytes: bytes("VmSize:"),
            started_millis: self.started_millis,
            open_files: open_files(std::process::id()).unwrap_or_default(),
            open_files_max: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
            threads: field(&status, "Threads:"),
            store_bytes: fs::metadata(&self.store).map_or(0, |metadata| metadata.len()),
            disk_free_bytes: disk.map_or(0, |disk| disk.bytes_free),
            disk_bytes: disk.map_or(0, |disk| disk.bytes_total),
            spans_exported: self.otlp.exported(),
            spans_dropped: self.otlp.dropped(),
            spans_rejected: self.otlp.rejected(),
        }
    }
}

/// Returns the processor time of this process, in microseconds; 0 if the system does not tell.
pub fn cpu_micros() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let cpu = usage
        .map_or(0, |usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
    u64::try_from(cpu).unwrap_or_default()
}

/// Returns the first number behind a name in `/proc/PID/status`.
fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_time_memory_threads_and_files() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        fs::write(&store, [0; 1000]).unwrap();
        let figures = Host::new(&store, 7, Arc::default()).read();
        assert!(figures.resident_bytes > 1 << 20 && figures.virtual_bytes >= figures.resident_bytes);
        assert!(figures.open_files >= 3 && figures.open_files < figures.open_files_max, "{figures:?}");
        assert!(
            figures.threads >= 1
                && figures.disk_free_bytes > 0
                && figures.disk_bytes > figures.disk_free_bytes
        );
        assert_eq!((figures.store_bytes, figures.started_millis), (1000, 7));
        assert_eq!(Host::new(Path::new("/nowhere/store"), 7, Arc::default()).read().store_bytes, 0);
    }
}
