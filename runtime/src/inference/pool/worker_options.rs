//! How a worker process is started: the program, the model, and what it may use.

use crate::inference::encoder::Precision;
use crate::inference::files::fingerprint::ModelFile;
use engine::Fingerprint;
use engine::task::TaskKind;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// How to start a worker, and what it runs.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; it must end up in [`crate::inference::worker_main`].
    pub arguments: Vec<OsString>,
    /// The name under which jobs ask for the worker's model.
    pub model: String,
    /// What the model can do.
    pub kinds: Vec<TaskKind>,
    /// Which model it is, where that is known.
    pub fingerprint: Option<Fingerprint>,
    /// Its files as they were when that was found out; the worker ends once they are not.
    pub files: Vec<ModelFile>,
    /// How exactly it computes.
    pub precision: Precision,
    /// Cores that the worker computes on.
    pub threads: u16,
    /// What the worker may have of memory that nobody else shares; no limit where this is `None`.
    pub memory_bytes: Option<u64>,
}

impl WorkerOptions {
    /// The running program as a worker: `PROGRAM inference-worker MODEL`, on all available cores.
    ///
    /// # Errors
    /// Where the operating system does not say which program this is.
    pub fn own_program(model: &str) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: vec![WORKER_COMMAND.into(), model.into()],
            model: model.to_owned(),
            kinds: vec![TaskKind::Embedding, TaskKind::Classification],
            fingerprint: None,
            files: Vec::new(),
            precision: Precision::Auto,
            memory_bytes: None,
            threads: u16::try_from(cores).unwrap_or(u16::MAX),
        })
    }
}

/// The argument after which a node's own program is a worker.
pub const WORKER_COMMAND: &str = "inference-worker";
/// Jobs that the worker has at a time.
pub(super) const WORKER_JOBS_MAX: usize = 16;
