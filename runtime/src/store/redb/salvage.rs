//! Salvages a damaged data file: a new file with its readable records replaces it, and the damaged one is kept beside
//! it.
//!
//! Records are read through the index as far as possible, forwards and backwards, and then by a scan of the whole file.
//! Each is verified by its own checksum, so nothing is recovered that was not written. An unused part of the file may
//! still hold an old record. Such a record counts only if the index cannot tell, and an open task only if it has no
//! result.

use super::overlay::Overlay;
use super::table::Table;
use super::{Fault, OpenError, damaged, load, open_file};
use crate::clock;
use crate::containment::contain;
use ::redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend as _, TableError,
};
use engine::TaskId;
use engine::observers::alerts::SavedAlerts;
use engine::record::{RecordKind, Stored, decode, encode, find, upgrade};
use engine::task::{ResultSummary, StoredTask, TaskResult};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was salvaged from a damaged file, and what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Number of open tasks that were salvaged.
    pub tasks: u64,
    /// Number of results that were salvaged.
    pub results: u64,
    /// The damaged records whose ids are known.
    pub damaged: Vec<(RecordKind, TaskId)>,
    /// Number of records lost without a name, or `None` if unknown.
    pub lost: Option<u64>,
    /// The path of the damaged file.
    pub kept: PathBuf,
}

/// Records by kind and id.
type Rows = BTreeMap<(RecordKind, TaskId), Vec<u8>>;

/// The records found in a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) whole: Rows,
    pub(super) damaged: BTreeSet<(RecordKind, TaskId)>,
    /// Number of records per kind according to the index; missing for a kind whose index is unreadable.
    counted: BTreeMap<RecordKind, u64>,
    /// The kinds that were read completely through the index.
    complete: BTreeSet<RecordKind>,
    /// Whether the file says that its records have checksums.
    has_checksums: bool,
    /// Whether records without a checksum count: those of an intact file from an older version.
    takes_unchecked: bool,
    /// Number of records lost without a name.
    pub(super) lost: Option<u64>,
}

/// Replaces a damaged file with a new one that has all readable records. The damaged one is kept beside it.
///
/// # Errors
/// [`OpenError::Damaged`] if nothing can be read, [`OpenError::Io`] if the disk fails. The file is then unchanged.
pub(super) fn salvage(path: &Path) -> Result<Salvaged, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_path_buf(), source };
    let contents = Contents::read(path, false)?;
    if contents.whole.is_empty() && !contents.has_checksums {
        return Err(damaged(path, &"no record of it can be read and trusted"));
    }
    let draft = path.with_added_extension("new");
    let written = write_draft(&draft, &contents);
    let kept = written.and_then(|()| replace(path, &draft).map_err(failed)).inspect_err(|_| {
        // A leftover draft only takes a little space.
        drop(fs::remove_file(&draft));
    })?;
    let count = |wanted| contents.whole.keys().filter(|(kind, _)| *kind == wanted).count() as u64;
    Ok(Salvaged {
        tasks: count(RecordKind::Task),
        results: count(RecordKind::Result),
        damaged: contents.damaged.into_iter().collect(),
        lost: contents.lost,
        kept,
    })
}

impl Contents {
    /// Reads everything that can be read, without a write. `takes_unchecked` says whether records without a checksum
    /// count.
    pub(super) fn read(path: &Path, takes_unchecked: bool) -> Result<Self, OpenError> {
        let mut contents = Self { takes_unchecked, ..Self::default() };
        for (_, kind) in Table::RECORDS {
            contents.scan(path, kind);
        }
        let all = Table::RECORDS.len();
        if contents.complete.len() < all || !contents.damaged.is_empty() {
            let bytes =
                read_file(path).map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
            contents.take_found(&bytes);
        }
        contents.reconcile();
        Ok(contents)
    }

    /// Reads the records of a kind through the index: forwards, and from the end if that stops early.
    fn scan(&mut self, path: &Path, kind: RecordKind) {
        let forwards = self.scan_one_way(path, kind, false);
        if forwards.is_none_or(|seen| self.counted.get(&kind) != Some(&seen)) {
            self.scan_one_way(path, kind, true);
        } else {
            self.complete.insert(kind);
        }
    }

