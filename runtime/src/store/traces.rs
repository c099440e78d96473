//! Stored traces: a redb file of their own, written by a thread with low priority.
//!
//! The steps of a few seconds are one row, so that a node with much work writes one row now and then. A second row names
//! the traces and tasks in it, and is all that a search reads of rows without a match. Rows have the same checksum as
//! all records. Traces are no data that the node must keep: a full disk drops them, and a file that is damaged is
//! replaced by an empty one.

use super::redb::is_file_damage;
use crate::containment::contain;
use crate::ports::Traces;
use ::redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use engine::observers::traces::{
    AMBIGUOUS_MAX, Found, IdPrefix, RETENTION, STORE_BYTES_MAX, TraceOrder, TracePart, tasks_of,
};
use engine::record::{RecordKind, Stored, decode, encode};
use engine::{ReadId, TaskId, TraceId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Stores traces in one file. Dropping it writes what waits and closes the file.
#[derive(Debug)]
pub struct TraceStore {
    /// `None` only during the drop.
    queue: Option<SyncSender<TraceOrder>>,
    found: mpsc::Receiver<(ReadId, Found)>,
    /// Searches that could not be queued.
    missed: VecDeque<ReadId>,
    thread: Option<JoinHandle<()>>,
}

impl TraceStore {
    /// Opens or creates the file when it is first needed.
    ///
    /// # Errors
    /// The system provides no thread.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let (queue, orders) = sync_channel(ORDERS_MAX);
        let (report, found) = mpsc::channel(ORDERS_MAX);
        let path = path.to_owned();
        let thread = std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            let mut file = TraceFile { path, open: None, broken_at: None };
            file.serve(&orders, &report);
        })?;
        Ok(Self { queue: Some(queue), found, missed: VecDeque::new(), thread: Some(thread) })
    }
}

impl Traces for TraceStore {
    fn order(&mut self, order: TraceOrder) {
        let read = if let TraceOrder::Find { read, .. } = &order { Some(*read) } else { None };
        let taken = self.queue.as_ref().is_some_and(|queue| queue.try_send(order).is_ok());
        // Steps are dropped if the disk is too slow. A search is answered in any case.
        if !taken {
            self.missed.extend(read);
        }
    }

    async fn next(&mut self) -> (ReadId, Found) {
        if let Some(read) = self.missed.pop_front() {
            return (read, Found::None);
        }
        match self.found.recv().await {
            Some(found) => found,
            // The thread has ended.
            None => std::future::pending().await,
        }
    }
}

impl Drop for TraceStore {
    fn drop(&mut self) {
        self.queue = None;
        self.found.close();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

/// What one row holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Batch {
    parts: Vec<(TraceId, TracePart)>,
}

/// What a row holds, in brief.
#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    at: UnixMillis,
    /// Size of the row, in bytes.
    bytes: u32,
    /// The first bytes of the ids of all traces and tasks in the row.
    ids: Vec<[u8; ID_BYTES]>,
}

impl Stored for Batch {}
impl Stored for Summary {}

struct TraceFile {
    path: PathBuf,
    open: Option<OpenFile>,
    /// When it could not be opened or written.
    broken_at: Option<Instant>,
}

struct OpenFile {
    database: Database,
    /// The time and size of each row, by its number.
    rows: BTreeMap<u64, (UnixMillis, u64)>,
    bytes: u64,
    /// When the rows were last made durable.
    synced_at: Instant,
}

impl TraceFile {
    fn serve(&mut self, orders: &Receiver<TraceOrder>, report: &mpsc::Sender<(ReadId, Found)>) {
        while let Ok(order) = orders.recv() {
            match order {
                TraceOrder::Keep { at, parts } => self.keep(at, parts),
                TraceOrder::Find { read, id } => {
                    let found = self.find(&id);
                    // Fails only if nobody waits any more.
                    let _ = report.blocking_send((read, found));
                }
            }
        }
        if let Some(mut file) = self.open.take() {
            drop(contain(|| file.sync()));
        }
    }

