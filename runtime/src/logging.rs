//! The log: JSON lines for programs, plain lines for people, written by a separate thread.
//!
//! A [`Log`] has two sources: the `tracing` events of this process, and the engine's events, through
//! [`EventLog`](crate::observers::EventLog). Writing a line only puts it into a bounded queue. A slow or full disk
//! costs log lines, which are counted and reported later. It never blocks a node.

mod counts;
mod crash;
mod file;
mod follow;
mod levels;
mod line;
mod queue;

pub use counts::LineCount;
pub use crash::report_panics;
pub use file::rotated;
pub use follow::Follower;
pub use levels::{LevelInForce, TooManyLevels};
pub use line::{Line, Told};

use crate::clock;
use crate::config::LogLevel;
use counts::Counts;
use file::LogFile;
use levels::Levels;
use queue::{Entry, Queue};
use serde_json::{Map, Value};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// A log. Clones share it. Queued lines are still written after the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Log {
    queue: Arc<Queue>,
    terminal: bool,
    levels: Arc<Levels>,
    counts: Arc<Counts>,
}

/// The options of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The least severe level to write.
    pub level: LogLevel,
    /// Whether to write plain lines to standard error as well.
    pub terminal: bool,
    /// The size at which the file is rotated, in bytes.
    pub file_bytes_max: u64,
    /// How long rotated files are kept.
    pub retention: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            terminal: false,
            file_bytes_max: 100_000_000,
            retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Log {
    /// Opens a log that appends to `path`.
    ///
    /// # Errors
    /// The file cannot be opened, or the system provides no thread.
    pub fn open(path: &Path, options: LogOptions) -> io::Result<Self> {
        let file = LogFile::open(path, options.file_bytes_max, options.retention)?;
        let LogOptions { level, terminal, .. } = options;
        let (levels, counts) = (Arc::new(Levels::new(level)), Arc::default());
        Ok(Self { queue: Queue::start(file)?, terminal, levels, counts })
    }

    /// Sends this process's `tracing` events to this log. Returns `false` if they already go elsewhere.
    pub fn take_tracing(&self) -> bool {
        let layer = self.tracing_layer().with_filter(self.levels.tracing_filter());
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).is_ok()
    }

    /// Returns the layer that sends `tracing` events to this log.
    pub(crate) fn tracing_layer<S: tracing::Subscriber>(&self) -> impl Layer<S> + use<S> {
        TracingLayer { log: self.clone() }
    }

    /// Tells whether lines of this level and component are written.
    pub fn takes(&self, level: LogLevel, component: &str) -> bool {
        self.levels.take(level, component)
    }

    /// Queues one line, whose message is a constant. Never waits for a disk or a terminal.
    pub fn write(&self, line: &Line<'_>) {
        self.write_as(line, line.message);
    }

    /// Queues one line, and counts it under a name that contains no values.
    pub(crate) fn write_as(&self, line: &Line<'_>, name: &str) {
        if !self.takes(line.level, line.component) {
            return;
        }
        let now = clock::wall();
        self.counts.add(line.level, line.component, name, now);
        let timestamp = now.to_string();
        let plain = self.terminal.then(|| line.plain(&timestamp));
        self.queue.push(Entry { json: line.json(&timestamp), plain });
    }

    /// Returns the configured level.
    pub fn configured_level(&self) -> LogLevel {
        self.levels.configured()
    }

    /// Returns the level of all components, then those of components with a level of their own.
    pub fn levels(&self) -> Vec<LevelInForce> {
        self.levels.in_force()
    }

    /// Changes the level of a component or of all, for a time or until the end of the process.
    ///
    /// Somebody must call [`Self::expire_levels`] when the time is over.
    ///
    /// # Errors
    /// [`TooManyLevels`]; nothing is changed then.
    pub fn set_level(
        &self,
        component: Option<&str>,
        level: LogLevel,
        duration: Option<Duration>,
    ) -> Result<(), TooManyLevels> {
        self.levels.set(component, level, duration)
    }

    /// Undoes the change for a component. With `None`, undoes all changes.
    pub fn reset_level(&self, component: Option<&str>) {
        self.levels.reset(component);
    }

    /// Undoes the changes of levels whose time is over.
    pub fn expire_levels(&self) {
        self.levels.expire();
    }

    /// Returns how often each line was written since the start.
    pub fn counts(&self) -> Vec<LineCount> {
        self.counts.all()
    }

    /// Returns how many lines were dropped, because the queue was full or the disk failed.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Waits until the lines so far are durable, up to a timeout. Returns `false` if they are not.
    pub fn flush(&self) -> bool {
        self.queue.flush(FLUSH_TIMEOUT)
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
        // The message may contain values.
        let name = format!("{target}:{}", metadata.line().unwrap_or_default());
        let line = Line {
            level: log_level(*metadata.level()),
            component: visitor.component.as_deref().unwrap_or(component),
            message: &visitor.message,
            fields: visitor.fields,
        };
        self.log.write_as(&line, &name);
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    /// Set if the event names its component itself, because its target says too little.
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

const fn log_level(level: tracing::Level) -> LogLevel {
    match level {
        tracing::Level::TRACE => LogLevel::Trace,
        tracing::Level::DEBUG => LogLevel::Debug,
        tracing::Level::INFO => LogLevel::Info,
        tracing::Level::WARN => LogLevel::Warn,
        tracing::Level::ERROR => LogLevel::Error,
    }
}

/// How long a flush waits for the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
const OWN_CRATES: [&str; 2] = ["runtime", "engine"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_is_json_with_its_parts_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let log = Log::open(&path, LogOptions::default()).unwrap();
        let fields: Map<String, Value> =
            [("level".to_owned(), json!(3)), ("peer".to_owned(), json!("x"))].into_iter().collect();
        let line = Line { level: LogLevel::Warn, component: "links", message: "a \"b\"\n", fields };
        log.write(&line);
        log.write(&Line { level: LogLevel::Debug, ..line });
        assert!(log.flush());
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
    fn tracing_events_name_their_component() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let log = Log::open(&path, LogOptions::default()).unwrap();
        let subscriber = tracing_subscriber::registry().with(log.tracing_layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(port = 9000, "listening");
            tracing::warn!(target: "yamux::connection", "slow");
            tracing::warn!(component = "inference-worker", "gone");
        });
        assert!(log.flush());
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
}
