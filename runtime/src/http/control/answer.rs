//! Types of responses and queries that all handlers of the control API share.

use crate::http::error::ApiError;
use crate::text::plain_words;
use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;

pub(in crate::http) type JsonResult<T> = Result<Json<T>, ApiError>;

pub(in crate::http) type QueryOf<T> = Result<Query<T>, QueryRejection>;

pub(in crate::http) fn query_malformed(rejection: QueryRejection) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "query_malformed", plain_words(&rejection.body_text()))
}
