//! Graceful shutdown: refuse requests, finish short attempts, hand back the rest, say goodbye, stop.

use super::Node;
use crate::error::Rejection;
use crate::ids::{LinkId, RequestId};
use crate::lifecycle::{CUT_OFF, State};
use crate::mutants::{Mutant, shows};
use crate::output::{Output, Priority};
use crate::time::Instant;
use crate::wire::Message;
use core::time::Duration;

/// A shutdown in progress.
#[derive(Debug)]
pub(super) struct Shutdown {
    /// Until when running attempts may finish.
    drain_until: Instant,
    /// Until when writes and acknowledgements may complete.
    flush_until: Instant,
    cut_off: bool,
}

impl Shutdown {
    /// Returns the deadline of the current step.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        let flushes = self.cut_off || self.drain_until <= now && !shows(Mutant::DeadlineInThePast);
        if flushes { self.flush_until } else { self.drain_until }
    }
}

impl Node {
    pub(super) fn begin_shutdown(&mut self) {
        if self.in_flight.shutdown.is_some() || self.state == State::Stopped {
            return;
        }
        self.become_state(State::ShuttingDown);
        let drain_until =
            self.clock.now.after(DRAIN_TIMEOUT * if shows(Mutant::LeavesLate) { 60 } else { 1 });
        self.in_flight.shutdown =
            Some(Shutdown { drain_until, flush_until: drain_until.after(FLUSH_TIMEOUT), cut_off: false });
        for request in self.health.handle_leave() {
            self.reply(request, Err(Rejection::NodeShuttingDown));
        }
        if let Some(request) = self.observers.alerts.handle_leave() {
            self.reply(request, Err(Rejection::NodeShuttingDown));
        }
        self.discovery.handle_leave();
        self.peers.handle_leave();
        self.worker.handle_leave();
        self.downloader.handle_leave();
    }

    /// Takes the next step of a shutdown, if it is due.
    pub(super) fn settle_shutdown(&mut self) {
        let promises = self.promises();
        let Some(shutdown) = &mut self.in_flight.shutdown else { return };
        if self.worker.len() > 0 && self.clock.now < shutdown.drain_until {
            return;
        }
        if self.worker.len() > 0 {
            shutdown.cut_off = true;
            shutdown.flush_until = self.clock.now.after(FLUSH_TIMEOUT);
            self.worker.handle_cut_off();
            // The attempts handed back now are sent to their origins before the next step.
            return;
        }
        let waits = promises > 0 || self.router.len() > 0;
        if waits && self.clock.now < shutdown.flush_until {
            return;
        }
        let code = if shutdown.cut_off { CUT_OFF } else { 0 };
        self.stop(code);
    }

    /// Returns the number of writes that must complete. Those of health checks need not.
    pub(super) fn promises(&self) -> usize {
        self.writes.len().saturating_sub(self.health.writes())
    }

    fn stop(&mut self, code: u8) {
        let links: Vec<LinkId> = self.peers.iter().map(|(link, _)| link).collect();
        for link in links {
            self.send(link, &Message::Goodbye, Priority::Control);
            self.outputs.push_back(Output::Disconnect { link });
        }
        let waiting: Vec<RequestId> = core::mem::take(&mut self.in_flight.waiting).into_keys().collect();
        for request in waiting {
            self.reply(request, Err(Rejection::NodeShuttingDown));
        }
        self.in_flight.shutdown = None;
        self.become_state(State::Stopped);
        self.outputs.push_back(Output::Exit { code });
    }
}

/// How long running attempts may take to finish.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last writes and acknowledgements may take.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);
