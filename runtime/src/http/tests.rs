//! Tests of the API over real sockets, in front of a fake node.

use super::*;
use crate::blobs::SharedFiles;
use crate::catalog::{self, Catalog, Found, Sources};
use crate::config::ModelEntry;
use crate::driver::Handle;
use crate::inference::EMBEDDED_MODEL;
use crate::logging::{Log, LogOptions};
use crate::metrics::Host;
use crate::observers::PageFeed;
use crate::snapshot::Inspected;
use crate::store::Damage;
use api::dashboard::FeedKind;
use engine::lifecycle::State;
use engine::observers::metrics::MetricsView;
use engine::request::{Answer, Request, Response, StatusView, TaskView, TracedTask};
use engine::task::{
    InputFault, Outcome, ResultSummary, TaskKind, TaskOutput, TaskResult, TaskSpec, TaskStatus,
};
use engine::{NodeId, Rejection, TaskId, TraceId, UnixMillis, testing};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

const DONE: TaskId = TaskId([1; 16]);
const OPEN: TaskId = TaskId([2; 16]);
const TOKEN: &str = "secret";

/// Responds as a node with one finished and one open task.
fn answer(request: &Request) -> Option<Answer> {
    Some(match request {
        Request::Fetch(_) => Err(Rejection::Fetch(engine::FetchError::NotFound)),
        Request::Choose(_)
        | Request::SubmitFor(..)
        | Request::SubmitTraced(_)
        | Request::AlertHistory { .. }
        | Request::Alerts
        | Request::SetThresholds { .. } => return None,
        Request::Attempts => Ok(Response::Attempts(Vec::new())),
        Request::Fetches => Ok(Response::Fetches(Vec::new())),
        Request::Status => Ok(Response::Status(Box::new(testing::status()))),
        Request::Metrics => Ok(Response::Metrics(Box::new(metrics_view()))),
        Request::Peers => Ok(Response::Peers(Vec::new())),
        Request::FormerMembers | Request::Members => Ok(Response::Members(Vec::new())),
        Request::Health => Err(Rejection::TooManyWaiting),
        Request::Diagnosis => {
            let view = engine::request::DiagnosisView { heard: 0, issues: Vec::new(), conflicts: Vec::new() };
            Ok(Response::Diagnosis(view))
        }
        Request::Ping(spec) => {
            assert_eq!((spec.count, spec.bytes, spec.at_once), (10, 256, 1));
            Err(Rejection::NodeUnknown(spec.destination))
        }
        Request::Route(node) => Err(Rejection::NodeUnknown(*node)),
        Request::Shutdown => Ok(Response::ShuttingDown),
        Request::Trace(_) => Err(Rejection::TraceNotFound),
        Request::Task(id) | Request::Cancel(id) if *id == DONE || *id == OPEN => {
            Ok(Response::Task(Box::new(task_view(*id))))
        }
        Request::AwaitTask(id) if *id == DONE => Ok(Response::Task(Box::new(task_view(*id)))),
        Request::AwaitTask(id) if *id == OPEN => return None,
        Request::Task(id) | Request::Cancel(id) | Request::AwaitTask(id) => Err(Rejection::TaskNotFound(*id)),
        Request::Watch { .. } | Request::Dump => return None,
        Request::Tasks { filter: which, limit, offset } => {
            assert_eq!((*limit, *offset), (3, 1));
            let views = [DONE, OPEN].map(task_view);
            let tasks: Vec<TaskView> =
                views.into_iter().filter(|view| which.matches(view.id, view.status, view.worker)).collect();
            Ok(Response::Tasks { total: u32::try_from(tasks.len()).unwrap(), tasks })
        }
        Request::Submit(TaskSpec { input, .. }) if input.texts() == ["full"] => {
            Err(Rejection::QueueFull { retry_after: Duration::from_millis(1500) })
        }
        Request::Submit(TaskSpec { input, .. }) if input.bytes() > 100_000 => {
            Err(Rejection::InputTooLong { bytes: 100_001, limit: 100_000 })
        }
        Request::Submit(TaskSpec { input, .. }) if input.bytes() == 0 => {
            Err(Rejection::Input(InputFault::Empty))
        }
        Request::Submit(spec) => {
            assert_eq!(spec.timeout, Duration::from_secs(30));
            Ok(Response::Submitted(OPEN))
        }
    })
}

