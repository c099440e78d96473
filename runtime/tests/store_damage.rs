//! Damaged data files: nothing wrong is ever returned, and nothing is lost silently.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/records.rs"]
mod records;

use engine::record::{Record, RecordKind, encode};
use engine::{TaskId, WriteError, WriteId};
use records::{home, id, result, stored_task, task};
use runtime::ports::Store;
use runtime::store::{OpenError, ReadError, RedbStore, check, kept_files, set_aside};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

async fn next(store: &mut RedbStore) -> (WriteId, Result<(), WriteError>) {
    tokio::time::timeout(Duration::from_secs(60), store.next()).await.expect("a report in time")
}

const TASKS: u64 = 40;
const RESULTS: u64 = 150;

/// Numbers of results follow those of tasks.
fn results() -> std::ops::Range<u64> {
    1_000..1_000 + RESULTS
}

/// Writes a file with open tasks and results, as a node does over time.
async fn fill(path: &Path) -> RedbStore {
    let (mut store, ..) = RedbStore::open(path).unwrap();
    let mut writes = 0;
    for number in results() {
        store.write(WriteId(writes), vec![task(number)]);
        store
            .write(WriteId(writes + 1), vec![Record::RemoveTask(id(number)), Record::Result(result(number))]);
        writes += 2;
    }
    for number in 0..TASKS {
        store.write(WriteId(writes), vec![task(number)]);
        writes += 1;
    }
    for write in 0..writes {
        assert_eq!(next(&mut store).await, (WriteId(write), Ok(())));
    }
    store
}

/// The outcome for a damaged file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The file was not opened.
    refused: u32,
    /// No record was missing.
    harmless: u32,
    /// Some records were missing, and damage was reported.
    told: u32,
}

/// Opens a file, reads all of it, and compares that with what was written.
fn judge(path: &Path, outcome: &mut Outcome, what: &str) {
    let before = fs::read(path).unwrap();
    let opened = RedbStore::open(path);
    let (store, saved, reader) = match opened {
        Err(OpenError::Damaged { .. }) => {
            assert!(fs::read(path).unwrap() == before, "{what}: a file that is refused stays as it is");
            outcome.refused += 1;
            return;
        }
        opened => opened.unwrap(),
    };
    if let Some(salvaged) = reader.salvaged() {
        assert!(fs::read(&salvaged.kept).unwrap() == before, "{what}: the damaged file is kept");
    }
    let mut missing = 0;
    let tasks: BTreeSet<TaskId> = saved.tasks.iter().map(|task| task.id).collect();
    for number in 0..TASKS {
        match saved.tasks.iter().find(|task| task.id == id(number)) {
            Some(found) => assert_eq!(*found, stored_task(number), "{what}"),
            None => missing += 1,
        }
    }
    assert!(
        tasks.iter().all(|task| (0..TASKS).any(|number| id(number) == *task)),
        "{what}: ended tasks stay so"
    );
    for number in results() {
        let summary = saved.results.iter().find(|summary| summary.id == id(number));
        match (summary, reader.result(id(number))) {
            (Some(summary), Ok(Some(found))) => {
                assert_eq!((summary, &found), (&result(number).summary, &*result(number)), "{what}");
            }
            // The node has the summary, so a request fails with an error.
            (Some(_), Ok(None) | Err(ReadError::Damaged { .. })) => missing += 1,
            (None, _) => missing += 1,
            (Some(_), Err(error)) => panic!("{what}: {error}"),
        }
    }
    let told = reader.damage().count() > 0;
    assert!(missing == 0 || told, "{what}: {missing} are missing, and nobody says so");
    if missing == 0 {
        outcome.harmless += 1
    } else {
        outcome.told += 1
    }
    drop(store);
}

/// Damages copies of a file in many places.
fn damage_everywhere(whole: &[u8], bits: usize, pages: usize) -> Outcome {
    let (_home, path) = home();
    let mut outcome = Outcome::default();
    let mut random = 88_172_645_463_325_252_u64;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let mut judge_damaged = |bytes: &[u8], what: &str| {
        for old in kept_files(&path) {
            fs::remove_file(old).unwrap();
        }
        fs::write(&path, bytes).unwrap();
        judge(&path, &mut outcome, what);
    };
    // The header, bit by bit where it matters, then anywhere.
    let header = (9..14).flat_map(|byte| (0..8).map(move |bit| byte * 8 + bit));
    let anywhere: Vec<usize> = (0..bits).map(|_| draw(whole.len() * 8)).collect();
    for bit in header.chain(anywhere) {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        judge_damaged(&bytes, &format!("bit {bit} flipped"));
    }
    for _ in 0..pages {
        let page = draw(whole.len() / 4096);
        let mut bytes = whole.to_vec();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        judge_damaged(&bytes, &format!("page {page} zeroed"));
    }
    outcome
}

