//! The trace of a request: taken from its `traceparent` and `tracestate`, given to its tasks, and told in the answer.
//!
//! All tasks of a request share one trace. The answer has a `traceparent` with the span of the first task. If it waited
//! for tasks, it also says where and how long they ran: `x-p2p-worker` and `Server-Timing`.
//!
//! <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/server-timing/>.

use super::state::Api;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use engine::request::TracedTask;
use engine::task::{ResultSummary, TaskSpec};
use engine::trace::{Caller, TraceParent, is_sampled, traceparent};
use engine::{Fingerprint, NodeId, SpanId, TaskId, TraceId};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The trace of one request.
#[derive(Debug)]
pub(super) struct RequestTrace {
    trace: TraceId,
    caller: Caller,
    told: Mutex<Told>,
}

/// What the answer tells about the tasks of the request.
#[derive(Debug, Default)]
struct Told {
    /// The first task that was submitted, and the time of its submission.
    first: Option<(TaskId, Instant)>,
    /// The nodes that computed results, at most [`WORKERS_MAX`].
    workers: Vec<NodeId>,
    /// The longest computation of a task, and the time until the last result.
    times: Option<(Duration, Duration)>,
}

tokio::task_local! {
    static CURRENT: Arc<RequestTrace>;
}

/// Returns the trace of the request that is being handled; `None` outside of a handler.
pub(super) fn current() -> Option<Arc<RequestTrace>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Notes a result that the answer of the current request contains.
pub(super) fn note_result(summary: &ResultSummary) {
    if let Some(current) = current() {
        current.note_result(summary);
    }
}

/// Lets a request's tasks have its trace, and adds the headers to its answer.
pub(super) async fn follow(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(trace) = RequestTrace::new(request.headers(), api.trace_sample) else {
        return next.run(request).await;
    };
    let trace = Arc::new(trace);
    let mut response = CURRENT.scope(Arc::clone(&trace), next.run(request)).await;
    trace.attach_to(response.headers_mut());
    response
}

impl RequestTrace {
    /// Returns the trace of a request with these headers; `None` if there is no entropy for a new one.
    fn new(headers: &HeaderMap, sample: u32) -> Option<Self> {
        let told = Mutex::default();
        if let Some(TraceParent { trace, caller }) = parent(headers) {
            return Some(Self { trace, caller, told });
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).ok()?;
        let trace = TraceId(id);
        let caller = Caller { parent: None, sampled: is_sampled(trace, sample), state: String::new() };
        Some(Self { trace, caller, told })
    }

    /// Returns a task of the request.
    pub(super) fn task(&self, spec: TaskSpec, required: Option<Fingerprint>) -> TracedTask {
        TracedTask { spec, required, trace: self.trace, caller: self.caller.clone() }
    }

    /// Notes a task that was submitted.
    pub(super) fn note_submitted(&self, task: TaskId) {
        self.told().first.get_or_insert_with(|| (task, Instant::now()));
    }

    /// Notes the result of a task.
    pub(super) fn note_result(&self, summary: &ResultSummary) {
        let mut told = self.told();
        if let Some(worker) = summary.worker
            && !told.workers.contains(&worker)
            && told.workers.len() < WORKERS_MAX
        {
            told.workers.push(worker);
        }
        let compute = Duration::from_micros(summary.execution_micros);
        let total = match told.first {
            Some((_, since)) => since.elapsed(),
            None => Duration::from_millis(summary.completed_at.0.saturating_sub(summary.submitted_at.0)),
        };
        let (longest, last) = told.times.unwrap_or_default();
        told.times = Some((longest.max(compute), last.max(total)));
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // No thread panics while it has the lock.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach_to(&self, headers: &mut HeaderMap) {
        let told = self.told();
        let mut set = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        if let Some((task, _)) = told.first {
            let span = SpanId::of_task(self.trace, task);
            set(TRACEPARENT, traceparent(self.trace, span, self.caller.sampled));
            if !self.caller.state.is_empty() {
                set(TRACESTATE, self.caller.state.clone());
            }
        }
        if !told.workers.is_empty() {
            let workers: Vec<String> = told.workers.iter().map(NodeId::to_string).collect();
            set("x-p2p-worker", workers.join(", "));
        }
        if let Some((compute, total)) = told.times {
            let queue = total.saturating_sub(compute);
            let mut timing = String::new();
            for (name, duration) in [("queue", queue), ("compute", compute), ("total", total)] {
                let separator = if timing.is_empty() { "" } else { ", " };
                let _ = write!(timing, "{separator}{name};dur={:.3}", duration.as_secs_f64() * 1e3);
            }
            set("server-timing", timing);
        }
    }
}

/// Returns the trace context of a client; `None` if it sent none, an invalid one, or several.
fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let mut parent = TraceParent::parse(line.to_str().ok()?)?;
    let states: Result<Vec<&str>, _> = headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str).collect();
    // Bytes that are no text make it malformed.
    parent.set_state(states.unwrap_or_default());
    Some(parent)
}

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Maximum number of workers that an answer names.
const WORKERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_client_decides_whether_its_trace_is_kept() {
        let trace = RequestTrace::new(&headers(&[("traceparent", HEADER), ("tracestate", "a=1")]), 1_000_000);
        let trace = trace.unwrap();
        let (sampled, state) = (trace.caller.sampled, trace.caller.state.as_str());
        assert_eq!((trace.trace.to_string().as_str(), sampled, state), (&HEADER[3..35], false, "a=1"));
        let [all, none] = [1_000_000, 0].map(|share| RequestTrace::new(&HeaderMap::new(), share).unwrap());
        assert!(all.caller.sampled && !none.caller.sampled && all.trace != none.trace);
    }

    #[test]
    fn several_headers_or_a_malformed_one_begin_a_new_trace() {
        let twice = headers(&[("traceparent", HEADER)]);
        let mut twice = twice;
        twice.append("traceparent", HeaderValue::from_static(HEADER));
        let upper = headers(&[("traceparent", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01")]);
        for headers in [twice, upper] {
            let trace = RequestTrace::new(&headers, 1_000_000).unwrap();
            assert_eq!(trace.caller, Caller { parent: None, sampled: true, state: String::new() });
        }
    }
}