fn metrics_view() -> MetricsView {
    MetricsView {
        counted: engine::observers::metrics::Metrics::new(NodeId([7; 16])),
        status: testing::status(),
        now: engine::Instant::ZERO,
        attempts: std::collections::BTreeMap::new(),
        peers_slow: 0,
        collections: Vec::new(),
    }
}

fn summary() -> ResultSummary {
    ResultSummary {
        id: DONE,
        kind: TaskKind::Embedding,
        model: "m".to_owned(),
        status: TaskStatus::Completed,
        failure: None,
        worker: Some(NodeId([7; 16])),
        execution_micros: 1500,
        attempts: 1,
        submitted_at: UnixMillis(0),
        completed_at: UnixMillis(1),
        expires_at: UnixMillis(2),
        output_bytes: 8,
        preview: "hello".to_owned(),
        output_preview: "0.1".to_owned(),
        trace: TraceId([3; 16]),
    }
}

fn task_view(id: TaskId) -> TaskView {
    let done = id == DONE;
    TaskView {
        id,
        kind: TaskKind::Embedding,
        model: "m".to_owned(),
        status: if done { TaskStatus::Completed } else { TaskStatus::Running },
        submitted_at: UnixMillis(0),
        elapsed_millis: 1,
        attempts: 1,
        worker: Some(NodeId([7; 16])),
        worker_name: engine::NodeName::default(),
        preview: "hello".to_owned(),
        waits_for: None,
        tokens: None,
        remaining_millis: None,
        result: done.then(summary),
    }
}

/// The embedded model.
fn built_in() -> Found {
    let entries = vec![ModelEntry::Name(EMBEDDED_MODEL.to_owned())];
    catalog::find(&Sources { entries, ..Sources::default() })
}

struct OneResult;

impl ResultSource for OneResult {
    fn result(&self, id: TaskId) -> Result<Option<TaskResult>, ResultReadError> {
        let outcome = Outcome::Completed(TaskOutput::Embedding {
            vectors: vec![vec![0.1, -0.2]],
            tokens: 3,
            truncated: Vec::new(),
        });
        Ok((id == DONE).then(|| TaskResult { summary: summary(), outcome, fingerprint: None }))
    }

    fn damage(&self) -> Damage {
        Damage::default()
    }
}

/// Returns the state of handlers in front of a fake node.
fn test_api(handle: Handle, results: Arc<dyn ResultSource>, address: SocketAddr) -> Api {
    let shared_files = SharedFiles::open(Path::new("/nowhere"), mpsc::unbounded_channel().0);
    Api {
        handle,
        models: Catalog::new(Sources::default(), None, built_in()),
        results,
        shared_files: Arc::new(shared_files),
        metrics: Arc::new(MetricsSource::new(Host::new(Path::new("/nowhere/store"), 1, Arc::default()))),
        log: Log::open(Path::new("/dev/null"), LogOptions::default()).unwrap(),
        profiling: Arc::default(),
        inspected: Arc::new(Inspected::default()),
        alert_sinks: crate::observers::AlertSinkStates::default(),
        dashboard: dashboard(address),
        threads: 3,
        trace_sample: 1_000_000,
        token: Arc::new(Token::from_text(TOKEN)),
        address,
    }
}

fn dashboard(address: SocketAddr) -> Dashboard {
    let sessions = Arc::new(Sessions::open(address.port(), None));
    Dashboard::new(FeedKind::Node, PageFeed::default(), Arc::default(), sessions)
}

/// Responds in place of a node.
pub(super) type Answerer = Box<dyn FnMut(&Request) -> Option<Answer> + Send>;

