//! The store port over a simulated disk.

use super::{Machine, SimClock, lock};
use crate::random::Purpose;
use core::future;
use engine::record::Record;
use engine::{WriteError, WriteId};
use runtime::ports::{Clock as _, Store};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;

/// Each write takes its time, and they complete in their order.
pub(super) struct SimStore {
    machine: Arc<Machine>,
    /// When each write in flight completes.
    due: VecDeque<Instant>,
}

impl SimStore {
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        Self { machine, due: VecDeque::new() }
    }
}

impl Store for SimStore {
    fn write(&mut self, id: WriteId, records: Vec<Record>) {
        let random = self.machine.cluster.random;
        let range = self.machine.scenario.disk_latency;
        let mut disk = lock(&self.machine.disk);
        let who = u64::from(self.machine.node);
        let latency = random.between(range.ends(), Purpose::DiskLatency, who, disk.begun);
        disk.begin(id, records);
        let at = Instant::now() + latency;
        self.due.push_back(self.due.back().map_or(at, |&last| last.max(at)));
    }

    async fn next(&mut self) -> (WriteId, Result<(), WriteError>) {
        while let Some(&due) = self.due.front() {
            tokio::time::sleep_until(due).await;
            self.due.pop_front();
            if let Some(id) = self.machine.complete_write(SimClock.now()) {
                return (id, Ok(()));
            }
        }
        future::pending().await
    }
}
