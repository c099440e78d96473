//! The port for files, over a simulated disk.

use super::{Machine, lock, machine_faults};
use crate::faults::machine::{Draw, write_delay, write_error};
use crate::random::Purpose;
use core::future;
use engine::WriteError;
use engine::blobs::{BlobOrder, BlobReport};
use runtime::ports::Blobs;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// Carries out each order in its own time, independent of others.
pub(super) struct SimBlobs {
    machine: Arc<Machine>,
    /// The orders in progress, by the time at which they end.
    due: BTreeMap<(Instant, u32), BlobOrder>,
    reports: VecDeque<BlobReport>,
}

impl SimBlobs {
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        let mut blobs = lock(&machine.blobs);
        blobs.reopen();
        let shared = blobs.shared(&machine.cluster, machine.node);
        drop(blobs);
        let first = (!machine.cluster.files.is_empty()).then_some(BlobReport::Shared(shared));
        Self { machine, due: BTreeMap::new(), reports: first.into_iter().collect() }
    }

    fn end(&self, n: u32, order: BlobOrder) -> Vec<BlobReport> {
        let Machine { node, cluster, .. } = &*self.machine;
        let draw = Draw { random: cluster.random, node: *node, n };
        let error = write_error(machine_faults(&lock(&self.machine.machine_faults)), draw);
        if error == Some(WriteError::Full) {
            lock(&self.machine.observer).mark("disk_full");
        }
        lock(&self.machine.blobs).carry_out(cluster, *node, order, error)
    }
}

impl Blobs for SimBlobs {
    fn order(&mut self, order: BlobOrder) {
        let Machine { node, cluster, scenario, .. } = &*self.machine;
        let mut blobs = lock(&self.machine.blobs);
        let n = blobs.begun;
        blobs.begun = n.wrapping_add(1);
        let range = scenario.disk_latency.ends();
        let latency = cluster.random.between(range, Purpose::BlobLatency, u64::from(*node), n);
        let draw = Draw { random: cluster.random, node: *node, n };
        let delay = write_delay(machine_faults(&lock(&self.machine.machine_faults)), draw);
        self.due.insert((Instant::now() + latency + delay, n), order);
    }

    async fn next(&mut self) -> BlobReport {
        loop {
            if let Some(report) = self.reports.pop_front() {
                return report;
            }
            let Some((&(due, _), _)) = self.due.first_key_value() else { return future::pending().await };
            tokio::time::sleep_until(due).await;
            if let Some(((_, n), order)) = self.due.pop_first() {
                let reports = self.end(n, order);
                self.reports.extend(reports);
            }
        }
    }
}