/// Returns a submission as it would be without a trace.
fn untraced(request: Request) -> Request {
    let Request::SubmitTraced(task) = request else { return request };
    match *task {
        TracedTask { spec, required: Some(fingerprint), .. } => Request::SubmitFor(spec, fingerprint),
        TracedTask { spec, .. } => Request::Submit(spec),
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::before(Box::new(answer), Arc::new(OneResult)).await
    }

    /// Starts in front of a fake node; requests that it does not answer stay open.
    pub(super) async fn before(mut answer: Answerer, results: Arc<dyn ResultSource>) -> Self {
        let (handle, mut asks) = Handle::new();
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(ask) = asks.recv().await {
                match answer(&untraced(ask.request)) {
                    Some(answer) => drop(ask.reply.send(answer)),
                    None => unanswered.push(ask.reply),
                }
            }
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = test_api(handle, results, address);
        let sessions = api.dashboard.shared_sessions();
        let startup = StartupRouter::new(address, Arc::clone(&api.token), sessions);
        startup.attach(api);
        Self::behind(listener, startup)
    }

    /// Starts the port of the metrics, before or after the node runs.
    async fn of_metrics(runs: bool) -> Self {
        let (handle, mut asks) = Handle::new();
        tokio::spawn(async move {
            while let Some(ask) = asks.recv().await {
                drop(ask.reply.send(answer(&ask.request).unwrap()));
            }
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = test_api(handle, Arc::new(OneResult), address);
        let startup = StartupRouter::for_metrics(address, Arc::clone(&api.token));
        if runs {
            startup.attach_metrics(api);
        }
        Self::behind(listener, startup)
    }

    fn behind(listener: TcpListener, startup: StartupRouter) -> Self {
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, startup, async { drop(stopped.await) }));
        Self { address, stop: Some(stop), serving }
    }

    /// Sends raw bytes, and returns the status, the head and the body of the response.
    pub(super) async fn raw(&self, bytes: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may respond and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, head.to_lowercase(), body.to_owned())
    }

    pub(super) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (u16, String, Value) {
        let port = self.address.port();
        let host =
            if headers.starts_with("Host: ") { String::new() } else { format!("Host: 127.0.0.1:{port}\r\n") };
        let length = body.len();
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        let (status, head, body) = self.raw(&bytes).await;
        (status, head, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.request("GET", path, AUTHORIZED, b"").await;
        (status, body)
    }

    async fn submit(&self, body: &[u8]) -> (u16, String, Value) {
        let headers = format!("{AUTHORIZED}Content-Type: application/json\r\n");
        self.request("POST", "/api/v1/tasks", &headers, body).await
    }
}

pub(super) const AUTHORIZED: &str = "Authorization: Bearer secret\r\n";

#[tokio::test]
async fn probes_are_free_and_everything_else_wants_the_token() {
    let server = Server::start().await;
    assert_eq!(server.request("GET", "/healthz", "", b"").await.0, 200);
    let (status, _, body) = server.request("GET", "/health", "", b"").await;
    assert_eq!((status, body), (200, json!({"status": "ok"})));
    let (status, _, body) = server.request("GET", "/readyz", "", b"").await;
    assert_eq!((status, &body["status"]), (200, &json!("node_ready")));
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
    for (method, path) in [
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/peers"),
        ("GET", "/api/v1/members"),
        ("GET", "/api/v1/metrics"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/tasks"),
        ("POST", "/api/v1/tasks"),
        ("GET", "/api/v1/tasks/x"),
        ("DELETE", "/api/v1/tasks/x"),
        ("GET", "/api/v1/tasks/x/result"),
        ("GET", "/api/v1/tasks/x/events"),
        ("GET", "/api/v1/models"),
        ("POST", "/api/v1/models"),
        ("GET", "/api/v1/models/events"),
        ("POST", "/api/v1/models/refresh"),
        ("POST", "/api/v1/shutdown"),
    ] {
        let (status, head, body) = server.request(method, path, "", b"").await;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("token_missing")), "{method} {path}");
        assert!(head.contains("www-authenticate: bearer"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "secret", ""] {
            let (status, _, body) =
                server.request(method, path, &format!("Authorization: {wrong}\r\n"), b"").await;
            assert_eq!(
                (status, &body["error"]["code"]),
                (401, &json!("token_wrong")),
                "{method} {path} {wrong:?}"
            );
        }
    }
}

