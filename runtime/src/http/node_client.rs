//! Client of the node for all handlers: sends requests, and converts rejections to [`ApiError`]s.
//!
//! Invariant: this module imports no handler.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::error::ApiError;
use super::state::{Api, ResultReadError};
use super::trace_context::RequestTrace;
use crate::inference::{EMBEDDED_MODEL, EMBEDDED_MODEL_ON_HUB};
use api::Conflict;
use axum::http::StatusCode;
use engine::record::RecordKind;
use engine::request::{
    Answer, Cursor, ModelWish, Request as NodeRequest, Response as NodeResponse, TaskUpdate, TaskView,
};
use engine::task::{TaskKind, TaskResult, TaskSpec};
use engine::{Fingerprint, NodeId, NodeName, Rejection, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// Sends a request to the node and returns its response.
///
/// # Errors
/// If the node rejects the request. A task that the node does not know because its record was damaged has an error of
/// its own.
pub(super) async fn ask(api: &Api, request: NodeRequest) -> Result<NodeResponse, ApiError> {
    match api.handle.ask(request).await? {
        // The node never loaded damaged records, so these tasks did not expire.
        Err(Rejection::TaskNotFound(task)) if api.results.damage().damaged_record(task).is_some() => {
            Err(ApiError::record_damaged(task))
        }
        Err(rejection @ Rejection::TaskNotFound(_)) if api.results.damage().lost() > 0 => {
            Err(ApiError::from(rejection).hint(RECORDS_LOST_HINT.to_owned()))
        }
        answer => Ok(answer?),
    }
}

/// Submits a task. If no node knows the model by the given name, retries with the name under which this node lists it.
///
/// With `required`, only the model with this fingerprint may run the task. `trace` is that of the client's request.
pub(super) async fn submit(
    api: &Api,
    spec: &TaskSpec,
    required: Option<Fingerprint>,
    trace: Option<&RequestTrace>,
) -> Result<Result<TaskId, Rejection>, ApiError> {
    let ask = |spec| match (trace, required) {
        (Some(trace), required) => NodeRequest::SubmitTraced(Box::new(trace.task(spec, required))),
        (None, Some(fingerprint)) => NodeRequest::SubmitFor(spec, fingerprint),
        (None, None) => NodeRequest::Submit(spec),
    };
    let mut answer = api.handle.ask(ask(spec.clone())).await?;
    if let (Err(Rejection::ModelUnknown(_)), Some(requested)) = (&answer, &spec.model)
        && let Some(known) = other_name(api, requested).await
    {
        answer = api.handle.ask(ask(TaskSpec { model: Some(known), ..spec.clone() })).await?;
    }
    match answer {
        Ok(NodeResponse::Submitted(task)) => {
            if let Some(trace) = trace {
                trace.note_submitted(task);
            }
            Ok(Ok(task))
        }
        Ok(other) => Err(unexpected(&other)),
        Err(rejection) => Ok(Err(rejection)),
    }
}

/// Asks the node for the model of a wish. A model that it does not know may be listed under another name, which the wish
/// has from then on.
pub(super) async fn ask_choice(api: &Api, wish: &mut ModelWish) -> Result<Answer, ApiError> {
    let answer = api.handle.ask(NodeRequest::Choose(wish.clone())).await?;
    if let (Err(Rejection::ModelUnknown(_)), Some(requested)) = (&answer, &wish.model)
        && let Some(listed) = other_name(api, requested).await
    {
        wish.model = Some(listed);
        return Ok(api.handle.ask(NodeRequest::Choose(wish.clone())).await?);
    }
    Ok(answer)
}

/// Returns the model for tasks of a kind if it makes embeddings: it then compares them, because it has neither labels
/// nor scores of its own.
///
/// # Errors
/// If the node cannot answer.
pub(super) async fn embedding_model_for(
    api: &Api,
    kind: TaskKind,
    model: Option<String>,
) -> Result<Option<String>, ApiError> {
    let mut wish = ModelWish { kind, labels: false, model };
    let Ok(NodeResponse::Chosen(name, _)) = ask_choice(api, &mut wish).await? else { return Ok(None) };
    // The name is that of the node, so no other one is looked for.
    let embeds = ModelWish { kind: TaskKind::Embedding, labels: false, model: Some(name.clone()) };
    let embeds = matches!(api.handle.ask(NodeRequest::Choose(embeds)).await?, Ok(NodeResponse::Chosen(..)));
    Ok(embeds.then_some(name))
}

/// Returns the listed name of a model that was requested by an equivalent name.
async fn other_name(api: &Api, requested: &str) -> Option<String> {
    match api.models.listed(requested).await {
        None if requested.eq_ignore_ascii_case(EMBEDDED_MODEL_ON_HUB) => Some(EMBEDDED_MODEL.to_owned()),
        None => match ask(api, NodeRequest::Members).await {
            Ok(NodeResponse::Members(members)) => {
                let offers = members.iter().flat_map(|member| &member.models);
                short_of(requested, offers.map(|offer| offer.name.as_str())).map(str::to_owned)
            }
            Ok(_) | Err(_) => None,
        },
        listed => listed,
    }
}

/// Returns the only name whose last part is `requested`: `owner/name` may be called `name`.
fn short_of<'a>(requested: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let is_it =
        |name: &&str| name.rsplit_once('/').is_some_and(|(_, last)| last.eq_ignore_ascii_case(requested));
    let found: BTreeSet<&str> = names.filter(is_it).collect();
    let mut found = found.into_iter();
    found.next().filter(|_| found.next().is_none())
}