    fn keep(&mut self, at: UnixMillis, parts: Vec<(TraceId, TracePart)>) {
        let Some(file) = self.file() else { return };
        let batch = Batch { parts };
        let result = contain(|| file.keep(at, &batch));
        if let Err(error) = result.map_err(|panicked| panicked.to_string()).and_then(|kept| kept) {
            self.give_up(&error);
        }
    }

    fn find(&mut self, id: &IdPrefix) -> Found {
        let Some(file) = self.file() else { return Found::None };
        match contain(|| file.find(id)).map_err(|panicked| panicked.to_string()).and_then(|found| found) {
            Ok(found) => found,
            Err(error) => {
                self.give_up(&error);
                Found::None
            }
        }
    }

    /// Returns the open file. After an error it is tried again after a while.
    fn file(&mut self) -> Option<&mut OpenFile> {
        if self.broken_at.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return None;
        }
        if self.open.is_none() {
            match OpenFile::open_or_replace(&self.path) {
                Ok(file) => (self.open, self.broken_at) = (Some(file), None),
                Err(error) => self.give_up(&error),
            }
        }
        self.open.as_mut()
    }

    fn give_up(&mut self, error: &str) {
        if self.broken_at.is_none() {
            tracing::warn!(file = %self.path.display(), %error, "traces cannot be stored now");
        }
        self.open = None;
        self.broken_at = Some(Instant::now());
    }
}

impl OpenFile {
    fn open_or_replace(path: &Path) -> Result<Self, String> {
        match contain(|| Self::open(path)) {
            Ok(Ok(file)) => Ok(file),
            Ok(Err(::redb::Error::DatabaseAlreadyOpen)) => Err("another process uses the file".to_owned()),
            Ok(Err(error)) if !is_file_damage(&error) => Err(error.to_string()),
            Ok(Err(error)) => Self::replace(path, &error.to_string()),
            Err(panicked) => Self::replace(path, &panicked.to_string()),
        }
    }

    fn replace(path: &Path, damage: &str) -> Result<Self, String> {
        tracing::warn!(file = %path.display(), %damage, "the file of traces is damaged and is replaced");
        std::fs::remove_file(path).map_err(|error| error.to_string())?;
        contain(|| Self::open(path))
            .map_err(|panicked| panicked.to_string())?
            .map_err(|error| error.to_string())
    }

