//! The routes: each turns a request into a question to the node and its answer into JSON.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each question has one answer; whatever else comes is the same mistake"
)]

use super::error::{ApiError, LIST_TASKS};
use super::files;
use super::input::refuse_empty_input;
use super::models;
use super::{Api, auth, body, events, openai, task_runner, tei};
use crate::clock;
use api::{
    DamagedRecord, Diagnosis, Health, Liveness, Members, NewTask, NotATask, Peers, Ping, Readiness,
    ResultBody, Route, StatusAnswer, Submitted, Task, Tasks,
};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use engine::health::Verdict;
use engine::lifecycle;
use engine::request::{PingSpec, Request as Ask, Response as Reply, Which};
use engine::task::TaskStatus;
use engine::{NodeId, Rejection, TaskId};
use serde::Deserialize;
use std::time::Duration;

/// Returns all routes of the control API.
pub(super) fn router(api: Api) -> Router {
    let protected = Router::new()
        .route("/status", get(status))
        .route("/peers", get(peers))
        .route("/members", get(members))
        .route("/routes/{id}", get(route))
        .route("/routes/{id}/ping", post(ping))
        .route("/diagnosis", get(diagnosis))
        .route("/health", get(health))
        .route("/tasks", post(submit).get(tasks))
        .route("/tasks/{id}", get(task).delete(cancel))
        .route("/tasks/{id}/events", get(events))
        .route("/tasks/{id}/result", get(result))
        .route("/models", get(models::list).post(models::pull))
        .route("/models/refresh", post(models::refresh))
        .route("/models/events", get(models::events))
        .route("/shutdown", post(shutdown))
        .merge(files::routes())
        .layer(from_fn(take_body))
        .layer(from_fn_with_state(api.clone(), want_token));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .nest("/api/v1", protected)
        .nest("/v1", openai::router(&api))
        .nest("/v2", openai::router_v2(&api))
        .merge(tei::router(&api))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        // Every body is taken in within limits of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(api.clone(), admit))
        .with_state(api)
}

type Answered<T> = Result<Json<T>, ApiError>;

/// Runs before everything else: who asks, and how long they may take.
async fn admit(State(api): State<Api>, request: Request, next: Next) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    auth::check_host_and_origin(&parts, api.address)?;
    // Generations take as long as their tasks may.
    let slow = ["/v1/", "/v2/"].iter().any(|prefix| parts.uri.path().starts_with(prefix));
    let timeout = if slow { SLOW_REQUEST_TIMEOUT } else { REQUEST_TIMEOUT };
    let request = Request::from_parts(parts, body);
    tokio::time::timeout(timeout, next.run(request)).await.map_err(|_| {
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "request_timeout", "the node took too long to answer")
    })
}

/// Comes after [`want_token`]: whoever has no token has no claim on this node's memory.
async fn take_body(request: Request, next: Next) -> Result<Response, ApiError> {
    Ok(next.run(body::whole(request, BODY_BYTES_MAX).await?).await)
}

async fn want_token(State(api): State<Api>, request: Request, next: Next) -> Result<Response, ApiError> {
    auth::check_token(request.headers(), &api.token)?;
    Ok(next.run(request).await)
}

