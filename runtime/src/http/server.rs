//! Accept loop with timeouts. axum's loop lacks them, so a client that sends one byte a minute would hold a connection
//! forever.

use super::client_stream::ClientStream;
use super::clock_unset;
use super::connections::{Connection, ConnectionSlot, ConnectionTable};
use super::limits::SLOW_REQUEST_TIMEOUT;
use super::peer_owner::OwnerLookup;
use super::startup::StartupRouter;
use super::tracked_body::{self, RequestBody};
use crate::clock;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Binds the address of the API.
///
/// # Errors
/// If the address is in use or not available.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Limits how much the node computes for a client that does not read.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Binds a port on loopback. Tries the next ones if it is taken, unless the caller wants only this one.
///
/// # Errors
/// If no port that was tried is free.
pub fn listen_on_loopback(wanted: u16, only: bool) -> io::Result<TcpListener> {
    let mut refusal = io::Error::from(io::ErrorKind::AddrInUse);
    for port in (wanted..=u16::MAX).take(if only { 1 } else { PORT_TRIES }) {
        match listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            Ok(listener) => return Ok(listener),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// Serves the API until `stop` completes, then gives requests in progress a grace period.
pub async fn serve(listener: TcpListener, startup: StartupRouter, stop: impl Future<Output = ()> + Send) {
    let server = Server {
        table: ConnectionTable::new(startup.limits()),
        owners: OwnerLookup::open(),
        local: listener.local_addr().ok(),
        startup,
    };
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                if let Some(slot) = server.admit(remote) {
                    let (startup, stopped) = (server.startup.clone(), stopped.clone());
                    connections.spawn(serve_connection(stream, slot, startup, stopped));
                }
            }
            // Most likely out of file descriptors: accepting again at once would spin.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    // If this fails, no connection is left.
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, async { while connections.join_next().await.is_some() {} })
        .await;
}

/// State of the accept loop.
struct Server {
    table: Arc<ConnectionTable>,
    owners: OwnerLookup,
    local: Option<SocketAddr>,
    startup: StartupRouter,
}

impl Server {
    fn admit(&self, remote: SocketAddr) -> Option<ConnectionSlot> {
        let owner = self.owners.owner(remote, self.local.unwrap_or(remote));
        self.table.admit(owner)
    }
}

/// Serves one connection until it ends or is evicted.
async fn serve_connection(
    stream: TcpStream,
    slot: ConnectionSlot,
    startup: StartupRouter,
    stopped: watch::Receiver<bool>,
) {
    // Responses are small and latency matters.
    let _ = stream.set_nodelay(true);
    if !clock::has_date() {
        return clock_unset::refuse(stream).await;
    }
    let connection = Arc::clone(&slot.connection);
    tokio::select! {
        biased;
        () = connection.evicted() => tracing::debug!("a connection to the API gave way to another one"),
        () = converse(stream, &slot, startup, stopped) => {}
    }
}

async fn converse(
    stream: TcpStream,
    slot: &ConnectionSlot,
    startup: StartupRouter,
    mut stopped: watch::Receiver<bool>,
) {
    let stream = ClientStream::new(stream, Arc::clone(&slot.connection));
    let router = startup.router();
    let service = service_fn(|request| {
        let (router, startup, slot) = (router.clone(), &startup, slot);
        async move { Ok::<_, Infallible>(answer(request, router, startup, slot).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(stream, service)
    );
    let finished = tokio::select! {
        finished = connection.as_mut() => Some(finished),
        () = tokio::time::sleep(CONNECTION_AGE_MAX) => None,
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let finished = match finished {
        Some(finished) => Some(finished),
        None => {
            connection.as_mut().graceful_shutdown();
            // A stream that outlasts every generation is stuck.
            tokio::time::timeout(SLOW_REQUEST_TIMEOUT, connection).await.ok()
        }
    };
    if let Some(Err(error)) = finished {
        tracing::debug!(%error, "a connection to the API ended early");
    }
}

/// Responds to one request, within the limits of concurrent requests.
async fn answer(
    request: hyper::Request<Incoming>,
    router: Router,
    startup: &StartupRouter,
    slot: &ConnectionSlot,
) -> hyper::Response<Body> {
    let connection: &Arc<Connection> = &slot.connection;
    let _turn = if connection.is_pipelined() { slot.table().await_turn().await } else { None };
    let authenticated = startup.is_authorized(request.headers());
    if authenticated {
        connection.authenticate();
    }
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    if chunked && connection.is_ambiguous() {
        return tracked_body::finish(tracked_body::ambiguous_length(), slot, false, Vec::new());
    }
    let request = request.map(|body| Body::new(RequestBody::new(body, Arc::clone(connection))));
    let permit = if authenticated {
        match slot.table().begin_request() {
            Some(permit) => Some(permit),
            None => {
                return tracked_body::finish(
                    tracked_body::too_many_requests(),
                    slot,
                    authenticated,
                    Vec::new(),
                );
            }
        }
    } else {
        None
    };
    let mut response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if chunked {
        // The rest of this body would be parsed as the next request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        connection.discard_rest();
    }
    tracked_body::finish(response, slot, authenticated, permit.into_iter().collect())
}

/// Ports that are tried from the wanted one on.
const PORT_TRIES: usize = 100;
const SEND_BUFFER_BYTES: u32 = 64 << 10;
/// Connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 1024;
/// Timeout of a request's head, and of the next request on a kept-alive connection.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Age from which a connection accepts no more requests.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);
const BUFFER_BYTES_MAX: usize = 64 << 10;
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
