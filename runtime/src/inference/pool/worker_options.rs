//! The options of a worker process: its program, its model and its limits.

use crate::inference::encoder::Precision;
use crate::inference::files::fingerprint::ModelFile;
use crate::inference::files::inspect::EMBEDDING_KINDS;
use engine::Fingerprint;
use engine::task::TaskKind;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// The options of a worker process.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The program.
    pub program: PathBuf,
    /// Its arguments. The program must call [`crate::inference::worker_main`].
    pub arguments: Vec<OsString>,
    /// The name under which jobs ask for the worker's model.
    pub model: String,
    /// The kinds of task that the model can do.
    pub kinds: Vec<TaskKind>,
    /// The fingerprint of the model, if it is known.
    pub fingerprint: Option<Fingerprint>,
    /// Its files as they were when they were hashed. The worker exits once they have changed.
    pub files: Vec<ModelFile>,
    /// The precision to compute in.
    pub precision: Precision,
    /// The number of compute threads.
    pub threads: u16,
    /// The limit of its private memory, if there is one.
    pub memory_bytes: Option<u64>,
}

impl WorkerOptions {
    /// Returns options that start the running program as a worker, `PROGRAM inference-worker MODEL`, on all cores.
    ///
    /// # Errors
    /// Returns an error if the path of the running program is unknown.
    pub fn own_program(model: &str) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: vec![WORKER_COMMAND.into(), model.into()],
            model: model.to_owned(),
            kinds: EMBEDDING_KINDS.to_vec(),
            fingerprint: None,
            files: Vec::new(),
            precision: Precision::Auto,
            memory_bytes: None,
            threads: u16::try_from(cores).unwrap_or(u16::MAX),
        })
    }
}

/// The argument that makes the node's program a worker.
pub const WORKER_COMMAND: &str = "inference-worker";
/// The maximum number of jobs that a worker has at a time.
pub(super) const WORKER_JOBS_MAX: usize = 16;
