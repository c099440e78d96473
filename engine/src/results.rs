//! Which results are stored, and for how long.

use crate::ids::TaskId;
use crate::task::ResultSummary;
use crate::time::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};

/// An index of the results on disk.
#[derive(Debug)]
pub(crate) struct Results {
    max: usize,
    by_id: BTreeMap<TaskId, ResultSummary>,
    by_submission: BTreeSet<(UnixMillis, TaskId)>,
    by_expiry: BTreeSet<(UnixMillis, TaskId)>,
}

impl Results {
    /// Creates the index of the saved results.
    pub(crate) fn new(max: u32, saved: Vec<ResultSummary>) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut results =
            Self { max, by_id: BTreeMap::new(), by_submission: BTreeSet::new(), by_expiry: BTreeSet::new() };
        saved.into_iter().for_each(|summary| results.insert(summary));
        results
    }

    /// Adds a durable result.
    pub(crate) fn insert(&mut self, summary: ResultSummary) {
        let id = summary.id;
        self.remove(id);
        self.by_submission.insert((summary.submitted_at, id));
        self.by_expiry.insert((summary.expires_at, id));
        self.by_id.insert(id, summary);
    }

    /// Returns the summary of a result.
    pub(crate) fn get(&self, id: TaskId) -> Option<&ResultSummary> {
        self.by_id.get(&id)
    }

    /// Returns the results, newest submission first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &ResultSummary> {
        self.by_submission.iter().rev().filter_map(|(_, id)| self.by_id.get(id))
    }

    /// Returns the number of results.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Removes some of the results that have expired or exceed the limit, oldest first, and returns their ids.
    pub(crate) fn purge(&mut self, wall: UnixMillis) -> Vec<TaskId> {
        let mut purged = Vec::new();
        while let Some(&(expires, id)) = self.by_expiry.first() {
            let over = self.by_id.len() > self.max;
            if purged.len() >= PURGE_MAX || (expires > wall && !over) {
                break;
            }
            self.remove(id);
            purged.push(id);
        }
        purged
    }

    /// Keeps the remaining time of each result when the wall clock is set from `before` to `now`.
    pub(crate) fn handle_clock_set(&mut self, before: UnixMillis, now: UnixMillis) {
        let moved =
            |expires: UnixMillis| UnixMillis(now.0.saturating_add(expires.0.saturating_sub(before.0)));
        self.by_id.values_mut().for_each(|summary| summary.expires_at = moved(summary.expires_at));
        self.by_expiry = self.by_id.values().map(|summary| (summary.expires_at, summary.id)).collect();
    }

    fn remove(&mut self, id: TaskId) {
        if let Some(summary) = self.by_id.remove(&id) {
            self.by_submission.remove(&(summary.submitted_at, id));
            self.by_expiry.remove(&(summary.expires_at, id));
        }
    }
}

/// Maximum number of results removed in one go, so that a purge does not delay other tasks.
const PURGE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::completed;

    fn summary(id: u8) -> ResultSummary {
        completed(TaskId([id; 16]), UnixMillis(id.into()), UnixMillis(100 + u64::from(id)))
    }

    #[test]
    fn a_clock_that_is_set_changes_nothing_about_how_long_results_are_kept() {
        for now in [10, 1_000_000] {
            let mut results = Results::new(9, (1..=3).map(summary).collect());
            results.handle_clock_set(UnixMillis(50), UnixMillis(now));
            assert_eq!(results.purge(UnixMillis(now + 50)), vec![]);
            assert_eq!(results.purge(UnixMillis(now + 52)), vec![TaskId([1; 16]), TaskId([2; 16])]);
            assert_eq!(results.get(TaskId([3; 16])).unwrap().expires_at, UnixMillis(now + 53));
        }
    }

    #[test]
    fn the_oldest_go_first_when_there_are_too_many_or_their_time_is_over() {
        let mut results = Results::new(3, (1..=5).map(summary).collect());
        assert_eq!(results.purge(UnixMillis(0)), vec![TaskId([1; 16]), TaskId([2; 16])]);
        assert_eq!(results.purge(UnixMillis(104)), vec![TaskId([3; 16]), TaskId([4; 16])]);
        assert_eq!(
            results.newest_first().map(|summary| summary.id).collect::<Vec<_>>(),
            vec![TaskId([5; 16])]
        );
    }
}
