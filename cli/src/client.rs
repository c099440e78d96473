//! A client of the control API: one request per connection, over loopback, with the token of the home.
//!
//! Every request has a timeout and fails with a reason.

use crate::error::{Failure, Outcome};
use crate::{homes, terminal};
use api::{ErrorBody, Task};
use engine::TaskId;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use runtime::home::{Holder, Home, RunInfo};
use runtime::http::ForwardTarget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpStream;

/// A client of the node in one home.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    info: RunInfo,
    token: String,
    /// The media type that responses should have.
    accept: Option<&'static str>,
}

/// The response of a node.
pub(crate) struct Reply {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Bytes,
}

impl Client {
    /// Finds the running node of a home.
    pub(crate) fn connect(home: &Home) -> Result<Self, Failure> {
        if home.holder() == Holder::Nobody {
            return Err(homes::not_running(home));
        }
        let info = home.info().ok_or_else(|| {
            Failure::new(format!("The node is starting or stopping (home: {})", home.root().display()))
                .id("node_not_ready")
                .hint("try again in a moment")
        })?;
        let mut token = String::new();
        File::open(home.token_file())
            .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut token))
            .map_err(|error| {
                Failure::new("cannot read the node's token").id("token_unreadable").because(Some(&error))
            })?;
        Ok(Self { info, token, accept: None })
    }

    /// Asks for responses of this media type.
    pub(crate) const fn accepting(mut self, media_type: &'static str) -> Self {
        self.accept = Some(media_type);
        self
    }

    /// Returns what the node wrote to its home at its start.
    pub(crate) fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Returns the node as the target of forwarded requests.
    pub(crate) fn forward_target(&self) -> ForwardTarget {
        ForwardTarget { address: self.info.api_address, token: self.token.clone() }
    }

    /// Requests whether the node is ready, with the short timeout of a probe.
    pub(crate) async fn readiness(&self) -> Result<Reply, Failure> {
        self.send(Method::GET, "/readyz", None, PROBE_TIMEOUT).await
    }

    /// Sends a GET request and decodes a successful response.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(Method::GET, path, None, READ_TIMEOUT).await?.read()
    }

    /// Requests a task. The node responds when the task has ended, or after `wait`.
    pub(crate) async fn await_task(&self, id: TaskId, wait: Duration) -> Result<Task, Failure> {
        let path = format!("/api/v1/tasks/{id}?wait_seconds={}", wait.as_secs());
        self.send(Method::GET, &path, None, wait + READ_TIMEOUT).await?.read()
    }

    /// Sends a GET request and returns the body of a successful response unchanged.
    pub(crate) async fn get_raw(&self, path: &str) -> Result<Bytes, Failure> {
        self.send(Method::GET, path, None, READ_TIMEOUT).await?.success()
    }

    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Reply, Failure> {
        let body =
            serde_json::to_vec(body).map_err(|error| Failure::from_error(&error).id("internal_error"))?;
        self.send(Method::POST, path, Some(body), ANSWER_TIMEOUT).await
    }

    /// Sends a POST request without a body to a route that takes a while, and returns the body of a successful response.
    pub(crate) async fn post_slow(&self, path: &str, takes: Duration) -> Result<Bytes, Failure> {
        self.send(Method::POST, path, None, takes + ANSWER_TIMEOUT).await?.success()
    }

    pub(crate) async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Reply, Failure> {
        let body =
            serde_json::to_vec(body).map_err(|error| Failure::from_error(&error).id("internal_error"))?;
        self.send(Method::PATCH, path, Some(body), ANSWER_TIMEOUT).await
    }

    /// Sends a POST request and passes each line of a successful response to `line`, until that breaks.
    pub(crate) async fn post_lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut line: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let body =
            serde_json::to_vec(body).map_err(|error| Failure::from_error(&error).id("internal_error"))?;
        let read =
            |whole: &[u8]| Ok(line(serde_json::from_slice(whole).map_err(|error| unreadable(&error))?));
        self.lines(Method::POST, path, Some(body), read).await
    }

    /// Requests a stream of events and passes the name and data of each to `event`, until that breaks or the stream
    /// ends.
    pub(crate) async fn events(
        &self,
        path: &str,
        mut event: impl FnMut(&str, &str) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let mut name = String::new();
        let read = |line: &[u8]| {
            match String::from_utf8_lossy(line).trim_end().split_once(": ") {
                Some(("event", of)) => of.clone_into(&mut name),
                Some(("data", data)) => return event(&name, data),
                Some(_) | None => {}
            }
            Ok(ControlFlow::Continue(()))
        };
        self.lines(Method::GET, path, None, read).await
    }

    /// Passes each line of a successful response to `line`. An idle stream carries a keep-alive every few seconds.
    async fn lines(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        mut line: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let begun = tokio::time::timeout(ANSWER_TIMEOUT, self.begin(method, path, body));
        let response =
            begun.await.map_err(|_| self.not_answering(Some(&RequestTimeout::Answer(ANSWER_TIMEOUT))))?;
        let response = response.map_err(|error| self.not_answering(Some(&*error)))?;
        let status = response.status();
        let mut body = response.into_body();
        let mut text = Vec::new();
        let late = |_| self.not_answering(Some(&RequestTimeout::Stream));
        while let Some(frame) = tokio::time::timeout(STREAM_TIMEOUT, body.frame()).await.map_err(late)? {
            let frame = frame.map_err(|error| self.not_answering(Some(&error)))?;
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n').filter(|_| status.is_success())
            {
                let rest = text.split_off(end + 1);
                if line(&std::mem::replace(&mut text, rest))?.is_break() {
                    return Ok(());
                }
            }
            if text.len() > LINE_BYTES_MAX {
                return Err(Failure::new("the answer of the node has a line that is too long")
                    .id("answer_unreadable"));
            }
        }
        Reply { status, retry_after: None, body: text.into() }.accepted()
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Reply, Failure> {
        self.send(Method::DELETE, path, None, ANSWER_TIMEOUT).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Reply, Failure> {
        let exchanged = tokio::time::timeout(limit, self.exchange(method, path, body)).await;
        let late = |_| self.not_answering(Some(&RequestTimeout::Answer(limit)));
        exchanged.map_err(late)?.map_err(|error| self.not_answering(Some(&*error)))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, Box<dyn std::error::Error>> {
        let response = self.begin(method, path, body).await?;
        let status = response.status();
        let seconds =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error as Box<dyn std::error::Error>)?;
        Ok(Reply { status, retry_after: seconds.map(Duration::from_secs), body: body.to_bytes() })
    }

    /// Sends a request and returns the response once its head has arrived.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.info.api_address));
        let stream = connected.await.map_err(|_| RequestTimeout::Connect)??;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the exchange, and an error in it shows there.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.info.api_address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONNECTION, "close");
        let request = match self.accept {
            Some(media_type) => request.header(header::ACCEPT, media_type),
            None => request,
        };
        let request = match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                trace_headers(request).body(Full::new(Bytes::from(body)))?
            }
            None => request.body(Full::new(Bytes::new()))?,
        };
        Ok(sender.send_request(request).await?)
    }

    fn not_answering(&self, cause: Option<&dyn std::error::Error>) -> Failure {
        Failure::new(format!("The node does not answer (pid {}, {})", self.info.pid, self.info.api_address))
            .id("node_not_answering")
            .because(cause)
            .hint(
                "read logs/node.log in the home of the node, or stop the node with: p2p-ai-agents node stop",
            )
    }
}

