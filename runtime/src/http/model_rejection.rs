//! Explains rejections of tasks whose model no node offers.

use super::error::ApiError;
use super::node_client;
use super::state::Api;
use crate::catalog::OnDemand;
use crate::hub::ModelId;
use api::Pull;
use axum::http::StatusCode;
use engine::task::{TaskInput, TaskKind, TaskSpec};
use std::time::Duration;

/// Adds to a rejection why the model is not available here, and what the user can do. Starts a download if the node is
/// configured to download on demand.
pub(super) async fn explain(
    api: &Api,
    kind: TaskKind,
    requested: Option<String>,
    error: ApiError,
) -> ApiError {
    if error.code() == "task_type_unsupported" {
        return error.hint(model_for(kind).to_owned());
    }
    let Some(requested) = requested.filter(|_| error.code() == "model_unknown") else { return error };
    let name = api.models.listed(&requested).await.unwrap_or(requested);
    if let Some(model) = api.models.find(&name) {
        if model.is_usable() {
            return error.hint(format!("this node has it for: {}", model.kinds.join(", ")));
        }
        let message = format!("the model {name} cannot be used here: {}", model.reason.unwrap_or_default());
        let hint = model.hint;
        return ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "model_unusable", message)
            .hint(hint.unwrap_or_else(|| "p2p-ai-agents model list shows how the models stand".to_owned()));
    }
    match api.models.pull_for_task(&name) {
        OnDemand::Coming => {
            let message = format!("the model {name} is being fetched");
            return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "model_pulling", message)
                .hint("p2p-ai-agents model list shows when it is here; submit the task again then".to_owned())
                .retry_after(PULL_RETRY_AFTER);
        }
        OnDemand::Failed(Pull { reason, hint, .. }) => {
            let message = format!("the model {name} cannot be fetched: {}", reason.unwrap_or_default());
            return ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "model_not_pulled", message)
                .hint(hint.unwrap_or_else(|| format!("try again with: p2p-ai-agents model pull {name}")));
        }
        OnDemand::No => {}
    }
    match name.parse::<ModelId>() {
        Ok(ModelId::Hub { .. }) if name.contains('/') => {
            error.hint(format!("fetch it with: p2p-ai-agents model pull {name}"))
        }
        Ok(ModelId::Hub { .. } | ModelId::Local(_)) | Err(_) => error,
    }
}

/// Rejects a classification without labels if its model has none of its own. Such a task could only fail.
///
/// # Errors
/// If the task needs labels, or the node cannot answer.
pub(super) async fn refuse_missing_labels(api: &Api, spec: &TaskSpec) -> Result<(), ApiError> {
    if !matches!(&spec.input, TaskInput::Classification(input) if input.labels.is_empty()) {
        return Ok(());
    }
    // The submission says what is wrong with the model, if there is none.
    let model = node_client::embedding_model_for(api, TaskKind::Classification, spec.model.clone()).await?;
    let Some(name) = model else { return Ok(()) };
    let message = format!("the model {name} has no labels of its own");
    Err(ApiError::new(StatusCode::BAD_REQUEST, "labels_missing", message).hint(
        "name two labels or more to choose from: --label LABEL for each, or \"labels\" in JSON".to_owned(),
    ))
}

/// Returns how to get a model for a task type that no node has one for.
const fn model_for(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Classification => {
            "a node without --no-model has one that chooses among --label LABELs; for a model with labels of its own: \
             p2p-ai-agents model pull OWNER/NAME"
        }
        TaskKind::Embedding => {
            "a node without --no-model has one; another one: p2p-ai-agents model pull OWNER/NAME"
        }
        TaskKind::Generation => {
            "fetch one: p2p-ai-agents model pull OWNER/NAME; a small one is HuggingFaceTB/SmolLM2-135M-Instruct"
        }
        TaskKind::Reranking => {
            "a node without --no-model has one that compares embeddings; a better one: \
             p2p-ai-agents model pull cross-encoder/ms-marco-MiniLM-L6-v2"
        }
    }
}

/// `Retry-After` of a task whose model is being downloaded.
const PULL_RETRY_AFTER: Duration = Duration::from_secs(5);
