//! The tasks of one request: submitted as there is room for them, awaited, and cancelled once nobody waits any more.
//!
//! A client that goes away drops its request, and with it the guard; the node hears of it as of any cancellation.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::error::ApiError;
use super::model_rejection;
use super::node_client::{other_name, result, submit, unexpected, watch};
use super::state::Api;
use axum::http::StatusCode;
use engine::request::{
    Cursor, ModelWish, Request as NodeRequest, Response as NodeResponse, TaskUpdate, TaskView,
};
use engine::task::{InputFault, Outcome, TaskFailure, TaskInput, TaskOutput, TaskResult, TaskSpec};
use engine::{Fingerprint, Rejection, TaskId};
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// The open tasks of one request.
pub(super) struct TaskGuard {
    api: Api,
    open: BTreeSet<TaskId>,
}

/// Runs one task from its submission to its outcome.
pub(super) async fn run(
    api: Api,
    spec: &TaskSpec,
    required: Option<Fingerprint>,
) -> Result<TaskResult, ApiError> {
    let mut guard = TaskGuard::new(api);
    let task = guard.submit(spec, required).await?;
    guard.outcome(task).await
}

/// Runs the tasks of one request, so many at a time, and returns their results in order, each with its part of the
/// request. All are looked at before the first of them costs anything; after one that fails, the others are cancelled.
///
/// All are computed by one model: where it is replaced meanwhile, all begin again, as nothing was answered yet.
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
            // The same model again would fail again.
            return output(part, failed).map(|_| Vec::new());
        }
        before = Some(chosen);
    }
    let message = TaskFailure::ModelChanged.to_string();
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, TaskFailure::ModelChanged.code(), message))
}

/// Runs tasks that must be computed by one model, which their user `named` or not. Returns the result of the first that
/// another model could do.
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

/// Why the tasks of a request are given up.
enum Failed {
    /// Their model cannot be used, or no longer; another one may do.
    Model(Part, Box<TaskResult>),
    /// The node refuses them.
    Request(ApiError),
}

/// Runs a task that must be computed by one model, which its user `named` or not.
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
        // As a single task would, the request goes on to the next model where it names none.
        Outcome::Failed(TaskFailure::ModelFailed(_)) if !named => Err(Failed::Model(*part, Box::new(result))),
        _ => Ok((*part, result)),
    }
}

/// Says which models may compute a task.
pub(super) fn wish(spec: &TaskSpec) -> ModelWish {
    let labels = matches!(&spec.input, TaskInput::Classification(input) if !input.labels.is_empty());
    ModelWish { kind: spec.kind(), labels, model: spec.model.clone() }
}

/// Chooses the model for the tasks of a request; waits for a while where its files are still being hashed.
pub(super) async fn choose(api: &Api, mut wish: ModelWish) -> Result<(String, Fingerprint), ApiError> {
    let requested = wish.model.clone();
    let give_up_at = Instant::now() + QUEUE_TIMEOUT;
    loop {
        let mut answer = api.handle.ask(NodeRequest::Choose(wish.clone())).await?;
        if let (Err(Rejection::ModelUnknown(_)), Some(requested)) = (&answer, &wish.model)
            && let Some(listed) = other_name(api, requested).await
        {
            wish.model = Some(listed);
            answer = api.handle.ask(NodeRequest::Choose(wish.clone())).await?;
        }
        match answer {
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
            Err(rejection) => return Err(model_rejection::explain(api, requested, rejection.into()).await),
        }
    }
}

/// The inputs of a request that one of its tasks is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The number of the first, counted from 0.
    pub(super) first: usize,
    count: usize,
    /// How many the request has.
    total: usize,
}

/// Returns the part of each of the tasks of one request.
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
    /// All of a request of one task.
    pub(super) const WHOLE: Self = Self { first: 0, count: 1, total: 1 };

    /// Checks a task's input; an input that is not acceptable is named by its number in the request.
    pub(super) fn check(self, input: &TaskInput) -> Result<(), ApiError> {
        let named = |fault: InputFault| {
            let fault = if self.count == 1 { fault.in_part(0, self.total) } else { fault };
            ApiError::from(Rejection::Input(fault.after(self.first)))
        };
        input.check().map_err(named)
    }

    /// Says which input of several an error is about, where its task has only that.
    fn name(self, error: ApiError) -> ApiError {
        if error.is_about_input() && self.count == 1 && self.total > 1 {
            error.for_input(self.first)
        } else {
            error
        }
    }
}