    fn open(path: &Path) -> Result<Self, ::redb::Error> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let backend = ::redb::backends::FileBackend::new(options.open(path)?)?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
        let mut rows = BTreeMap::new();
        {
            let read = database.begin_read()?;
            match read.open_table(SUMMARIES) {
                Ok(table) => {
                    for row in table.iter()? {
                        let (number, bytes) = row?;
                        if let Some(summary) = decoded::<Summary>(number.value(), bytes.value()) {
                            rows.insert(number.value(), (summary.at, u64::from(summary.bytes)));
                        }
                    }
                }
                Err(TableError::TableDoesNotExist(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let bytes = rows.values().map(|(_, bytes)| bytes).sum();
        Ok(Self { database, rows, bytes, synced_at: Instant::now() })
    }

    fn keep(&mut self, at: UnixMillis, batch: &Batch) -> Result<(), String> {
        let number = self.rows.last_key_value().map_or(0, |(number, _)| number + 1);
        let row = encode(RecordKind::Trace, row_id(number), batch);
        let bytes = u32::try_from(row.len()).map_err(|_| "too many steps at once".to_owned())?;
        let summary = Summary { at, bytes, ids: ids_of(batch) };
        let summary = encode(RecordKind::Trace, row_id(number), &summary);
        self.rows.insert(number, (at, u64::from(bytes)));
        self.bytes += u64::from(bytes);
        let expired = self.expired(at);
        let sync = self.synced_at.elapsed() >= SYNC_INTERVAL;
        let written: Result<(), ::redb::Error> = (|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(if sync { Durability::Immediate } else { Durability::None })?;
            {
                let mut batches = transaction.open_table(BATCHES)?;
                let mut summaries = transaction.open_table(SUMMARIES)?;
                batches.insert(number, row.as_slice())?;
                summaries.insert(number, summary.as_slice())?;
                for old in &expired {
                    batches.remove(old)?;
                    summaries.remove(old)?;
                }
            }
            transaction.commit()?;
            Ok(())
        })();
        if sync {
            self.synced_at = Instant::now();
        }
        written.map_err(|error| error.to_string())
    }

    /// Forgets the rows that are too old or too much, oldest first, and returns their numbers.
    fn expired(&mut self, now: UnixMillis) -> Vec<u64> {
        let mut expired = Vec::new();
        while let Some((&number, &(at, bytes))) = self.rows.first_key_value() {
            if self.rows.len() == 1 || at.after(RETENTION) > now && self.bytes <= STORE_BYTES_MAX {
                break;
            }
            self.rows.remove(&number);
            self.bytes = self.bytes.saturating_sub(bytes);
            expired.push(number);
        }
        expired
    }

    fn sync(&mut self) -> Result<(), ::redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.commit()?;
        Ok(())
    }

    fn find(&mut self, id: &IdPrefix) -> Result<Found, String> {
        let read = || -> Result<BTreeMap<TraceId, Vec<TracePart>>, ::redb::Error> {
            let transaction = self.database.begin_read()?;
            let (summaries, batches) = match transaction.open_table(SUMMARIES) {
                Ok(summaries) => (summaries, transaction.open_table(BATCHES)?),
                Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
                Err(error) => return Err(error.into()),
            };
            let mut found: BTreeMap<TraceId, Vec<TracePart>> = BTreeMap::new();
            // A task names its trace only at some nodes, so the rest of the trace is found by the id of the trace.
            let mut wanted: Vec<IdPrefix> = vec![*id];
            for pass in 0..2 {
                for row in summaries.iter()? {
                    let (number, bytes) = row?;
                    let number = number.value();
                    let Some(summary) = decoded::<Summary>(number, bytes.value()) else { continue };
                    let matches = |known: &[u8]| wanted.iter().any(|wanted| wanted.matches(known));
                    if !summary.ids.iter().any(|known| matches(known)) {
                        continue;
                    }
                    let Some(row) = batches.get(number)? else { continue };
                    let Some(batch) = decoded::<Batch>(number, row.value()) else { continue };
                    for (trace, part) in batch.parts {
                        let known = matches(&trace.0);
                        if known || pass == 0 && tasks_of([&part]).iter().any(|task| matches(&task.0)) {
                            found.entry(trace).or_default().push(part);
                        }
                    }
                }
                let exact: Vec<IdPrefix> = found.keys().map(|trace| IdPrefix::of(*trace)).collect();
                if pass == 1 || exact.len() != 1 || exact == wanted {
                    break;
                }
                wanted = exact;
                found.clear();
            }
            Ok(found)
        };
        let mut found = read().map_err(|error| error.to_string())?;
        Ok(match (found.pop_first(), found.is_empty()) {
            (None, _) => Found::None,
            (Some((trace, parts)), true) => Found::One(trace, parts),
            (Some((first, _)), false) => {
                let rest = found.into_keys().take(AMBIGUOUS_MAX - 1);
                Found::Many(std::iter::once(first).chain(rest).collect())
            }
        })
    }
}

/// Decodes a row; `None` if it is damaged, so that the others are still found.
fn decoded<T: Stored>(number: u64, bytes: &[u8]) -> Option<T> {
    decode(RecordKind::Trace, row_id(number), bytes).ok()
}

/// Returns the number of a row as the id in its record.
fn row_id(number: u64) -> TaskId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    TaskId(id)
}

