//! Errors in OpenAI's shape; its clients choose an exception by the status and show the message.

use crate::http::error::ApiError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Error in OpenAI's shape.
#[derive(Clone, Debug)]
pub(super) struct OpenAiError(ApiError);

impl OpenAiError {
    /// Returns the error for an invalid or unsupported parameter.
    pub(super) fn bad_request(param: &str, message: impl Into<String>) -> Self {
        Self(ApiError::invalid_value(param, message))
    }

    /// Returns the body as JSON.
    pub(super) fn body(&self) -> Value {
        let detail = self.0.body();
        let hint = detail.error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        json!({"error": {
            "message": format!("{}{hint}", detail.error.message),
            "type": kind(self.0.status()),
            "param": self.0.param(),
            "code": detail.error.code,
        }})
    }
}

impl From<ApiError> for OpenAiError {
    fn from(error: ApiError) -> Self {
        match error.body().error.code.as_str() {
            // OpenAI's status and code for an unknown model.
            "model_unknown" | "task_type_unsupported" => {
                Self(error.renamed(StatusCode::NOT_FOUND, "model_not_found").about("model"))
            }
            "model_pulling" | "model_unusable" => Self(error.about("model")),
            _ => Self(error),
        }
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let body = self.body();
        self.0.respond(Json(body))
    }
}

/// Returns OpenAI's `type` of errors with a status.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}
