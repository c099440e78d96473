//! Loads a data file, and upgrades one from an older version of the program.

use super::table::Table;
use super::{OpenError, damaged};
use crate::clock;
use crate::store::damage::{Damage, RETENTION_MILLIS};
use ::redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableError,
    WriteTransaction,
};
use engine::observers::alerts::SavedAlerts;
use engine::record::{RecordKind, Saved, Stored, decode, upgrade};
use engine::task::{ResultSummary, StoredTask};
use engine::{DecodeError, TaskId, UnixMillis};
use std::path::Path;

/// Loads the alerts, the open tasks and the summaries of results. The outputs stay on disk.
pub(super) fn load(path: &Path, database: &Database, damage: &Damage) -> Result<Saved, OpenError> {
    upgrade_records(path, database)?;
    load_damage(path, database, damage)?;
    let transaction = database.begin_read().map_err(|error| damaged(path, &error))?;
    let alerts = load_table::<SavedAlerts>(path, &transaction, RecordKind::Alerts, damage)?;
    let mut saved = Saved {
        alerts: alerts.into_iter().next().unwrap_or_default(),
        tasks: load_table::<StoredTask>(path, &transaction, RecordKind::Task, damage)?,
        results: load_table::<ResultSummary>(path, &transaction, RecordKind::Summary, damage)?,
    };
    saved.tasks.sort_by_key(|task| (task.submitted_at, task.id));
    saved.results.sort_by_key(|summary| (summary.completed_at, summary.id));
    Ok(saved)
}

fn load_table<T: Stored>(
    path: &Path,
    transaction: &ReadTransaction,
    kind: RecordKind,
    damage: &Damage,
) -> Result<Vec<T>, OpenError> {
    let rows = match transaction.open_table(Table::for_kind(kind).definition()) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        rows => rows.map_err(|error| damaged(path, &error))?,
    };
    let expected = rows.len().map_err(|error| damaged(path, &error))?;
    let (mut values, mut seen) = (Vec::new(), 0);
    for row in rows.iter().map_err(|error| damaged(path, &error))? {
        let (key, value) = row.map_err(|error| damaged(path, &error))?;
        let task = TaskId(*key.value());
        seen += 1;
        match decode(kind, task, value.value()) {
            Ok(value) => values.push(value),
            Err(DecodeError::Version(found)) => return Err(version(path, found)),
            Err(DecodeError::Damaged | DecodeError::Malformed | DecodeError::TooLarge) => {
                damage.note(kind, task);
            }
        }
    }
    if seen == expected {
        Ok(values)
    } else {
        Err(damaged(path, &format!("{expected} records of kind {kind} should be there, {seen} are")))
    }
}

/// Loads what was lost in a salvage, and removes old entries.
fn load_damage(path: &Path, database: &Database, damage: &Damage) -> Result<(), OpenError> {
    let failed = |error: ::redb::Error| damaged(path, &error);
    let now = clock::wall();
    let mut old = Vec::new();
    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let rows = match transaction.open_table(Table::Damaged.definition()) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        rows => rows.map_err(|error| failed(error.into()))?,
    };
    for row in rows.iter().map_err(|error| failed(error.into()))? {
        let (key, value) = row.map_err(|error| failed(error.into()))?;
        let id = TaskId(*key.value());
        if let Some((count, at)) = lost_of(value.value()) {
            damage.note_lost(count, at);
            continue;
        }
        let recent = |(_, at): &(RecordKind, UnixMillis)| now.0.saturating_sub(at.0) < RETENTION_MILLIS;
        let mut records = damage_of(value.value()).filter(recent).peekable();
        if records.peek().is_none() {
            old.push(id);
        }
        records.for_each(|(kind, at)| damage.note_at(kind, id, at));
    }
    drop(rows);
    if old.is_empty() {
        return Ok(());
    }
    write(database, |transaction| {
        let mut rows = transaction.open_table(Table::Damaged.definition())?;
        old.iter().try_for_each(|id| rows.remove(&id.0).map(drop))?;
        Ok(())
    })
    .map_err(failed)
}

