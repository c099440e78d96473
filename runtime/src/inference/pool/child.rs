//! The node's side of a worker process: sends and receives messages, and reports its end.
//!
//! Each direction has its own task, so that a worker that stops reading or writing never blocks its node. The queues
//! are bounded by the number of jobs that the supervisor hands out. Dropping a [`Child`] kills the process.

use super::limits;
use super::protocol::{self, FromWorker, Hello, ToWorker};
use super::worker_options::{WORKER_JOBS_MAX, WorkerOptions};
use std::io;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// A running worker.
pub(super) struct Child {
    process: tokio::process::Child,
    frames: mpsc::Sender<Vec<u8>>,
    reports: mpsc::Receiver<Report>,
}

/// An event of a worker process.
#[derive(Debug)]
pub(super) enum Report {
    /// The connection to it ended; the reason.
    Ended(String),
    /// It sent a message.
    Message(FromWorker),
}

impl Child {
    /// Starts a worker and sends it the command to load its model.
    pub(super) fn spawn(options: &WorkerOptions) -> io::Result<Self> {
        let mut command = Command::new(&options.program);
        command
            .args(&options.arguments)
            // Secrets in the node's environment are kept from the worker, because model files come from strangers.
            .env_clear()
            .envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            // The worker has its own thread for each core; thread pools of libraries would compete with them.
            .env("RAYON_NUM_THREADS", "1")
            .env("TOKENIZERS_PARALLELISM", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(bytes) = options.memory_bytes {
            command.env(limits::MEMORY_VARIABLE, bytes.to_string());
        }
        // Ctrl-C in the terminal is for the node, which lets running jobs finish.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.spawn()?;
        let missing = || io::Error::other("the worker has no pipes");
        let input = process.stdin.take().ok_or_else(missing)?;
        let output = process.stdout.take().ok_or_else(missing)?;
        let errors = process.stderr.take().ok_or_else(missing)?;

        let (frames, to_write) = mpsc::channel(FRAMES_MAX);
        let (to_supervisor, reports) = mpsc::channel(REPORTS_MAX);
        tokio::spawn(write(input, to_write));
        tokio::spawn(read(output, to_supervisor));
        tokio::spawn(log(errors));
        let child = Self { process, frames, reports };
        child.send(&Hello::OWN);
        let (precision, files) = (options.precision, options.files.clone());
        child.say(&ToWorker::Load { threads: options.threads, precision, files });
        Ok(child)
    }

    /// Returns the process id, until the exit status has been collected.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Sends a message. If the worker is gone, the next report says so.
    pub(super) fn say(&self, message: &ToWorker) {
        self.send(message);
    }

    fn send(&self, message: &impl serde::Serialize) {
        match protocol::encode(message) {
            // Full only if the worker has stopped reading; then its jobs exceed their deadlines soon.
            Ok(frame) => drop(self.frames.try_send(frame)),
            Err(error) => {
                tracing::error!(component = "inference", %error, "a message to the worker could not be encoded")
            }
        }
    }

    /// Waits for the next report. Cancel-safe.
    pub(super) async fn next(&mut self) -> Report {
        match self.reports.recv().await {
            Some(report) => report,
            None => Report::Ended("its pipe closed".to_owned()),
        }
    }

    /// Kills the process if it still runs, and returns its exit status.
    pub(super) async fn kill(&mut self) -> Option<ExitStatus> {
        let killed = self.process.start_kill();
        match self.process.wait().await {
            Ok(status) => Some(status),
            Err(error) => {
                tracing::warn!(component = "inference", ?killed, %error, "the exit status of the worker is not known");
                None
            }
        }
    }
}

async fn write(mut input: ChildStdin, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        // If the process no longer reads, the reader task reports its end.
        if input.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn read(mut output: ChildStdout, reports: mpsc::Sender<Report>) {
    let reason = match protocol::receive::<Hello>(&mut output).await {
        Ok(Some(Hello::OWN)) => loop {
            match protocol::receive(&mut output).await {
                Ok(Some(message)) => {
                    if reports.send(Report::Message(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break "it exited".to_owned(),
                Err(error) => break format!("its message is invalid: {error}"),
            }
        },
        Ok(Some(other)) => format!("it uses another protocol: {other:?}"),
        Ok(None) => "it exited before its first message".to_owned(),
        Err(error) => format!("its message is invalid: {error}"),
    };
    // The receiver may be gone; then nobody needs the report.
    let _ = reports.send(Report::Ended(reason)).await;
}

/// Forwards the worker's standard error to the node's log.
async fn log(errors: ChildStderr) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut errors).take(LOG_PIECE_BYTES).read_until(b'\n', &mut line).await {
        tracing::warn!(component = "inference-worker", "{}", String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

/// Environment variables that workers inherit: where packed weights are cached, what the program needs to start, and
/// whether panics print a backtrace.
const KEPT_VARIABLES: [&str; 4] = ["HOME", "LD_LIBRARY_PATH", "RUST_BACKTRACE", "XDG_CACHE_HOME"];
/// The capacity of the channel to the worker: start and cancel of each job, the two initial messages, and those of two
/// profiles.
const FRAMES_MAX: usize = 2 * WORKER_JOBS_MAX + 6;
/// The capacity of the channel of reports to the supervisor.
const REPORTS_MAX: usize = 16;
/// The maximum length of a log line; longer ones are split.
const LOG_PIECE_BYTES: u64 = 4096;
