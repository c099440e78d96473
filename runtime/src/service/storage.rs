//! Opens the durable state of a node, and explains what is missing or damaged.

use super::error::StartError;
use crate::blobs::FileBlobs;
use crate::config::Settings;
use crate::home::{Home, WatchedFile};
use crate::store::{
    Missing, OpenError, RedbStore, ResultReader, Salvaged, TraceStore, check_free_space, is_full,
    missing_data, note_data, set_aside,
};
use engine::Saved;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The open storage of a node.
pub(super) struct Storage {
    pub(super) store: RedbStore,
    pub(super) traces: TraceStore,
    pub(super) saved: Saved,
    pub(super) results: Arc<ResultReader>,
    pub(super) blobs: FileBlobs,
    /// The node stops if one of these is removed: clients could not find it, or its data would not be durable.
    pub(super) watched_files: [WatchedFile; 2],
    /// Warnings for the user.
    pub(super) warnings: Vec<String>,
}

impl Storage {
    /// Opens the storage. Missing or damaged data is an error unless `accepts_loss`.
    pub(super) fn open(home: &Home, settings: &Settings, accepts_loss: bool) -> Result<Self, StartError> {
        let file = settings.storage_path.join(STORE_FILE);
        let mut warnings = Vec::new();
        match missing_data(home, &file) {
            Some(Missing::Gone) if accepts_loss => {
                warnings.push(format!("the data file {} is gone: the node starts without data", file.display()));
            }
            Some(Missing::Gone) => return Err(StartError::DataLost { path: file }),
            Some(Missing::Elsewhere { file: before }) => warnings.push(format!(
                "the data are in {} now, where there are none yet; the tasks and results of before stay in {}",
                file.display(),
                before.display()
            )),
            None => {}
        }
        let (store, saved, results) = match RedbStore::open(&file) {
            Err(OpenError::Damaged { detail, .. }) if accepts_loss => {
                let aside = set_aside(&file).map_err(unusable(&file))?;
                warnings.push(format!(
                    "the data file was damaged ({detail}) and is now {}: the node starts without data",
                    aside.display()
                ));
                RedbStore::open(&file)
            }
            opened => opened,
        }
        .map_err(|error| match error {
            OpenError::Io { path, source } => unusable(&path)(source),
            error @ (OpenError::Damaged { .. } | OpenError::InUse { .. } | OpenError::Version { .. }) => {
                StartError::Store(error)
            }
        })?;
        warnings.extend(results.salvaged().map(describe_salvage));
        note_data(home, &file).map_err(unusable(&home.data_note_file()))?;
        let watched_file = |path: PathBuf| WatchedFile::new(&path).map_err(unusable(&path));
        let watched_files = [watched_file(home.lock_file())?, watched_file(file)?];
        let traces = settings.storage_path.join(TRACE_FILE);
        let traces = TraceStore::open(&traces).map_err(unusable(&traces))?;
        let files = settings.storage_path.join(FILES);
        let blobs = FileBlobs::open(&files).map_err(unusable(&files))?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(Self { store, traces, saved, results: Arc::new(results), blobs, watched_files, warnings })
    }
}

/// Checks for free space in a directory.
pub(super) fn require_free_space(directory: &Path) -> Result<(), StartError> {
    check_free_space(directory).map_err(unusable(directory))
}

/// Converts an I/O error at `path` into a start error.
pub(super) fn unusable(path: &Path) -> impl Fn(io::Error) -> StartError + use<> {
    let path = path.to_owned();
    move |source| {
        let path = path.clone();
        if is_full(&source) {
            StartError::DiskFull { path, source }
        } else {
            StartError::Home { path, source }
        }
    }
}

/// Describes what was salvaged from a damaged file.
fn describe_salvage(salvaged: &Salvaged) -> String {
    let Salvaged { tasks, results, damaged, lost, kept } = salvaged;
    let named = damaged.len();
    let gone = match lost {
        Some(0) => String::new(),
        Some(lost) => format!(", {lost} more are gone"),
        None => ", and others may be gone".to_owned(),
    };
    format!(
        "the data file was damaged: {tasks} open tasks and {results} results were saved, {named} records are damaged\
         {gone}; it is kept as {}",
        kept.display()
    )
}

/// The file of tasks and results.
pub const STORE_FILE: &str = "node.redb";
/// The file of traces.
const TRACE_FILE: &str = "traces.redb";
/// The directory of the files that nodes share.
const FILES: &str = "files";
