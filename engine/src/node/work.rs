//! Shows what this node computes, for itself and for others.

use super::Node;
use crate::ids::NodeId;
use crate::request::{AttemptView, OriginWorkView, WorkView};
use crate::time::micros;
use crate::worker::WorkingAttempt;
use std::collections::BTreeMap;

impl Node {
    pub(super) fn work_view(&self) -> WorkView {
        let mut origins: BTreeMap<(bool, NodeId), OriginWorkView> = BTreeMap::new();
        for attempt in self.worker.attempt_views() {
            let node_id = attempt.origin;
            let origin = origins.entry((node_id != self.me, node_id)).or_insert_with(|| OriginWorkView {
                node_id,
                name: self.name(node_id),
                running: 0,
                queued: 0,
                running_millis: None,
            });
            match attempt.begun_at {
                Some(begun_at) => {
                    origin.running += 1;
                    origin.running_millis = origin.running_millis.max(Some(self.millis_since(begun_at)));
                }
                None => origin.queued += 1,
            }
        }
        let (slots_busy, slots) = self.worker.slots();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        WorkView {
            slots: count(slots),
            slots_busy: count(slots_busy),
            origins: origins.into_values().collect(),
        }
    }

    pub(super) fn attempt_views(&self) -> Vec<AttemptView> {
        let view = |attempt: WorkingAttempt<'_>| {
            let WorkingAttempt { origin, task, number, kind, model, queued_since, begun_at } = attempt;
            let waited = begun_at.unwrap_or(self.clock.now).since(queued_since);
            AttemptView {
                origin,
                origin_name: self.name(origin),
                task,
                attempt: number,
                kind,
                model: model.to_owned(),
                queued_millis: micros(waited) / 1000,
                running_millis: begun_at.map(|begun_at| self.millis_since(begun_at)),
            }
        };
        let mut views: Vec<AttemptView> = self.worker.attempt_views().map(view).collect();
        // The sort is stable: the order by origin and task remains.
        views.sort_by_key(|attempt| attempt.origin != self.me);
        views
    }
}