#[tokio::test]
async fn flipped_bits_and_lost_pages_after_a_clean_stop_are_never_silent() {
    let (_home, path) = home();
    drop(fill(&path).await);
    let outcome = damage_everywhere(&fs::read(&path).unwrap(), 45, 25);
    eprintln!("after a clean stop: {outcome:?}");
    assert!(outcome.told > 0 && outcome.harmless > 0, "{outcome:?}");
}

#[tokio::test]
async fn flipped_bits_and_lost_pages_after_a_kill_are_never_silent() {
    let (_home, path) = home();
    let store = fill(&path).await;
    // A copy as after a kill: everything is written, and nothing is closed.
    let bytes = fs::read(&path).unwrap();
    drop(store);
    let outcome = damage_everywhere(&bytes, 25, 15);
    eprintln!("after a kill: {outcome:?}");
    assert!(outcome.harmless > 0, "{outcome:?}");
}

#[tokio::test]
async fn every_kind_of_damaged_record_is_rebuilt_or_reported() {
    let (_home, path) = home();
    drop(fill(&path).await);
    let whole = fs::read(&path).unwrap();
    // The newest copy of each record is in use. Older copies may remain in the file.
    let damage = |records: &[&[u8]]| {
        let mut bytes = whole.clone();
        for encoded in records {
            let places: Vec<usize> =
                (0..whole.len() - encoded.len()).filter(|at| whole[*at..].starts_with(encoded)).collect();
            assert!(!places.is_empty());
            places.iter().for_each(|at| bytes[at + encoded.len() - 2] ^= 4);
        }
        for old in kept_files(&path) {
            fs::remove_file(old).unwrap();
        }
        fs::write(&path, bytes).unwrap();
        let checked = check(&path).unwrap();
        assert!(!checked.is_sound() && checked.fault.is_some(), "{checked:?}");
        let (store, saved, reader) = RedbStore::open(&path).unwrap();
        let salvaged = reader.salvaged().unwrap().clone();
        assert_eq!(salvaged.damaged, checked.damaged);
        assert_eq!(salvaged.lost, Some(0));
        assert_eq!(kept_files(&path), [salvaged.kept]);
        drop(store);
        (saved, reader, salvaged.damaged)
    };
    // A damaged task is reported, also after another start.
    let encoded = encode(RecordKind::Task, id(7), &stored_task(7));
    let (saved, _, damaged) = damage(&[&encoded]);
    assert_eq!((saved.tasks.len() as u64, damaged), (TASKS - 1, vec![(RecordKind::Task, id(7))]));
    let (store, _, reader) = RedbStore::open(&path).unwrap();
    assert_eq!((reader.damage().damaged_record(id(7)), reader.salvaged()), (Some(RecordKind::Task), None));
    drop(store);
    // A summary is rebuilt from its result.
    let number = results().start + 3;
    let summary = encode(RecordKind::Summary, id(number), &result(number).summary);
    let (saved, _, damaged) = damage(&[&summary]);
    assert_eq!((saved.results.len() as u64, damaged), (RESULTS, vec![]));
    // A damaged result is reported, and stays in the list of tasks.
    let encoded = encode(RecordKind::Result, id(number), &result(number));
    let (saved, reader, damaged) = damage(&[&encoded]);
    assert_eq!((saved.results.len() as u64, damaged), (RESULTS, vec![(RecordKind::Result, id(number))]));
    assert_eq!(reader.damage().damaged_record(id(number)), Some(RecordKind::Result));
    // Two records of one task count as two.
    let both = vec![(RecordKind::Result, id(number)), (RecordKind::Summary, id(number))];
    let (saved, reader, damaged) = damage(&[&encoded, &summary]);
    assert_eq!((saved.results.len() as u64, &damaged), (RESULTS - 1, &both));
    assert_eq!(reader.damage().list(), both);
}

#[tokio::test]
async fn a_truncated_file_is_salvaged_and_garbage_is_rejected() {
    let (_home, path) = home();
    drop(fill(&path).await);
    let whole = fs::read(&path).unwrap();
    let mut outcome = Outcome::default();
    for part in [2, 10, 20, 28, 31] {
        fs::write(&path, &whole[..whole.len() * part / 32]).unwrap();
        judge(&path, &mut outcome, &format!("cut to {part}/32"));
    }
    assert!(outcome.told + outcome.harmless > 0, "{outcome:?}");
    let garbage: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [&garbage[..], b"not a database", &[0; 40_960]] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(RedbStore::open(&path), Err(OpenError::Damaged { .. })));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let aside = set_aside(&path).unwrap();
    assert_eq!(fs::read(aside).unwrap(), [0; 40_960]);
    assert!(RedbStore::open(&path).unwrap().1.tasks.is_empty());
}

#[test]
fn a_file_in_use_is_not_checked() {
    let (_home, path) = home();
    let (store, ..) = RedbStore::open(&path).unwrap();
    assert!(matches!(check(&path), Err(OpenError::InUse { .. })));
    drop(store);
    assert!(check(&path).unwrap().is_sound());
}
