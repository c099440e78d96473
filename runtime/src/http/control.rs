//! Control API below `/api/v1`, for the command line and other programs of the node's user.
//!
//! Each handler sends one request to the node and converts its response to a JSON type of the crate `api`.

mod alerts;
pub(super) mod answer;
mod debug;
mod events;
mod files;
mod metrics;
mod models;
mod network;
mod status;
mod tasks;
mod traces;

use super::error::ApiError;
use super::limits::BODY_BYTES_MAX;
use super::state::Api;
use super::{body, dashboard};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, patch, post};

/// Returns the routes below `/api/v1`.
pub(super) fn router(api: &Api) -> Router<Api> {
    Router::new()
        .route("/status", get(status::status))
        .route("/peers", get(network::peers))
        .route("/members", get(network::members))
        .route("/routes/{id}", get(network::route))
        .route("/routes/{id}/ping", post(network::ping))
        .route("/alerts", get(alerts::active))
        .route("/alerts/history", get(alerts::history))
        .route("/alerts/thresholds", patch(alerts::set))
        .route("/diagnosis", get(status::diagnosis))
        .route("/health", get(status::health))
        .route("/metrics", get(metrics::metrics))
        .route("/attempts", get(tasks::attempts))
        .route("/tasks", post(tasks::submit).get(tasks::tasks))
        .route("/tasks/{id}", get(tasks::task).delete(tasks::cancel))
        .route("/tasks/{id}/events", get(tasks::events))
        .route("/tasks/{id}/result", get(tasks::result))
        .route("/traces/{id}", get(traces::trace))
        .route("/models", get(models::list).post(models::pull))
        .route("/models/refresh", post(models::refresh))
        .route("/models/events", get(models::events))
        .route("/shutdown", post(status::shutdown))
        .route("/fetches", post(files::fetch).get(files::fetches))
        .route("/files", get(files::files).post(files::share))
        .route("/debug/memory", get(debug::memory))
        .route("/debug/profile", post(debug::profile))
        .route("/debug/snapshot", get(debug::snapshot))
        .route("/debug/log-level", get(debug::log_levels).post(debug::set_log_level))
        .nest("/dashboard", dashboard::router())
        .layer(from_fn(take_body))
        .layer(from_fn_with_state(api.clone(), want_token))
}

/// Buffers the body. Runs after [`want_token`], so that only clients with the token use the node's memory.
async fn take_body(request: Request, next: Next) -> Result<Response, ApiError> {
    Ok(next.run(body::whole(request, BODY_BYTES_MAX).await?).await)
}

async fn want_token(State(api): State<Api>, request: Request, next: Next) -> Result<Response, ApiError> {
    api.authorize(&request)?;
    Ok(next.run(request).await)
}
