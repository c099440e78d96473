//! Spans of a node, and what a collector can do to its exporter.

use super::proto::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse, Span};
use super::*;
use engine::event::{AttemptEnd, AttemptEnding, PayloadKind};
use engine::task::{TaskKind, TaskStatus};
use engine::trace::{SpanId, TraceContext};
use engine::{MessageId, TaskId, TraceId};
use prost::Message as _;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const ME: NodeId = NodeId([1; 16]);
const PEER: NodeId = NodeId([2; 16]);
const TASK: TaskId = TaskId([3; 16]);
const CLIENT: SpanId = SpanId([9; 8]);
const TRACE: TraceContext = TraceContext { id: TraceId([4; 16]), sampled: true };

fn finished(status: TaskStatus, trace: TraceContext) -> Event {
    Event::TaskFinished {
        task: TASK,
        status,
        worker: Some(PEER),
        elapsed_micros: 5_000,
        kind: TaskKind::Embedding,
        attempts: 1,
        store_micros: 0,
        waiters: 0,
        parent: Some(CLIENT),
        trace,
    }
}

fn acknowledged() -> Event {
    Event::MessageAcknowledged {
        message: MessageId([5; 16]),
        destination: PEER,
        elapsed_micros: 100,
        payload: PayloadKind::HandBack,
        trace: TRACE,
    }
}

fn ended(ending: AttemptEnding) -> Event {
    Event::AttemptEnded(Box::new(AttemptEnd {
        task: TASK,
        attempt: 1,
        origin: PEER,
        kind: TaskKind::Generation,
        model: "m".to_owned(),
        ending,
        queued_micros: 1_000,
        run_micros: Some(3_000),
        compute_micros: 2_000,
        batch: 1,
        input_tokens: 7,
        output_tokens: 9,
        first_token_micros: Some(500),
        trace: TRACE,
    }))
}

#[test]
fn a_task_its_attempt_and_its_message_are_one_tree() {
    let mut spans = Spans::new(ME);
    let started = Event::TaskStarted {
        task: TASK,
        origin: PEER,
        attempt: 1,
        kind: TaskKind::Generation,
        model: "m".to_owned(),
        queued_micros: 0,
        batch: 1,
        trace: TRACE,
    };
    assert_eq!(spans.handle_event(0, &started), None);
    let now = 10_000_000;
    let task = spans.handle_event(now, &finished(TaskStatus::Completed, TRACE)).unwrap();
    assert_eq!((task.start_time_unix_nano, task.end_time_unix_nano), (5_000_000, now));
    assert_eq!((task.name.as_str(), task.status.clone()), ("task embedding", None));
    assert_eq!(task.trace_id, [4; 16]);
    let attempt = spans.handle_event(now, &ended(AttemptEnding::Completed)).unwrap();
    assert_eq!(
        (attempt.parent_span_id.clone(), attempt.start_time_unix_nano),
        (task.span_id.clone(), 6_000_000)
    );
    let events: Vec<_> =
        attempt.events.iter().map(|event| (event.name.as_str(), event.time_unix_nano)).collect();
    assert_eq!(events, [("started", 7_000_000), ("first token", 7_500_000)]);
    let message = spans.handle_event(now, &acknowledged()).unwrap();
    assert_eq!((message.name.as_str(), &message.parent_span_id), ("message hand_back", &task.span_id));
    let forwarded = Event::MessageForwarded {
        message: MessageId([5; 16]),
        next: PEER,
        ttl: 3,
        payload: PayloadKind::Sealed,
        trace: TRACE,
    };
    let hop = spans.handle_event(now, &forwarded).unwrap();
    assert_eq!(hop.parent_span_id, message.span_id);
    assert_eq!(SpanId(message.span_id.clone().try_into().unwrap()), SpanId::of_message(MessageId([5; 16])));
    let failed = spans.handle_event(now, &finished(TaskStatus::Timeout, TRACE)).unwrap();
    assert_eq!((failed.status.unwrap().code, failed.span_id), (2, task.span_id));
}

fn accepted(task: TaskId) -> Event {
    Event::TaskAccepted {
        task,
        kind: TaskKind::Embedding,
        model: "m".to_owned(),
        parent: Some(CLIENT),
        trace: TRACE,
    }
}

#[test]
fn a_task_is_a_part_of_the_span_of_its_client() {
    // As after a restart: its acceptance was not seen.
    let task = Spans::new(ME).handle_event(10_000_000, &finished(TaskStatus::Completed, TRACE)).unwrap();
    assert_eq!(task.parent_span_id, CLIENT.0);
}

#[test]
fn a_message_of_one_of_several_tasks_is_a_part_of_the_span_of_their_client() {
    let mut spans = Spans::new(ME);
    spans.handle_event(0, &accepted(TASK));
    let parent = |spans: &mut Spans| spans.handle_event(0, &acknowledged()).unwrap().parent_span_id;
    assert_eq!(parent(&mut spans), SpanId::of_task(TRACE.id, TASK).0);
    spans.handle_event(0, &accepted(TASK));
    assert_eq!(parent(&mut spans), SpanId::of_task(TRACE.id, TASK).0);
    spans.handle_event(0, &accepted(TaskId([4; 16])));
    assert_eq!(parent(&mut spans), CLIENT.0);
}

