//! Sends alerts to a webhook and to a command.
//!
//! Each receiver has a thread and a bounded queue. The node never waits for a receiver: with a full queue a notice is
//! dropped, and counted. Notices that wait when the node stops are dropped as well.

mod command;
mod webhook;

use super::EventObserver;
use crate::clock;
use crate::text::origin;
use api::{AlertNotice, AlertSink, AlertSinkKind};
use engine::{Event, Instant, NodeId};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Where a node sends alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertReceivers {
    /// The URL to post to.
    pub webhook: Option<String>,
    /// The program to start, with its arguments; empty for none.
    pub command: Vec<String>,
}

/// Passes the alerts of a node to its receivers. Dropping it stops their threads.
#[derive(Debug)]
pub struct AlertSinks {
    node: NodeId,
    network: String,
    queues: Vec<(SyncSender<AlertNotice>, Arc<Tally>)>,
    stop: Arc<Stop>,
    states: AlertSinkStates,
}

/// The state of each receiver.
#[derive(Clone, Debug, Default)]
pub struct AlertSinkStates(Vec<Arc<Tally>>);

impl AlertSinkStates {
    /// Returns the state of all receivers.
    pub fn all(&self) -> Vec<AlertSink> {
        self.0.iter().map(|tally| tally.lock().clone()).collect()
    }
}

/// The counts of one receiver.
#[derive(Debug)]
struct Tally(Mutex<AlertSink>);

impl Tally {
    fn new(kind: AlertSinkKind, target: String) -> Self {
        let (delivered, failed, dropped, waiting, last_error) = Default::default();
        Self(Mutex::new(AlertSink { kind, target, delivered, failed, dropped, waiting, last_error }))
    }

    fn lock(&self) -> MutexGuard<'_, AlertSink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the threads of the receivers that the node stops.
#[derive(Debug, Default)]
struct Stop {
    state: Mutex<StopState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct StopState {
    wanted: bool,
    /// Number of programs that run.
    running: usize,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, StopState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless the node stops. Returns whether it does.
    fn wait(&self, pause: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), pause, |state| !state.wanted);
        waited.unwrap_or_else(PoisonError::into_inner).0.wanted
    }
}

/// A receiver that takes one notice at a time.
trait Receive: Send + 'static {
    /// Delivers a notice, in the time that it may take. Each failed try is passed to `tried`.
    fn deliver(&mut self, notice: &[u8], stop: &Stop, tried: &mut dyn FnMut(String)) -> bool;
}

impl AlertSinks {
    /// Starts a thread for each receiver.
    ///
    /// # Errors
    /// The error of the system if there are too many threads.
    pub fn start(receivers: &AlertReceivers, node: NodeId, network: String) -> io::Result<Self> {
        let (stop, states) = (Arc::default(), AlertSinkStates::default());
        let mut sinks = Self { node, network, queues: Vec::new(), stop, states };
        if let Some(url) = &receivers.webhook {
            sinks.add(AlertSinkKind::Webhook, origin(url).to_owned(), webhook::Webhook::new(url.clone()))?;
        }
        if let [program, arguments @ ..] = &receivers.command[..] {
            let command = command::Program::new(program.clone(), arguments.to_vec());
            sinks.add(AlertSinkKind::Command, program.clone(), command)?;
        }
        Ok(sinks)
    }

    /// Returns the state of each receiver, now and later.
    pub fn states(&self) -> AlertSinkStates {
        self.states.clone()
    }

    fn add(&mut self, kind: AlertSinkKind, target: String, receiver: impl Receive) -> io::Result<()> {
        let (queue, notices) = sync_channel(WAITING_MAX);
        let tally = Arc::new(Tally::new(kind, target));
        let (stop, thread_tally) = (Arc::clone(&self.stop), Arc::clone(&tally));
        let name = match kind {
            AlertSinkKind::Command => "alert-command",
            AlertSinkKind::Webhook => "alert-webhook",
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || deliver_all(receiver, &notices, &stop, &thread_tally))?;
        self.states.0.push(Arc::clone(&tally));
        self.queues.push((queue, tally));
        Ok(())
    }
}

impl EventObserver for AlertSinks {
    fn event(&mut self, _now: Instant, event: &Event) {
        if self.queues.is_empty() {
            return;
        }
        let notice = AlertNotice::new(event, self.node, &self.network, clock::wall());
        let Some(notice) = notice else { return };
        for (queue, tally) in &self.queues {
            let mut state = tally.lock();
            if queue.try_send(notice.clone()).is_ok() {
                state.waiting += 1;
            } else {
                state.dropped += 1;
                tracing::warn!(
                    component = "alerts",
                    target_kind = ?state.kind,
                    rule = notice.rule.name(),
                    dropped = state.dropped,
                    "an alert was not sent: too many wait for their receiver"
                );
            }
        }
    }
}

impl Drop for AlertSinks {
    fn drop(&mut self) {
        self.stop.lock().wanted = true;
        self.stop.changed.notify_all();
        // A program that runs is killed, so that it does not outlive the node. The threads end by themselves.
        let ended =
            self.stop.changed.wait_timeout_while(self.stop.lock(), STOP_TIMEOUT, |state| state.running > 0);
        drop(ended);
    }
}

fn deliver_all(mut receiver: impl Receive, notices: &Receiver<AlertNotice>, stop: &Stop, tally: &Tally) {
    while let Ok(notice) = notices.recv() {
        if stop.lock().wanted {
            return;
        }
        // Plain data always serializes.
        let bytes = serde_json::to_vec(&notice).unwrap_or_default();
        let mut tried = |error: String| {
            let mut state = tally.lock();
            tracing::debug!(component = "alerts", target_kind = ?state.kind, error, "an alert was not taken");
            state.last_error = Some(error);
        };
        let is_delivered = receiver.deliver(&bytes, stop, &mut tried);
        let mut state = tally.lock();
        state.waiting -= 1;
        if is_delivered {
            state.delivered += 1;
        } else {
            state.failed += 1;
            let error = state.last_error.as_deref().unwrap_or("the node stops");
            let (kind, rule) = (state.kind, notice.rule.name());
            tracing::warn!(component = "alerts", target_kind = ?kind, rule, error, "an alert could not be sent");
        }
    }
}

/// Maximum number of notices that wait for one receiver.
const WAITING_MAX: usize = 64;
/// How long the node waits for the end of a program that it killed.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
