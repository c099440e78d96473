//! Forwards requests to a node in another process, with that node's token in place of the client's.
//!
//! The node may change from request to request, as nodes are killed and started. Bodies pass through in both
//! directions as they arrive, so streams stay live. The dashboard's page and its logins are those of this process, so
//! they survive a restart of the node.

use super::auth;
use super::dashboard::{self, Door};
use super::error::ApiError;
use api::ErrorDetail;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// A node that takes requests.
#[derive(Clone)]
pub struct ForwardTarget {
    /// The address of its API.
    pub address: SocketAddr,
    /// The content of its token file.
    pub token: String,
}

/// Chooses the node for each request.
#[derive(Clone)]
pub struct Forwarder {
    absent: ErrorDetail,
    choose: Arc<dyn Fn() -> Option<ForwardTarget> + Send + Sync>,
}

impl Forwarder {
    /// Creates a forwarder. `choose` returns the node for the next request; `None` if no node runs, which `absent` says.
    pub fn new(
        absent: ErrorDetail,
        choose: impl Fn() -> Option<ForwardTarget> + Send + Sync + 'static,
    ) -> Self {
        Self { absent, choose: Arc::new(choose) }
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarder")
    }
}

/// State of the router.
#[derive(Clone)]
struct Front {
    forwarder: Forwarder,
    door: Door,
}

impl FromRef<Front> for Door {
    fn from_ref(front: &Front) -> Self {
        front.door.clone()
    }
}

/// Returns a router that forwards every request that it admits.
pub(super) fn router(forwarder: Forwarder, door: Door) -> Router {
    let address = door.address;
    let front = Front { forwarder, door };
    Router::new()
        .merge(dashboard::page_router())
        .fallback(forward)
        .layer(from_fn_with_state(address, auth::admit))
        .with_state(front)
}

async fn forward(State(front): State<Front>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    if !OPEN_PATHS.contains(&parts.uri.path()) {
        front.door.check(&parts.method, &parts.headers)?;
    }
    let is_page = parts.uri.path() == EVENTS;
    match pass_on(&front.forwarder, Request::from_parts(parts, body)).await {
        // An error would end the stream of a page for good.
        Err(_) if is_page => Ok(dashboard::unreachable()),
        answer => answer,
    }
}

/// Sends a request to the node that is chosen now.
async fn pass_on(forwarder: &Forwarder, request: Request) -> Result<Response, ApiError> {
    let Some(target) = (forwarder.choose)() else {
        return Err(ApiError::from_detail(StatusCode::SERVICE_UNAVAILABLE, forwarder.absent.clone()));
    };
    let (mut parts, body) = request.into_parts();
    // The node sees a request to itself.
    parts.uri = parts.uri.path_and_query().map_or_else(Uri::default, |path| Uri::from(path.clone()));
    parts.version = axum::http::Version::HTTP_11;
    remove_connection_headers(&mut parts.headers);
    parts.headers.remove(header::ORIGIN);
    parts.headers.remove(header::COOKIE);
    let text = |text: String| HeaderValue::from_str(&text).map_err(|error| not_answering(&error));
    parts.headers.insert(header::HOST, text(target.address.to_string())?);
    parts.headers.insert(header::AUTHORIZATION, text(format!("Bearer {}", target.token.trim()))?);
    let response = send(target.address, Request::from_parts(parts, body)).await;
    response.map_err(|error| not_answering(&*error))
}

/// Sends a request over a connection of its own.
async fn send(
    address: SocketAddr,
    request: Request,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the exchange, and an error in it shows there.
    tokio::spawn(async move { drop(connection.await) });
    let (mut parts, body) = sender.send_request(request).await?.into_parts();
    remove_connection_headers(&mut parts.headers);
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// Removes the headers that are about one connection (RFC 9110, section 7.6.1).
fn remove_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&[header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE]) {
        headers.remove(name);
    }
}

fn not_answering(error: &dyn std::error::Error) -> ApiError {
    let message = format!("the node behind this address does not answer: {error}");
    ApiError::new(StatusCode::BAD_GATEWAY, "node_not_answering", message)
        .hint("try again: the next request goes to a node that runs".to_owned())
}

/// Path of the stream of a page.
const EVENTS: &str = "/api/v1/dashboard/events";
/// Paths without a token.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
