//! Liveness and readiness probes, which require no token.

use super::state::Api;
use crate::clock;
use api::{Liveness, Readiness};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::health::Verdict;
use engine::lifecycle;
use engine::request::{Request as NodeRequest, Response as NodeResponse};

/// Liveness probe: always succeeds, and reports the health. An unhealthy node is still alive, because a restart would
/// not fix a full disk.
pub(super) async fn healthz(State(api): State<Api>) -> Json<Liveness> {
    let health = match api.handle.ask(NodeRequest::Status).await {
        Ok(Ok(NodeResponse::Status(view))) => view.health,
        Ok(_) | Err(_) => None,
    };
    let unwell = health.iter().flat_map(|health| health.findings.iter().copied());
    Json(Liveness {
        status: "alive".to_owned(),
        health: health.as_ref().map(|health| health.verdict),
        unwell: unwell.filter(|finding| finding.verdict != Verdict::Pass).collect(),
        timestamp: clock::wall().to_string(),
    })
}

/// Readiness probe: succeeds while the node is ACTIVE.
pub(super) async fn readyz(State(api): State<Api>) -> (StatusCode, Json<Readiness>) {
    let state = match api.handle.ask(NodeRequest::Status).await {
        Ok(Ok(NodeResponse::Status(view))) => Some(view.state),
        Ok(_) | Err(_) => None,
    };
    let (code, status) = match state {
        Some(lifecycle::State::Active) => (StatusCode::OK, "node_ready"),
        Some(
            lifecycle::State::Initializing
            | lifecycle::State::Registering
            | lifecycle::State::ShuttingDown
            | lifecycle::State::Stopped,
        )
        | None => (StatusCode::SERVICE_UNAVAILABLE, "node_not_ready"),
    };
    (code, Json(Readiness { status: status.to_owned(), timestamp: clock::wall().to_string() }))
}
