#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/records.rs"]
mod records;

use super::*;
use ::redb::StorageBackend;
use engine::task::StoredTask;
use records::{home, id, result, task};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

fn numbers(saved: &Saved) -> BTreeSet<u64> {
    let number = |task: &StoredTask| u64::from_be_bytes(task.id.0[8..].try_into().unwrap());
    saved.tasks.iter().map(number).collect()
}

async fn next(store: &mut RedbStore) -> (WriteId, Result<(), WriteError>) {
    tokio::time::timeout(Duration::from_secs(20), store.next()).await.expect("a report in time")
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let (_home, path) = home();
    let (mut store, saved, reader) = RedbStore::open(&path).unwrap();
    assert_eq!(saved, Saved::default());
    store.write(WriteId(1), vec![task(1), task(2)]);
    store.write(WriteId(2), vec![Record::Probe]);
    store.write(WriteId(3), vec![Record::RemoveTask(id(1)), Record::Result(result(1))]);
    store.write(WriteId(4), vec![Record::Result(result(3)), Record::Result(result(4))]);
    store.write(WriteId(5), vec![Record::RemoveResult(id(3))]);
    for expected in 1..=5 {
        assert_eq!(next(&mut store).await, (WriteId(expected), Ok(())));
    }
    assert_eq!(reader.result(id(1)).unwrap(), Some(*result(1)));
    assert_eq!(reader.result(id(3)).unwrap(), None);
    drop(store);
    assert!(matches!(reader.result(id(1)), Err(ReadError::Closed)));

    let (_store, saved, reader) = RedbStore::open(&path).unwrap();
    let Record::Task(second) = task(2) else { unreachable!() };
    assert_eq!(saved.tasks, [*second]);
    assert_eq!(saved.results, [result(4).summary, result(1).summary]);
    assert_eq!(reader.result(id(4)).unwrap(), Some(*result(4)));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_store_that_is_dropped_writes_what_still_waits() {
    let (_home, path) = home();
    let (mut store, ..) = RedbStore::open(&path).unwrap();
    for number in 0..3_000 {
        store.write(WriteId(number), vec![task(number)]);
    }
    drop(store);
    let (_store, saved, _) = RedbStore::open(&path).unwrap();
    assert_eq!(saved.tasks.len(), 3_000);
}

#[tokio::test]
async fn reports_come_in_order_and_results_are_readable_meanwhile() {
    let (_home, path) = home();
    let (mut store, _, reader) = RedbStore::open(&path).unwrap();
    store.write(WriteId(0), vec![Record::Result(result(0))]);
    assert_eq!(next(&mut store).await, (WriteId(0), Ok(())));
    let reads = std::thread::spawn(move || {
        (0..2_000).filter(|_| reader.result(id(0)).unwrap() == Some(*result(0))).count()
    });
    for number in 1..=2_000 {
        store.write(WriteId(number), vec![task(number), Record::Result(result(number))]);
    }
    for number in 1..=2_000 {
        assert_eq!(next(&mut store).await, (WriteId(number), Ok(())));
    }
    assert_eq!(reads.join().unwrap(), 2_000);
}

#[tokio::test]
async fn a_file_belongs_to_one_store() {
    let (_home, path) = home();
    let (store, ..) = RedbStore::open(&path).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(OpenError::InUse { .. })));
    drop(store);
    RedbStore::open(&path).unwrap();
}