#[tokio::test]
async fn metrics_want_the_token_on_the_port_of_the_api_only() {
    let api = Server::start().await;
    let (status, _, body) = api.request("GET", "/metrics", "", b"").await;
    assert_eq!((status, &body["error"]["code"]), (401, &json!("token_missing")));
    let (status, head, body) = api.request("GET", "/metrics", AUTHORIZED, b"").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(body.as_str().unwrap().contains("\np2p_ai_peers{state=\"alive\"} 0\n"), "{body}");
    let (status, body) = api.get("/api/v1/metrics").await;
    assert_eq!((status, &body["families"][0]["name"]), (200, &json!("p2p_ai_build_info")));

    let open = Server::of_metrics(true).await;
    assert_eq!(open.request("GET", "/metrics", "", b"").await.0, 200);
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2\r\n";
    let (_, head, body) = open.request("GET", "/metrics", accept, b"").await;
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(kind) && head.contains("vary: accept"), "{head}");
    assert!(body.as_str().unwrap().ends_with("\n# EOF\n"), "{body}");
    let (status, _, _) = open.request("GET", "/metrics", "Host: evil.example\r\n", b"").await;
    assert_eq!(status, 421);
    for path in ["/api/v1/status", "/healthz", "/v1/models", "/api/v1/metrics"] {
        assert_eq!(open.request("GET", path, AUTHORIZED, b"").await.0, 404, "{path}");
    }
    assert_eq!(open.request("POST", "/metrics", "", b"").await.0, 405);
    let starting = Server::of_metrics(false).await;
    let (status, head, _) = starting.request("GET", "/metrics", "", b"").await;
    assert_eq!(status, 503);
    assert!(head.contains("connection: close"), "{head}");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let server = Server::start().await;
    let port = server.address.port();
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
        let headers = format!("Host: {host}:{port}\r\nOrigin: http://{host}:{port}\r\n");
        assert_eq!(server.request("GET", "/healthz", &headers, b"").await.0, 200, "{host}");
    }
    // The name prevents DNS rebinding, not the port: a tunnel or a container may have another one.
    for host in ["localhost", "localhost:1", "127.0.0.1", "127.0.0.1:18080", "[::1]", "[::1]:65535"] {
        let headers = format!("Host: {host}\r\nOrigin: http://LocalHost:3000\r\n");
        assert_eq!(server.request("GET", "/healthz", &headers, b"").await.0, 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost:80.evil.example",
        "localhost:65536",
        "localhost:-1",
        "localhost:",
        "localhost:80:80",
        "127.0.0.2",
        "::1",
        "",
        "user@localhost",
    ] {
        let headers = format!("Host: {host}\r\n");
        let (status, _, body) = server.request("GET", "/healthz", &headers, b"").await;
        assert!(status == 421 || status == 400, "{host:?}: {status} {body}");
    }
    let twice = format!("Host: localhost:{port}\r\nHost: evil.example\r\n");
    assert_eq!(server.request("GET", "/healthz", &twice, b"").await.0, 421);
    let absolute = server.request("GET", "http://evil.example/healthz", "", b"").await;
    assert_eq!(absolute.0, 421);
    let https = format!("https://localhost:{port}");
    let origins =
        ["http://evil.example", "http://localhost.evil.example", "null", "https://localhost", &https];
    for origin in origins {
        let headers = format!("{AUTHORIZED}Origin: {origin}\r\n");
        let (status, _, body) = server.request("GET", "/api/v1/status", &headers, b"").await;
        assert_eq!((status, &body["error"]["code"]), (403, &json!("origin_not_allowed")), "{origin}");
    }
    assert_eq!(server.raw(b"GET /healthz HTTP/1.0\r\n\r\n").await.0, 400);
}