    /// Returns the number of records if the end was reached in order. After a panic, what was read so far counts.
    fn scan_one_way(&mut self, path: &Path, kind: RecordKind, backwards: bool) -> Option<u64> {
        let database = contain(|| open_read_only(path)).ok()?.ok()?;
        let seen = contain(|| self.scan_index(path, &database, kind, backwards));
        // After a panic, closing the database may panic again.
        drop(contain(|| drop(database)));
        seen.ok()?.ok()
    }

    fn scan_index(
        &mut self,
        path: &Path,
        database: &Database,
        kind: RecordKind,
        backwards: bool,
    ) -> Result<u64, Fault> {
        self.has_checksums |= load::format(database).map_err(Fault::Storage)?.is_some();
        let transaction = database.begin_read().map_err(|error| Fault::Storage(error.into()))?;
        let rows = match transaction.open_table(Table::for_kind(kind).definition()) {
            // A file of an earlier version lacks it, until an alert is raised.
            Err(TableError::TableDoesNotExist(_)) if kind == RecordKind::Alerts => {
                self.counted.insert(kind, 0);
                return Ok(0);
            }
            // Only a file of the first version may lack this table.
            Err(TableError::TableDoesNotExist(_)) if self.takes_unchecked && !self.has_checksums => {
                self.counted.insert(kind, 0);
                return Ok(0);
            }
            rows => rows.map_err(|error| Fault::Storage(error.into()))?,
        };
        let storage = |error: ::redb::StorageError| Fault::Storage(error.into());
        let counted = rows.len().map_err(storage)?;
        // A number that does not fit into the file is itself damaged.
        if fs::metadata(path).is_ok_and(|file| counted <= file.len() / RECORD_BYTES_MIN) {
            self.counted.insert(kind, counted);
        }
        let mut rows = rows.iter().map_err(storage)?;
        let (mut seen, mut last) = (0, None);
        while let Some(row) = if backwards { rows.next_back() } else { rows.next() } {
            let (key, value) = row.map_err(storage)?;
            let id = TaskId(*key.value());
            let in_order = last.is_none_or(|last| if backwards { id < last } else { id > last });
            if !in_order {
                return Err(Fault::Disordered);
            }
            (seen, last) = (seen + 1, Some(id));
            self.take(kind, id, value.value());
        }
        Ok(seen)
    }

    fn take(&mut self, kind: RecordKind, id: TaskId, bytes: &[u8]) {
        let upgraded = self.takes_unchecked.then(|| upgrade(kind, id, bytes)).flatten();
        let bytes = upgraded.as_deref().unwrap_or(bytes);
        if is_whole(kind, id, bytes) {
            self.whole.insert((kind, id), bytes.to_vec());
            self.damaged.remove(&(kind, id));
        } else if !self.whole.contains_key(&(kind, id)) {
            self.damaged.insert((kind, id));
        }
    }

    /// Scans the whole file for intact records, if the index was incomplete.
    fn take_found(&mut self, bytes: &[u8]) {
        for found in find(bytes) {
            let key = (found.kind, found.id);
            let unknown = !self.complete.contains(&found.kind) && !self.whole.contains_key(&key);
            let newer = found.kind == RecordKind::Task
                && !self.complete.contains(&found.kind)
                && self.whole.get(&key).is_some_and(|kept| attempts(kept) < attempts(found.bytes));
            if (unknown || newer || self.damaged.contains(&key)) && self.may_be_current(found.kind, found.id)
            {
                self.take(found.kind, found.id, found.bytes);
            }
        }
    }

    /// Tells whether a record found by the scan may still count, given the index. A result and its summary are written
    /// and removed together.
    fn may_be_current(&self, kind: RecordKind, id: TaskId) -> bool {
        let other = match kind {
            RecordKind::Result => RecordKind::Summary,
            RecordKind::Summary => RecordKind::Result,
            RecordKind::Alerts | RecordKind::Task | RecordKind::Trace => return true,
        };
        let is_known = self.whole.contains_key(&(other, id)) || self.damaged.contains(&(other, id));
        is_known || !self.complete.contains(&other) || self.damaged.contains(&(kind, id))
    }

