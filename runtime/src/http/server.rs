//! The accept loop. axum's own has no timers: a client that sends a byte a minute would hold a place for ever.

use super::{Door, api};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Serves the API until `stop` completes; then lets requests under way finish, for a moment.
pub async fn serve(listener: TcpListener, door: Door, stop: impl Future<Output = ()> + Send) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        // Whoever finds no place waits in the kernel's queue, where it costs nothing.
        let place = tokio::select! {
            biased;
            () = &mut stop => break,
            place = places.clone().acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let stream = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let (router, stopped) = (door.router(), stopped.clone());
                connections.spawn(async move {
                    converse(stream, router, stopped).await;
                    drop(place);
                });
            }
            // Out of file descriptors, most likely: asking again at once would spin.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    // Nobody listens any more where this fails.
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
}

async fn converse(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    // Answers are small and wanted at once.
    let _ = stream.set_nodelay(true);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
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
            // A client that does not read its answer would otherwise stay as long as it likes.
            tokio::time::timeout(api::SLOW_REQUEST_TIMEOUT, connection).await.ok()
        }
    };
    if let Some(Err(error)) = finished {
        tracing::debug!(%error, "a connection to the API ended early");
    }
}

/// Connections served at the same time.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// A request's head must be there by then; the same for the next one on a connection that is kept.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection takes no more requests after this long.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);
const BUFFER_BYTES_MAX: usize = 64 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const FAREWELL: Duration = Duration::from_millis(500);
