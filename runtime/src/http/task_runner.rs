//! Runs the tasks of one request: submits them as the queue has space, awaits them, and cancels them on drop.
//!
//! When a client disconnects, its request and the [`TaskGuard`] are dropped, and the node cancels the open tasks.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::error::ApiError;
use super::model_rejection;
use super::node_client::{ask_choice, result, submit, unexpected, watch};
use super::state::Api;
use super::trace_context::{self, RequestTrace};
use axum::http::StatusCode;
use engine::request::{
    Cursor, ModelWish, Request as NodeRequest, Response as NodeResponse, TaskUpdate, TaskView,
};
use engine::task::{InputFault, Outcome, TaskFailure, TaskInput, TaskOutput, TaskResult, TaskSpec};
use engine::{Fingerprint, Rejection, TaskId};
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Guard over the open tasks of one request; cancels them when it is dropped.
pub(super) struct TaskGuard {
    api: Api,
    open: BTreeSet<TaskId>,
    trace: Option<Arc<RequestTrace>>,
}

/// Runs one task from submission to outcome.
pub(super) async fn run(
    api: Api,
    spec: &TaskSpec,
    required: Option<Fingerprint>,
) -> Result<TaskResult, ApiError> {
    let mut guard = TaskGuard::new(api);
    let task = guard.submit(spec, required).await?;
    guard.outcome(task).await
}

/// Runs the tasks of one request, at most `at_once` at a time. Returns their results in order, each with its part of
/// the request. All inputs are checked before the first submission. If one task fails, the others are cancelled.
///
/// One model computes all tasks. If it is replaced meanwhile, all tasks start again, because nothing was sent yet.
pub(super) async fn run_all(
    api: &Api,
    specs: Vec<TaskSpec>,
    at_once: usize,
) -> Result<Vec<(Part, TaskResult)>, ApiError> {
    let parts = parts(&specs);
    for (spec, part) in specs.iter().zip(&parts) {
        part.check(&spec.input)?;
    }
    let mut specs: Vec<(TaskSpec, Part)> = specs.into_iter().zip(parts).collect();
    let wish = match specs.as_slice() {
        [] => return Ok(Vec::new()),
        [(one, part)] => {
            let result = run(api.clone(), one, None).await.map_err(|error| part.name(error))?;
            return Ok(vec![(*part, result)]);
        }
        [(first, _), ..] => wish(first),
    };
    let named = wish.model.is_some();
    let mut before = None;
    for _ in 0..MODELS_TRIED_MAX {
        let chosen = choose(api, wish.clone()).await?;
        for (spec, _) in &mut specs {
            spec.model = Some(chosen.0.clone());
        }
        let (part, failed) = match run_for(api, &specs, chosen.1, named, at_once).await? {
            Ok(results) => return Ok(results),
            Err(failed) => failed,
        };
        if before.as_ref() == Some(&chosen) {
            // The same model would fail again.
            return output(part, failed).map(|_| Vec::new());
        }
        before = Some(chosen);
    }
    let message = TaskFailure::ModelChanged.to_string();
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, TaskFailure::ModelChanged.code(), message))
}

/// Runs tasks that one model must compute. `named` says whether the user chose the model. Returns the first result that
/// another model could improve on.
async fn run_for(
    api: &Api,
    specs: &[(TaskSpec, Part)],
    fingerprint: Fingerprint,
    named: bool,
    at_once: usize,
) -> Result<Result<Vec<(Part, TaskResult)>, (Part, TaskResult)>, ApiError> {
    let run_one = |at: usize| run_or_fail(api.clone(), &specs[at], fingerprint, named);
    let run: Result<Vec<(Part, TaskResult)>, Failed> =
        futures::stream::iter(0..specs.len()).map(run_one).buffered(at_once).try_collect().await;
    match run {
        Ok(results) => Ok(Ok(results)),
        Err(Failed::Model(part, result)) => Ok(Err((part, *result))),
        Err(Failed::Request(error)) => Err(error),
    }
}

/// Why a request's tasks were given up.
enum Failed {
    /// Their model is unusable or was replaced; another one may succeed.
    Model(Part, Box<TaskResult>),
    /// The node rejected them.
    Request(ApiError),
}

