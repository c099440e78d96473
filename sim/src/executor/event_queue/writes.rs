//! Writes of nodes: each takes the disk's time, and they complete in order.

use super::{EventQueue, Scheduled};
use crate::faults::machine::{Draw, write_delay, write_error};
use crate::invariant::Observation;
use crate::node_set::NodeIndex;
use crate::random::Purpose;
use core::time::Duration;
use engine::observers::traces::TraceOrder;
use engine::record::Record;
use engine::time::micros;
use engine::{Input, WriteError, WriteId};

impl EventQueue {
    pub(super) fn write(&mut self, node: NodeIndex, id: WriteId, records: Vec<Record>) {
        let (random, range) = (self.cluster.random, self.scenario.disk_latency);
        let host = &mut self.hosts[node as usize];
        let (incarnation, n) = (host.incarnation, host.disk.begun);
        let latency = random.between(range.ends(), Purpose::DiskLatency, u64::from(node), n);
        let delay = write_delay(self.faults.machine_faults(node), Draw { random, node, n });
        if !delay.is_zero() {
            self.observer.mark("disk_slow");
        }
        host.disk.begin(id, records);
        host.disk_busy_until = host.disk_busy_until.max(self.now + micros(latency + delay));
        if host.machine.loses_power_on_write {
            let while_writing = (Duration::ZERO, Duration::from_micros(host.disk_busy_until - self.now));
            let at = self.now + micros(random.between(while_writing, Purpose::PowerGoes, u64::from(node), n));
            self.next.push(at, Scheduled::PowerFails { node, incarnation });
        }
        self.next.push(host.disk_busy_until, Scheduled::WriteDone { node, incarnation });
    }

    pub(super) fn write_done(&mut self, node: NodeIndex, incarnation: u32) {
        if !self.is_running(node, incarnation) {
            return;
        }
        let (random, disk) = (self.cluster.random, &mut self.hosts[node as usize].disk);
        let draw = Draw { random, node, n: disk.oldest() };
        let ended = match write_error(self.faults.machine_faults(node), draw) {
            None => self.complete_write(node).map(|id| (id, Ok(()))),
            Some(error) => disk.fail().map(|id| (id, Err(error))),
        };
        if let Some((id, result)) = ended {
            if result == Err(WriteError::Full) {
                self.observer.mark("disk_full");
            }
            self.handle(node, Input::WriteDone { id, result });
        }
    }

    /// Carries out an order to the store of traces. A search takes the time of a read.
    pub(super) fn order_traces(&mut self, node: NodeIndex, order: TraceOrder) {
        let host = &mut self.hosts[node as usize];
        let incarnation = host.incarnation;
        if let Some((read, found)) = host.traces.handle_order(order) {
            self.after(TRACE_READ_TIME, Scheduled::TracesFound { node, incarnation, read, found });
        }
    }

    pub(super) fn complete_write(&mut self, node: NodeIndex) -> Option<WriteId> {
        let (id, records) = self.hosts[node as usize].disk.complete()?;
        for record in &records {
            self.observer.observe(self.now(), node, Observation::Durable(record));
        }
        Some(id)
    }
}

/// How long a search for a trace takes.
const TRACE_READ_TIME: Duration = Duration::from_millis(1);
