//! The store port on one redb file.
//!
//! A thread of its own takes all writes that wait, commits them as one transaction in two phases, and then
//! reports each of them in order: the cost of reaching the disk is shared, and nothing is reported before it is
//! there. After an I/O error redb takes no more writes until it is opened anew, so that is done, and the writes
//! that come later get their own chance. A write that failed may still be found after a restart: the disk may
//! have taken it before it failed.
//!
//! A file is checked as a whole when it is opened, and each record whenever it is read. Of a damaged file, whatever can
//! be saved is: see [`Salvaged`].

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
use engine::record::{Record, RecordKind, Saved, decode, encode};
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

/// The file cannot be used as a node's storage.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its content is not what this program wrote.
    #[error("the data file {} is damaged ({detail})", path.display())]
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
    /// The record, or the part of the file that it is in, is damaged.
    #[error("the stored result of task {id} is damaged ({detail})")]
    Damaged {
        /// Whose result it is.
        id: TaskId,
        /// What is wrong with it.
        detail: String,
    },
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
    damage: Damage,
    thread: Option<JoinHandle<()>>,
}

/// Reads results while the store goes on writing.
#[derive(Clone, Debug)]
pub struct ResultReader {
    file: Arc<File>,
    damage: Damage,
    salvaged: Option<Arc<Salvaged>>,
}

impl RedbStore {
    /// Opens or creates the file; returns what it holds and a way to read results.
    ///
    /// What can be saved of a damaged file is put into a new one, and the damaged one is kept beside it:
    /// [`ResultReader::salvaged`] tells. Records that cannot be read are left out of what is returned, and are named by
    /// [`ResultReader::damage`].
    ///
    /// # Errors
    /// [`OpenError`] where the file is in use, of another version, or damaged so that nothing of it can be read.
    pub fn open(path: &Path) -> Result<(Self, Saved, ResultReader), OpenError> {
        let open = || {
            let owned = path.to_path_buf();
            Self::open_with(path, Box::new(move || open_file(&owned)))
        };
        let damage = match open() {
            Err(OpenError::Damaged { detail, .. }) => detail,
            opened => return opened,
        };
        tracing::warn!(file = %path.display(), %damage, "the data file is damaged: saving what can be read");
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

    /// A record that is removed or written again is not damaged any more.
    fn forget_damage(&self, record: &Record) {
        match record {
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

/// Moves a data file away, to a name beside it that nothing has, and returns that.
///
/// # Errors
/// Whatever the file system says.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let kept = salvage::free_name(path);
    std::fs::rename(path, &kept)?;
    Ok(kept)
}

/// Saves what can be read of a file that no node uses; the file as it was is kept beside the new one.
///
/// # Errors
/// [`OpenError`] where the file is in use, nothing of it can be read, or the disk refuses.
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
                    self.ended.extend(group.writes);
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

    /// Returns what is known to be damaged.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Returns what was saved when the file was opened, where it was damaged.
    pub fn salvaged(&self) -> Option<&Salvaged> {
        self.salvaged.as_deref()
    }
}

/// The database, which can be closed and opened again under its readers.
struct File {
    database: RwLock<Option<Database>>,
    open: Opener,
    /// Where there has to be room for more; `None` where the data lie in no directory.
    directory: Option<PathBuf>,
}

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Why the database did not do what it was asked.
#[derive(Debug)]
enum Fault {
    Closed,
    /// The records are not in the order that the index has.
    Disordered,
    Panicked(Panicked),
    Storage(::redb::Error),
}

impl Fault {
    /// Tells whether what is in the file is the cause, rather than the disk.
    fn is_damage(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Disordered | Self::Panicked(_) => true,
            Self::Storage(::redb::Error::Io(error)) => is_damage(error),
            Self::Storage(::redb::Error::Backend(_) | ::redb::Error::PreviousIo) => false,
            Self::Storage(_) => true,
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
    /// Uses the database; a panic over what a damaged file holds stays in here.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, ::redb::Error>) -> Result<T, Fault> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(Fault::Closed)?;
        contain(|| work(database)).map_err(Fault::Panicked)?.map_err(Fault::Storage)
    }

    fn close(&self) {
        // Outside of the lock's own statement, so that readers that come now see the closed file.
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // What it could not write before it will not write now either.
        drop(contain(|| drop(database)));
    }

    fn reopen(&self) {
        self.close();
        match contain(|| (self.open)()) {
            Ok(Ok(database)) => {
                *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
            }
            Ok(Err(error)) => tracing::warn!(%error, "the data file cannot be opened again"),
            Err(error) => tracing::warn!(%error, "the data file cannot be opened again"),
        }
    }

    fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Asks the disk for room, which a write that replaces a row would not need.
    fn has_room(&self) -> Result<(), WriteError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        check_free_space(directory).map_err(|error| {
            tracing::warn!(%error, directory = %directory.display(), "the disk gives no room");
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

/// Writes that were made together, and what became of each.
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

/// Sets or removes one row.
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
            // Only fails once nobody asks for reports any more; what waits is still written.
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
        // A value that differs from the last one, so that something has to reach the disk.
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
    // What users ask of a node is nobody else's business.
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

/// Says why a new file could not be written.
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

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
    )
}

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
