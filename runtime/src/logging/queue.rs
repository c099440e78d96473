//! The queue of log lines, and the thread that writes them.
//!
//! A push holds the lock only while it moves a line. The thread takes all queued lines at once and writes them without
//! the lock, so a slow disk slows nothing but itself.

use super::file::LogFile;
use super::line::Line;
use crate::clock;
use crate::config::LogLevel;
use serde_json::{Map, Value};
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A line in its two forms.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) json: String,
    /// For the terminal, if there is one.
    pub(super) plain: Option<String>,
}

/// The sending end of the queue. When it is dropped, the thread writes the rest and ends.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the writer.
    waiting: Condvar,
    /// Wakes a flush.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    bytes: usize,
    /// Lines ever queued, and how many of them are durable or dropped.
    pushed: u64,
    settled: u64,
    flush_to: u64,
    dropped: u64,
    /// Dropped lines that the log has reported.
    owned_up: u64,
    asleep: bool,
    closed: bool,
}

impl Queue {
    /// Starts the thread that writes to `file`.
    pub(super) fn start(file: LogFile) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&writer, file))?;
        Ok(Arc::new(Self { shared }))
    }

    pub(super) fn push(&self, entry: Entry) {
        let mut state = self.shared.state();
        let bytes = entry.json.len() + entry.plain.as_ref().map_or(0, String::len);
        if state.bytes + bytes > QUEUE_BYTES_MAX {
            state.dropped += 1;
            return;
        }
        state.bytes += bytes;
        state.pushed += 1;
        state.entries.push(entry);
        if state.asleep {
            state.asleep = false;
            drop(state);
            self.shared.waiting.notify_one();
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.shared.state().dropped
    }

    /// Waits until all earlier lines are durable. Returns `false` if that takes longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        let mut state = self.shared.state();
        let wanted = state.pushed;
        state.flush_to = wanted;
        state.asleep = false;
        self.shared.waiting.notify_one();
        while state.settled < wanted {
            let Some(left) = limit.checked_sub(begun.elapsed()) else { return false };
            state = self.shared.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.asleep = false;
        drop(state);
        self.shared.waiting.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch that the thread takes from the queue.
struct Batch {
    entries: Vec<Entry>,
    upto: u64,
    flush: bool,
    lost: u64,
}

/// Waits for lines. Returns `None` at the end of the queue.
fn next(shared: &Shared) -> Option<Batch> {
    let mut state = shared.state();
    loop {
        let flush = state.flush_to > state.settled;
        if !state.entries.is_empty() || flush {
            let entries = std::mem::take(&mut state.entries);
            state.bytes = 0;
            let lost = state.dropped - state.owned_up;
            state.owned_up = state.dropped;
            return Some(Batch { entries, upto: state.pushed, flush, lost });
        }
        if state.closed {
            return None;
        }
        state.asleep = true;
        state = shared.waiting.wait(state).unwrap_or_else(PoisonError::into_inner);
        if state.flush_to <= state.settled && !state.closed {
            drop(state);
            // Collects a batch.
            thread::sleep(BATCH_DELAY);
            state = shared.state();
        }
    }
}

fn write_all(shared: &Shared, mut file: LogFile) {
    while let Some(batch) = next(shared) {
        let mut failed = 0;
        if batch.lost > 0 {
            let entry = own_up(batch.lost);
            // The loss of this line itself is not reported.
            let _ = file.append_all(&[entry.as_bytes()]);
        }
        let lines: Vec<&[u8]> = batch.entries.iter().map(|entry| entry.json.as_bytes()).collect();
        failed += file.append_all(&lines);
        let plain: String = batch.entries.iter().filter_map(|entry| entry.plain.as_deref()).collect();
        if !plain.is_empty() {
            // An error of standard error cannot be reported.
            let _ = io::stderr().lock().write_all(plain.as_bytes());
        }
        if batch.flush {
            // A failed sync cannot be reported.
            let _ = file.sync();
        }
        let mut state = shared.state();
        state.dropped += failed;
        state.settled = if batch.flush { batch.upto } else { state.settled };
        drop(state);
        shared.written.notify_all();
    }
}

fn own_up(lost: u64) -> String {
    let fields: Map<String, Value> = [("lines".to_owned(), Value::from(lost))].into_iter().collect();
    let message = "lines were lost: the log could not be written as fast as they came";
    Line { level: LogLevel::Warn, component: "logging", message, fields }.json(&clock::wall().to_string())
}

/// Maximum number of bytes in queued lines. Beyond, lines are dropped and counted.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How long the thread collects lines before it writes.
const BATCH_DELAY: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn file(path: &Path) -> LogFile {
        LogFile::open(path, u64::MAX, Duration::MAX).unwrap()
    }

    fn entry(text: &str) -> Entry {
        Entry { json: format!("{text}\n"), plain: None }
    }

    #[test]
    fn what_was_flushed_is_there_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let queue = Queue::start(file(&path)).unwrap();
        (0..1000).for_each(|number| queue.push(entry(&number.to_string())));
        assert!(queue.flush(Duration::from_secs(10)));
        let found: Vec<u32> =
            std::fs::read_to_string(&path).unwrap().lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(found, (0..1000).collect::<Vec<_>>());
        assert!(queue.flush(Duration::from_secs(10)), "nothing waits");
    }

    #[test]
    fn a_disk_that_stalls_costs_lines_and_no_time_and_the_log_owns_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        // A pipe without a reader takes a few bytes and then blocks the writer, as a dead disk does.
        make_pipe(&path);
        let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let queue = Queue::start(file(&path)).unwrap();
        let long = "x".repeat(1 << 20);
        (0..32).for_each(|_| queue.push(entry(&long)));
        let dropped = queue.dropped();
        assert!(dropped >= 24, "{dropped} of 32 lines of a MiB each were dropped");
        assert!(!queue.flush(Duration::from_millis(20)), "it is not written");
        let lines = io::BufRead::lines(io::BufReader::new(reader));
        // There may be several reports, because some lines were lost before the pipe was full and others after.
        let told = thread::spawn(move || {
            let mut told = 0;
            for line in lines.map(Result::unwrap).filter(|line| line.contains("lines were lost")) {
                told += serde_json::from_str::<Value>(&line).unwrap()["lines"].as_u64().unwrap();
                if told >= dropped {
                    break;
                }
            }
            told
        });
        queue.push(entry("more"));
        let told = told.join().unwrap();
        assert!((dropped..=dropped + 1).contains(&told), "{told} of {dropped} lines are owned up to");
    }

    fn make_pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }
}