/// Tells that the process answers, and how the node is. A node that is not well is alive all the same: to start it
/// anew makes no disk larger.
async fn healthz(State(api): State<Api>) -> Json<Liveness> {
    let health = match api.handle.ask(Ask::Status).await {
        Ok(Ok(Reply::Status(view))) => view.health,
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

async fn health(State(api): State<Api>) -> Answered<Health> {
    match ask(&api, Ask::Health).await? {
        Reply::Health(report) => Ok(Json(Health::from(*report))),
        other => Err(unexpected(&other)),
    }
}

async fn readyz(State(api): State<Api>) -> (StatusCode, Json<Readiness>) {
    let state = match api.handle.ask(Ask::Status).await {
        Ok(Ok(Reply::Status(view))) => Some(view.state),
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

async fn status(State(api): State<Api>) -> Answered<StatusAnswer> {
    match ask(&api, Ask::Status).await? {
        Reply::Status(view) => {
            let mut answer = StatusAnswer::from(*view);
            if let StatusAnswer::Whole(status) = &mut answer {
                status.models_unusable = api.models.unusable();
                let known = api.models.models();
                for model in &mut status.models {
                    if let Some(known) = known.iter().find(|known| known.name == model.name) {
                        model.refine(known);
                    }
                }
            }
            Ok(Json(answer))
        }
        other => Err(unexpected(&other)),
    }
}

async fn peers(State(api): State<Api>) -> Answered<Peers> {
    match ask(&api, Ask::Peers).await? {
        Reply::Peers(peers) => Ok(Json(Peers { peers: peers.into_iter().map(Into::into).collect() })),
        other => Err(unexpected(&other)),
    }
}

fn node_id(id: &str) -> Result<NodeId, ApiError> {
    id.parse().map_err(|_| {
        ApiError::new(StatusCode::NOT_FOUND, "node_unknown", format!("Node not found (id: {id})"))
    })
}

#[derive(Deserialize)]
struct PingOptions {
    count: u32,
    bytes: u32,
    at_once: u32,
}

async fn ping(
    State(api): State<Api>,
    Path(id): Path<String>,
    options: QueryOf<PingOptions>,
) -> Answered<Ping> {
    let Query(PingOptions { count, bytes, at_once }) = options.map_err(query_malformed)?;
    let spec = PingSpec { destination: node_id(&id)?, count, bytes, at_once };
    match ask(&api, Ask::Ping(spec)).await? {
        Reply::Ping(ping) => Ok(Json((*ping).into())),
        other => Err(unexpected(&other)),
    }
}

async fn route(State(api): State<Api>, Path(id): Path<String>) -> Answered<Route> {
    match ask(&api, Ask::Route(node_id(&id)?)).await? {
        Reply::Route(route) => Ok(Json((*route).into())),
        other => Err(unexpected(&other)),
    }
}

async fn members(State(api): State<Api>) -> Answered<Members> {
    match ask(&api, Ask::Members).await? {
        Reply::Members(members) => {
            Ok(Json(Members { members: members.into_iter().map(Into::into).collect() }))
        }
        other => Err(unexpected(&other)),
    }
}

async fn diagnosis(State(api): State<Api>) -> Answered<Diagnosis> {
    match ask(&api, Ask::Diagnosis).await? {
        Reply::Diagnosis(view) => {
            let damage = api.results.damage();
            let records_damaged = damage.count();
            let record = |(kind, task)| DamagedRecord { kind, task };
            let damaged = damage.list().into_iter().map(record).take(DAMAGED_SHOWN).collect();
            Ok(Json(Diagnosis { records_damaged, damaged, ..Diagnosis::from(view) }))
        }
        other => Err(unexpected(&other)),
    }
}

async fn submit(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Submitted>), ApiError> {
    let task: NewTask = body::json(&headers, &bytes, "a task").map_err(not_a_task)?;
    let spec = task.spec().map_err(|NotATask(why)| {
        let message = format!("the body is not a task: {why}");
        not_a_task(ApiError::new(StatusCode::BAD_REQUEST, "body_malformed", message))
    })?;
    refuse_empty_input(&spec.input).map_err(Rejection::Input)?;
    match task_runner::submit(&api, &spec, None).await? {
        Ok(id) => Ok((StatusCode::ACCEPTED, Json(Submitted { id, status: TaskStatus::Queued }))),
        Err(rejection) => Err(models::explain(&api, spec.model, rejection.into()).await),
    }
}

fn not_a_task(error: ApiError) -> ApiError {
    error.hint(r#"send {"type": "embedding", "input": "some text"}"#.to_owned())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
    offset: Option<u32>,
    status: Option<String>,
    worker: Option<String>,
}

impl Page {
    /// Returns which tasks are asked for.
    fn which(&self) -> Result<Which, ApiError> {
        let status = self.status.as_deref().map(|text| {
            STATUSES.into_iter().find(|status| status.to_string().eq_ignore_ascii_case(text)).ok_or_else(
                || {
                    let message = format!(
                        "status must be one of {}",
                        STATUSES.map(|status| status.to_string()).join(", ")
                    );
                    ApiError::new(StatusCode::BAD_REQUEST, "query_malformed", message)
                },
            )
        });
        let worker = self.worker.as_deref().map(|id| {
            id.to_ascii_lowercase().parse::<NodeId>().map_err(|error| {
                ApiError::new(StatusCode::BAD_REQUEST, "query_malformed", format!("worker: {error}"))
            })
        });
        Ok(Which { status: status.transpose()?, worker: worker.transpose()? })
    }
}

async fn tasks(State(api): State<Api>, page: QueryOf<Page>) -> Answered<Tasks> {
    let Query(page) = page.map_err(query_malformed)?;
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=engine::request::LIST_MAX).contains(&limit) {
        let message = format!("limit must be 1 to {}", engine::request::LIST_MAX);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "limit_out_of_range", message));
    }
    let which = page.which()?;
    match ask(&api, Ask::Tasks { which, limit, offset: page.offset.unwrap_or(0) }).await? {
        Reply::Tasks { total, tasks } => {
            Ok(Json(Tasks { total, tasks: tasks.into_iter().map(Task::from).collect() }))
        }
        other => Err(unexpected(&other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    wait_seconds: Option<u64>,
}

async fn task(State(api): State<Api>, id: TaskPath, wait: QueryOf<Wait>) -> Answered<Task> {
    let id = task_id(id)?;
    let Query(wait) = wait.map_err(query_malformed)?;
    let wait = wait.wait_seconds.unwrap_or(0);
    if wait > WAIT_SECS_MAX {
        let message = format!("wait_seconds must be 0 to {WAIT_SECS_MAX}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "wait_out_of_range", message));
    }
    if wait > 0 {
        let ended = tokio::time::timeout(Duration::from_secs(wait), ask(&api, Ask::AwaitTask(id))).await;
        if let Ok(ended) = ended {
            return view(ended?);
        }
    }
    view(ask(&api, Ask::Task(id)).await?)
}

async fn cancel(State(api): State<Api>, id: TaskPath) -> Answered<Task> {
    view(ask(&api, Ask::Cancel(task_id(id)?)).await?)
}

async fn result(State(api): State<Api>, id: TaskPath) -> Answered<ResultBody> {
    let id = task_id(id)?;
    let Json(task) = view(ask(&api, Ask::Task(id)).await?)?;
    if task.result.is_none() {
        let message = format!("Task has no result yet (id: {id}, status: {})", task.status);
        return Err(ApiError::new(StatusCode::CONFLICT, "task_not_finished", message)
            .hint(format!("p2p-ai-agents task watch {id} waits for it")));
    }
    // It may have expired between the two questions.
    let result = task_runner::result(&api, id).await?.ok_or(Rejection::TaskNotFound(id))?;
    Ok(Json(ResultBody::from(result)))
}

async fn events(State(api): State<Api>, id: TaskPath) -> Result<Response, ApiError> {
    match ask(&api, Ask::Task(task_id(id)?)).await? {
        Reply::Task(view) => Ok(events::of_task(api, *view).into_response()),
        other => Err(unexpected(&other)),
    }
}

async fn shutdown(State(api): State<Api>) -> Result<StatusCode, ApiError> {
    match ask(&api, Ask::Shutdown).await? {
        Reply::ShuttingDown => Ok(StatusCode::ACCEPTED),
        other => Err(unexpected(&other)),
    }
}

async fn unknown_route(method: Method, request: Request) -> ApiError {
    let message = format!("there is no {method} {}", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "route_unknown", message)
}

async fn unknown_method(method: Method, request: Request) -> ApiError {
    let message = format!("{} does not take {method}", request.uri().path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

type QueryOf<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

fn query_malformed(rejection: axum::extract::rejection::QueryRejection) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "query_malformed", rejection.body_text())
}

pub(super) async fn ask(api: &Api, request: Ask) -> Result<Reply, ApiError> {
    match api.handle.ask(request).await? {
        // What was damaged on the disk is not known to the node, and was not forgotten in good order.
        Err(Rejection::TaskNotFound(task)) if api.results.damage().of(task).is_some() => {
            Err(ApiError::record_damaged(task))
        }
        Err(rejection @ Rejection::TaskNotFound(_)) if api.results.damage().lost() > 0 => {
            Err(ApiError::from(rejection).hint(RECORDS_LOST.to_owned()))
        }
        answer => Ok(answer?),
    }
}

fn view(reply: Reply) -> Answered<Task> {
    match reply {
        Reply::Task(view) => Ok(Json(Task::from(*view))),
        other => Err(unexpected(&other)),
    }
}

type TaskPath = Result<Path<String>, axum::extract::rejection::PathRejection>;

/// A name that cannot be a task's is the name of no task.
fn task_id(path: TaskPath) -> Result<TaskId, ApiError> {
    let text = path.map_or_else(|_| "not UTF-8".to_owned(), |Path(text)| text);
    text.to_ascii_lowercase().parse().map_err(|_| {
        let shown: String = text.chars().take(ID_CHARS_SHOWN).collect();
        ApiError::new(StatusCode::NOT_FOUND, "task_not_found", format!("Task not found (id: {shown})"))
            .hint(LIST_TASKS.to_owned())
    })
}

pub(super) fn unexpected(reply: &Reply) -> ApiError {
    tracing::error!(?reply, "the node answered another question");
    internal("internal_error", "the node gave an answer of the wrong kind".to_owned())
}

pub(super) fn internal(code: &str, message: String) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
}

pub(super) fn unexpected_output() -> String {
    "the task has an output of the wrong kind".to_owned()
}

/// A body may have this many bytes: the longest input, with every byte escaped as `\u00xx`, and its frame.
pub(super) const BODY_BYTES_MAX: usize = 2 << 20;
/// The longest that a client may wait for a task in one request.
const WAIT_SECS_MAX: u64 = 60;
/// Whatever is asked, an answer is there by then.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(WAIT_SECS_MAX + 10);
/// The same for what waits for whole generations, which may wait for room as well.
pub(super) const SLOW_REQUEST_TIMEOUT: Duration = Duration::from_secs(openai::GENERATION_SECS_MAX + 30);
const LIMIT_DEFAULT: u32 = 20;
const STATUSES: [TaskStatus; 6] = [
    TaskStatus::Queued,
    TaskStatus::Running,
    TaskStatus::Completed,
    TaskStatus::Failed,
    TaskStatus::Timeout,
    TaskStatus::Cancelled,
];
/// What to think of a task that is not there after records were lost.
const RECORDS_LOST: &str = "its record may be one of those that were lost when the data file was damaged: p2p-ai-agents doctor says more";
const ID_CHARS_SHOWN: usize = 64;
/// Damaged records that are listed by name.
const DAMAGED_SHOWN: usize = 100;
