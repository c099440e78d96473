//! The store port on one redb file.
//!
//! A thread commits all waiting writes as one transaction in two phases, then reports each of them in order. Thus the
//! writes of a batch share the cost of a sync, and nothing is reported before it is durable. After an I/O error redb
//! accepts no writes until the file is reopened. The store reopens it, so later writes get their own chance. A failed
//! write may still exist after a restart, if the disk took it before the error.
//!
//! A file is checked as a whole when it is opened, and each record whenever it is read. The readable part of a damaged
//! file is salvaged: see [`Salvaged`].

mod commits;
mod load;
mod overlay;
mod salvage;
mod table;

pub use salvage::{Checked, Salvaged, check, kept_files};

use super::damage::Damage;
use super::free_space::check_free_space;
use super::path::is_full;
use crate::containment::{Panicked, contain};
use crate::ports::Store;
use ::redb::{Database, DatabaseError, Durability, ReadableDatabase, TableError};
use engine::record::{ALERTS_ID, Record, RecordKind, Saved, decode, encode};
use engine::task::TaskResult;
use engine::{TaskId, WriteError, WriteId};
use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use table::Table;
use tokio::sync::mpsc;

/// Why a data file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its content is damaged.
    #[error("the data file {} is damaged ({detail})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// A description of the damage.
        detail: String,
    },
    /// Another process has it open.
    #[error("the data file {} is in use by another node", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A read or write failed.
    #[error("the data file {} cannot be opened", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Its records have a version that this program does not support.
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

/// Why a result cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store is closed, or could not be reopened after an error.
    #[error("the storage is closed")]
    Closed,
    /// The record, or its part of the file, is damaged.
    #[error("the stored result of task {id} is damaged ({detail})")]
    Damaged {
        /// The task of the result.
        id: TaskId,
        /// A description of the damage.
        detail: String,
    },
    /// Reading failed.
    #[error("the storage cannot be read: {0}")]
    Storage(String),
}

/// Stores records durably in one file. Dropping it commits the waiting writes and closes the file.
#[derive(Debug)]
pub struct RedbStore {
    /// `None` only during the drop.
    queue: Option<SyncSender<Write>>,
    groups: mpsc::Receiver<Group>,
    /// Writes passed to the thread and not reported yet, in order; at most [`WRITES_MAX`].
    waiting: VecDeque<WriteId>,
    /// Outcomes to report first: the rest of a batch, or writes that could not be queued.
    ended: VecDeque<(WriteId, Result<(), WriteError>)>,
    bytes: Arc<AtomicUsize>,
    damage: Damage,
    thread: Option<JoinHandle<()>>,
}

/// Reads results while the store is in use.
#[derive(Clone, Debug)]
pub struct ResultReader {
    file: Arc<File>,
    damage: Damage,
    salvaged: Option<Arc<Salvaged>>,
}

impl RedbStore {
    /// Opens or creates the file. Returns the store, its records, and a reader of results.
    ///
    /// A damaged file is salvaged: a new file gets the readable records, and the damaged one is kept beside it; see
    /// [`ResultReader::salvaged`]. Unreadable records are left out and listed by [`ResultReader::damage`].
    ///
    /// # Errors
    /// [`OpenError`] if the file is in use, of another version, or damaged beyond reading.
    pub fn open(path: &Path) -> Result<(Self, Saved, ResultReader), OpenError> {
        let open = || {
            let owned = path.to_path_buf();
            Self::open_with(path, Box::new(move || open_file(&owned)))
        };
        let damage = match open() {
            Err(OpenError::Damaged { detail, .. }) => detail,
            opened => return opened,
        };
        tracing::warn!(file = %path.display(), %damage, "the data file is damaged: salvaging the readable records");
        let salvaged = salvage(path)?;
        let (store, saved, mut reader) = open()?;
        reader.salvaged = Some(Arc::new(salvaged));
        Ok((store, saved, reader))
    }

    fn open_with(path: &Path, open: Opener) -> Result<(Self, Saved, ResultReader), OpenError> {
        let damage = Damage::default();
        let opened = contain(|| {
            let database = open().map_err(|error| open_error(path, error))?;
            let saved = load::load(path, &database, &damage)?;
            Ok((database, saved))
        });
        let (database, saved) = opened.unwrap_or_else(|panicked| Err(damaged(path, &panicked)))?;

        let directory = path.parent().filter(|directory| directory.is_dir()).map(Path::to_path_buf);
        let file = Arc::new(File { database: RwLock::new(Some(database)), open, directory });
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
            damage: damage.clone(),
            thread: Some(thread),
        };
        Ok((store, saved, ResultReader { file, damage, salvaged: None }))
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

