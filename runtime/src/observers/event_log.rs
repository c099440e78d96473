//! The engine's event stream as log lines.

use super::work_log::{WorkLine, WorkLog};
use super::{EventObserver, NodeNames};
use crate::config::LogLevel;
use crate::logging::{Line, Log};
use engine::health::Verdict;
use engine::observers::alerts::Severity;
use engine::{Event, Instant, NodeId, NodeName, TraceContext};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Writes every event of the engine to a log.
#[derive(Debug)]
pub struct EventLog {
    log: Log,
    work: WorkLog,
}

impl EventLog {
    /// Returns the observer that writes to `log`.
    pub fn new(log: Log) -> Self {
        Self { log, work: WorkLog::default() }
    }
}

impl EventObserver for EventLog {
    fn event(&mut self, now: Instant, event: &Event) {
        self.named_event(now, event, &NoNames);
    }

    fn named_event(&mut self, now: Instant, event: &Event, names: &dyn NodeNames) {
        if let Some(line) = self.work.handle_event(now, event) {
            self.write_work(line, names);
        }
        let (level, component) = severity(event);
        // Most events concern messages and are below the level. They must cost nothing.
        if self.log.takes(level, component) {
            let (name, mut fields) = name_and_fields(event);
            add_names(&mut fields, names);
            let message = described(event, &name);
            self.log.write_as(&Line { level, component, message: &message, fields }, &name);
        }
    }
}

impl EventLog {
    fn write_work(&self, line: WorkLine, names: &dyn NodeNames) {
        let (level, component) = (LogLevel::Info, "tasks");
        if !self.log.takes(level, component) {
            return;
        }
        let (message, fields) = match line {
            WorkLine::Finished { origin, tasks, failed, elapsed } => (
                "work finished",
                json!({
                    "origin": origin,
                    "tasks": tasks,
                    "failed": failed,
                    "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                }),
            ),
            WorkLine::Started { origin, kind, model } => {
                ("work started", json!({ "origin": origin, "kind": kind, "model": model }))
            }
        };
        let Value::Object(mut fields) = fields else { return };
        add_names(&mut fields, names);
        self.log.write_as(&Line { level, component, message, fields }, message);
    }
}

/// Returns the level and the component of an event. TRACE is per message, DEBUG per task, INFO a change in the life of
/// the node, and WARN needs attention.
const fn severity(event: &Event) -> (LogLevel, &'static str) {
    match event {
        Event::AlertCleared { .. } => (LogLevel::Info, "alerts"),
        Event::AlertRaised { severity: Severity::Warn, .. } => (LogLevel::Warn, "alerts"),
        Event::AlertRaised { severity: Severity::Alert, .. } => (LogLevel::Error, "alerts"),
        Event::ClockSet { .. } | Event::StateChanged { .. } => (LogLevel::Info, "lifecycle"),
        Event::MemberJoined { .. } | Event::MemberLeft { .. } => (LogLevel::Info, "membership"),
        Event::NodeFound { .. } | Event::NodeLost { .. } => (LogLevel::Debug, "discovery"),
        Event::ClockDiffers { .. } | Event::IdentityCopied { .. } => (LogLevel::Warn, "peers"),
        Event::HealthChanged { verdict: Verdict::Pass, .. } => (LogLevel::Info, "health"),
        Event::HealthChanged { verdict: Verdict::Warn, .. } => (LogLevel::Warn, "health"),
        Event::HealthChanged { verdict: Verdict::Fail, .. } => (LogLevel::Error, "health"),
        Event::DiscoveryAvailable => (LogLevel::Info, "discovery"),
        Event::DiscoveryUnavailable => (LogLevel::Warn, "discovery"),
        // Anybody can cause these at any rate, so they are counted and not logged one by one.
        Event::DialFailed { .. } | Event::StrangerFault { .. } => (LogLevel::Debug, "peers"),
        Event::LinkUp { .. } | Event::LinkDown { .. } => (LogLevel::Info, "peers"),
        Event::LinkRefused { .. } | Event::PeerFault { .. } => (LogLevel::Warn, "peers"),
        Event::PeerRecovered { .. } => (LogLevel::Info, "heartbeat"),
        Event::PeerSlow { .. } | Event::PeerDead { .. } => (LogLevel::Warn, "heartbeat"),
        Event::MessageAcknowledged { .. }
        | Event::MessageDelivered { .. }
        | Event::MessageDuplicate { .. }
        | Event::MessageForwarded { .. }
        | Event::MessageSent { .. } => (LogLevel::Trace, "router"),
        Event::MessageDropped { .. } | Event::MessageUnacknowledged { .. } => (LogLevel::Debug, "router"),
        Event::BlobFetched { .. } | Event::FetchBegun { .. } => (LogLevel::Info, "files"),
        Event::FetchFailed { .. } => (LogLevel::Warn, "files"),
        Event::ModelChanged { .. } => (LogLevel::Info, "inference"),
        Event::ModelConflict { .. } => (LogLevel::Warn, "inference"),
        Event::AttemptEnded(_)
        | Event::ResultDuplicate { .. }
        | Event::TaskAccepted { .. }
        | Event::TaskAssigned { .. }
        | Event::TaskFinished { .. }
        | Event::TaskStarted { .. } => (LogLevel::Debug, "tasks"),
        Event::InputTruncated { .. } | Event::TaskReassigned { .. } | Event::TaskRecovered { .. } => {
            (LogLevel::Info, "tasks")
        }
        Event::WriteFailed { .. } => (LogLevel::Error, "storage"),
    }
}

/// Splits an event into its name in words and its fields.
fn name_and_fields(event: &Event) -> (String, Map<String, Value>) {
    let (name, mut fields) = match serde_json::to_value(event) {
        Ok(Value::String(name)) => (name, Map::new()),
        Ok(Value::Object(variant)) => match variant.into_iter().next() {
            Some((name, Value::Object(fields))) => (name, fields),
            Some(_) | None => return (UNNAMED.to_owned(), Map::new()),
        },
        Ok(_) | Err(_) => return (UNNAMED.to_owned(), Map::new()),
    };
    if let Some(message) = fields.remove("message") {
        fields.insert("message_id".to_owned(), message);
    }
    // Most events belong to no trace.
    let id = fields.remove("trace").and_then(|trace| trace.get("id").cloned());
    let none = TraceContext::NONE.id.to_string();
    if let Some(id) = id.filter(|id| id.as_str() != Some(&none)) {
        fields.insert("trace_id".to_owned(), id);
    }
    (name.replace('_', " "), fields)
}

/// Adds the name of each node after its id, if it has one.
fn add_names(fields: &mut Map<String, Value>, names: &dyn NodeNames) {
    for key in ["destination", "from", "member", "next", "node", "origin", "peer", "worker"] {
        let id = fields.get(key).and_then(Value::as_str).and_then(|id| id.parse::<NodeId>().ok());
        let name = id.map(|id| names.name(id)).filter(|name| !name.is_empty());
        name.and_then(|name| fields.insert(format!("{key}_name"), Value::from(name.as_str())));
    }
}

/// Stands for a node that knows no names.
struct NoNames;

impl NodeNames for NoNames {
    fn name(&self, _node: NodeId) -> NodeName {
        NodeName::default()
    }
}

/// Returns the message for an event of this name. That of an alert describes its value.
fn described<'name>(event: &Event, name: &'name str) -> Cow<'name, str> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "only alerts have a value to describe")]
    match *event {
        Event::AlertCleared { rule, value, .. } => format!("{name}: {}", rule.describe(value)).into(),
        Event::AlertRaised { rule, value, threshold, .. } => {
            format!("{name}: {}", rule.describe_crossing(value, threshold)).into()
        }
        _ => name.into(),
    }
}