/// Waits until a task has news beyond what was seen.
pub(super) async fn watch(api: &Api, task: TaskId, seen: Cursor) -> Result<(TaskView, TaskUpdate), ApiError> {
    match api.handle.ask(NodeRequest::Watch { task, seen }).await?? {
        NodeResponse::TaskUpdate(view, news) => Ok((*view, news)),
        other => Err(unexpected(&other)),
    }
}

/// Reads a result from storage; `None` if it has expired.
pub(super) async fn result(api: &Api, task: TaskId) -> Result<Option<TaskResult>, ApiError> {
    let results = api.results.clone();
    match tokio::task::spawn_blocking(move || results.result(task)).await {
        Ok(Ok(Some(result))) => Ok(Some(result)),
        // The node learns of a result after storage and drops it before. A result that only the node knows is damaged.
        Ok(Ok(None)) => match api.handle.ask(NodeRequest::Task(task)).await? {
            Ok(NodeResponse::Task(view)) if view.result.is_some() => {
                api.results.damage().note(RecordKind::Result, task);
                Err(ApiError::record_damaged(task))
            }
            Ok(_) | Err(_) => Ok(None),
        },
        // The damage was logged when it was found.
        Ok(Err(ResultReadError::Damaged(_))) => Err(ApiError::record_damaged(task)),
        Ok(Err(error)) => {
            tracing::error!(%task, error = &error as &dyn std::error::Error, "cannot read a result");
            Err(internal("storage_failed", error.to_string()))
        }
        Err(error) => {
            tracing::error!(%task, %error, "reading a result failed");
            Err(internal("internal_error", "the result could not be read".to_owned()))
        }
    }
}

/// Returns the names of the members that the node knows, also of those that left lately; none if it does not respond.
pub(super) async fn node_names(api: &Api) -> BTreeMap<NodeId, NodeName> {
    let mut names = BTreeMap::new();
    for request in [NodeRequest::FormerMembers, NodeRequest::Members] {
        if let Ok(NodeResponse::Members(members)) = ask(api, request).await {
            names.extend(members.into_iter().map(|member| (member.node_id, member.name)));
        }
    }
    names
}

/// Returns the model names that stand for different models on different nodes; none if the node does not respond.
pub(super) async fn conflicts(api: &Api) -> Vec<Conflict> {
    match ask(api, NodeRequest::Diagnosis).await {
        Ok(NodeResponse::Diagnosis(view)) => view.conflicts.into_iter().map(Conflict::from).collect(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Returns the error for a response that does not belong to its request.
pub(super) fn unexpected(reply: &NodeResponse) -> ApiError {
    tracing::error!(?reply, "the node answered another question");
    internal("internal_error", "the node gave an answer of the wrong kind".to_owned())
}

pub(super) fn internal(code: &str, message: String) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
}

pub(super) fn unexpected_output() -> String {
    "the task has an output of the wrong kind".to_owned()
}

/// Hint about an unknown task after records were lost.
const RECORDS_LOST_HINT: &str = "its record may be one of those that were lost when the data file was damaged: p2p-ai-agents doctor says more";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_be_called_by_the_last_part_of_its_name() {
        let names = || ["TinyLlama/TinyLlama-1.1B", "one/bert", "two/bert", "one/bert", "mine"].into_iter();
        assert_eq!(short_of("tinyllama-1.1b", names()), Some("TinyLlama/TinyLlama-1.1B"));
        assert_eq!(short_of("bert", names()), None, "there are two");
        assert_eq!(short_of("mine", names()), None, "it is the whole name");
        assert_eq!(short_of("none", names()), None);
    }
}