    /// Resolves the records into a consistent state: a finished task is not open, and a summary belongs to its result.
    fn reconcile(&mut self) {
        for (kind, expected) in self.counted.clone() {
            let have = self.whole.keys().chain(&self.damaged).filter(|(of, _)| *of == kind).count() as u64;
            let missing = expected.saturating_sub(have);
            self.lost = Some(self.lost.unwrap_or_default() + missing);
        }
        if self.counted.len() < Table::RECORDS.len() {
            self.lost = None;
        }
        let ids = |rows: &Rows, wanted| -> BTreeSet<TaskId> {
            rows.keys().filter(|(kind, _)| *kind == wanted).map(|(_, id)| *id).collect()
        };
        let (results, summaries) =
            (ids(&self.whole, RecordKind::Result), ids(&self.whole, RecordKind::Summary));
        for id in results.difference(&summaries) {
            let bytes = self.whole.get(&(RecordKind::Result, *id));
            let Some(result) = bytes.and_then(|bytes| read::<TaskResult>(RecordKind::Result, *id, bytes))
            else {
                continue;
            };
            self.whole.insert((RecordKind::Summary, *id), encode(RecordKind::Summary, *id, &result.summary));
            self.damaged.remove(&(RecordKind::Summary, *id));
        }
        for id in summaries.difference(&results) {
            // It stays in the list of tasks, and a request for it reports the damage.
            if self.damaged.insert((RecordKind::Result, *id)) {
                self.lost = self.lost.map(|lost| lost.saturating_sub(1));
            }
        }
        for id in results.union(&summaries) {
            self.whole.remove(&(RecordKind::Task, *id));
            self.damaged.remove(&(RecordKind::Task, *id));
        }
    }
}

/// The content of a data file, and its damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Number of readable open tasks.
    pub tasks: u64,
    /// Number of readable results.
    pub results: u64,
    /// The damaged records whose ids are known.
    pub damaged: Vec<(RecordKind, TaskId)>,
    /// Number of records lost without a name, or `None` if unknown.
    pub lost: Option<u64>,
    /// The damage of the file itself, if any.
    pub fault: Option<String>,
}

impl Checked {
    /// Tells whether the file is intact.
    pub fn is_sound(&self) -> bool {
        self.fault.is_none() && self.damaged.is_empty() && self.lost == Some(0)
    }
}

/// Reads and verifies every record of a data file that no node uses, without a change.
///
/// # Errors
/// [`OpenError`] if the file is in use or cannot be read at all.
pub fn check(path: &Path) -> Result<Checked, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_path_buf(), source };
    let backend = ::redb::backends::FileBackend::new(fs::File::open(path).map_err(failed)?)
        .map_err(|error| super::open_error(path, error))?;
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    // A file system without locks says so. Then it is unknown whether the file is in use.
    if matches!(backend.try_lock_shared_range(everything.0, everything.1), Ok(false)) {
        return Err(OpenError::InUse { path: path.to_path_buf() });
    }
    let fault = match check_structure(path) {
        Err(Fault::Storage(::redb::Error::Io(source))) if !super::is_damage(&source) => {
            return Err(failed(source));
        }
        checked => checked.err(),
    };
    let contents = Contents::read(path, fault.is_none())?;
    let count = |wanted| contents.whole.keys().filter(|(kind, _)| *kind == wanted).count() as u64;
    Ok(Checked {
        tasks: count(RecordKind::Task),
        results: count(RecordKind::Result),
        damaged: contents.damaged.iter().copied().collect(),
        lost: contents.lost,
        fault: fault.map(|fault| fault.to_string()),
    })
}

/// Opens a file without a check and without a change.
fn open_read_only(path: &Path) -> Result<Database, Fault> {
    let overlay = Overlay::open(path).map_err(|error| Fault::Storage(::redb::Error::Io(error)))?;
    Database::builder()
        .set_cache_size(super::CACHE_BYTES)
        .create_with_backend(overlay)
        .map_err(|error| Fault::Storage(error.into()))
}

/// Checks the structure of a whole file without changing it.
pub(super) fn check_structure(path: &Path) -> Result<(), Fault> {
    verify(Overlay::open(path).map_err(|error| Fault::Storage(::redb::Error::Io(error)))?)
}

