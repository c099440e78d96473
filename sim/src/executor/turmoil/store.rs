//! The store port, over a simulated disk.

use super::{Machine, SimClock, lock, machine_faults};
use crate::faults::machine::{Draw, write_delay, write_error};
use crate::random::Purpose;
use core::future;
use engine::record::Record;
use engine::{WriteError, WriteId};
use runtime::ports::Store;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;

/// Completes each write after its own time, in order.
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

impl SimStore {
    fn end_oldest(&self) -> Option<(WriteId, Result<(), WriteError>)> {
        let machine = &self.machine;
        let n = lock(&machine.disk).oldest();
        let draw = Draw { random: machine.cluster.random, node: machine.node, n };
        let error = write_error(machine_faults(&lock(&machine.machine_faults)), draw);
        let Some(error) = error else {
            return machine.complete_write(SimClock.now()).map(|id| (id, Ok(())));
        };
        if error == WriteError::Full {
            lock(&machine.observer).mark("disk_full");
        }
        lock(&machine.disk).fail().map(|id| (id, Err(error)))
    }
}

impl Store for SimStore {
    fn write(&mut self, id: WriteId, records: Vec<Record>) {
        let random = self.machine.cluster.random;
        let range = self.machine.scenario.disk_latency;
        let mut disk = lock(&self.machine.disk);
        let who = u64::from(self.machine.node);
        let latency = random.between(range.ends(), Purpose::DiskLatency, who, disk.begun);
        let draw = Draw { random, node: self.machine.node, n: disk.begun };
        let delay = write_delay(machine_faults(&lock(&self.machine.machine_faults)), draw);
        if !delay.is_zero() {
            lock(&self.machine.observer).mark("disk_slow");
        }
        disk.begin(id, records);
        let at = Instant::now() + latency + delay;
        self.due.push_back(self.due.back().map_or(at, |&last| last.max(at)));
    }

    async fn next(&mut self) -> (WriteId, Result<(), WriteError>) {
        while let Some(&due) = self.due.front() {
            tokio::time::sleep_until(due).await;
            self.due.pop_front();
            if let Some(ended) = self.end_oldest() {
                return ended;
            }
        }
        future::pending().await
    }
}
