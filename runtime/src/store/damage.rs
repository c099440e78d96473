//! The stored records that are known to be damaged. They are never returned; a request for one fails with an error.

use crate::clock;
use engine::UnixMillis;
use engine::ids::TaskId;
use engine::record::RecordKind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The damaged records of a store, shared by all its readers.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    records: Arc<Mutex<BTreeMap<(TaskId, RecordKind), UnixMillis>>>,
    /// The number of records that were lost without a name, and when that was found.
    lost: Arc<Mutex<(u64, UnixMillis)>>,
}

impl Damage {
    /// Records a damaged record, and logs it the first time.
    pub fn note(&self, kind: RecordKind, id: TaskId) {
        self.note_at(kind, id, clock::wall());
    }

    /// Records a damaged record that was found earlier.
    pub(super) fn note_at(&self, kind: RecordKind, id: TaskId, at: UnixMillis) {
        let mut records = self.lock();
        if records.len() < RECORDS_MAX && records.insert((id, kind), at).is_none() {
            tracing::warn!(record = %kind, task = %id, "a stored record is damaged and will not be returned");
        }
    }

    /// Records how many records were lost without a name.
    pub(super) fn note_lost(&self, count: u64, at: UnixMillis) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = (count, at);
    }

    /// Returns how many records were recently lost without a name.
    pub fn lost(&self) -> u64 {
        let (count, at) = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if is_recent(at) { count } else { 0 }
    }

    /// Removes a record that was deleted or replaced.
    pub(super) fn forget(&self, kind: RecordKind, id: TaskId) {
        let mut records = self.lock();
        // Nearly always the map is empty.
        if !records.is_empty() {
            records.remove(&(id, kind));
        }
    }

    /// Returns which record of a task is damaged, if any.
    pub fn damaged_record(&self, id: TaskId) -> Option<RecordKind> {
        self.lock()
            .range((id, RecordKind::Result)..=(id, RecordKind::Task))
            .map(|((_, kind), _)| *kind)
            .next()
    }

    /// Returns how many records were recently found damaged or lost.
    pub fn count(&self) -> u64 {
        let named = self.lock().values().filter(|at| is_recent(**at)).count() as u64;
        named.saturating_add(self.lost())
    }

    /// Lists the records that were recently found damaged.
    pub fn list(&self) -> Vec<(RecordKind, TaskId)> {
        let records = self.lock();
        records.iter().filter(|(_, at)| is_recent(**at)).map(|((id, kind), _)| (*kind, *id)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(TaskId, RecordKind), UnixMillis>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_recent(at: UnixMillis) -> bool {
    clock::wall().0.saturating_sub(at.0) < RETENTION_MILLIS
}

/// How long a damaged record is listed: as long as results are kept.
pub(super) const RETENTION_MILLIS: u64 = 24 * 3600 * 1000;
/// Maximum number of damaged records in the list. Beyond, they are in the log only.
const RECORDS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_known_by_its_task_until_it_is_replaced_or_old() {
        let (damage, id) = (Damage::default(), TaskId([5; 16]));
        assert_eq!((damage.damaged_record(id), damage.count()), (None, 0));
        damage.note(RecordKind::Task, id);
        damage.note(RecordKind::Task, id);
        damage.note_at(RecordKind::Result, TaskId([4; 16]), UnixMillis(0));
        assert_eq!((damage.damaged_record(id), damage.count()), (Some(RecordKind::Task), 1));
        assert_eq!(damage.damaged_record(TaskId([6; 16])), None);
        assert_eq!(damage.list(), [(RecordKind::Task, id)]);
        damage.forget(RecordKind::Result, id);
        assert_eq!(damage.damaged_record(id), Some(RecordKind::Task));
        damage.forget(RecordKind::Task, id);
        assert_eq!((damage.damaged_record(id), damage.count()), (None, 0));
        damage.note_lost(3, clock::wall());
        assert_eq!((damage.lost(), damage.count()), (3, 3));
        damage.note_lost(3, UnixMillis(0));
        assert_eq!((damage.lost(), damage.count()), (0, 0));
    }
}