#[tokio::test]
async fn a_node_on_its_way_says_so() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let token = Arc::new(Token::from_text(TOKEN));
    let startup = StartupRouter::new(listener.local_addr().unwrap(), token, Arc::default());
    let server = Server::behind(listener, startup.clone());
    let (status, mut body) = server.get("/api/v1/status").await;
    assert!(body["timestamp"].take().as_str().unwrap().ends_with('Z'));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        (status, body),
        (200, json!({"state": "INITIALIZING", "version": version, "timestamp": null}))
    );
    assert_eq!(server.request("GET", "/api/v1/status", "", b"").await.0, 401);
    assert_eq!(server.request("GET", "/healthz", "Host: evil.example\r\n", b"").await.0, 421);
    assert_eq!(server.request("GET", "/healthz", "", b"").await.2["status"], "alive");
    let (status, head, body) = server.request("GET", "/readyz", "", b"").await;
    assert_eq!((status, &body["status"]), (503, &json!("node_not_ready")));
    assert!(head.contains("connection: close"), "{head}");
    let (status, _, body) = server.submit(br#"{"type": "embedding", "input": "hello"}"#).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("node_not_ready")));
    // Later the node itself responds, and does not know more yet.
    let early = |request: &Request| {
        let view = StatusView { state: State::Registering, uptime_millis: None, ..testing::status() };
        matches!(request, Request::Status).then(|| Ok(Response::Status(Box::new(view))))
    };
    let server = Server::before(Box::new(early), Arc::new(OneResult)).await;
    let (_, body) = server.get("/api/v1/status").await;
    let expected = json!({"state": "REGISTERING", "version": "1", "timestamp": "1970-01-01T00:00:00.000Z"});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn questions_get_their_answers() {
    let server = Server::start().await;
    let (status, body) = server.get("/api/v1/status").await;
    assert_eq!((status, &body["state"], &body["uptime_ms"]), (200, &json!("ACTIVE"), &json!(5)));
    assert_eq!(body["timestamp"], "1970-01-01T00:00:00.000Z");
    assert_eq!(server.get("/api/v1/peers").await, (200, json!({"peers": []})));
    assert_eq!(server.get("/api/v1/members").await, (200, json!({"former": [], "members": []})));
    for (query, expected) in [
        ("", json!(["COMPLETED", "RUNNING"])),
        ("&status=running", json!(["RUNNING"])),
        ("&status=COMPLETED&worker=07070707070707070707070707070707", json!(["COMPLETED"])),
        ("&worker=08080808080808080808080808080808", json!([])),
    ] {
        let (status, body) = server.get(&format!("/api/v1/tasks?limit=3&offset=1{query}")).await;
        let tasks = body["tasks"].as_array().unwrap();
        let found: Value = tasks.iter().map(|task| task["status"].clone()).collect();
        assert_eq!((status, &found, &body["total"]), (200, &expected, &json!(tasks.len())), "{query}");
    }
    for (query, why) in [("status=done", "one of QUEUED, RUNNING, "), ("worker=me", "worker: ")] {
        let (status, body) = server.get(&format!("/api/v1/tasks?{query}")).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("query_malformed")));
        assert!(body["error"]["message"].as_str().unwrap().contains(why), "{body}");
    }
    let (status, _, body) = server.submit(br#"{"type": "embedding", "input": "hello"}"#).await;
    assert_eq!((status, body), (202, json!({"id": OPEN.to_string(), "status": "QUEUED"})));
    let (status, body) = server.get(&format!("/api/v1/tasks/{OPEN}")).await;
    assert_eq!((status, &body["status"], body.get("result")), (200, &json!("RUNNING"), None));
    assert_eq!(server.request("DELETE", &format!("/api/v1/tasks/{OPEN}"), AUTHORIZED, b"").await.0, 200);
    assert_eq!(server.request("POST", "/api/v1/shutdown", AUTHORIZED, b"").await.0, 202);
}

#[tokio::test]
async fn a_result_comes_with_its_output() {
    let server = Server::start().await;
    let (status, body) = server.get(&format!("/api/v1/tasks/{DONE}/result")).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "id": DONE.to_string(), "type": "embedding", "model": "m", "status": "COMPLETED",
            "worker": NodeId([7; 16]).to_string(), "attempts": 1,
            "submitted_at": "1970-01-01T00:00:00.000Z", "completed_at": "1970-01-01T00:00:00.001Z",
            "expires_at": "1970-01-01T00:00:00.002Z", "elapsed_ms": 2, "execution_ms": 1.5, "output_bytes": 8,
            "output_preview": "0.1",
            "trace_id": TraceId([3; 16]).to_string(), "output": {"vector": [0.1, -0.2], "tokens": 3},
        })
    );
    let (status, body) = server.get(&format!("/api/v1/tasks/{OPEN}/result")).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("task_not_finished")));
}

