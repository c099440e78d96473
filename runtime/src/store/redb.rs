//! The store port on one redb file.
//!
//! A thread of its own takes all writes that wait, commits them as one transaction in two phases, and then
//! reports each of them in order: the cost of reaching the disk is shared, and nothing is reported before it is
//! there. After an I/O error redb takes no more writes until it is opened anew, so that is done, and the writes
//! that come later get their own chance. A write that failed may still be found after a restart: the disk may
//! have taken it before it failed.

use super::path::is_full;
use crate::ports::Store;
use ::redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};
use engine::record::{Record, Saved, decode, encode};
use engine::task::{ResultSummary, StoredTask, TaskResult};
use engine::{DecodeError, TaskId, WriteError, WriteId};
use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// The file cannot be used as a node's storage.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its content is not what this program wrote.
    #[error("the data file {} is damaged ({detail}); move it away to start without it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Another process has it open.
    #[error("the data file {} is in use by another node", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("the data file {} cannot be opened", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It holds records of a version that this program does not read.
    #[error(
        "the data file {} holds records of version {found}, which this version of the program does not read; \
         start the version that wrote them, or move the file away to start without it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u8,
    },
}

/// A result cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store has been closed, or could not be opened again after an error.
    #[error("the storage is closed")]
    Closed,
    /// The record is damaged.
    #[error("the stored result cannot be decoded")]
    Damaged(#[from] DecodeError),
    /// Reading failed.
    #[error("the storage cannot be read: {0}")]
    Storage(String),
}

/// Makes records durable in one file. Dropping it writes what still waits and closes the file.
#[derive(Debug)]
pub struct RedbStore {
    /// `None` only while the store is dropped.
    queue: Option<SyncSender<Write>>,
    groups: mpsc::Receiver<Group>,
    /// Writes handed to the thread and not reported yet, in order; at most [`WRITES_MAX`].
    waiting: VecDeque<WriteId>,
    /// Outcomes to report before any other; a part of a group, or writes that could not be queued.
    ended: VecDeque<(WriteId, Result<(), WriteError>)>,
    bytes: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// Reads results while the store goes on writing.
#[derive(Clone, Debug)]
pub struct ResultReader {
    file: Arc<File>,
}

impl RedbStore {
    /// Opens or creates the file; returns what it holds and a way to read results.
    ///
    /// Records that cannot be decoded are kept, left out of what is returned, and named in the log.
    ///
    /// # Errors
    /// [`OpenError`] where the file is in use, damaged, or of another version.
    pub fn open(path: &Path) -> Result<(Self, Saved, ResultReader), OpenError> {
        let owned = path.to_path_buf();
        Self::open_with(path, Box::new(move || open_file(&owned)))
    }

    fn open_with(path: &Path, open: Opener) -> Result<(Self, Saved, ResultReader), OpenError> {
        let (database, saved) = catch_unwind(AssertUnwindSafe(|| {
            let database = open().map_err(|error| open_error(path, error))?;
            let saved = load(path, &database)?;
            Ok((database, saved))
        }))
        .unwrap_or_else(|_| Err(damaged(path, &"it breaks its own rules")))?;

        let file = Arc::new(File { database: RwLock::new(Some(database)), open });
        let bytes = Arc::new(AtomicUsize::new(0));
        let (queue, writes) = sync_channel(WRITES_MAX);
        let (report, groups) = mpsc::channel(WRITES_MAX);
        let writer = Writer { file: Arc::clone(&file), writes, report, bytes: Arc::clone(&bytes) };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
        let store = Self {
            queue: Some(queue),
            groups,
            waiting: VecDeque::new(),
            ended: VecDeque::new(),
            bytes,
            thread: Some(thread),
        };
        Ok((store, saved, ResultReader { file }))
    }

    fn enqueue(&mut self, write: Write) -> bool {
        let bytes = write.bytes();
        let room = self.waiting.len() < WRITES_MAX
            && self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= WRITE_BYTES_MAX;
        let Some(queue) = self.queue.as_ref().filter(|_| room) else { return false };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if queue.try_send(write).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }
}

impl Store for RedbStore {
    fn write(&mut self, id: WriteId, records: Vec<Record>) {
        let changes = records.iter().flat_map(|record| changes(id, record)).flatten().collect();
        if self.enqueue(Write { id, changes }) {
            self.waiting.push_back(id);
        } else {
            tracing::warn!("the disk is too slow for what is to be written, or gone: a write was refused");
            self.ended.push_back((id, Err(WriteError::Io)));
        }
    }

