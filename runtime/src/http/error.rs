//! Errors of the HTTP interfaces: status, stable id, message and hint.

use crate::driver::Stopped;
use api::{ErrorBody, ErrorDetail};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{FetchError, Rejection, TaskId};
use std::time::Duration;

/// Error response: a status and a stable id for programs, a message and a hint for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    detail: ErrorDetail,
    /// Field of the request that the error is about.
    param: Option<String>,
    retry_after: Option<Duration>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let detail = ErrorDetail { code: code.to_owned(), message: shorten(message.into()), hint: None };
        Self { status, detail, param: None, retry_after: None }
    }

    /// Creates the error of a detail that is known already.
    pub(super) fn from_detail(status: StatusCode, detail: ErrorDetail) -> Self {
        let ErrorDetail { code, message, hint } = detail;
        let error = Self::new(status, &code, message);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Sets the field of the request that the error is about.
    pub(super) fn about(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    /// Returns the error for an invalid value of a field.
    pub(super) fn invalid_value(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_value", message).about(field)
    }

    /// Returns the error for a task whose stored record is damaged.
    pub(super) fn record_damaged(task: TaskId) -> Self {
        let message = format!("What is stored of task {task} is damaged, so it is not given out");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "record_damaged", message)
            .hint("submit the task again; p2p-ai-agents doctor says what else is damaged".to_owned())
    }

    pub(super) fn hint(mut self, hint: String) -> Self {
        self.detail.hint = Some(shorten(hint));
        self
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the body in the form of the control API.
    pub(super) fn body(&self) -> ErrorBody {
        ErrorBody { error: self.detail.clone() }
    }

    /// Replaces status and id by those of another API.
    pub(super) fn renamed(mut self, status: StatusCode, code: &str) -> Self {
        self.status = status;
        code.clone_into(&mut self.detail.code);
        self
    }

    /// Returns a response with this body and the headers of the error.
    pub(super) fn respond(&self, body: impl IntoResponse) -> Response {
        let mut response = (self.status, body).into_response();
        if let Some(after) = self.retry_after {
            // The header counts whole seconds; zero would cause a retry storm.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// Returns the stable error id.
    pub(super) fn code(&self) -> &str {
        &self.detail.code
    }

    /// Returns whether the error is about an input.
    pub(super) fn is_about_input(&self) -> bool {
        self.detail.code.starts_with("input_")
    }

    /// Adds the index of the input, from 0, to the message.
    pub(super) fn for_input(mut self, number: usize) -> Self {
        self.detail.message = format!("input {number} (the first is 0): {}", self.detail.message);
        self
    }

    /// Returns the field of the request that the error is about.
    pub(super) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    pub(super) fn detail(self) -> ErrorDetail {
        self.detail
    }

    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

/// Limits the length of a message: keeps its beginning and its end.
fn shorten(text: String) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text;
    }
    let head = &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX * 3 / 4)];
    let tail = &text[text.ceil_char_boundary(text.len() - MESSAGE_BYTES_MAX / 4)..];
    format!("{head} … {tail}")
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let error = Self::new(status(&rejection), rejection.code(), rejection.to_string());
        match rejection {
            Rejection::QueueFull { retry_after } => error.retry_after(retry_after),
            Rejection::NodeNotReady => {
                error.retry_after(Duration::from_secs(1)).hint("try again in a moment".to_owned())
            }
            Rejection::TaskNotFound(_) => error.hint(LIST_TASKS_HINT.to_owned()),
            Rejection::TooManyWaiting => error.retry_after(Duration::from_secs(1)),
            Rejection::Fetch(FetchError::Storage(_)) | Rejection::StorageFailed => {
                error.hint("check the space left on the node's disk".to_owned())
            }
            Rejection::TraceAmbiguous(_) => error.hint("give more digits of the id".to_owned()),
            Rejection::TraceNotFound => error.hint(TRACE_NOT_FOUND_HINT.to_owned()),
            Rejection::KindUnsupported(_) | Rejection::ModelUnknown(_) => {
                error.hint("p2p-ai-agents node status lists the models of a node".to_owned())
            }
            Rejection::Fetch(_)
            | Rejection::Input(_)
            | Rejection::InputTooLong { .. }
            | Rejection::NodeShuttingDown
            | Rejection::NodeUnknown(_)
            | Rejection::TaskFinished(_)
            | Rejection::ThresholdOutOfRange(_)
            | Rejection::TimeoutOutOfRange(_) => error,
        }
    }
}

impl From<Stopped> for ApiError {
    fn from(Stopped: Stopped) -> Self {
        Self::from(Rejection::NodeShuttingDown)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.respond(Json(self.body()))
    }
}

const fn status(rejection: &Rejection) -> StatusCode {
    match rejection {
        Rejection::Fetch(error) => match error {
            FetchError::Forged | FetchError::SourcesLost => StatusCode::BAD_GATEWAY,
            FetchError::Left => StatusCode::SERVICE_UNAVAILABLE,
            FetchError::NotFound => StatusCode::NOT_FOUND,
            FetchError::Storage(_) => StatusCode::INSUFFICIENT_STORAGE,
            FetchError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            FetchError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        },
        Rejection::Input(_) | Rejection::ThresholdOutOfRange(_) | Rejection::TimeoutOutOfRange(_) => {
            StatusCode::BAD_REQUEST
        }
        Rejection::InputTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Rejection::KindUnsupported(_) | Rejection::ModelUnknown(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Rejection::NodeNotReady | Rejection::NodeShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Rejection::QueueFull { .. } | Rejection::TooManyWaiting => StatusCode::TOO_MANY_REQUESTS,
        Rejection::StorageFailed => StatusCode::INSUFFICIENT_STORAGE,
        Rejection::TaskFinished(_) | Rejection::TraceAmbiguous(_) => StatusCode::CONFLICT,
        Rejection::NodeUnknown(_) | Rejection::TaskNotFound(_) | Rejection::TraceNotFound => {
            StatusCode::NOT_FOUND
        }
    }
}

/// Hint for an unknown trace.
const TRACE_NOT_FOUND_HINT: &str =
    "traces are kept for 48 hours, and only those that trace_sample or the client chose";
/// Approximate maximum length of a message or hint.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Hint for an unknown task.
pub(super) const LIST_TASKS_HINT: &str = "p2p-ai-agents task list shows the tasks";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_in_an_error_is_bounded() {
        for letter in ["a", "é", "€", "\u{1f600}"] {
            let message = format!("there is no model named {}: ask for another", letter.repeat(1 << 20));
            let error =
                ApiError::new(StatusCode::NOT_FOUND, "model_unknown", message).hint(letter.repeat(4096));
            let ErrorDetail { message, hint, .. } = error.detail();
            assert!(message.len() <= MESSAGE_BYTES_MAX + 10, "{}", message.len());
            assert!(
                message.starts_with("there is no model named ") && message.ends_with(": ask for another")
            );
            assert!(hint.unwrap().len() <= MESSAGE_BYTES_MAX + 10);
        }
        let error = ApiError::new(StatusCode::NOT_FOUND, "model_unknown", "short");
        assert_eq!(error.detail().message, "short");
    }
}
