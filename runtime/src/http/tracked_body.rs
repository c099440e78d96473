//! Request and response bodies that tell their connection whether the client or the server is to act next.
//!
//! Every response gets its common headers here: `nosniff`, `no-store`, and `Connection: close` after a rejection of a
//! client without the token.

use super::connections::{Connection, ConnectionSlot};
use super::error::ApiError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::{Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Body of a request; until it is complete, the server waits for the client.
pub(super) struct RequestBody {
    body: Incoming,
    connection: Arc<Connection>,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, connection: Arc<Connection>) -> Self {
        if body.is_end_stream() {
            connection.mark_working();
        } else {
            connection.mark_waiting();
        }
        Self { body, connection }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.connection.mark_working();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Body of a response; once it is sent, the server waits for the next request.
struct ResponseBody {
    body: Body,
    connection: Arc<Connection>,
    // Released on drop.
    _permits: Vec<OwnedSemaphorePermit>,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.connection.mark_waiting();
    }
}

/// Completes a response: adds the common headers, and a body that tracks its end.
pub(super) fn finish(
    response: Response<Body>,
    slot: &ConnectionSlot,
    authenticated: bool,
    mut permits: Vec<OwnedSemaphorePermit>,
) -> Response<Body> {
    // A body of unknown length is a stream; without the token there is none.
    let response = if response.body().size_hint().exact().is_some() {
        response
    } else {
        match slot.table().begin_stream() {
            Some(permit) => {
                permits.push(permit);
                response
            }
            None => too_many_streams(),
        }
    };
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    parts.headers.entry(header::CACHE_CONTROL).or_insert_with(|| HeaderValue::from_static("no-store"));
    if parts.status.is_client_error() {
        if !authenticated {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        slot.connection.discard_rest();
    }
    let connection = Arc::clone(&slot.connection);
    Response::from_parts(parts, Body::new(ResponseBody { body, connection, _permits: permits }))
}

/// Rejects a request because too many are in progress.
pub(super) fn too_many_requests() -> Response<Body> {
    busy("too_many_requests", "this node computes as many requests as it can")
}

/// Rejects a request with both a `Content-Length` and chunked encoding.
pub(super) fn ambiguous_length() -> Response<Body> {
    let message = "a chunked request must not have a Content-Length";
    ApiError::new(StatusCode::BAD_REQUEST, "length_ambiguous", message).into_response()
}

fn too_many_streams() -> Response<Body> {
    busy("too_many_streams", "this node streams as many answers as it can")
}

fn busy(code: &str, message: &str) -> Response<Body> {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, message)
        .retry_after(Duration::from_secs(1))
        .hint("let some of the others end first".to_owned())
        .into_response()
}
