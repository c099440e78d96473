//! The dashboard: the page, the login of a browser, and what the page shows.
//!
//! The page needs no login, since it holds no data. Everything else takes the node's token or the cookie of a session.
//! All pages of a node share one [`Hub`], so that the node is asked once for all of them, and not at all without them.

mod assets;
mod events;
mod hub;
mod invite;
mod layout;
mod login;
mod mesh;
mod names;
mod sessions;

pub(super) use login::Door;
pub use names::Names;
pub use sessions::Sessions;
pub(super) use sessions::{Present, Shown};

use super::control::answer::{JsonResult, QueryOf, query_malformed};
use super::error::ApiError;
use super::state::Api;
use crate::observers::{PageFeed, SECONDS_MAX};
use api::ErrorDetail;
use api::dashboard::{FeedKind, FeedPhase, FeedState, MetricsHistory, Topology};
use axum::body::Body;
use axum::extract::{FromRef, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use engine::Rejection;
use hub::Hub;
use serde::Deserialize;
use std::sync::Arc;

/// The dashboard of one server. Clones share it.
#[derive(Clone, Debug)]
pub struct Dashboard {
    hub: Arc<Hub>,
    sessions: Arc<Sessions>,
}

impl Dashboard {
    /// Creates the dashboard of a node whose events go into `feed`.
    pub fn new(kind: FeedKind, feed: PageFeed, names: Arc<Names>, sessions: Arc<Sessions>) -> Self {
        Self { hub: Arc::new(Hub::new(feed, names, kind)), sessions }
    }

    /// Returns the logins of browsers, to share them with the server.
    #[cfg(test)]
    pub(super) fn shared_sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.sessions)
    }

    /// Returns the logins of browsers.
    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}

/// Returns the stream of a page while the node starts.
pub(super) fn starting() -> Response {
    stream_of(FeedPhase::Starting)
}

/// Returns the stream of a page whose node does not run.
pub(super) fn unreachable() -> Response {
    stream_of(FeedPhase::Unreachable)
}

/// Returns a stream with one event.
fn stream_of(phase: FeedPhase) -> Response {
    events::stream(Body::from(hub::event("state", None, &hub::feed_state(phase))))
}

/// Returns the routes of the page and of the login. They need no node, and check the client themselves.
pub(super) fn page_router<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    Door: FromRef<S>,
{
    assets::router().merge(login::router())
}

/// Returns the routes below `/api/v1/dashboard`.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/topology", get(topology))
        .route("/events", get(events::events))
        .route("/metrics", get(metrics))
        .route("/invite", get(invite::invite))
        .route("/invite/qr.svg", get(invite::qr))
}

async fn topology(State(api): State<Api>) -> JsonResult<Topology> {
    let answer = api.dashboard.hub.topology(&api.handle).await;
    answer.map(Json).map_err(no_topology)
}

fn no_topology(lost: FeedState) -> ApiError {
    let FeedState { state, message, hint, timestamp: _ } = lost;
    match state {
        FeedPhase::Starting => Rejection::NodeNotReady.into(),
        FeedPhase::Stopping => Rejection::NodeShuttingDown.into(),
        FeedPhase::Unreachable => {
            let detail = ErrorDetail { code: "node_not_answering".to_owned(), message, hint };
            ApiError::from_detail(StatusCode::GATEWAY_TIMEOUT, detail)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    seconds: Option<u64>,
}

async fn metrics(State(api): State<Api>, span: QueryOf<Span>) -> JsonResult<MetricsHistory> {
    let Query(Span { seconds }) = span.map_err(query_malformed)?;
    let seconds = seconds.unwrap_or(SECONDS_MAX);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(ApiError::invalid_value("seconds", format!("seconds must be 1 to {SECONDS_MAX}")));
    }
    Ok(Json(api.dashboard.hub.history(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_a_node_that_stops_from_one_that_does_not_answer() {
        let error = |phase| no_topology(hub::feed_state(phase));
        let told = |phase| (error(phase).status().as_u16(), error(phase).code().to_owned());
        assert_eq!(told(FeedPhase::Starting), (503, "node_not_ready".to_owned()));
        assert_eq!(told(FeedPhase::Stopping), (503, "node_shutting_down".to_owned()));
        assert_eq!(told(FeedPhase::Unreachable), (504, "node_not_answering".to_owned()));
    }
}