    /// A record that is removed or rewritten is no longer damaged.
    fn forget_damage(&self, record: &Record) {
        match record {
            Record::Alerts(_) => self.damage.forget(RecordKind::Alerts, ALERTS_ID),
            Record::Probe => {}
            Record::RemoveResult(id) => {
                self.damage.forget(RecordKind::Result, *id);
                self.damage.forget(RecordKind::Summary, *id);
            }
            Record::RemoveTask(id) => self.damage.forget(RecordKind::Task, *id),
            Record::Result(result) => {
                self.damage.forget(RecordKind::Result, result.summary.id);
                self.damage.forget(RecordKind::Summary, result.summary.id);
            }
            Record::Task(task) => self.damage.forget(RecordKind::Task, task.id),
        }
    }
}

/// Renames a data file to an unused name beside it, and returns that name.
///
/// # Errors
/// The error of the file system.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let kept = salvage::free_name(path);
    std::fs::rename(path, &kept)?;
    Ok(kept)
}

/// Salvages a file that no node uses. The damaged file is kept beside the new one.
///
/// # Errors
/// [`OpenError`] if the file is in use, nothing of it can be read, or the disk fails.
pub fn salvage(path: &Path) -> Result<Salvaged, OpenError> {
    salvage::salvage(path)
}

impl Store for RedbStore {
    fn write(&mut self, id: WriteId, records: Vec<Record>) {
        records.iter().for_each(|record| self.forget_damage(record));
        let changes = records.iter().flat_map(|record| changes(id, record)).flatten().collect();
        if self.enqueue(Write { id, changes }) {
            self.waiting.push_back(id);
        } else {
            tracing::warn!("a write was rejected: the disk is too slow or gone");
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
                    self.ended.extend(group.writes);
                }
                // The thread is gone, with the writes that it had not reported.
                None if self.waiting.is_empty() => std::future::pending().await,
                None => self.ended.extend(self.waiting.drain(..).map(|id| (id, Err(WriteError::Io)))),
            }
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.queue = None;
        // Unread reports must not block the thread.
        self.groups.close();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

impl ResultReader {
    /// Returns a result with its output, or `None` if there is none with this id.
    ///
    /// Reads the disk, which normally takes well under a millisecond.
    ///
    /// # Errors
    /// [`ReadError`] if the store is closed or damaged.
    pub fn result(&self, id: TaskId) -> Result<Option<TaskResult>, ReadError> {
        let bytes = self.file.with(|database| {
            let table = match database.begin_read()?.open_table(Table::Results.definition()) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            Ok(table.get(&id.0)?.map(|bytes| bytes.value().to_vec()))
        });
        let damaged = |detail: &dyn Display| {
            self.damage.note(RecordKind::Result, id);
            ReadError::Damaged { id, detail: detail.to_string() }
        };
        match bytes {
            Ok(Some(bytes)) => {
                decode(RecordKind::Result, id, &bytes).map(Some).map_err(|error| damaged(&error))
            }
            Ok(None) => Ok(None),
            Err(Fault::Closed) => Err(ReadError::Closed),
            Err(fault) if fault.is_damage() => Err(damaged(&fault)),
            Err(fault) => Err(ReadError::Storage(fault.to_string())),
        }
    }

