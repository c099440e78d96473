//! The recording of a running node: its journal, written by a separate thread.
//!
//! The node never waits for the writer. The backlog is bounded: if the disk is too slow or full, the recording ends
//! with a warning and the node continues. A recording is useful only from the start of the node, so at its maximum size
//! it ends and keeps the beginning. Only the owner can read the file, because it contains task texts. They cannot be
//! left out: their lengths, hashes and copies are in the frames and decisions of the node.

use crate::ports::Journal;
use engine::identity::KeyUses;
use engine::journal::{End, MAGIC, Recorder, Start};
use engine::{Input, Instant, Node, Output, Saved};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Records one node.
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    encoded: Vec<u8>,
    /// Bytes passed to the writer so far, and their limit.
    bytes: u64,
    bytes_max: u64,
    /// The recording has ended.
    closed: bool,
    pipe: Arc<Pipe>,
}

/// Signals that the recording is on disk, as far as that is possible.
#[derive(Debug)]
pub struct Written(oneshot::Receiver<()>);

/// The bytes on their way to the disk.
#[derive(Debug, Default)]
struct Pipe {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Bytes that the writer has taken and not written yet. They count as waiting.
    taken: usize,
    bytes: Vec<u8>,
    /// No more bytes will come.
    closed: bool,
    /// The file cannot be written.
    broken: bool,
}

impl Recording {
    /// Starts to record a node into `file`. `uses` reports how the node's identity uses its key.
    ///
    /// # Errors
    /// The system provides no thread.
    pub fn begin(
        file: impl Write + Send + 'static,
        bytes_max: u64,
        start: &Start,
        saved: &Saved,
        uses: KeyUses,
    ) -> io::Result<(Self, Written)> {
        let (pipe, mut encoded) = (Arc::<Pipe>::default(), Vec::new());
        let recorder = Recorder::begin(start, saved, uses, &mut encoded);
        let (done, written) = oneshot::channel();
        let writer = Arc::clone(&pipe);
        std::thread::Builder::new().name("recording".to_owned()).spawn(move || {
            writer.write_all(file);
            // The node may have ended already.
            let _ = done.send(());
        })?;
        let mut recording = Self { recorder, encoded, bytes: 0, bytes_max, closed: false, pipe };
        recording.hand_over();
        Ok((recording, Written(written)))
    }

    /// Passes encoded bytes to the writer. Ends the recording if a limit is reached.
    fn hand_over(&mut self) {
        if self.encoded.is_empty() {
            return;
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(self.encoded.len()).unwrap_or(u64::MAX));
        let (ended, full) = (self.recorder.has_ended(), self.bytes >= self.bytes_max);
        let mut waiting = self.pipe.lock();
        let idle = waiting.bytes.is_empty();
        // Later records build on earlier ones, so none is left out and each limit is exceeded by one record at most.
        waiting.bytes.append(&mut self.encoded);
        let late = waiting.bytes.len() + waiting.taken > WAITING_BYTES_MAX;
        let broken = waiting.broken;
        drop(waiting);
        if idle {
            self.pipe.changed.notify_one();
        }
        if broken {
            self.close();
        } else if ended || full || late {
            let end = [(ended, End::TooLarge), (full, End::Full)].into_iter().find(|(is, _)| *is);
            let end = end.map_or(End::Late, |(_, end)| end);
            tracing::warn!(component = "recording", "the recording of this node ends: {end}");
            self.end(end);
        }
    }

    fn end(&mut self, end: End) {
        if !self.recorder.has_ended() {
            self.recorder.end(end, &mut self.encoded);
            self.pipe.lock().bytes.append(&mut self.encoded);
        }
        self.close();
    }

    fn close(&mut self) {
        self.closed = true;
        self.recorder.end(End::Stopped, &mut Vec::new());
        self.pipe.lock().closed = true;
        self.pipe.changed.notify_one();
    }
}

impl Journal for Recording {
    fn input(&mut self, now: Instant, input: &Input) {
        if !self.closed {
            self.recorder.input(now, input, &mut self.encoded);
            self.hand_over();
        }
    }

    fn output(&mut self, _now: Instant, output: &Output, _node: &Node) {
        if !self.closed {
            self.recorder.output(output, &mut self.encoded);
            self.hand_over();
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // After a panic the last step is incomplete.
        if std::thread::panicking() {
            self.close()
        } else if !self.closed {
            self.end(End::Stopped)
        }
    }
}

impl Written {
    /// Waits until everything is written, up to a timeout, so that a stalled disk does not block the shutdown.
    pub async fn wait(self) {
        if tokio::time::timeout(FLUSH_TIMEOUT, self.0).await.is_err() {
            tracing::warn!(
                component = "recording",
                "the recording was not completely written before the timeout"
            );
        }
    }
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A thread that panicked under the lock has left complete records behind.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all bytes until the recording ends.
    fn write_all(&self, mut file: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let mut waiting = self.lock();
            waiting.taken = 0;
            while waiting.bytes.is_empty() && !waiting.closed {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.bytes.is_empty() {
                return;
            }
            std::mem::swap(&mut waiting.bytes, &mut bytes);
            waiting.taken = bytes.len();
            drop(waiting);
            if let Err(error) = file.write_all(&bytes).and_then(|()| file.flush()) {
                tracing::warn!(component = "recording", %error, "the recording of this node ends: it cannot be written");
                let mut waiting = self.lock();
                waiting.broken = true;
                waiting.bytes = Vec::new();
                return;
            }
            bytes.clear();
        }
    }
}

/// Creates the file of a recording, readable by its owner only. An existing recording becomes `FILE.1` and replaces an
/// older one. Any other existing file is left alone.
///
/// # Errors
/// The file cannot be created, or exists and is not a recording.
pub fn create_file(path: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !is_recording(path)? {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "the file is there already and is not a recording",
                ));
            }
            let mut older = path.as_os_str().to_owned();
            older.push(".1");
            let older = PathBuf::from(older);
            if older.symlink_metadata().is_ok() && !is_recording(&older)? {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{} would take the older recording, and is none", older.display()),
                ));
            }
            fs::rename(path, older)?;
            create()
        }
        created => created,
    }
}

fn is_recording(path: &Path) -> io::Result<bool> {
    if !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut begin = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
    // A process that was killed at once may have written less.
    Ok(MAGIC.starts_with(&begin))
}

/// Maximum number of bytes that wait for the disk. Beyond, the recording ends.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// How long a shutdown waits for the end of a recording.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
