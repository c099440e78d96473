//! JSON lines for machines, plain lines for people.
//!
//! Two sources meet in one [`Log`]: `tracing` events of this process, and the engine's own event stream, which
//! [`EventLog`] reads. A line that cannot be written is dropped and counted; logging never stops a node.

mod events;
mod file;

pub use events::EventLog;

use crate::clock;
use crate::config::LogLevel;
use file::LogFile;
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Where log lines go. Clones share it.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: Mutex<LogFile>,
    terminal: bool,
    level: LogLevel,
    dropped: AtomicU64,
}

impl Log {
    /// Opens a log that appends to `path` and, where `terminal` is set, also tells standard error.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn open(path: &Path, level: LogLevel, terminal: bool) -> io::Result<Self> {
        let file = Mutex::new(LogFile::open(path)?);
        Ok(Self { shared: Arc::new(Shared { file, terminal, level, dropped: AtomicU64::new(0) }) })
    }

    /// Sends this process's `tracing` events here, from now on. `false` where they already go elsewhere.
    pub fn take_tracing(&self) -> bool {
        let own = tracing_level(self.shared.level);
        // Libraries speak up when something is wrong; their life is of no interest here.
        let targets = ["engine", "runtime", "p2p_ai_agents"]
            .iter()
            .fold(Targets::new().with_default(own.min(LevelFilter::WARN)), |targets, name| {
                targets.with_target(*name, own)
            });
        let layer = TracingLayer { log: self.clone() }.with_filter(targets);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).is_ok()
    }

    /// Tells whether lines of this level are written.
    pub fn takes(&self, level: LogLevel) -> bool {
        level >= self.shared.level
    }

    /// Writes one line.
    pub fn write(&self, line: &Line<'_>) {
        if !self.takes(line.level) {
            return;
        }
        let timestamp = clock::wall().to_string();
        let json = line.json(&timestamp);
        let mut file = self.shared.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.append(json.as_bytes()).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(file);
        if self.shared.terminal {
            // Nobody can be told that standard error does not work.
            let _ = io::stderr().lock().write_all(line.plain(&timestamp).as_bytes());
        }
    }

    /// Returns how many lines could not be written.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn flush(&self) -> io::Result<()> {
        self.shared.file.lock().unwrap_or_else(PoisonError::into_inner).sync()
    }
}

/// One line of a log.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// How severe it is.
    pub level: LogLevel,
    /// Which part of the node speaks.
    pub component: &'a str,
    /// What it says.
    pub message: &'a str,
    /// What belongs to it, by name.
    pub fields: Map<String, Value>,
}

impl Line<'_> {
    fn json(&self, timestamp: &str) -> String {
        let level = level_name(self.level);
        let (component, message) = (Value::from(self.component), Value::from(self.message));
        let mut text = format!(
            r#"{{"timestamp":"{timestamp}","level":"{level}","component":{component},"message":{message}"#
        );
        for (name, value) in &self.fields {
            // A second key of the same name would hide one of the two.
            let own = if RESERVED.contains(&name.as_str()) { "_" } else { "" };
            let name = Value::from(format!("{name}{own}"));
            // Writing to a string does not fail.
            let _ = write!(text, ",{name}:{value}");
        }
        text.push_str("}\n");
        text
    }

    fn plain(&self, timestamp: &str) -> String {
        let level = level_name(self.level);
        let mut text = format!("{timestamp} {level:5} {}: {}", self.component, self.message);
        for (name, value) in &self.fields {
            let _ = write!(text, " {name}={value}");
        }
        // What came from outside must not steer the terminal.
        let mut text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        text.push('\n');
        text
    }
}

struct TracingLayer {
    log: Log,
}

impl<S: tracing::Subscriber> Layer<S> for TracingLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut visitor = Fields::default();
        event.record(&mut visitor);
        let target = metadata.target();
        let component = OWN_CRATES
            .iter()
            .find_map(|name| target.strip_prefix(name)?.strip_prefix("::"))
            .unwrap_or(target);
        let component = component.split("::").next().unwrap_or(component);
        self.log.write(&Line {
            level: log_level(*metadata.level()),
            component: visitor.component.as_deref().unwrap_or(component),
            message: &visitor.message,
            fields: visitor.fields,
        });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    /// Where the event names its component itself, as one whose target says too little does.
    component: Option<String>,
    fields: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("component", Value::String(name)) => self.component = Some(name),
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }
}