#[tokio::test]
async fn waiting_ends_with_the_task_or_with_the_time() {
    let server = Server::start().await;
    let (status, body) = server.get(&format!("/api/v1/tasks/{DONE}?wait_seconds=60")).await;
    assert_eq!((status, &body["status"]), (200, &json!("COMPLETED")));
    let begun = Instant::now();
    let (status, body) = server.get(&format!("/api/v1/tasks/{OPEN}?wait_seconds=1")).await;
    assert_eq!((status, &body["status"]), (200, &json!("RUNNING")));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let (status, body) = server.get(&format!("/api/v1/tasks/{OPEN}?wait_seconds=61")).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("wait_out_of_range")));
}

#[tokio::test]
async fn bad_tasks_are_refused_with_the_reason() {
    let server = Server::start().await;
    let long = format!(r#"{{"type": "embedding", "input": "{}"}}"#, "a".repeat(100_001));
    let huge = vec![b' '; limits::BODY_BYTES_MAX + 1];
    let cases: [(&[u8], u16, &str); 10] = [
        (b"", 400, "body_malformed"),
        (b"{", 400, "body_malformed"),
        (br#"{"type": "poetry", "input": "x"}"#, 400, "body_malformed"),
        (br#"{"type": "embedding", "input": "x", "modle": "m"}"#, 400, "body_malformed"),
        (br#"{"type": "embedding", "input": 3}"#, 400, "body_malformed"),
        (b"{\"type\": \"embedding\", \"input\": \"\xff\"}", 400, "input_not_utf8"),
        (br#"{"type": "embedding", "input": ""}"#, 400, "input_empty"),
        (long.as_bytes(), 413, "input_exceeds_max_length"),
        (&huge, 413, "body_too_large"),
        (br#"{"type": "embedding", "input": "full"}"#, 429, "queue_full"),
    ];
    for (body, expected, code) in cases {
        let (status, head, answer) = server.submit(body).await;
        assert_eq!((status, &answer["error"]["code"]), (expected, &json!(code)), "{answer}");
        assert_eq!(head.contains("retry-after: 2"), code == "queue_full");
    }
    let (status, _, body) = server.request("POST", "/api/v1/tasks", AUTHORIZED, b"{}").await;
    assert_eq!((status, &body["error"]["code"]), (415, &json!("content_type_unsupported")));
}

#[tokio::test]
async fn no_body_is_awaited_from_whom_it_is_not_wanted() {
    let server = Server::start().await;
    let port = server.address.port();
    for (authorization, bytes, expected) in
        [("", 1 << 20, "HTTP/1.1 401"), (AUTHORIZED, limits::BODY_BYTES_MAX + 1, "HTTP/1.1 413")]
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST /api/v1/tasks HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{authorization}Content-Length: {bytes}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let answered = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await;
        answered.expect("before the body came").unwrap();
        assert_eq!(str::from_utf8(&answer), Ok(expected));
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_to() {
    let server = Server::start().await;
    let unknown = TaskId([9; 16]).to_string();
    let mut cases = vec![("/nowhere".to_owned(), 404, "route_unknown")];
    for suffix in ["", "/result", "?wait_seconds=1"] {
        cases.push((format!("/api/v1/tasks/{unknown}{suffix}"), 404, "task_not_found"));
        cases.push((format!("/api/v1/tasks/no-such-id{suffix}"), 404, "task_not_found"));
    }
    cases.push(("/api/v1/tasks/%ff/result".to_owned(), 404, "task_not_found"));
    cases.push(("/api/v1/tasks?limit=0".to_owned(), 400, "limit_out_of_range"));
    cases.push(("/api/v1/tasks?limit=x".to_owned(), 400, "query_malformed"));
    cases.push(("/api/v1/shutdown".to_owned(), 405, "method_not_allowed"));
    for (path, expected, code) in cases {
        let (status, body) = server.get(&path).await;
        assert_eq!((status, &body["error"]["code"]), (expected, &json!(code)), "{path}");
    }
}

#[tokio::test]
async fn garbage_and_cut_requests_harm_nobody() {
    let server = Server::start().await;
    let long_header =
        [b"GET /healthz HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 200_000], b"\r\n\r\n"].concat();
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        &long_header,
    ] {
        let (status, _, _) = server.raw(bytes).await;
        assert!(status == 0 || (400..600).contains(&status), "{status}");
    }
    let mut cut = TcpStream::connect(server.address).await.unwrap();
    cut.write_all(b"POST /api/v1/tasks HTTP/1.1\r\nHost: lo").await.unwrap();
    drop(cut);
    assert_eq!(server.request("GET", "/healthz", "", b"").await.0, 200);
}

#[tokio::test]
async fn slow_clients_keep_nobody_waiting_and_lose_their_places() {
    let server = Server::start().await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
    }
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(server.request("GET", "/healthz", "", b"").await.0, 200);
        assert_eq!(server.get("/api/v1/status").await.0, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let limit = server::HEADER_TIMEOUT + Duration::from_secs(5);
    let closed = tokio::time::timeout(limit, slow[0].read_to_end(&mut Vec::new())).await;
    closed.expect("its time is over").unwrap();
}

#[tokio::test]
async fn a_refusal_to_a_stranger_ends_the_connection_and_one_to_the_user_does_not() {
    let server = Server::start().await;
    let port = server.address.port();
    for (headers, status, ends) in [
        (format!("Host: 127.0.0.1:{port}\r\n"), "401", true),
        ("Host: evil.example\r\n".to_owned(), "421", true),
        (format!("Host: 127.0.0.1:{port}\r\n{AUTHORIZED}"), "404", false),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET /api/v1/tasks/x HTTP/1.1\r\n{headers}\r\n").repeat(3);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answers)).await;
        assert_eq!(read.is_ok(), ends, "{status}");
        let answers = String::from_utf8(answers).unwrap().to_lowercase();
        let answered = answers.matches(&format!("http/1.1 {status}")).count();
        assert_eq!(answered, if ends { 1 } else { 3 }, "{answers}");
        assert_eq!(answers.contains("connection: close"), ends, "{answers}");
        assert_eq!(answers.matches("x-content-type-options: nosniff").count(), answered, "{answers}");
        assert_eq!(answers.matches("cache-control: no-store").count(), answered, "{answers}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused() {
    let server = Server::start().await;
    let (length, chunks) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    let body = r#"{"type": "embedding", "input": "hello"}"#;
    for (framing, status) in [
        (chunks.to_owned(), 202),
        (format!("{length}{chunks}"), 400),
        (format!("{chunks}{length}"), 400),
        (format!("{chunks}Content-Length: {}\r\n", body.len()), 400),
    ] {
        let port = server.address.port();
        let head = format!(
            "POST /api/v1/tasks HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{AUTHORIZED}Content-Type: application/json\r\n"
        );
        let request = format!("{head}{framing}\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        // The rest is not parsed as a request, wherever a proxy saw the end.
        let (found, head, body) = server.raw(format!("{request}{request}").as_bytes()).await;
        assert_eq!(found, status, "{framing:?}: {body}");
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(body.contains("length_ambiguous"), status == 400, "{body}");
        assert!(!body.contains("HTTP/1.1"), "{body}");
    }
}

#[tokio::test]
async fn a_refusal_is_heard_by_a_client_that_is_still_sending() {
    let server = Server::start().await;
    let body = vec![b' '; 4 << 20];
    for _ in 0..20 {
        let (status, head, _) = server.request("POST", "/api/v1/tasks", "", &body).await;
        assert_eq!(status, 401, "{head}");
    }
}

#[tokio::test]
async fn stopping_closes_the_port() {
    let mut server = Server::start().await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    drop(server.stop.take());
    tokio::time::timeout(Duration::from_secs(2), &mut server.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn models_are_listed_and_only_names_of_a_hub_are_fetched() {
    let server = Server::start().await;
    assert_eq!(server.get("/api/v1/models").await, (200, json!({ "models": [], "pulls": {} })));
    let pull = async |body: &str| {
        let headers = format!("{AUTHORIZED}Content-Type: application/json\r\n");
        let (status, _, body) = server.request("POST", "/api/v1/models", &headers, body.as_bytes()).await;
        (status, body["error"]["code"].as_str().map(str::to_owned))
    };
    for (body, status, code) in [
        (r#"{"model": "owner/../x"}"#, 400, "model_malformed"),
        (r#"{"model": "./folder"}"#, 400, "model_is_local"),
        (r#"{"model": 7}"#, 422, "body_malformed"),
        ("{", 400, "body_malformed"),
    ] {
        assert_eq!(pull(body).await, (status, Some(code.to_owned())), "{body}");
    }
}