/// Returns the row that lists the damaged records of a task.
pub(super) fn damage_row(kinds: impl IntoIterator<Item = RecordKind>, at: UnixMillis) -> Vec<u8> {
    kinds.into_iter().flat_map(|kind| std::iter::once(kind.byte()).chain(at.0.to_le_bytes())).collect()
}

/// Returns the row that counts the records lost without a name.
pub(super) fn lost_row(count: u64, at: UnixMillis) -> Vec<u8> {
    [&[LOST], &at.0.to_le_bytes()[..], &count.to_le_bytes()].concat()
}

fn lost_of(row: &[u8]) -> Option<(u64, UnixMillis)> {
    let (&LOST, rest) = row.split_first()? else { return None };
    let (at, count) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(count.try_into().ok()?), UnixMillis(u64::from_le_bytes(*at))))
}

fn damage_of(row: &[u8]) -> impl Iterator<Item = (RecordKind, UnixMillis)> {
    row.chunks(1 + size_of::<u64>()).filter_map(|record| {
        let (kind, at) = record.split_first()?;
        Some((RecordKind::from_byte(*kind)?, UnixMillis(u64::from_le_bytes(at.try_into().ok()?))))
    })
}

/// Adds checksums to the records of an older version. The file has just been checked as a whole, so they are intact.
fn upgrade_records(path: &Path, database: &Database) -> Result<(), OpenError> {
    let failed = |error: ::redb::Error| damaged(path, &error);
    match format(database).map_err(failed)? {
        Some(FORMAT) => return Ok(()),
        Some(other) => return Err(version(path, other)),
        None => {}
    }
    let mut unknown = None;
    let upgraded = write(database, |transaction| {
        for (table, kind) in Table::RECORDS {
            let mut rows = transaction.open_table(table.definition())?;
            let ids: Vec<[u8; 16]> =
                rows.iter()?.map(|row| row.map(|(key, _)| *key.value())).collect::<Result<_, _>>()?;
            for id in ids {
                let Some(bytes) = rows.get(&id)?.map(|row| row.value().to_vec()) else { continue };
                match upgrade(kind, TaskId(id), &bytes) {
                    Some(bytes) => drop(rows.insert(&id, bytes.as_slice())?),
                    None => unknown = unknown.or_else(|| bytes.first().copied()),
                }
            }
        }
        // An error leaves the file unchanged.
        if unknown.is_some() { Err(::redb::Error::TransactionInProgress) } else { mark(transaction) }
    });
    match unknown {
        Some(found) => Err(version(path, found)),
        None => upgraded.map_err(failed),
    }
}

/// Marks in a file that its records have checksums.
pub(super) fn mark(transaction: &WriteTransaction) -> Result<(), ::redb::Error> {
    transaction.open_table(Table::Format.definition())?.insert(&[0; 16], [FORMAT].as_slice())?;
    Ok(())
}

/// Returns the version of a file. The first version does not state one, so it is `None`.
pub(super) fn format(database: &impl ReadableDatabase) -> Result<Option<u8>, ::redb::Error> {
    let rows = match database.begin_read()?.open_table(Table::Format.definition()) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        rows => rows?,
    };
    Ok(rows.get(&[0; 16])?.and_then(|row| row.value().first().copied()))
}

/// Writes durably, in one transaction.
pub(super) fn write(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), ::redb::Error>,
) -> Result<(), ::redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    change(&transaction)?;
    transaction.commit()?;
    Ok(())
}

fn version(path: &Path, found: u8) -> OpenError {
    OpenError::Version { path: path.to_path_buf(), found }
}

/// Prefix of the row that counts records lost without a name.
const LOST: u8 = 0;
/// The version of a file whose records have checksums.
const FORMAT: u8 = 2;