    /// Returns the records that are known to be damaged.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Returns what was salvaged when the file was opened, if it was damaged.
    pub fn salvaged(&self) -> Option<&Salvaged> {
        self.salvaged.as_deref()
    }
}

/// The database. It can be closed and reopened while readers hold this.
struct File {
    database: RwLock<Option<Database>>,
    open: Opener,
    /// Where free space is checked, or `None` if the data is not in a directory.
    directory: Option<PathBuf>,
}

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Why a database operation failed.
#[derive(Debug)]
enum Fault {
    Closed,
    /// The records are out of order.
    Disordered,
    Panicked(Panicked),
    Storage(::redb::Error),
}

impl Fault {
    /// Tells whether the content of the file is the cause, rather than the disk.
    fn is_damage(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Disordered | Self::Panicked(_) => true,
            Self::Storage(error) => is_file_damage(error),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the file is closed"),
            Self::Disordered => f.write_str("its records are out of order"),
            Self::Panicked(panicked) => panicked.fmt(f),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl File {
    /// Uses the database. Contains panics over a damaged file.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, ::redb::Error>) -> Result<T, Fault> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(Fault::Closed)?;
        contain(|| work(database)).map_err(Fault::Panicked)?.map_err(Fault::Storage)
    }

    fn close(&self) {
        // Not under the lock of the statement above, so that new readers see the closed file.
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // A panic is ignored: the drop writes nothing that could not be written before.
        drop(contain(|| drop(database)));
    }

    fn reopen(&self) {
        self.close();
        match contain(|| (self.open)()) {
            Ok(Ok(database)) => {
                *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot reopen the data file"),
            Err(error) => tracing::warn!(%error, "cannot reopen the data file"),
        }
    }

    fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Checks for free space, because a write that replaces a row would not need any.
    fn has_room(&self) -> Result<(), WriteError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        check_free_space(directory).map_err(|error| {
            tracing::warn!(%error, directory = %directory.display(), "the disk has no free space");
            if is_full(&error) { WriteError::Full } else { WriteError::Io }
        })
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// A batch of writes, and their outcomes.
#[derive(Debug)]
struct Group {
    writes: Vec<(WriteId, Result<(), WriteError>)>,
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

    fn is_probe(&self) -> bool {
        self.changes.iter().any(|change| change.table == Table::Probe)
    }
}

/// Inserts or removes one row.
#[derive(Debug)]
struct Change {
    table: Table,
    key: [u8; 16],
    value: Option<Vec<u8>>,
}

impl Writer {
    fn run(self) {
        while let Ok(first) = self.writes.recv() {
            let group = self.gather(first);
            let result = self.commit(&group);
            let bytes = group.iter().map(Write::bytes).sum();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            let room = if group.iter().any(Write::is_probe) { self.file.has_room() } else { Ok(()) };
            let outcome = |write: &Write| if write.is_probe() { result.and(room) } else { result };
            let writes = group.iter().map(|write| (write.id, outcome(write))).collect();
            // Fails only if nobody receives reports any more. The waiting writes are still committed.
            let _ = self.report.blocking_send(Group { writes });
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
            Fault::Closed | Fault::Disordered | Fault::Panicked(_) | Fault::Storage(_) => WriteError::Io,
        };
        tracing::warn!(writes = group.len(), %fault, "records could not be written");
        self.file.reopen();
        Err(error)
    }
}

fn commit(database: &Database, group: &[Write]) -> Result<(), ::redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    for table in Table::ALL {
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
        Record::Alerts(alerts) => {
            [set(Table::Alerts, ALERTS_ID, encode(RecordKind::Alerts, ALERTS_ID, alerts)), None]
        }
        // Differs from the last value, so that something must reach the disk.
        Record::Probe => [set(Table::Probe, TaskId([0; 16]), write.0.to_le_bytes().to_vec()), None],
        Record::RemoveResult(id) => [remove(Table::Results, *id), remove(Table::Summaries, *id)],
        Record::RemoveTask(id) => [remove(Table::Tasks, *id), None],
        Record::Result(result) => {
            let id = result.summary.id;
            [
                set(Table::Results, id, encode(RecordKind::Result, id, result)),
                set(Table::Summaries, id, encode(RecordKind::Summary, id, &result.summary)),
            ]
        }
        Record::Task(task) => [set(Table::Tasks, task.id, encode(RecordKind::Task, task.id, task)), None],
    }
}

fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // Task texts are private to the user.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(::redb::StorageError::Io)?;
    commits::take_newest(path).map_err(::redb::StorageError::Io)?;
    let backend = ::redb::backends::FileBackend::new(file)?;
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)
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

/// Explains why a new file could not be written.
fn write_error(path: &Path, error: ::redb::Error) -> OpenError {
    let path_buf = path.to_path_buf();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
    match error {
        ::redb::Error::Io(source) => OpenError::Io { path: path_buf, source },
        error => OpenError::Io { path: path_buf, source: io::Error::other(error) },
    }
}

fn damaged(path: &Path, detail: &dyn Display) -> OpenError {
    OpenError::Damaged { path: path.to_path_buf(), detail: detail.to_string() }
}

/// Tells whether the content of the file is the cause of an error, rather than the disk.
pub(super) fn is_file_damage(error: &::redb::Error) -> bool {
    if let ::redb::Error::Io(error) = error {
        return is_damage(error);
    }
    !matches!(error, ::redb::Error::Backend(_) | ::redb::Error::PreviousIo)
}

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
    )
}

/// Maximum number of writes that wait or are unreported. Beyond, a write fails at once.
const WRITES_MAX: usize = 8192;

/// Maximum number of bytes in waiting rows. Beyond, a write fails at once.
const WRITE_BYTES_MAX: usize = 256 << 20;

/// Maximum number of writes in one transaction.
const GROUP_WRITES_MAX: usize = 1024;

/// Number of bytes beyond which no further write joins a transaction.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// The memory of a change besides its value, in bytes.
const CHANGE_BYTES: usize = 64;

/// The page cache of redb, in bytes.
const CACHE_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests;
