//! Observers of a running node. They see its inputs, outputs and events in order, and change nothing.
//!
//! [`Observers`] is the journal of the driver. It passes inputs and outputs to the recording, and each event to every
//! [`EventObserver`]: the event log, the receivers of alerts, and others that
//! follow the life of a node.

mod alert_sinks;
mod event_log;
pub mod otlp;
mod page_feed;
pub mod recording;
mod work_log;

pub use alert_sinks::{AlertReceivers, AlertSinkStates, AlertSinks};
pub use event_log::EventLog;
pub use page_feed::{Changes, PageFeed, SECONDS_MAX};

use crate::ports::Journal;
use engine::{Event, Input, Instant, Node, NodeId, NodeName, Output};
use recording::Recording;
use std::fmt;

/// Follows the events of a node. It runs on the node's thread and must not block.
pub trait EventObserver: Send {
    /// Handles one event.
    fn event(&mut self, now: Instant, event: &Event);

    /// Handles one event, and may show the names of the nodes in it.
    fn named_event(&mut self, now: Instant, event: &Event, names: &dyn NodeNames) {
        let _ = names;
        self.event(now, event);
    }
}

/// The names by which a node knows others.
pub trait NodeNames {
    /// Returns the name of a node; the empty name if it has none or is not known.
    fn name(&self, node: NodeId) -> NodeName;
}

impl NodeNames for Node {
    fn name(&self, node: NodeId) -> NodeName {
        self.name(node)
    }
}

/// Everything that observes one node.
#[derive(Default)]
pub struct Observers {
    recording: Option<Recording>,
    events: Vec<Box<dyn EventObserver>>,
}

impl Observers {
    /// Returns observers that record the node, where there is a recording.
    pub fn new(recording: Option<Recording>) -> Self {
        Self { recording, events: Vec::new() }
    }

    /// Adds an observer of events. Observers see each event in the order in which they were added.
    #[must_use]
    pub fn with(mut self, observer: impl EventObserver + 'static) -> Self {
        self.events.push(Box::new(observer));
        self
    }
}

impl Journal for Observers {
    fn input(&mut self, now: Instant, input: &Input) {
        if let Some(recording) = &mut self.recording {
            recording.input(now, input);
        }
    }

    fn output(&mut self, now: Instant, output: &Output, node: &Node) {
        if let Output::Event(event) = output {
            self.events.iter_mut().for_each(|observer| observer.named_event(now, event, node));
        }
        if let Some(recording) = &mut self.recording {
            recording.output(now, output, node);
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = format_args!("{} observers of events", self.events.len());
        f.debug_struct("Observers").field("recording", &self.recording).field("events", &events).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::lifecycle::State;
    use std::sync::{Arc, Mutex};

    struct Names(&'static str, Arc<Mutex<Vec<(&'static str, Event)>>>);

    impl EventObserver for Names {
        fn event(&mut self, _now: Instant, event: &Event) {
            self.1.lock().unwrap().push((self.0, event.clone()));
        }
    }

    #[test]
    fn every_observer_sees_every_event_and_nothing_else() {
        let seen = Arc::default();
        let observers = Observers::new(None);
        let mut observers =
            observers.with(Names("first", Arc::clone(&seen))).with(Names("second", Arc::clone(&seen)));
        let event = Event::StateChanged { from: State::Registering, to: State::Active };
        observers.input(Instant::ZERO, &Input::Tick);
        let identity = engine::Identity::from_secret(&[1; 32]);
        let (config, saved) = (engine::Config::default(), engine::Saved::default());
        let node = Node::new(config, identity, [2; 32], Instant::ZERO, engine::UnixMillis(0), saved);
        observers.output(Instant::ZERO, &Output::Examine, &node);
        observers.output(Instant::ZERO, &Output::Event(event.clone()), &node);
        assert_eq!(*seen.lock().unwrap(), [("first", event.clone()), ("second", event)]);
    }
}