impl Reply {
    /// Returns the delay before a retry, if the node gave one.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        (self.status == StatusCode::TOO_MANY_REQUESTS).then_some(self.retry_after).flatten()
    }

    /// Returns whether the node is fetching the model of the task.
    pub(crate) fn is_pulling(&self) -> bool {
        let error = serde_json::from_slice::<ErrorBody>(&self.body).ok().map(|body| body.error.code);
        self.is_unavailable() && error.as_deref() == Some("model_pulling")
    }

    /// Returns whether the node is unavailable (503).
    pub(crate) fn is_unavailable(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Decodes a successful response.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, Failure> {
        serde_json::from_slice(&self.success()?).map_err(|error| unreadable(&error))
    }

    /// Accepts any successful response.
    pub(crate) fn accepted(self) -> Result<(), Failure> {
        self.success().map(|_| ())
    }

    fn success(self) -> Result<Bytes, Failure> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let Ok(ErrorBody { error }) = serde_json::from_slice(&self.body) else {
            return Err(Failure::new(format!("the node answered with status {}", self.status.as_u16()))
                .id("answer_unreadable"));
        };
        let failure = Failure::new(terminal::sanitize(&error.message)).id(error.code);
        Err(match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    }
}

/// Adds the trace context that the caller of this program gave in its environment. The node checks it.
fn trace_headers(mut request: request::Builder) -> request::Builder {
    for name in ["traceparent", "tracestate"] {
        let value =
            std::env::var(name.to_uppercase()).ok().and_then(|text| HeaderValue::from_str(&text).ok());
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    request
}

/// Runs an asynchronous command to its end.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command).map(|()| ExitCode::SUCCESS)
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::new("this version cannot read the answer of the node")
        .id("answer_unreadable")
        .because(Some(error))
}

/// A timeout of a request.
#[derive(Debug)]
enum RequestTimeout {
    Answer(Duration),
    Connect,
    Stream,
}

impl std::fmt::Display for RequestTimeout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Connect => write!(f, "no connection within {} s", CONNECT_TIMEOUT.as_secs()),
            Self::Stream => write!(f, "nothing more of the answer for {} s", STREAM_TIMEOUT.as_secs()),
        }
    }
}

impl std::error::Error for RequestTimeout {}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Reads are answered at once; the rest is for a busy machine.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Probes have timeouts of their own and discard later output.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The node answers every request within 70 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);
/// A stream sends at least a keep-alive every 15 s.
const STREAM_TIMEOUT: Duration = Duration::from_secs(50);
/// Maximum size of a response: a full list of tasks.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Maximum size of a line in a streamed response.
const LINE_BYTES_MAX: usize = 1 << 20;
const TOKEN_BYTES_MAX: u64 = 1024;