const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "TRACE",
        LogLevel::Debug => "DEBUG",
        LogLevel::Info => "INFO",
        LogLevel::Warn => "WARN",
        LogLevel::Error => "ERROR",
    }
}

const fn log_level(level: tracing::Level) -> LogLevel {
    match level {
        tracing::Level::TRACE => LogLevel::Trace,
        tracing::Level::DEBUG => LogLevel::Debug,
        tracing::Level::INFO => LogLevel::Info,
        tracing::Level::WARN => LogLevel::Warn,
        tracing::Level::ERROR => LogLevel::Error,
    }
}

const fn tracing_level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

const RESERVED: [&str; 4] = ["timestamp", "level", "component", "message"];
const OWN_CRATES: [&str; 2] = ["runtime", "engine"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Journal;
    use engine::lifecycle::State;
    use engine::{Event, Instant, MessageId, NodeId, Output};
    use serde_json::json;

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_is_json_with_its_parts_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let log = Log::open(&path, LogLevel::Info, false).unwrap();
        let fields: Map<String, Value> =
            [("level".to_owned(), json!(3)), ("peer".to_owned(), json!("x"))].into_iter().collect();
        let line = Line { level: LogLevel::Warn, component: "links", message: "a \"b\"\n", fields };
        log.write(&line);
        log.write(&Line { level: LogLevel::Debug, ..line });
        let text = std::fs::read_to_string(&path).unwrap();
        let (timestamp, rest) = text.split_at(r#"{"timestamp":"2026-01-31T12:00:00.000Z""#.len());
        assert!(timestamp.starts_with(r#"{"timestamp":"20"#) && timestamp.ends_with("Z\""), "{timestamp}");
        assert_eq!(
            rest,
            ",\"level\":\"WARN\",\"component\":\"links\",\"message\":\"a \\\"b\\\"\\n\",\"level_\":3,\"peer\":\"x\"}\n"
        );
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let line =
            Line { level: LogLevel::Info, component: "x", message: "\u{1b}[2Jgone\n", fields: Map::new() };
        assert_eq!(line.plain("T"), "T INFO  x: \u{fffd}[2Jgone\u{fffd}\n");
    }

    #[test]
    fn tracing_events_name_their_component() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let log = Log::open(&path, LogLevel::Info, false).unwrap();
        let subscriber = tracing_subscriber::registry().with(TracingLayer { log });
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(port = 9000, "listening");
            tracing::warn!(target: "yamux::connection", "slow");
            tracing::warn!(component = "inference-worker", "gone");
        });
        let found: Vec<(Value, Value, Value)> = lines(&path)
            .into_iter()
            .map(|line| (line["component"].clone(), line["message"].clone(), line["port"].clone()))
            .collect();
        assert_eq!(
            found,
            [
                (json!("logging"), json!("listening"), json!(9000)),
                (json!("yamux"), json!("slow"), Value::Null),
                (json!("inference-worker"), json!("gone"), Value::Null)
            ]
        );
        assert!(!std::fs::read_to_string(&path).unwrap().contains("component_"));
    }

    #[test]
    fn engine_events_are_lines_and_messages_are_trace() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let mut events = EventLog::new(Log::open(&path, LogLevel::Info, false).unwrap());
        let now = Instant::ZERO;
        let (from, to) = (State::Registering, State::Active);
        events.output(now, &Output::Event(Event::StateChanged { from, to }));
        events.output(now, &Output::Event(Event::PeerSlow { peer: NodeId([1; 16]) }));
        events.output(now, &Output::Event(Event::MessageDuplicate { message: MessageId([2; 16]) }));
        let found = lines(&path);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0]["component"], "lifecycle");
        assert_eq!(found[0]["message"], "state changed");
        assert_eq!(found[0]["to"], "ACTIVE");
        assert_eq!((&found[1]["level"], &found[1]["peer"]), (&json!("WARN"), &json!("01".repeat(16))));
    }
}
