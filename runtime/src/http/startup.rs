//! Router of the API from before the node runs: first a few routes that report the startup, then all routes.
//!
//! Opening storage can take long; meanwhile clients get `node_not_ready` instead of a refused connection. Each such
//! response closes its connection, so that the next request reaches the running node.

use super::auth::{self, Token};
use super::connections::Limits;
use super::dashboard::{self, Door, Sessions};
use super::demo::{self, DemoControl, DemoFront};
use super::error::ApiError;
use super::forward::{self, Forwarder};
use super::state::Api;
use super::{routes, tei};
use crate::clock;
use api::{Liveness, Readiness, StartingStatus, StatusResponse};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use engine::Rejection;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// Router of the API of one node that starts before the node does. Clones share it.
#[derive(Clone)]
pub struct StartupRouter {
    starting: Router,
    node: Arc<OnceLock<Router>>,
    door: Door,
    limits: Limits,
}

impl StartupRouter {
    /// Creates the router of a node that is starting.
    pub fn new(address: SocketAddr, token: Arc<Token>, sessions: Arc<Sessions>) -> Self {
        let door = Door { token, sessions, address };
        let starting = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/health", get(async || tei::unhealthy()))
            .route("/api/v1/status", get(status))
            .route("/api/v1/dashboard/events", get(events))
            .merge(dashboard::page_router())
            .fallback(async || ApiError::from(Rejection::NodeNotReady))
            .layer(from_fn_with_state(address, auth::admit))
            .layer(map_response(close))
            .with_state(door.clone());
        Self { starting, node: Arc::default(), door, limits: Limits::for_api() }
    }

    /// Creates the router of the metrics of a node that is starting.
    pub fn for_metrics(address: SocketAddr, token: Arc<Token>) -> Self {
        let starting = Router::new()
            .fallback(async || ApiError::from(Rejection::NodeNotReady))
            .layer(from_fn_with_state(address, auth::admit))
            .layer(map_response(close));
        let door = Door { token, sessions: Arc::default(), address };
        Self { starting, node: Arc::default(), door, limits: Limits::for_metrics() }
    }

    /// Routes new connections to the running node.
    pub fn attach(&self, api: Api) {
        self.node.get_or_init(|| routes::router(api));
    }

    /// Routes new connections to a demo.
    pub fn attach_demo(&self, control: Arc<dyn DemoControl>, front: DemoFront) {
        self.node.get_or_init(|| demo::router(control, front, self.door.clone()));
    }

    /// Routes new connections to a node in another process. The page and the logins are those of this process.
    pub fn attach_front(&self, forwarder: Forwarder) {
        self.node.get_or_init(|| forward::router(forwarder, self.door.clone()));
    }

    /// Routes new connections to the metrics of the running node.
    pub fn attach_metrics(&self, api: Api) {
        self.node.get_or_init(|| routes::metrics_router(api));
    }

    /// Returns the limits of connections and requests.
    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns whether a request presents the token or the cookie of a session.
    pub(super) fn is_authorized(&self, headers: &HeaderMap) -> bool {
        self.door.check(&Method::GET, headers).is_ok()
    }

    /// Returns the router for the next connection.
    pub(super) fn router(&self) -> Router {
        self.node.get().unwrap_or(&self.starting).clone()
    }
}

/// Closes the connection after a response.
async fn close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn healthz() -> Json<Liveness> {
    Json(Liveness {
        status: "alive".to_owned(),
        health: None,
        unwell: Vec::new(),
        timestamp: clock::wall().to_string(),
    })
}

async fn readyz() -> (StatusCode, Json<Readiness>) {
    let timestamp = clock::wall().to_string();
    (StatusCode::SERVICE_UNAVAILABLE, Json(Readiness { status: "node_not_ready".to_owned(), timestamp }))
}

/// The stream of a page: one event, which says that the node starts. An error would end the stream for good.
async fn events(State(door): State<Door>, headers: HeaderMap) -> Result<Response, ApiError> {
    door.check(&Method::GET, &headers)?;
    Ok(dashboard::starting())
}

async fn status(State(door): State<Door>, headers: HeaderMap) -> Result<Json<StatusResponse>, ApiError> {
    door.check(&Method::GET, &headers)?;
    Ok(Json(StatusResponse::Starting(StartingStatus::initializing(clock::wall()))))
}