/// Verifies the checksum of every page.
pub(super) fn verify(overlay: Overlay) -> Result<(), Fault> {
    let opened = contain(|| {
        Database::builder()
            .set_cache_size(super::CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(overlay)
            .map(drop)
    });
    opened.map_err(Fault::Panicked)?.map_err(|error| Fault::Storage(error.into()))
}

fn is_whole(kind: RecordKind, id: TaskId, bytes: &[u8]) -> bool {
    match kind {
        RecordKind::Alerts => read::<SavedAlerts>(kind, id, bytes).is_some(),
        RecordKind::Result => {
            read::<TaskResult>(kind, id, bytes).is_some_and(|result| result.summary.id == id)
        }
        RecordKind::Summary => read::<ResultSummary>(kind, id, bytes).is_some_and(|summary| summary.id == id),
        RecordKind::Task => read::<StoredTask>(kind, id, bytes).is_some_and(|task| task.id == id),
        // Traces are in a file of their own.
        RecordKind::Trace => false,
    }
}

fn read<T: Stored>(kind: RecordKind, id: TaskId, bytes: &[u8]) -> Option<T> {
    decode(kind, id, bytes).ok()
}

/// Returns the number of attempts of a task when its record was written.
fn attempts(bytes: &[u8]) -> u32 {
    let task = find(bytes).next().and_then(|found| read::<StoredTask>(found.kind, found.id, found.bytes));
    task.map_or(0, |task| task.attempts)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut file = fs::File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a new data file.
fn write_draft(path: &Path, contents: &Contents) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { path: path.to_path_buf(), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let database = open_file(path).map_err(|error| super::open_error(path, error))?;
    let now = clock::wall();
    let mut rows = contents.whole.iter().peekable();
    while rows.peek().is_some() {
        let batch = rows.by_ref().take(BATCH_RECORDS);
        let written = load::write(&database, |transaction| {
            for ((kind, id), bytes) in batch {
                let mut table = transaction.open_table(Table::for_kind(*kind).definition())?;
                table.insert(&id.0, bytes.as_slice())?;
            }
            Ok(())
        });
        written.map_err(|error| super::write_error(path, error))?;
    }
    let marked = load::write(&database, |transaction| {
        let mut table = transaction.open_table(Table::Damaged.definition())?;
        let mut damaged: BTreeMap<TaskId, Vec<RecordKind>> = BTreeMap::new();
        for (kind, id) in &contents.damaged {
            damaged.entry(*id).or_default().push(*kind);
        }
        for (id, kinds) in damaged {
            table.insert(&id.0, load::damage_row(kinds, now).as_slice())?;
        }
        // If the number is unknown, there may be one.
        let lost = contents.lost.unwrap_or(1);
        if lost > 0 {
            table.insert(&[0; 16], load::lost_row(lost, now).as_slice())?;
        }
        drop(table);
        load::mark(transaction)
    });
    marked.map_err(|error| super::write_error(path, error))
}

/// Replaces the file with the draft, and returns the new path of the old file. At each moment one of them has its name.
pub(super) fn replace(path: &Path, draft: &Path) -> io::Result<PathBuf> {
    let kept = free_name(path);
    if fs::hard_link(path, &kept).is_err() {
        fs::rename(path, &kept)?;
    }
    fs::rename(draft, path)?;
    if let Some(directory) = path.parent() {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(kept)
}

/// Returns an unused name for a damaged file, beside it.
pub(super) fn free_name(path: &Path) -> PathBuf {
    let name = |number: u32| path.with_added_extension(format!("damaged-{number}"));
    (1..).map(name).find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| name(0))
}

/// Lists the damaged files that are kept beside a data file.
pub fn kept_files(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_kept = |file: &PathBuf| {
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        file.strip_prefix(&name).is_some_and(|rest| rest.starts_with(".damaged-"))
    };
    let entries = path.parent().and_then(|directory| fs::read_dir(directory).ok());
    let mut files: Vec<PathBuf> =
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_kept).collect();
    files.sort();
    files
}

/// Minimum size of a record with its key, in bytes.
const RECORD_BYTES_MIN: u64 = 16;
/// Number of records per transaction of a new file.
const BATCH_RECORDS: usize = 1_000;
