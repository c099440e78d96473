//! Routes of a demo below `/api/v1/demo`, in front of its nodes.
//!
//! The process of a demo serves them, and passes every other request to one of its nodes: in its own process, or in
//! another one through a [`Forwarder`].

use super::auth;
use super::body;
use super::dashboard::Door;
use super::error::ApiError;
use super::forward::{self, Forwarder};
use super::limits::BODY_BYTES_MAX;
use super::routes;
use super::state::Api;
use api::{
    Demo, DemoChange, DemoKill, DemoPartition, DemoSummary, DemoTaskLine, ErrorDetail, NewDemoFault,
    NewDemoTasks,
};
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The nodes of a demo as its routes control them.
pub trait DemoControl: Send + Sync + 'static {
    /// Returns the state of the demo.
    fn demo(&self) -> BoxFuture<'_, Demo>;

    /// Runs tasks and sends a line about each; the channel closes after the last line. Dropping the receiver ends the
    /// request: tasks under way are no longer awaited.
    ///
    /// # Errors
    /// If the request names no node, or too many tasks.
    fn run_tasks(&self, tasks: NewDemoTasks) -> Result<mpsc::Receiver<DemoTaskLine>, ErrorDetail>;

    /// Kills a node's process, without a graceful stop.
    fn kill(&self, kill: DemoKill) -> BoxFuture<'_, Result<DemoChange, ErrorDetail>>;

    /// Ends all faults and starts every stopped node.
    fn heal(&self) -> BoxFuture<'_, Result<DemoChange, ErrorDetail>>;

    /// Divides the network.
    fn partition(&self, partition: DemoPartition) -> BoxFuture<'_, Result<DemoChange, ErrorDetail>>;

    /// Injects a fault.
    fn fault(&self, fault: NewDemoFault) -> BoxFuture<'_, Result<DemoChange, ErrorDetail>>;

    /// Returns what has happened so far, as a scenario file.
    fn record(&self) -> BoxFuture<'_, Result<String, ErrorDetail>>;

    /// Stops all nodes; the process ends afterwards.
    fn stop(&self) -> BoxFuture<'_, DemoSummary>;
}

/// The node that takes the requests which are not about the demo.
#[derive(Clone)]
pub enum DemoFront {
    /// A node in this process.
    Api(Box<Api>),
    /// Nodes in other processes.
    Forward(Forwarder),
}

/// State of the routes.
#[derive(Clone)]
struct Control {
    demo: Arc<dyn DemoControl>,
    door: Door,
}

/// Returns the router of a demo.
pub(super) fn router(demo: Arc<dyn DemoControl>, front: DemoFront, door: Door) -> Router {
    let control = Control { demo, door: door.clone() };
    let front = match front {
        DemoFront::Api(api) => routes::router(*api),
        DemoFront::Forward(forwarder) => forward::router(forwarder, door),
    };
    // No request of the demo has a time limit: the tasks of one request may wait until their nodes are healed.
    let own = Router::new()
        .route("/api/v1/demo", get(demo_state))
        .route("/api/v1/demo/tasks", post(run_tasks))
        .route("/api/v1/demo/kill", post(kill))
        .route("/api/v1/demo/heal", post(heal))
        .route("/api/v1/demo/partition", post(partition))
        .route("/api/v1/demo/fault", post(fault))
        .route("/api/v1/demo/record", get(record))
        .route("/api/v1/demo/stop", post(stop))
        .layer(from_fn(take_body))
        .layer(from_fn_with_state(control.clone(), check))
        .layer(from_fn_with_state(control.door.address, auth::admit))
        .with_state(control);
    own.merge(front)
}

async fn check(State(control): State<Control>, request: Request, next: Next) -> Result<Response, ApiError> {
    control.door.check(request.method(), request.headers())?;
    Ok(next.run(request).await)
}

async fn take_body(request: Request, next: Next) -> Result<Response, ApiError> {
    Ok(next.run(body::whole(request, BODY_BYTES_MAX).await?).await)
}

async fn demo_state(State(control): State<Control>) -> Json<Demo> {
    Json(control.demo.demo().await)
}

async fn run_tasks(
    State(control): State<Control>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let tasks: NewDemoTasks = body::json(&headers, &bytes, "tasks of a demo")?;
    control.demo.run_tasks(tasks).map(body::lines).map_err(refusal)
}

async fn kill(
    State(control): State<Control>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<DemoChange>, ApiError> {
    let kill: DemoKill = body::json(&headers, &bytes, "a node to kill")?;
    control.demo.kill(kill).await.map(Json).map_err(refusal)
}

async fn heal(State(control): State<Control>) -> Result<Json<DemoChange>, ApiError> {
    control.demo.heal().await.map(Json).map_err(refusal)
}

async fn partition(
    State(control): State<Control>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<DemoChange>, ApiError> {
    let partition: DemoPartition = body::json(&headers, &bytes, "a partition")?;
    control.demo.partition(partition).await.map(Json).map_err(refusal)
}

async fn fault(
    State(control): State<Control>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<DemoChange>, ApiError> {
    let fault: NewDemoFault = body::json(&headers, &bytes, "a fault")?;
    control.demo.fault(fault).await.map(Json).map_err(refusal)
}

async fn record(State(control): State<Control>) -> Result<Response, ApiError> {
    let text = control.demo.record().await.map_err(refusal)?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], text).into_response())
}

async fn stop(State(control): State<Control>) -> Json<DemoSummary> {
    Json(control.demo.stop().await)
}

/// Converts what a demo refuses to a response.
fn refusal(detail: ErrorDetail) -> ApiError {
    let status = match detail.code.as_str() {
        "node_unknown" => StatusCode::NOT_FOUND,
        "demo_fault_invalid" | "demo_tasks_too_many" | "demo_partition_invalid" => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    };
    ApiError::from_detail(status, detail)
}
