//! The thread that sends spans, its queue, and what became of them.

use super::options::OtlpOptions;
use super::proto::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, InstrumentationScope, KeyValue, Resource,
    ResourceSpans, ScopeSpans, Span,
};
use super::spans::text;
use engine::NodeId;
use prost::Message as _;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::header;

/// The exporter of one node. Dropping it lets its thread end.
#[derive(Debug)]
pub struct Exporter {
    queue: Queue,
    /// Dropped to stop the thread.
    stop: SyncSender<()>,
    /// Disconnected once the thread has ended.
    ended: Receiver<()>,
}

/// The queue of ended spans.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    spans: SyncSender<Span>,
    counters: Arc<OtlpCounters>,
}

/// What became of the spans.
#[derive(Debug, Default)]
pub struct OtlpCounters {
    exported: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
}

impl OtlpCounters {
    /// Returns the number of spans that the collector accepted.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Returns the number of spans that did not fit the queue, or could not be sent.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns the number of spans that the collector rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}

impl Queue {
    /// Adds a span, or drops it if the queue is full.
    pub(super) fn push(&self, span: Span) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.spans.try_send(span) {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Exporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system provides no thread.
    pub fn start(
        options: OtlpOptions,
        me: NodeId,
        version: &str,
        counters: Arc<OtlpCounters>,
    ) -> std::io::Result<Self> {
        let (spans, received) = sync_channel(QUEUE_SPANS_MAX);
        let (stop, stopped) = sync_channel(0);
        let (ends, ended) = sync_channel(0);
        let queue = Queue { spans, counters: Arc::clone(&counters) };
        let sender = Sender {
            agent: Agent::config_builder()
                .http_status_as_error(false)
                // A redirect would get the headers, which may hold secrets.
                .max_redirects(0)
                .user_agent(concat!("p2p-ai-agents/", env!("CARGO_PKG_VERSION")))
                .build()
                .into(),
            resource: resource(&options, me, version),
            version: version.to_owned(),
            options,
            counters,
            stopped,
            failing: false,
        };
        thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            sender.run(&received);
            drop(ends);
        })?;
        Ok(Self { queue, stop, ended })
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Sends the spans that are left, and returns after [`STOP_TIMEOUT`] at the latest. Blocks that long. All observers of
    /// the exporter must be gone.
    pub fn stop(self) {
        drop((self.stop, self.queue));
        // An error either way: nothing is ever sent.
        let _ = self.ended.recv_timeout(STOP_TIMEOUT);
    }
}

struct Sender {
    options: OtlpOptions,
    agent: Agent,
    resource: Resource,
    version: String,
    counters: Arc<OtlpCounters>,
    /// Disconnected when the node stops.
    stopped: Receiver<()>,
    /// Whether the last batch failed. Only changes are logged.
    failing: bool,
}

/// What a collector answered.
enum Answer {
    /// It accepted the spans, except for this many.
    Accepted(u64),
    /// It did not accept them, and never will.
    Refused(String),
    /// It may accept them later, after this time if it said one.
    Later(String, Option<Duration>),
}

impl Sender {
    fn run(mut self, spans: &Receiver<Span>) {
        while let Some(batch) = Self::gather(spans) {
            self.send(batch);
        }
    }

    /// Waits for spans. Returns `None` when the node has stopped and all are taken.
    fn gather(spans: &Receiver<Span>) -> Option<Vec<Span>> {
        let mut batch = vec![spans.recv().ok()?];
        let until = Instant::now() + BATCH_INTERVAL;
        while batch.len() < BATCH_SPANS_MAX {
            match spans.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(span) => batch.push(span),
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => break,
            }
        }
        Some(batch)
    }

    fn has_stopped(&self) -> bool {
        self.stopped.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Sends a batch, with retries while the node runs.
    fn send(&mut self, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let body = self.request(batch).encode_to_vec();
        let mut backoff = BACKOFF;
        for attempt in 1.. {
            match self.post(&body) {
                Answer::Accepted(rejected) => {
                    let rejected = rejected.min(count);
                    self.counters.exported.fetch_add(count - rejected, Ordering::Relaxed);
                    self.counters.rejected.fetch_add(rejected, Ordering::Relaxed);
                    if std::mem::take(&mut self.failing) {
                        tracing::info!(component = "otlp", "the collector accepts spans again");
                    }
                    return;
                }
                Answer::Refused(reason) => {
                    self.counters.rejected.fetch_add(count, Ordering::Relaxed);
                    return self.note_failure(&reason);
                }
                Answer::Later(reason, after) => {
                    self.note_failure(&reason);
                    let wait = after.unwrap_or(backoff).min(BACKOFF_MAX);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    let stops = self.stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected);
                    if stops || attempt >= ATTEMPTS_MAX {
                        self.counters.dropped.fetch_add(count, Ordering::Relaxed);
                        return;
                    }
                }
            }
        }
    }

    fn post(&self, body: &[u8]) -> Answer {
        // The last batch must not take longer than the stop of the node.
        let timeout =
            if self.has_stopped() { self.options.timeout.min(STOP_TIMEOUT) } else { self.options.timeout };
        let mut request = self.agent.post(&self.options.url).config().timeout_global(Some(timeout)).build();
        for (name, value) in &self.options.headers {
            request = request.header(name, value);
        }
        let response = match request.header(header::CONTENT_TYPE, "application/x-protobuf").send(body) {
            Ok(response) => response,
            Err(error) => return Answer::Later(format!("it cannot be reached: {error}"), None),
        };
        let status = response.status().as_u16();
        let after = response.headers().get(header::RETRY_AFTER);
        let after = after.and_then(|after| after.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        match status {
            200..=299 => {
                let mut bytes = Vec::new();
                let read = response.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
                let answer = read.ok().and_then(|_| ExportTraceServiceResponse::decode(&bytes[..]).ok());
                let rejected =
                    answer.and_then(|answer| answer.partial_success).map(|part| part.rejected_spans);
                Answer::Accepted(
                    rejected.and_then(|rejected| u64::try_from(rejected).ok()).unwrap_or_default(),
                )
            }
            429 | 502..=504 => Answer::Later(format!("it answers with status {status}"), after),
            status => Answer::Refused(format!("it answers with status {status}")),
        }
    }

    /// Logs the first of several failures.
    fn note_failure(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(component = "otlp", reason, "the collector does not accept spans");
        }
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope { name: "p2p-ai-agents".to_owned(), version: self.version.clone() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let resource = Some(self.resource.clone());
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }
    }
}

fn resource(options: &OtlpOptions, me: NodeId, version: &str) -> Resource {
    let mut attributes: Vec<KeyValue> = vec![
        text("service.name", options.service.clone()),
        text("service.version", version),
        text("service.instance.id", me.to_string()),
    ];
    for (key, value) in &options.attributes {
        if !attributes.iter().any(|attribute| attribute.key == *key) {
            attributes.push(text(key, value.clone()));
        }
    }
    Resource { attributes }
}

/// The longest time that [`Exporter::stop`] takes.
pub const STOP_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Maximum number of spans that wait, about 2 MB. Beyond it, spans are dropped.
const QUEUE_SPANS_MAX: usize = 4_096;
/// Maximum number of spans in one request.
const BATCH_SPANS_MAX: usize = 512;
/// How long a span waits for others.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The delay before the first retry. It doubles with each further one.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Maximum number of attempts to send a batch.
const ATTEMPTS_MAX: u32 = 5;
const ANSWER_BYTES_MAX: u64 = 64 << 10;