/// A disk in memory that can fail or stall on demand.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    fault: Arc<AtomicU8>,
    gate: Arc<Mutex<()>>,
    syncs: Arc<AtomicUsize>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        drop(self.gate.lock().unwrap());
        match self.fault.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => Err(io::Error::other("the cable is loose")),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn open(&self) -> (RedbStore, Saved, ResultReader) {
        let disk = self.clone();
        let open = Box::new(move || Database::builder().create_with_backend(disk.clone()));
        RedbStore::open_with(Path::new("disk"), open).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let from = offset as usize;
        out.copy_from_slice(&self.bytes.lock().unwrap()[from..from + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check()?;
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check()?;
        let from = offset as usize;
        self.bytes.lock().unwrap()[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn a_failed_write_is_reported_and_leaves_nothing_and_the_next_one_works() {
    for (fault, error) in [(1, WriteError::Io), (2, WriteError::Full)] {
        let disk = Disk::default();
        let (mut store, _, reader) = disk.open();
        store.write(WriteId(1), vec![task(1), Record::Result(result(1))]);
        assert_eq!(next(&mut store).await, (WriteId(1), Ok(())));

        disk.fault.store(fault, Ordering::SeqCst);
        for write in 2..=3 {
            store.write(WriteId(write), vec![task(write * 10), task(write * 10 + 1)]);
        }
        assert_eq!(next(&mut store).await, (WriteId(2), Err(error)));
        let (last, failed) = next(&mut store).await;
        assert!(last == WriteId(3) && failed.is_err());

        disk.fault.store(0, Ordering::SeqCst);
        store.write(WriteId(4), vec![task(4)]);
        assert_eq!(next(&mut store).await, (WriteId(4), Ok(())));
        assert_eq!(reader.result(id(1)).unwrap(), Some(*result(1)));
        drop(store);
        assert_eq!(numbers(&disk.open().1), BTreeSet::from([1, 4]));
    }
}

#[tokio::test]
async fn a_disk_that_stalls_bounds_what_waits() {
    let disk = Disk::default();
    let (mut store, ..) = disk.open();
    let all = WRITES_MAX as u64;
    {
        let _stalled = disk.gate.lock().unwrap();
        for number in 0..all + 2 {
            store.write(WriteId(number), vec![Record::Probe]);
        }
    }
    for refused in [all, all + 1] {
        assert_eq!(next(&mut store).await, (WriteId(refused), Err(WriteError::Io)));
    }
    for number in 0..all {
        assert_eq!(next(&mut store).await, (WriteId(number), Ok(())));
    }
    store.write(WriteId(all + 2), vec![Record::Probe]);
    assert_eq!(next(&mut store).await, (WriteId(all + 2), Ok(())));
}

#[tokio::test]
async fn writes_that_wait_together_share_a_commit() {
    let disk = Disk::default();
    let (mut store, ..) = disk.open();
    let syncs_of = async |store: &mut RedbStore, writes: std::ops::Range<u64>| {
        let before = disk.syncs.load(Ordering::SeqCst);
        let stalled = disk.gate.lock().unwrap();
        for number in writes.clone() {
            store.write(WriteId(number), vec![task(number)]);
        }
        drop(stalled);
        for number in writes {
            assert_eq!(next(store).await, (WriteId(number), Ok(())));
        }
        disk.syncs.load(Ordering::SeqCst) - before
    };
    let one = syncs_of(&mut store, 0..1).await;
    // The batch taken before the disk stalled, then full batches.
    let many = syncs_of(&mut store, 1..4_001).await;
    assert!(one > 0 && many < 20 * one, "{one} syncs for one write, {many} for 4000");
}

/// Writes a row under a task's key, bypassing the store.
fn insert_raw(path: &Path, table: Table, number: u64, value: &[u8]) {
    let database = open_file(path).unwrap();
    load::write(&database, |transaction| {
        transaction.open_table(table.definition())?.insert(&id(number).0, value)?;
        Ok(())
    })
    .unwrap();
}

/// Writes a file as the first version of the program did.
fn write_old(path: &Path, tasks: impl Iterator<Item = u64>, results: impl Iterator<Item = u64>) {
    fn encode_old<T: serde::Serialize>(value: &T) -> Vec<u8> {
        postcard::to_extend(value, vec![1]).unwrap()
    }
    let database = open_file(path).unwrap();
    load::write(&database, |transaction| {
        for number in tasks {
            let Record::Task(task) = task(number) else { unreachable!() };
            let mut value = encode_old(&task);
            // The old encoding ends before the fields with the model and the caller of the task.
            assert_eq!((value.pop(), value.pop()), (Some(0), Some(0)));
            transaction.open_table(Table::Tasks.definition())?.insert(&id(number).0, value.as_slice())?;
        }
        for number in results {
            let (mut value, summary) = (encode_old(&result(number)), encode_old(&result(number).summary));
            assert_eq!(value.pop(), Some(0));
            transaction.open_table(Table::Results.definition())?.insert(&id(number).0, value.as_slice())?;
            transaction
                .open_table(Table::Summaries.definition())?
                .insert(&id(number).0, summary.as_slice())?;
        }
        Ok(())
    })
    .unwrap();
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_out_and_kept() {
    let (_home, path) = home();
    let (mut store, ..) = RedbStore::open(&path).unwrap();
    store.write(WriteId(1), vec![task(1)]);
    drop(store);
    insert_raw(&path, Table::Tasks, 2, &[1, 0xff]);
    insert_raw(&path, Table::Results, 3, b"");
    for _ in 0..2 {
        let (_store, saved, reader) = RedbStore::open(&path).unwrap();
        assert_eq!(numbers(&saved), BTreeSet::from([1]));
        assert_eq!(reader.damage().list(), [(RecordKind::Task, id(2))]);
        assert!(
            matches!(reader.result(id(3)), Err(ReadError::Damaged { id: damaged, .. }) if damaged == id(3))
        );
        assert_eq!(reader.damage().count(), 2);
        assert_eq!(reader.salvaged(), None);
    }
    let database = open_file(&path).unwrap();
    let rows = database.begin_read().unwrap().open_table(Table::Tasks.definition()).unwrap();
    assert_eq!(rows.get(&id(2).0).unwrap().unwrap().value(), [1, 0xff]);
}

#[test]
fn records_of_another_version_stop_the_start_and_say_what_to_do() {
    let (_home, path) = home();
    insert_raw(&path, Table::Summaries, 1, &[9, 1, 2, 3]);
    let error = RedbStore::open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 9, .. }));
    assert!(error.to_string().contains("start the version that wrote them"));
}

#[tokio::test]
async fn a_file_of_the_first_version_is_upgraded() {
    let (_home, path) = home();
    write_old(&path, 0..30, 30..60);
    assert_eq!(
        check(&path).unwrap(),
        Checked { tasks: 30, results: 30, lost: Some(0), ..Checked::default() }
    );
    for _ in 0..2 {
        let (_store, saved, reader) = RedbStore::open(&path).unwrap();
        assert_eq!((saved.tasks.len(), saved.results.len()), (30, 30));
        assert_eq!(reader.result(id(31)).unwrap(), Some(*result(31)));
        assert_eq!((reader.damage().count(), reader.salvaged()), (0, None));
    }
    let database = open_file(&path).unwrap();
    let rows = database.begin_read().unwrap().open_table(Table::Tasks.definition()).unwrap();
    let value = rows.get(&id(3).0).unwrap().unwrap().value().to_vec();
    assert!(decode::<StoredTask>(RecordKind::Task, id(3), &value).is_ok());
    assert_eq!(load::format(&database).unwrap(), Some(2));
}

#[test]
fn a_damaged_file_of_the_first_version_is_refused_and_kept() {
    let (_home, path) = home();
    write_old(&path, 0..30, 30..60);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(7).rposition(|window| window == b"input 3").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(!check(&path).unwrap().is_sound());
    assert!(matches!(RedbStore::open(&path), Err(OpenError::Damaged { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(kept_files(&path), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_record_that_is_damaged_while_the_node_runs_is_found_when_it_is_read() {
    let (_home, path) = home();
    let (mut store, _, reader) = RedbStore::open(&path).unwrap();
    store.write(WriteId(0), vec![Record::Result(result(1))]);
    assert_eq!(next(&mut store).await, (WriteId(0), Ok(())));
    let mut damaged = encode(RecordKind::Result, id(1), &result(1));
    let last = damaged.len() - 9;
    damaged[last] ^= 0x10;
    reader
        .file
        .with(|database| {
            load::write(database, |transaction| {
                transaction.open_table(Table::Results.definition())?.insert(&id(1).0, damaged.as_slice())?;
                Ok(())
            })
        })
        .unwrap();
    assert!(matches!(reader.result(id(1)), Err(ReadError::Damaged { .. })));
    assert_eq!(reader.damage().list(), [(RecordKind::Result, id(1))]);
    // After the removal of the record, no damage is listed.
    store.write(WriteId(1), vec![Record::RemoveResult(id(1))]);
    assert_eq!(next(&mut store).await, (WriteId(1), Ok(())));
    assert_eq!((reader.result(id(1)).unwrap(), reader.damage().count()), (None, 0));
}

const CHILD_PATH: &str = "STORE_TEST_CHILD_PATH";

/// The child process of the next test: writes without end, and prints each number once it is acknowledged.
#[tokio::test]
async fn child_that_writes_for_ever() {
    let Some(path) = std::env::var_os(CHILD_PATH) else { return };
    let (mut store, saved, _) = RedbStore::open(Path::new(&path)).unwrap();
    let mut number = numbers(&saved).last().map_or(0, |last| last + 1) & !1;
    let mut under_way = 0;
    loop {
        while under_way < 20 {
            // Two records per write: both are present or neither.
            store.write(WriteId(number), vec![task(number), task(number + 1)]);
            number += 2;
            under_way += 1;
        }
        let (done, outcome) = store.next().await;
        outcome.unwrap();
        under_way -= 1;
        let mut out = io::stdout();
        // Fails once the parent is gone, which ends the child.
        writeln!(out, "ack {}", done.0).and_then(|()| out.flush()).unwrap();
    }
}

#[test]
fn kill_at_any_moment_loses_nothing_acknowledged() {
    const KILLS: u64 = 30;
    let (_home, path) = home();
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::redb::tests::child_that_writes_for_ever", "--nocapture"])
            .env(CHILD_PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acknowledgement = |line: String| line.rsplit_once("ack ")?.1.parse::<u64>().ok();
        // The first acknowledgement shows that the child is writing. It is killed after a varying time.
        let first = lines.find_map(acknowledgement).expect("the child writes");
        acknowledged.insert(first);
        std::thread::sleep(Duration::from_micros(round * round * 70));
        child.kill().unwrap();
        acknowledged.extend(lines.filter_map(acknowledgement));
        child.wait().unwrap();

        let (_store, saved, _) = RedbStore::open(&path).unwrap();
        let found = numbers(&saved);
        let lost: Vec<_> = acknowledged.iter().filter(|number| !found.contains(number)).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        assert!(found.iter().all(|number| found.contains(&(number ^ 1))), "round {round}: half a write");
    }
    assert!(acknowledged.len() as u64 >= KILLS);
    eprintln!("{KILLS} kills, {} acknowledged writes, none lost", acknowledged.len());
}

const SMALL_DISK: &str = "STORE_TEST_SMALL_DISK";

/// Fills the file system at `home`, frees a part, and continues to write.
async fn fill(home: &Path) {
    let path = home.join("node.redb");
    let ballast = home.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let (mut store, ..) = RedbStore::open(&path).unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut write = 0;
    let refused = loop {
        store.write(WriteId(write), (write * 100..write * 100 + 100).map(task).collect());
        match next(&mut store).await.1 {
            Ok(()) => acknowledged.extend(write * 100..write * 100 + 100),
            Err(error) => break error,
        }
        write += 1;
    };
    assert_eq!(refused, WriteError::Full);
    assert!(!acknowledged.is_empty());

    std::fs::remove_file(ballast).unwrap();
    store.write(WriteId(write + 1), vec![task(u64::MAX)]);
    assert_eq!(next(&mut store).await, (WriteId(write + 1), Ok(())));
    acknowledged.insert(u64::MAX);
    drop(store);
    assert!(numbers(&RedbStore::open(&path).unwrap().1).is_superset(&acknowledged));
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_survived() {
    if let Some(home) = std::env::var_os(SMALL_DISK) {
        return fill(Path::new(&home)).await;
    }
    let home = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=6m small \"$0\"";
    let in_namespace = |script: &str| {
        Command::new("unshare")
            .args(["-rm", "sh", "-c", script])
            .arg(home.path())
            .arg(std::env::current_exe().unwrap())
            .arg("store::redb::tests::a_full_disk_is_told_apart_and_survived")
            .env(SMALL_DISK, home.path())
            .output()
    };
    if !in_namespace(mount).is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: this host does not let the test mount a small file system");
        return;
    }
    let child = in_namespace(&format!("{mount} && exec \"$1\" --exact \"$2\" --nocapture")).unwrap();
    let said = [child.stdout, child.stderr].concat();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&said));
}