/// Runs a task that one model must compute. `named` says whether the user chose the model.
async fn run_or_fail(
    api: Api,
    (spec, part): &(TaskSpec, Part),
    fingerprint: Fingerprint,
    named: bool,
) -> Result<(Part, TaskResult), Failed> {
    let named_part = |error| Failed::Request(part.name(error));
    let result = run(api, spec, Some(fingerprint)).await.map_err(named_part)?;
    match &result.outcome {
        Outcome::Failed(TaskFailure::ModelChanged) => Err(Failed::Model(*part, Box::new(result))),
        // Without a named model, the request falls back to the next one, as a single task would.
        Outcome::Failed(TaskFailure::ModelFailed(_)) if !named => Err(Failed::Model(*part, Box::new(result))),
        _ => Ok((*part, result)),
    }
}

/// Returns the constraints on the model of a task.
pub(super) fn wish(spec: &TaskSpec) -> ModelWish {
    let labels = matches!(&spec.input, TaskInput::Classification(input) if !input.labels.is_empty());
    ModelWish { kind: spec.kind(), labels, model: spec.model.clone() }
}

/// Chooses the model for the tasks of a request. Waits up to a timeout while its files are being hashed.
pub(super) async fn choose(api: &Api, mut wish: ModelWish) -> Result<(String, Fingerprint), ApiError> {
    let requested = wish.model.clone();
    let give_up_at = Instant::now() + QUEUE_TIMEOUT;
    loop {
        match ask_choice(api, &mut wish).await? {
            Ok(NodeResponse::Chosen(name, Some(fingerprint))) => return Ok((name, fingerprint)),
            Ok(NodeResponse::Chosen(..)) if Instant::now() < give_up_at => {
                tokio::time::sleep(HASH_POLL_INTERVAL).await
            }
            Ok(NodeResponse::Chosen(name, None)) => {
                let message = format!("the files of the model {name} are still being read");
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "model_not_ready", message)
                    .retry_after(HASH_RETRY_AFTER));
            }
            Ok(other) => return Err(unexpected(&other)),
            Err(rejection) => {
                return Err(model_rejection::explain(api, wish.kind, requested, rejection.into()).await);
            }
        }
    }
}

/// The inputs of a request that one of its tasks has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Index of the first input in the request.
    pub(super) first: usize,
    count: usize,
    /// Number of inputs in the request.
    total: usize,
}

/// Returns the part of each task of a request.
pub(super) fn parts(specs: &[TaskSpec]) -> Vec<Part> {
    let total = specs.iter().map(|spec| spec.input.parts()).sum();
    let part = |first: &mut usize, spec: &TaskSpec| {
        let count = spec.input.parts();
        let part = Part { first: *first, count, total };
        *first += count;
        Some(part)
    };
    specs.iter().scan(0, part).collect()
}

impl Part {
    /// The part of a request with one task.
    pub(super) const WHOLE: Self = Self { first: 0, count: 1, total: 1 };

    /// Checks the input of a task; the error has the index of the input in the request.
    pub(super) fn check(self, input: &TaskInput) -> Result<(), ApiError> {
        let named = |fault: InputFault| {
            let fault = if self.count == 1 { fault.in_part(0, self.total) } else { fault };
            ApiError::from(Rejection::Input(fault.after(self.first)))
        };
        input.check().map_err(named)
    }

    /// Adds the index in the request to an error about the only input of this part.
    fn name(self, error: ApiError) -> ApiError {
        if error.is_about_input() && self.count == 1 && self.total > 1 {
            error.for_input(self.first)
        } else {
            error
        }
    }
}

impl TaskGuard {
    /// Creates the guard of the request that is being handled.
    pub(super) fn new(api: Api) -> Self {
        Self { api, open: BTreeSet::new(), trace: trace_context::current() }
    }