/// The name of an event without one. Every event has one.
const UNNAMED: &str = "event";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::LogOptions;
    use engine::lifecycle::State;
    use engine::{MessageId, TaskId, TraceId};

    /// A node that knows another one.
    struct Cedar;

    impl NodeNames for Cedar {
        fn name(&self, node: NodeId) -> NodeName {
            if node == NodeId([1; 16]) { NodeName::new("cedar").unwrap() } else { NodeName::default() }
        }
    }

    #[test]
    fn engine_events_are_lines_and_messages_are_trace() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let log = Log::open(&path, LogOptions::default()).unwrap();
        let mut events = EventLog::new(log.clone());
        let now = Instant::ZERO;
        let (from, to) = (State::Registering, State::Active);
        let trace = TraceContext { id: TraceId([3; 16]), sampled: false };
        events.event(now, &Event::StateChanged { from, to });
        events.named_event(now, &Event::PeerSlow { peer: NodeId([1; 16]) }, &Cedar);
        events.event(now, &Event::MessageDuplicate { message: MessageId([2; 16]), trace });
        events.event(now, &Event::InputTruncated { task: TaskId([4; 16]), inputs: 1, dropped: 2, trace });
        assert!(log.flush());
        let text = std::fs::read_to_string(&path).unwrap();
        let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0]["component"], "lifecycle");
        assert_eq!(found[0]["message"], "state changed");
        assert_eq!(found[0]["to"], "ACTIVE");
        assert_eq!((&found[1]["level"], &found[1]["peer"]), (&json!("WARN"), &json!("01".repeat(16))));
        assert_eq!(found[1]["peer_name"], "cedar");
        assert_eq!(found[2]["trace_id"], "03".repeat(16));
        assert_eq!(found[2].get("trace"), None);
    }
}
