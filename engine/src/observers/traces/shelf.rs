//! Stored traces in memory, for simulations and tests. Bounded in number and age, like the store on disk.

use super::{AMBIGUOUS_MAX, Found, IdPrefix, RETENTION, TraceOrder, TracePart};
use crate::ids::{ReadId, TraceId};
use crate::time::UnixMillis;
use std::collections::{BTreeMap, VecDeque};

/// The stored traces of one node.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    parts: BTreeMap<TraceId, Vec<TracePart>>,
    /// The traces in the order of their first parts.
    order: VecDeque<(UnixMillis, TraceId)>,
}

impl Shelf {
    /// Carries out an order. Returns what a search found.
    pub fn handle_order(&mut self, order: TraceOrder) -> Option<(ReadId, Found)> {
        match order {
            TraceOrder::Find { read, id } => Some((read, self.find(&id))),
            TraceOrder::Keep { at, parts } => {
                for (trace, part) in parts {
                    let kept = self.parts.entry(trace).or_default();
                    if kept.is_empty() {
                        self.order.push_back((at, trace));
                    }
                    if kept.len() < PARTS_MAX {
                        kept.push(part);
                    }
                }
                self.evict(at);
                None
            }
        }
    }

    fn evict(&mut self, now: UnixMillis) {
        while let Some(&(at, trace)) = self.order.front() {
            if self.order.len() <= TRACES_MAX && at.after(RETENTION) > now {
                break;
            }
            self.order.pop_front();
            self.parts.remove(&trace);
        }
    }

    fn find(&self, id: &IdPrefix) -> Found {
        let is_it = |(trace, parts): &(&TraceId, &Vec<TracePart>)| {
            id.matches(&trace.0) || super::tasks_of(*parts).iter().any(|task| id.matches(&task.0))
        };
        let mut found: Vec<_> = self.parts.iter().filter(is_it).take(AMBIGUOUS_MAX).collect();
        match (found.pop(), found.is_empty()) {
            (None, _) => Found::None,
            (Some((trace, parts)), true) => Found::One(*trace, parts.clone()),
            (Some((last, _)), false) => {
                Found::Many(found.into_iter().map(|(trace, _)| *trace).chain([*last]).collect())
            }
        }
    }
}

/// Maximum number of traces.
const TRACES_MAX: usize = 10_000;
/// Maximum number of parts of a trace.
const PARTS_MAX: usize = 256;