    async fn next(&mut self) -> (WriteId, Result<(), WriteError>) {
        loop {
            if let Some(ended) = self.ended.pop_front() {
                return ended;
            }
            match self.groups.recv().await {
                Some(group) => {
                    self.waiting.drain(..group.writes.len().min(self.waiting.len()));
                    self.ended.extend(group.writes.into_iter().map(|id| (id, group.result)));
                }
                // The thread is gone, and with it whatever it had not reported.
                None if self.waiting.is_empty() => std::future::pending().await,
                None => self.ended.extend(self.waiting.drain(..).map(|id| (id, Err(WriteError::Io)))),
            }
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.queue = None;
        // Reports that nobody takes any more must not hold the thread up.
        self.groups.close();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

impl ResultReader {
    /// Returns a result with its output, or `None` where there is none of that name.
    ///
    /// Reads the disk: takes well under a millisecond, or as long as the disk does.
    ///
    /// # Errors
    /// [`ReadError`] where the storage is closed or damaged.
    pub fn result(&self, id: TaskId) -> Result<Option<TaskResult>, ReadError> {
        let bytes = self.file.with(|database| {
            let table = match database.begin_read()?.open_table(RESULTS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            Ok(table.get(&id.0)?.map(|bytes| bytes.value().to_vec()))
        });
        match bytes {
            Ok(Some(bytes)) => Ok(Some(decode(&bytes)?)),
            Ok(None) => Ok(None),
            Err(Fault::Closed) => Err(ReadError::Closed),
            Err(Fault::Storage(error)) => Err(ReadError::Storage(error.to_string())),
            Err(Fault::Panicked) => Err(ReadError::Storage("the file breaks its own rules".to_owned())),
        }
    }
}

/// The database, which can be closed and opened again under its readers.
struct File {
    database: RwLock<Option<Database>>,
    open: Opener,
}

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Why the database did not do what it was asked.
#[derive(Debug)]
enum Fault {
    Closed,
    Panicked,
    Storage(::redb::Error),
}

impl File {
    /// Uses the database; a panic over what a damaged file holds stays in here.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, ::redb::Error>) -> Result<T, Fault> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(Fault::Closed)?;
        catch_unwind(AssertUnwindSafe(|| work(database)))
            .map_err(|_| Fault::Panicked)?
            .map_err(Fault::Storage)
    }

    fn close(&self) {
        // Outside of the lock's own statement, so that readers that come now see the closed file.
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(catch_unwind(AssertUnwindSafe(|| drop(database))));
    }

    fn reopen(&self) {
        self.close();
        match catch_unwind(AssertUnwindSafe(|| (self.open)())) {
            Ok(Ok(database)) => {
                *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
            }
            Ok(Err(error)) => tracing::warn!(%error, "the data file cannot be opened again"),
            Err(_) => tracing::warn!("the data file cannot be opened again"),
        }
    }

    fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}

/// The thread that writes.
struct Writer {
    file: Arc<File>,
    writes: Receiver<Write>,
    report: mpsc::Sender<Group>,
    bytes: Arc<AtomicUsize>,
}

/// Writes that became durable, or failed, together.
#[derive(Debug)]
struct Group {
    writes: Vec<WriteId>,
    result: Result<(), WriteError>,
}

#[derive(Debug)]
struct Write {
    id: WriteId,
    changes: Vec<Change>,
}

impl Write {
    fn bytes(&self) -> usize {
        self.changes.iter().map(|change| change.value.as_ref().map_or(0, Vec::len) + CHANGE_BYTES).sum()
    }
}

/// Sets or removes one row.
#[derive(Debug)]
struct Change {
    table: Table,
    key: [u8; 16],
    value: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Probe,
    Results,
    Summaries,
    Tasks,
}

impl Writer {
    fn run(self) {
        while let Ok(first) = self.writes.recv() {
            let group = self.gather(first);
            let result = self.commit(&group);
            let bytes = group.iter().map(Write::bytes).sum();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            let writes = group.iter().map(|write| write.id).collect();
            // Only fails once nobody asks for reports any more; what waits is still written.
            let _ = self.report.blocking_send(Group { writes, result });
        }
        self.file.close();
    }

    fn gather(&self, first: Write) -> Vec<Write> {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_WRITES_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(write) = self.writes.try_recv() else { break };
            bytes += write.bytes();
            group.push(write);
        }
        group
    }

    fn commit(&self, group: &[Write]) -> Result<(), WriteError> {
        if !self.file.is_open() {
            self.file.reopen();
        }
        let fault = match self.file.with(|database| commit(database, group)) {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        let error = match &fault {
            Fault::Storage(::redb::Error::Io(error)) if is_full(error) => WriteError::Full,
            Fault::Closed | Fault::Panicked | Fault::Storage(_) => WriteError::Io,
        };
        tracing::warn!(writes = group.len(), ?fault, "records could not be written");
        self.file.reopen();
        Err(error)
    }
}

fn commit(database: &Database, group: &[Write]) -> Result<(), ::redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    for table in [Table::Probe, Table::Results, Table::Summaries, Table::Tasks] {
        let mut changes =
            group.iter().flat_map(|write| &write.changes).filter(|change| change.table == table);
        let Some(first) = changes.next() else { continue };
        let mut rows = transaction.open_table(table.definition())?;
        for change in std::iter::once(first).chain(changes) {
            match &change.value {
                Some(value) => drop(rows.insert(&change.key, value.as_slice())?),
                None => drop(rows.remove(&change.key)?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Returns the rows that a record changes.
fn changes(write: WriteId, record: &Record) -> [Option<Change>; 2] {
    let set = |table, id: TaskId, value| Some(Change { table, key: id.0, value: Some(value) });
    let remove = |table, id: TaskId| Some(Change { table, key: id.0, value: None });
    match record {
        // A value that differs from the last one, so that something has to reach the disk.
        Record::Probe => [set(Table::Probe, TaskId([0; 16]), write.0.to_le_bytes().to_vec()), None],
        Record::RemoveResult(id) => [remove(Table::Results, *id), remove(Table::Summaries, *id)],
        Record::RemoveTask(id) => [remove(Table::Tasks, *id), None],
        Record::Result(result) => {
            let id = result.summary.id;
            [set(Table::Results, id, encode(result)), set(Table::Summaries, id, encode(&result.summary))]
        }
        Record::Task(task) => [set(Table::Tasks, task.id, encode(task)), None],
    }
}

fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // What users ask of a node is nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(::redb::StorageError::Io)?;
    let backend = ::redb::backends::FileBackend::new(file)?;
    Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)
}

/// Reads the open tasks and the summaries of results; the results themselves stay where they are.
fn load(path: &Path, database: &Database) -> Result<Saved, OpenError> {
    let mut saved = Saved {
        tasks: load_table::<StoredTask>(path, database, Table::Tasks)?,
        results: load_table::<ResultSummary>(path, database, Table::Summaries)?,
    };
    saved.tasks.sort_by_key(|task| (task.submitted_at, task.id));
    saved.results.sort_by_key(|summary| (summary.completed_at, summary.id));
    Ok(saved)
}

fn load_table<T: serde::de::DeserializeOwned>(
    path: &Path,
    database: &Database,
    table: Table,
) -> Result<Vec<T>, OpenError> {
    let transaction = database.begin_read().map_err(|error| damaged(path, &error))?;
    let rows = match transaction.open_table(table.definition()) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        rows => rows.map_err(|error| damaged(path, &error))?,
    };
    let mut values = Vec::new();
    for row in rows.iter().map_err(|error| damaged(path, &error))? {
        let (key, value) = row.map_err(|error| damaged(path, &error))?;
        match decode(value.value()) {
            Ok(value) => values.push(value),
            Err(DecodeError::Version(found)) => {
                return Err(OpenError::Version { path: path.to_path_buf(), found });
            }
            Err(error @ (DecodeError::Malformed | DecodeError::TooLarge)) => {
                let task = TaskId(*key.value());
                tracing::warn!(?table, %task, %error, "a stored record cannot be read; it is kept and left out");
            }
        }
    }
    Ok(values)
}

fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    let path_buf = path.to_path_buf();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enums are non-exhaustive")]
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path_buf },
        DatabaseError::UpgradeRequired(found) => OpenError::Version { path: path_buf, found },
        DatabaseError::Storage(::redb::StorageError::Io(source)) if !is_damage(&source) => {
            OpenError::Io { path: path_buf, source }
        }
        error => damaged(path, &error),
    }
}

fn damaged(path: &Path, detail: &dyn Display) -> OpenError {
    OpenError::Damaged { path: path.to_path_buf(), detail: detail.to_string() }
}

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
    )
}

impl Table {
    const fn definition(self) -> TableDefinition<'static, &'static [u8; 16], &'static [u8]> {
        match self {
            Self::Probe => TableDefinition::new("probe"),
            Self::Results => RESULTS,
            Self::Summaries => TableDefinition::new("summaries"),
            Self::Tasks => TableDefinition::new("tasks"),
        }
    }
}

/// Task id to encoded result, its output included.
const RESULTS: TableDefinition<'static, &[u8; 16], &[u8]> = TableDefinition::new("results");

/// Writes that may wait, or be done without having been reported. Beyond, a write fails at once.
const WRITES_MAX: usize = 8192;

/// Bytes of rows that may wait. Beyond, a write fails at once.
const WRITE_BYTES_MAX: usize = 256 << 20;

/// Writes in one transaction.
const GROUP_WRITES_MAX: usize = 1024;

/// Bytes of rows beyond which no further write joins a transaction.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// What a change costs in memory besides its value.
const CHANGE_BYTES: usize = 64;

/// Pages of the file that redb keeps in memory.
const CACHE_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests;