fn ids_of(batch: &Batch) -> Vec<[u8; ID_BYTES]> {
    let start = |id: &[u8; 16]| {
        let mut start = [0; ID_BYTES];
        start.copy_from_slice(&id[..ID_BYTES]);
        start
    };
    let mut ids: Vec<[u8; ID_BYTES]> = Vec::new();
    for (trace, part) in &batch.parts {
        ids.push(start(&trace.0));
        ids.extend(tasks_of([part]).iter().map(|task| start(&task.0)));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

const BATCHES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("batches");
const SUMMARIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("summaries");
/// Bytes of an id in a summary.
const ID_BYTES: usize = 8;
/// Maximum number of orders that wait. Beyond, steps are dropped.
const ORDERS_MAX: usize = 64;
/// How often rows are made durable. A crash loses those since then.
const SYNC_INTERVAL: Duration = Duration::from_secs(10);
/// When a file that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The page cache of redb, in bytes.
const CACHE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::observers::traces::{Step, TimedStep};
    use engine::task::TaskKind;

    fn part(task: TaskId) -> TracePart {
        let step = Step::Recovered { task, kind: TaskKind::Embedding };
        TracePart { begun_micros: 5, steps: vec![TimedStep { after_micros: 0, step }], lost: 0 }
    }

    fn ids(number: u64) -> (TraceId, TaskId) {
        let hash = |salt: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt).to_be_bytes());
            id
        };
        (TraceId(hash(0)), TaskId(hash(0x5555_5555_5555_5555)))
    }

    async fn find(store: &mut TraceStore, text: &str) -> Found {
        store.order(TraceOrder::Find { read: ReadId(7), id: IdPrefix::parse(text).unwrap() });
        let (read, found) = store.next().await;
        assert_eq!(read, ReadId(7));
        found
    }

    #[tokio::test]
    async fn a_trace_is_found_by_its_id_its_task_and_a_prefix_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("traces.redb");
        let mut store = TraceStore::open(&path).unwrap();
        let (trace, task) = ids(1);
        let without_task = TracePart { steps: Vec::new(), ..part(task) };
        let other = (ids(2).0, part(ids(2).1));
        for (at, part) in [(1, part(task)), (2, without_task.clone())] {
            store.order(TraceOrder::Keep { at: UnixMillis(at), parts: vec![(trace, part), other.clone()] });
        }
        let one = Found::One(trace, vec![part(task), without_task]);
        for reopened in [false, true] {
            if reopened {
                drop(store);
                store = TraceStore::open(&path).unwrap();
            }
            assert_eq!(find(&mut store, &trace.to_string()).await, one);
            assert_eq!(find(&mut store, &task.to_string()).await, one);
            assert_eq!(find(&mut store, &task.to_string()[..7]).await, one);
            assert_eq!(find(&mut store, "ffffffff").await, Found::None);
        }
    }

    #[tokio::test]
    async fn a_prefix_of_several_traces_names_them() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = TraceStore::open(&directory.path().join("traces.redb")).unwrap();
        let trace = |last: u8| TraceId([7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        let parts = (0..20).map(|n| (trace(n), part(ids(u64::from(n)).1))).collect();
        store.order(TraceOrder::Keep { at: UnixMillis(1), parts });
        let Found::Many(traces) = find(&mut store, "07070707").await else { panic!("not ambiguous") };
        assert_eq!((traces.len(), traces[0]), (AMBIGUOUS_MAX, trace(0)));
        let Found::One(found, _) = find(&mut store, &trace(9).to_string()).await else { panic!("not found") };
        assert_eq!(found, trace(9));
    }

    #[tokio::test]
    async fn old_traces_and_a_damaged_file_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("traces.redb");
        let mut store = TraceStore::open(&path).unwrap();
        let day = |n: u64| UnixMillis(n * 24 * 3_600_000);
        for n in 0..4 {
            store.order(TraceOrder::Keep { at: day(n), parts: vec![(ids(n).0, part(ids(n).1))] });
        }
        assert_eq!(find(&mut store, &ids(1).0.to_string()).await, Found::None);
        assert!(matches!(find(&mut store, &ids(2).0.to_string()).await, Found::One(..)));
        drop(store);
        std::fs::write(&path, b"not a database").unwrap();
        let mut store = TraceStore::open(&path).unwrap();
        assert_eq!(find(&mut store, &ids(3).0.to_string()).await, Found::None);
        store.order(TraceOrder::Keep { at: day(5), parts: vec![(ids(5).0, part(ids(5).1))] });
        assert!(matches!(find(&mut store, &ids(5).0.to_string()).await, Found::One(..)));
    }
}
