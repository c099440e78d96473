//! Answers what a node knows about itself at one moment: views, fill levels, and counts of tasks by age.

use super::Node;
use crate::occupancy::Occupancy;
use crate::request::{DumpView, OccupancyView, TASK_AGES, TaskAges};
use crate::task::{TaskKind, TaskStatus};
use crate::time::micros;
use std::collections::BTreeMap;

impl Node {
    pub(super) fn dump_view(&self) -> DumpView {
        DumpView {
            status: self.status_view(),
            peers: self.peer_views(),
            members: self.member_views(),
            diagnosis: self.diagnosis_view(),
            occupancy: self.occupancy().map(occupancy_view).collect(),
            tasks: self.task_ages(),
        }
    }

    /// Counts the tasks by status and kind. The age of an open task counts from its acceptance, that of an ended one
    /// from its end.
    fn task_ages(&self) -> Vec<TaskAges> {
        let mut counts: BTreeMap<(TaskStatus, TaskKind), [u32; TASK_AGES.len() + 1]> = BTreeMap::new();
        let mut count = |status, kind, seconds| {
            let place = TASK_AGES.iter().position(|age| seconds < *age).unwrap_or(TASK_AGES.len());
            let counts = counts.entry((status, kind)).or_default();
            counts[place] = counts[place].saturating_add(1);
        };
        for open in self.tasks.iter() {
            let age = micros(self.clock.now.since(open.accepted_at)) / 1_000_000;
            count(open.status().0, open.stored.spec.kind(), age);
        }
        let wall = self.wall();
        for done in self.results.newest_first() {
            count(done.status, done.kind, wall.0.saturating_sub(done.completed_at.0) / 1_000);
        }
        let ages = |((status, kind), counts)| TaskAges { status, kind, counts };
        counts.into_iter().map(ages).collect()
    }
}

pub(super) fn occupancy_view(of: Occupancy) -> OccupancyView {
    OccupancyView { name: of.name.to_owned(), current: of.current, limit: of.limit }
}
