//! Writes records, and continues what waited for a write once it is durable.

use super::Node;
use crate::error::WriteError;
use crate::event::Event;
use crate::ids::WriteId;
use crate::mutants::{Mutant, shows};
use crate::output::Output;
use crate::record::Record;
use crate::writes::Promise;
use core::time::Duration;

impl Node {
    pub(super) fn write(&mut self, records: Vec<Record>, promise: Promise) {
        let id = self.writes.begin(self.clock.now, promise);
        self.outputs.push_back(Output::Write { id, records });
    }

    pub(super) fn handle_write_done(&mut self, id: WriteId, result: Result<(), WriteError>) {
        let Some((promise, begun)) = self.writes.handle_done(id) else { return };
        match result {
            Ok(()) => self.observers.metrics.handle_written(self.clock.now.since(begun)),
            Err(error) => self.event(Event::WriteFailed { write: id, error }),
        }
        let result = if shows(Mutant::WriteFailureBelieved) { Ok(()) } else { result };
        match (promise, result) {
            (Promise::SelfCheck, Ok(())) => {
                self.storage_checked = true;
                self.activate_if_checked();
            }
            (Promise::Alerts, result) => self.handle_alerts_written(result),
            (Promise::Accept(task, request), result) => self.handle_accept_written(task, request, result),
            (Promise::End(result), Ok(())) => self.handle_end_written(*result),
            // Without storage a node does not become ACTIVE, and no task ends. Both are retried.
            (promise @ (Promise::SelfCheck | Promise::End(_)), Err(_)) => {
                self.in_flight.unwritten.push(promise);
                let now = self.clock.now;
                self.in_flight.rewrite_at.get_or_insert_with(|| now.after(REWRITE_BACKOFF));
            }
            (Promise::HealthCheck, result) => self.health.handle_written(self.clock.now, result),
            (Promise::Nothing, _) => {}
        }
    }

    pub(super) fn rewrite(&mut self) {
        self.in_flight.rewrite_at = None;
        for promise in core::mem::take(&mut self.in_flight.unwritten) {
            let records = match &promise {
                Promise::End(result) => crate::writes::ending((**result).clone()),
                Promise::Accept(..)
                | Promise::Alerts
                | Promise::HealthCheck
                | Promise::Nothing
                | Promise::SelfCheck => {
                    vec![Record::Probe]
                }
            };
            self.write(records, promise);
        }
    }

    pub(super) fn purge(&mut self) {
        let purged = self.results.purge(self.wall());
        let open = self.tasks.iter().map(|open| open.stored.id).next();
        if let Some(task) = open.filter(|_| shows(Mutant::PurgesOpenTask)) {
            self.tasks.handle_ended(task);
            self.write(vec![Record::RemoveTask(task)], Promise::Nothing);
        }
        let more = !purged.is_empty();
        if more {
            self.write(purged.into_iter().map(Record::RemoveResult).collect(), Promise::Nothing);
        }
        let pause = if more { PURGE_BATCH_INTERVAL } else { PURGE_INTERVAL };
        self.in_flight.purge_at = Some(self.clock.now.after(pause));
    }
}

/// The interval between searches for expired results.
pub(super) const PURGE_INTERVAL: Duration = Duration::from_secs(60);
/// The interval between two batches of a purge.
const PURGE_BATCH_INTERVAL: Duration = Duration::from_millis(50);
/// The backoff after a failed write.
const REWRITE_BACKOFF: Duration = Duration::from_secs(1);
