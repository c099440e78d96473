//! The router of all HTTP interfaces, and the checks before every request.

use super::error::ApiError;
use super::limits::{REQUEST_TIMEOUT, SLOW_REQUEST_TIMEOUT};
use super::state::Api;
use super::{auth, control, dashboard, metrics, openai, probes, tei, trace_context};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;

/// Returns the router of a running node.
pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .merge(metrics::router(&api))
        .nest("/api/v1", control::router(&api))
        .nest("/v1", openai::router(&api))
        .nest("/v2", openai::router_v2(&api))
        .merge(tei::router(&api))
        .merge(dashboard::page_router())
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        // Each group of routes limits its bodies itself.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(api.clone(), trace_context::follow))
        .layer(from_fn(limit_time))
        .layer(from_fn_with_state(api.address, auth::admit))
        .with_state(api)
}

/// Returns the router of the port of the metrics.
pub(super) fn metrics_router(api: Api) -> Router {
    metrics::open_router()
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn(limit_time))
        .layer(from_fn_with_state(api.address, auth::admit))
        .with_state(api)
}

/// Limits the duration of a request.
async fn limit_time(request: Request, next: Next) -> Result<Response, ApiError> {
    // Generations have the timeout of their tasks, and profiles take as long as they are asked to.
    let slow = ["/v1/", "/v2/", "/api/v1/debug/profile"]
        .iter()
        .any(|prefix| request.uri().path().starts_with(prefix));
    let timeout = if slow { SLOW_REQUEST_TIMEOUT } else { REQUEST_TIMEOUT };
    tokio::time::timeout(timeout, next.run(request)).await.map_err(|_| {
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "request_timeout", "the node took too long to answer")
    })
}

async fn unknown_route(method: Method, request: Request) -> ApiError {
    let message = format!("there is no {method} {}", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "route_unknown", message)
}

async fn unknown_method(method: Method, request: Request) -> ApiError {
    let message = format!("{} does not take {method}", request.uri().path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
