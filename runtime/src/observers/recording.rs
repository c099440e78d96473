//! The recording of a running node: its journal, written by a thread of its own.
//!
//! The node never waits for it. What the thread has not written yet is bounded; where the disk does not keep up or is
//! full, the recording ends with a warning and the node goes on. A journal is of use from the node's start only, so
//! one that has reached its largest size ends there, and keeps the beginning. The file is for its owner alone, for it
//! holds the texts of tasks; their lengths, hashes and echoes are all over the node's frames and decisions, so
//! without them nothing could be replayed.

use crate::ports::Journal;
use engine::identity::KeyUses;
use engine::journal::{End, MAGIC, Recorder, Start};
use engine::{Input, Instant, Output, Saved};
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
    /// Bytes handed over so far, and how many there may be.
    bytes: u64,
    bytes_max: u64,
    /// Nothing more is taken down.
    closed: bool,
    pipe: Arc<Pipe>,
}

/// Tells when all of a recording is written, as far as it can be.
#[derive(Debug)]
pub struct Written(oneshot::Receiver<()>);

/// What is on its way to the disk.
#[derive(Debug, Default)]
struct Pipe {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How many bytes the thread has taken and not written yet; they wait as well.
    taken: usize,
    bytes: Vec<u8>,
    /// Nothing more will come.
    closed: bool,
    /// Nothing more can be written.
    broken: bool,
}

impl Recording {
    /// Begins to record a node into `file`; `uses` is where the node's identity notes what its key did.
    ///
    /// # Errors
    /// Where the system has no thread to spare.
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
            // A node that is gone already waits for nothing.
            let _ = done.send(());
        })?;
        let mut recording = Self { recorder, encoded, bytes: 0, bytes_max, closed: false, pipe };
        recording.hand_over();
        Ok((recording, Written(written)))
    }

    /// Gives what was encoded to the thread; ends the recording where that was the last that it takes.
    fn hand_over(&mut self) {
        if self.encoded.is_empty() {
            return;
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(self.encoded.len()).unwrap_or(u64::MAX));
        let (ended, full) = (self.recorder.has_ended(), self.bytes >= self.bytes_max);
        let mut waiting = self.pipe.lock();
        let idle = waiting.bytes.is_empty();
        // A record that the next one builds on is never left out, so each limit is exceeded by at most one.
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
            tracing::warn!(component = "recording", "the recording of this node ends here: {end}");
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

    fn output(&mut self, _now: Instant, output: &Output) {
        if !self.closed {
            self.recorder.output(output, &mut self.encoded);
            self.hand_over();
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // What a panic left behind is no complete step.
        if std::thread::panicking() {
            self.close()
        } else if !self.closed {
            self.end(End::Stopped)
        }
    }
}

impl Written {
    /// Waits until all is written, but not for ever: a disk that hangs keeps no node from stopping.
    pub async fn wait(self) {
        if tokio::time::timeout(FLUSH_TIMEOUT, self.0).await.is_err() {
            tracing::warn!(
                component = "recording",
                "the end of the recording is not written yet and is given up"
            );
        }
    }
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panicked while holding the lock has left whole records behind.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all that comes, until nothing more does.
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
                tracing::warn!(component = "recording", %error, "the recording of this node ends here: it cannot be written");
                let mut waiting = self.lock();
                waiting.broken = true;
                waiting.bytes = Vec::new();
                return;
            }
            bytes.clear();
        }
    }
}

/// Makes the file of a recording, for its owner alone. A recording that stands there already is kept as `FILE.1`, in
/// place of an older one; any other file is left alone.
///
/// # Errors
/// Where the file cannot be made, or is something else than a recording.
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
    // A process that died at once may have left less.
    Ok(MAGIC.starts_with(&begin))
}

/// Bytes that may wait for the disk; beyond, the recording ends.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// How long the end of a recording may take to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