    /// Submits a task; while the queue is full, retries until a timeout.
    pub(super) async fn submit(
        &mut self,
        spec: &TaskSpec,
        required: Option<Fingerprint>,
    ) -> Result<TaskId, ApiError> {
        let give_up_at = Instant::now() + QUEUE_TIMEOUT;
        loop {
            match submit(&self.api, spec, required, self.trace.as_deref()).await? {
                Ok(task) => {
                    self.open.insert(task);
                    return Ok(task);
                }
                Err(Rejection::QueueFull { .. }) if Instant::now() < give_up_at => {
                    tokio::time::sleep(QUEUE_POLL_INTERVAL).await;
                }
                Err(rejection) => {
                    return Err(model_rejection::explain(
                        &self.api,
                        spec.kind(),
                        spec.model.clone(),
                        rejection.into(),
                    )
                    .await);
                }
            }
        }
    }

    /// Waits until a task ends, and returns its whole result.
    pub(super) async fn outcome(&mut self, task: TaskId) -> Result<TaskResult, ApiError> {
        match self.api.handle.ask(NodeRequest::AwaitTask(task)).await?? {
            NodeResponse::Task(_) => self.result(task).await,
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until a task has news beyond what was seen.
    pub(super) async fn watch(&self, task: TaskId, seen: Cursor) -> Result<(TaskView, TaskUpdate), ApiError> {
        watch(&self.api, task, seen).await
    }

    /// Returns the whole result of a task that has ended.
    pub(super) async fn result(&mut self, task: TaskId) -> Result<TaskResult, ApiError> {
        self.open.remove(&task);
        let result = result(&self.api, task).await?.ok_or(Rejection::TaskNotFound(task))?;
        if let Some(trace) = &self.trace {
            trace.note_result(&result.summary);
        }
        Ok(result)
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        // During shutdown of the node the runtime is gone, and the tasks end with the node.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for task in std::mem::take(&mut self.open) {
            let handle = self.api.handle.clone();
            // The task may have ended by now, which makes no difference.
            runtime.spawn(async move { drop(handle.ask(NodeRequest::Cancel(task)).await) });
        }
    }
}

/// Returns the output of a task, or an error with the reason why there is none. Indices of inputs are those of the
/// request.
pub(super) fn output(part: Part, result: TaskResult) -> Result<TaskOutput, ApiError> {
    let failure = match result.outcome {
        Outcome::Completed(output) => return Ok(output),
        Outcome::Cancelled => {
            let message = "the task was cancelled by somebody else";
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "task_cancelled", message));
        }
        Outcome::Timeout => {
            let failure = result.summary.failure.as_ref().map(ToString::to_string);
            let message = failure.unwrap_or_else(|| "the task was not done in its time".to_owned());
            return Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "task_timeout", message));
        }
        Outcome::Failed(failure) => failure,
    };
    let status = match &failure {
        TaskFailure::InputRejected(_) | TaskFailure::PartRejected { .. } => StatusCode::BAD_REQUEST,
        TaskFailure::ModelChanged => StatusCode::SERVICE_UNAVAILABLE,
        TaskFailure::ModelFailed(_) | TaskFailure::Poison => StatusCode::INTERNAL_SERVER_ERROR,
        TaskFailure::NotStarted(_) => StatusCode::GATEWAY_TIMEOUT,
    };
    let code = failure.code();
    let message = match failure {
        TaskFailure::PartRejected { part: number, reason } => {
            return Err(ApiError::new(status, code, refusal(&reason)).for_input(part.first + number as usize));
        }
        TaskFailure::InputRejected(reason) => refusal(&reason),
        failure @ (TaskFailure::ModelChanged
        | TaskFailure::ModelFailed(_)
        | TaskFailure::NotStarted(_)
        | TaskFailure::Poison) => failure.to_string(),
    };
    Err(part.name(ApiError::new(status, code, message)))
}

fn refusal(reason: &str) -> String {
    format!("the model rejected the input: {reason}")
}

/// How long a request waits for space in the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 10_000 });
/// Maximum models that a request tries, one after the other.
const MODELS_TRIED_MAX: usize = 4;
/// Interval between checks whether the model's files are hashed.
const HASH_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// `Retry-After` if hashing takes long.
const HASH_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Interval between submissions while the queue is full.
const QUEUE_POLL_INTERVAL: Duration = Duration::from_millis(50);