#[test]
fn only_traces_that_are_kept_are_exported() {
    let mut spans = Spans::new(ME);
    for trace in [TraceContext { sampled: false, ..TRACE }, TraceContext::NONE] {
        assert_eq!(spans.handle_event(1, &finished(TaskStatus::Completed, trace)), None);
    }
}

fn gather(endpoint: Option<&str>, variables: &[(&str, &str)]) -> (Option<OtlpOptions>, Vec<String>) {
    let find =
        |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
    OtlpOptions::gather(endpoint, find)
}

#[test]
fn options_come_from_the_setting_and_the_standard_variables() {
    fn url(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        gather(endpoint, variables).0.map(|options| options.url)
    }
    let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://one:4318/");
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://two/in");
    assert_eq!(url(None, &[]), None);
    assert_eq!(url(None, &[base]).unwrap(), "http://one:4318/v1/traces");
    assert_eq!(url(None, &[base, traces]).unwrap(), "http://two/in", "as it is");
    assert_eq!(url(Some("https://three"), &[base, traces]).unwrap(), "https://three/v1/traces");
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert_eq!(url(Some("https://three"), &[off]), None, "{off:?}");
    }
    for bad in ["", "one:4318", "ftp://one", "http://", "http:///x", "http://a b"] {
        let (options, warnings) = gather(None, &[(base.0, bad)]);
        assert_eq!((options, warnings.len()), (None, usize::from(!bad.is_empty())), "{bad:?}");
    }
    let (options, warnings) = gather(
        None,
        &[
            base,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20e, b=,bad,=x,c d=1"),
            ("OTEL_SERVICE_NAME", "mesh"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ],
    );
    let options = options.unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(options.headers, [pair("api-key", "s e"), pair("b", "")]);
    assert_eq!(options.attributes, [pair("deployment.environment", "lab")]);
    assert_eq!((options.service.as_str(), options.timeout), ("mesh", Duration::from_millis(100)));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(!format!("{options:?} {warnings:?}").contains("s e"), "headers may be secrets");
}

/// A collector that gives these answers, one after the other, and then hangs. Returns its address, and the requests.
fn collector(answers: Vec<(u16, Vec<u8>)>) -> (String, Receiver<(String, ExportTraceServiceRequest)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, received) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some((status, body)) = answers.next() else {
                held.push(stream);
                continue;
            };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            for line in head.to_lowercase().lines() {
                length =
                    line.strip_prefix("content-length: ").map_or(length, |length| length.parse().unwrap());
            }
            let mut sent = vec![0; length];
            reader.read_exact(&mut sent).unwrap();
            let request = ExportTraceServiceRequest::decode(&sent[..]).unwrap();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(&[answer.as_bytes(), &body].concat()).unwrap();
            let _ = send.send((head, request));
        }
    });
    (format!("http://{address}"), received)
}

fn exporter(url: &str) -> (Exporter, Arc<OtlpCounters>) {
    let counters = Arc::new(OtlpCounters::default());
    let (options, warnings) = gather(Some(url), &[("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")]);
    assert_eq!(warnings, Vec::<String>::new());
    (Exporter::start(options.unwrap(), ME, "1", Arc::clone(&counters)).unwrap(), counters)
}

fn push(exporter: &Exporter, count: usize) {
    let queue = exporter.queue();
    (0..count).for_each(|_| queue.push(Span { name: "x".to_owned(), ..Span::default() }));
}

#[test]
fn a_refusal_for_now_is_repeated_and_what_is_left_is_sent_at_the_end() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess { rejected_spans: 1, ..Default::default() }),
    };
    let (url, received) = collector(vec![(429, Vec::new()), (200, partial.encode_to_vec())]);
    let (exporter, counters) = exporter(&url);
    push(&exporter, 3);
    let (head, first) = received.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(
        head.starts_with("POST /v1/traces HTTP/1.1\r\n") && head.contains("api-key: secret\r\n"),
        "{head}"
    );
    let (_, second) = received.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(first, second);
    let resource = &first.resource_spans[0];
    assert_eq!(resource.scope_spans[0].spans.len(), 3);
    let keys: Vec<&str> =
        resource.resource.as_ref().unwrap().attributes.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(keys, ["service.name", "service.version", "service.instance.id"]);
    exporter.stop();
    assert_eq!((counters.exported(), counters.rejected(), counters.dropped()), (2, 1, 0));
}

#[test]
fn a_refusal_for_good_drops_the_batch() {
    let (url, received) = collector(vec![(400, Vec::new())]);
    let (exporter, counters) = exporter(&url);
    push(&exporter, 2);
    received.recv_timeout(Duration::from_secs(30)).unwrap();
    exporter.stop();
    assert_eq!((counters.exported(), counters.rejected(), counters.dropped()), (0, 2, 0));
}

#[test]
fn a_collector_that_hangs_or_is_away_delays_no_stop_and_the_queue_is_bounded() {
    let (silent, _received) = collector(Vec::new());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [silent, format!("http://{closed}")] {
        let (exporter, counters) = exporter(&url);
        let begun = std::time::Instant::now();
        push(&exporter, 20_000);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(counters.dropped() >= 10_000, "{}", counters.dropped());
        let begun = std::time::Instant::now();
        exporter.stop();
        assert!(begun.elapsed() < STOP_TIMEOUT + Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}
