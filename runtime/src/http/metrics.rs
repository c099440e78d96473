//! `GET /metrics`, as Prometheus and OpenMetrics have it.
//!
//! The port of the metrics serves it to every local program without the token, and nothing else. On the port of the API
//! it requires the token.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::error::ApiError;
use super::node_client::{ask, internal, unexpected};
use super::state::Api;
use crate::metrics::{Format, Host, families, render};
use api::metrics::Metrics;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::request::{Request as NodeRequest, Response as NodeResponse};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Figures that the process of a node adds to its metrics, and the limit of concurrent reads.
#[derive(Debug)]
pub struct MetricsSource {
    host: Host,
    turns: Semaphore,
}

impl MetricsSource {
    /// Creates the source.
    pub fn new(host: Host) -> Self {
        Self { host, turns: Semaphore::new(READS_AT_ONCE) }
    }
}

/// Returns the routes on the port of the API.
pub(super) fn router(api: &Api) -> Router<Api> {
    Router::new().route("/metrics", get(scrape)).layer(from_fn_with_state(api.clone(), want_token))
}

/// Returns the routes on the port of the metrics.
pub(super) fn open_router() -> Router<Api> {
    Router::new().route("/", get(async || SIGNPOST)).route("/metrics", get(scrape))
}

/// Collects the metrics of the node, of its models and of its process.
///
/// # Errors
/// If the node has stopped.
pub(super) async fn collect(api: &Api) -> Result<Metrics, ApiError> {
    // Closed never: nobody closes it.
    let _turn = api.metrics.turns.acquire().await;
    let view = match ask(api, NodeRequest::Metrics).await? {
        NodeResponse::Metrics(view) => view,
        other => return Err(unexpected(&other)),
    };
    let (source, models) = (Arc::clone(&api.metrics), api.models.models());
    let timestamp = view.status.timestamp.to_string();
    // The figures of the host come from files.
    let families = tokio::task::spawn_blocking(move || families(&view, &source.host.read(), &models));
    let families = families.await.map_err(|error| failed(&error))?;
    Ok(Metrics { timestamp, families })
}

async fn scrape(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(accepted);
    let metrics = collect(&api).await?;
    let content_type = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
    Ok((content_type, render(metrics.families, format)).into_response())
}

async fn want_token(State(api): State<Api>, request: Request, next: Next) -> Result<Response, ApiError> {
    api.authorize(&request)?;
    Ok(next.run(request).await)
}

fn failed(error: &tokio::task::JoinError) -> ApiError {
    tracing::error!(%error, "cannot read the metrics");
    internal("internal_error", "the node failed to read its metrics".to_owned())
}

/// Reads at a time. A read costs the node's thread a fraction of a millisecond.
const READS_AT_ONCE: usize = 2;
const SIGNPOST: &str = "p2p-ai-agents: the metrics are at /metrics\n";
