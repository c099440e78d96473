//! Bodies of requests: taken in as a whole, within limits of size and time, and read as JSON.

use super::error::ApiError;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Returns a request with its whole body. Comes after the check of the token: whoever has none has no claim on this
/// node's memory.
pub(super) async fn whole(request: Request, bytes_max: usize) -> Result<Request, ApiError> {
    let too_large = || {
        let message = format!("the body has more than {bytes_max} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let (parts, body) = request.into_parts();
    // An announced length is refused at once; one that is not announced, when it is reached.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect())
        .await
        .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body took too long"))?
        .map_err(|error| {
            if error.downcast_ref::<LengthLimitError>().is_some() {
                too_large()
            } else {
                ApiError::new(StatusCode::BAD_REQUEST, "body_malformed", "the body was cut short")
            }
        })?;
    Ok(Request::from_parts(parts, Body::from(body.to_bytes())))
}

/// Reads a body as JSON; `what` says in an error what it should have been.
pub(super) fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8], what: &str) -> Result<T, ApiError> {
    // A page can send any other type across origins without asking first.
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let message = "the body must be application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type_unsupported", message));
    }
    let text = str::from_utf8(body).map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "input_not_utf8", "the body is not UTF-8 text")
    })?;
    serde_json::from_str(text).map_err(|error| {
        let message = format!("the body is not {what}: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "body_malformed", message)
    })
}

/// A body must be there by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
