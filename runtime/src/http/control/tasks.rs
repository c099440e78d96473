//! Routes about tasks: submit, list, await, cancel, result and events.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::answer::{JsonResult, QueryOf, query_malformed};
use super::events::task_events;
use crate::http::error::{ApiError, LIST_TASKS_HINT};
use crate::http::input::refuse_empty_input;
use crate::http::limits::WAIT_SECS_MAX;
use crate::http::node_client::{self, ask, unexpected};
use crate::http::state::Api;
use crate::http::{body, model_rejection, trace_context};
use api::{Attempt, Attempts, InvalidTask, NewTask, ResultBody, Submitted, Task, Tasks};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::observers::traces::IdPrefix;
use engine::request::{Request as NodeRequest, Response as NodeResponse, TaskFilter};
use engine::task::TaskStatus;
use engine::{NodeId, Rejection, TaskId};
use serde::Deserialize;
use std::time::Duration;

pub(super) async fn submit(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Submitted>), ApiError> {
    let task: NewTask = body::json(&headers, &bytes, "a task").map_err(invalid_task)?;
    let spec = task.spec().map_err(|InvalidTask(why)| {
        let message = format!("the body is not a task: {why}");
        invalid_task(ApiError::new(StatusCode::BAD_REQUEST, "body_malformed", message))
    })?;
    refuse_empty_input(&spec.input).map_err(Rejection::Input)?;
    model_rejection::refuse_missing_labels(&api, &spec).await?;
    match node_client::submit(&api, &spec, None, trace_context::current().as_deref()).await? {
        Ok(id) => Ok((StatusCode::ACCEPTED, Json(Submitted { id, status: TaskStatus::Queued }))),
        Err(rejection) => {
            let kind = spec.kind();
            Err(model_rejection::explain(&api, kind, spec.model, rejection.into()).await)
        }
    }
}

fn invalid_task(error: ApiError) -> ApiError {
    error.hint(r#"send {"type": "embedding", "input": "some text"}"#.to_owned())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    id: Option<String>,
    limit: Option<u32>,
    offset: Option<u32>,
    status: Option<String>,
    worker: Option<String>,
}

impl Page {
    /// Returns the filter for the tasks of the page.
    fn which(&self) -> Result<TaskFilter, ApiError> {
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
        let id = self.id.as_deref().map(|text| {
            IdPrefix::parse(text).ok_or_else(|| {
                let message = "id must be four or more hexadecimal digits of the id of a task";
                ApiError::new(StatusCode::BAD_REQUEST, "query_malformed", message)
            })
        });
        Ok(TaskFilter { id: id.transpose()?, status: status.transpose()?, worker: worker.transpose()? })
    }
}

pub(super) async fn tasks(State(api): State<Api>, page: QueryOf<Page>) -> JsonResult<Tasks> {
    let Query(page) = page.map_err(query_malformed)?;
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=engine::request::LIST_MAX).contains(&limit) {
        let message = format!("limit must be 1 to {}", engine::request::LIST_MAX);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "limit_out_of_range", message));
    }
    let which = page.which()?;
    match ask(&api, NodeRequest::Tasks { filter: which, limit, offset: page.offset.unwrap_or(0) }).await? {
        NodeResponse::Tasks { total, tasks } => {
            Ok(Json(Tasks { total, tasks: tasks.into_iter().map(Task::from).collect() }))
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn attempts(State(api): State<Api>) -> JsonResult<Attempts> {
    let work = match ask(&api, NodeRequest::Status).await? {
        NodeResponse::Status(status) => status.work,
        other => return Err(unexpected(&other)),
    };
    match ask(&api, NodeRequest::Attempts).await? {
        NodeResponse::Attempts(attempts) => Ok(Json(Attempts {
            slots: work.slots,
            slots_busy: work.slots_busy,
            attempts: attempts.into_iter().map(Attempt::from).collect(),
        })),
        other => Err(unexpected(&other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait_seconds: Option<u64>,
}

pub(super) async fn task(State(api): State<Api>, id: TaskPath, wait: QueryOf<Wait>) -> JsonResult<Task> {
    let id = task_id(id)?;
    let Query(wait) = wait.map_err(query_malformed)?;
    let wait = wait.wait_seconds.unwrap_or(0);
    if wait > WAIT_SECS_MAX {
        let message = format!("wait_seconds must be 0 to {WAIT_SECS_MAX}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "wait_out_of_range", message));
    }
    if wait > 0 {
        let ended =
            tokio::time::timeout(Duration::from_secs(wait), ask(&api, NodeRequest::AwaitTask(id))).await;
        if let Ok(ended) = ended {
            return view(ended?);
        }
    }
    view(ask(&api, NodeRequest::Task(id)).await?)
}

pub(super) async fn cancel(State(api): State<Api>, id: TaskPath) -> JsonResult<Task> {
    view(ask(&api, NodeRequest::Cancel(task_id(id)?)).await?)
}

pub(super) async fn result(State(api): State<Api>, id: TaskPath) -> JsonResult<ResultBody> {
    let id = task_id(id)?;
    let Json(task) = view(ask(&api, NodeRequest::Task(id)).await?)?;
    if task.result.is_none() {
        let message = format!("Task has no result yet (id: {id}, status: {})", task.status);
        return Err(ApiError::new(StatusCode::CONFLICT, "task_not_finished", message)
            .hint(format!("p2p-ai-agents task watch {id} waits for it")));
    }
    // It may have expired between the two requests.
    let result = node_client::result(&api, id).await?.ok_or(Rejection::TaskNotFound(id))?;
    Ok(Json(ResultBody { worker_name: task.worker_name, ..ResultBody::from(result) }))
}

pub(super) async fn events(State(api): State<Api>, id: TaskPath) -> Result<Response, ApiError> {
    match ask(&api, NodeRequest::Task(task_id(id)?)).await? {
        NodeResponse::Task(view) => Ok(task_events(api, *view).into_response()),
        other => Err(unexpected(&other)),
    }
}

fn view(reply: NodeResponse) -> JsonResult<Task> {
    match reply {
        NodeResponse::Task(view) => {
            view.result.as_ref().map(trace_context::note_result);
            Ok(Json(Task::from(*view)))
        }
        other => Err(unexpected(&other)),
    }
}

type TaskPath = Result<Path<String>, PathRejection>;

/// Reads the id of a task; text in another form is the id of no task.
fn task_id(path: TaskPath) -> Result<TaskId, ApiError> {
    let text = path.map_or_else(|_| "not UTF-8".to_owned(), |Path(text)| text);
    text.to_ascii_lowercase().parse().map_err(|_| {
        let shown: String = text.chars().take(ID_CHARS_SHOWN).collect();
        ApiError::new(StatusCode::NOT_FOUND, "task_not_found", format!("Task not found (id: {shown})"))
            .hint(LIST_TASKS_HINT.to_owned())
    })
}

const LIMIT_DEFAULT: u32 = 20;
const STATUSES: [TaskStatus; 6] = [
    TaskStatus::Queued,
    TaskStatus::Running,
    TaskStatus::Completed,
    TaskStatus::Failed,
    TaskStatus::Timeout,
    TaskStatus::Cancelled,
];
const ID_CHARS_SHOWN: usize = 64;