impl TaskGuard {
    pub(super) const fn new(api: Api) -> Self {
        Self { api, open: BTreeSet::new() }
    }

    /// Submits a task; while the queue is full, it waits for room.
    pub(super) async fn submit(
        &mut self,
        spec: &TaskSpec,
        required: Option<Fingerprint>,
    ) -> Result<TaskId, ApiError> {
        let give_up_at = Instant::now() + QUEUE_TIMEOUT;
        loop {
            match submit(&self.api, spec, required).await? {
                Ok(task) => {
                    self.open.insert(task);
                    return Ok(task);
                }
                Err(Rejection::QueueFull { .. }) if Instant::now() < give_up_at => {
                    tokio::time::sleep(QUEUE_POLL_INTERVAL).await;
                }
                Err(rejection) => {
                    return Err(
                        model_rejection::explain(&self.api, spec.model.clone(), rejection.into()).await
                    );
                }
            }
        }
    }

    /// Waits for a task's end, and returns its whole result.
    pub(super) async fn outcome(&mut self, task: TaskId) -> Result<TaskResult, ApiError> {
        match self.api.handle.ask(NodeRequest::AwaitTask(task)).await?? {
            NodeResponse::Task(_) => self.result(task).await,
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until there is more of a task than was seen.
    pub(super) async fn watch(&self, task: TaskId, seen: Cursor) -> Result<(TaskView, TaskUpdate), ApiError> {
        watch(&self.api, task, seen).await
    }

    /// Returns the whole result of a task that has ended.
    pub(super) async fn result(&mut self, task: TaskId) -> Result<TaskResult, ApiError> {
        self.open.remove(&task);
        result(&self.api, task).await?.ok_or_else(|| Rejection::TaskNotFound(task).into())
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        // There is none any more while the whole node goes down, and its tasks with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for task in std::mem::take(&mut self.open) {
            let handle = self.api.handle.clone();
            // Whether it had ended by then is all the same.
            runtime.spawn(async move { drop(handle.ask(NodeRequest::Cancel(task)).await) });
        }
    }
}

/// Returns the output of a task, or an error that says why it has none. What it says of inputs is in the numbers of the
/// request.
pub(super) fn output(part: Part, result: TaskResult) -> Result<TaskOutput, ApiError> {
    let failure = match result.outcome {
        Outcome::Completed(output) => return Ok(output),
        Outcome::Cancelled => {
            let message = "the task was cancelled by somebody else";
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "task_cancelled", message));
        }
        Outcome::Timeout => {
            let message = "the task was not done in its time";
            return Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "task_timeout", message));
        }
        Outcome::Failed(failure) => failure,
    };
    let status = match &failure {
        TaskFailure::InputRejected(_) | TaskFailure::PartRejected { .. } => StatusCode::BAD_REQUEST,
        TaskFailure::ModelChanged => StatusCode::SERVICE_UNAVAILABLE,
        TaskFailure::ModelFailed(_) | TaskFailure::Poison => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let code = failure.code();
    let message = match failure {
        TaskFailure::PartRejected { part: number, reason } => {
            return Err(ApiError::new(status, code, refusal(&reason)).for_input(part.first + number as usize));
        }
        TaskFailure::InputRejected(reason) => refusal(&reason),
        failure @ (TaskFailure::ModelChanged | TaskFailure::ModelFailed(_) | TaskFailure::Poison) => {
            failure.to_string()
        }
    };
    Err(part.name(ApiError::new(status, code, message)))
}

fn refusal(reason: &str) -> String {
    format!("the model rejected the input: {reason}")
}

/// How long a request waits for room in the queue before it is told that there is none.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 10_000 });
/// How many models a request tries, one after the other.
const MODELS_TRIED_MAX: usize = 4;
/// The pause before it is looked again whether a model's files are hashed.
const HASH_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// When to try again where hashing takes long.
const HASH_RETRY_AFTER: Duration = Duration::from_secs(5);
/// The pause before the queue is asked again.
const QUEUE_POLL_INTERVAL: Duration = Duration::from_millis(50);
