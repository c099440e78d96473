//! The port for traces, over the shelf of a machine.

use super::{Machine, lock};
use core::future;
use engine::ReadId;
use engine::observers::traces::{Found, TraceOrder};
use runtime::ports::Traces;
use std::collections::VecDeque;
use std::sync::Arc;

/// Carries out each order at once.
pub(super) struct SimTraces {
    machine: Arc<Machine>,
    found: VecDeque<(ReadId, Found)>,
}

impl SimTraces {
    pub(super) fn new(machine: Arc<Machine>) -> Self {
        Self { machine, found: VecDeque::new() }
    }
}

impl Traces for SimTraces {
    fn order(&mut self, order: TraceOrder) {
        self.found.extend(lock(&self.machine.traces).handle_order(order));
    }

    async fn next(&mut self) -> (ReadId, Found) {
        match self.found.pop_front() {
            Some(found) => found,
            None => future::pending().await,
        }
    }
}
