//! The routes about models: which there are, how they stand, fetching one and hearing how that goes.

use super::Api;
use super::error::ApiError;
use super::routes::ask;
use crate::catalog::OnDemand;
use crate::hub::ModelId;
use api::{Availability, Conflict, ModelStatus, Models, NewPull, Pull, Standing};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use engine::request::{Request as Ask, Response as Reply};
use futures::stream::{self, Stream};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

/// Returns how the models stand. Asks the node as well: it knows what it offers.
async fn models(api: &Api) -> Models {
    let offered = match ask(api, Ask::Status).await {
        Ok(Reply::Status(status)) => {
            let offered = status.models.into_iter().filter(|model| model.ready);
            Some(offered.map(|model| model.name).collect::<BTreeSet<_>>())
        }
        Ok(_) | Err(_) => None,
    };
    let standing = |status: ModelStatus| {
        let offered = offered.as_ref().is_none_or(|offered| offered.contains(&status.name));
        Standing { state: Availability::of(&status, offered), status }
    };
    let conflicts = conflicts(api).await;
    Models {
        models: api.models.models().into_iter().map(standing).collect(),
        pulls: api.models.pulls().borrow().clone(),
        conflicts,
    }
}

/// Returns the names that nodes of the network give to different models.
pub(super) async fn conflicts(api: &Api) -> Vec<Conflict> {
    match ask(api, Ask::Diagnosis).await {
        Ok(Reply::Diagnosis(view)) => view.conflicts.into_iter().map(Conflict::from).collect(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

pub(super) async fn list(State(api): State<Api>) -> Json<Models> {
    Json(models(&api).await)
}

/// Looks anew, for whoever has changed something.
pub(super) async fn refresh(State(api): State<Api>) -> Json<Models> {
    api.models.refresh().await;
    Json(models(&api).await)
}

/// Says more about a model that no node offers: that it is being fetched, why this node cannot run it, or how to get it.
pub(super) async fn explain(api: &Api, asked: Option<String>, error: ApiError) -> ApiError {
    if error.code() == "task_type_unsupported" {
        return error.hint(NO_MODEL_FOR_IT.to_owned());
    }
    let Some(asked) = asked.filter(|_| error.code() == "model_unknown") else { return error };
    let name = api.models.listed(&asked).await.unwrap_or(asked);
    let here = api.models.models().into_iter().find(|model| model.name == name);
    match here.map(|model| (model.reason, model.kinds, model.hint)) {
        Some((Some(reason), _, hint)) => {
            let message = format!("the model {name} cannot be used here: {reason}");
            return ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "model_unusable", message).hint(
                hint.unwrap_or_else(|| "p2p-ai-agents model list shows how the models stand".to_owned()),
            );
        }
        Some((None, kinds, _)) => return error.hint(format!("this node has it for: {}", kinds.join(", "))),
        None => {}
    }
    match api.models.pull_for_task(&name) {
        OnDemand::Coming => {
            let message = format!("the model {name} is being fetched");
            return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "model_pulling", message)
                .hint("p2p-ai-agents model list shows when it is here; submit the task again then".to_owned())
                .retry_after(PULL_RETRY);
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

/// Begins to fetch a model.
pub(super) async fn pull(
    State(api): State<Api>,
    new: Result<Json<NewPull>, JsonRejection>,
) -> Result<(StatusCode, Json<Models>), ApiError> {
    let Json(new) = new.map_err(|rejection| {
        ApiError::new(rejection.status(), "body_malformed", rejection.body_text())
            .hint(r#"send {"model": "owner/name"}"#.to_owned())
    })?;
    let id = new
        .model
        .parse::<ModelId>()
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "model_malformed", error.to_string()))?;
    if matches!(id, ModelId::Local(_)) {
        let message = "only models of a hub are fetched; a folder or file is used by its path";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "model_is_local", message));
    }
    api.models
        .pull(&id)
        .map_err(|error| ApiError::new(StatusCode::TOO_MANY_REQUESTS, "pulls_full", error.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(models(&api).await)))
}

/// Tells of every change of a pull, beginning with how all stand.
pub(super) async fn events(State(api): State<Api>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut pulls = api.models.pulls();
    pulls.mark_changed();
    let told = stream::unfold(pulls, async |mut pulls| {
        pulls.changed().await.ok()?;
        let data = serde_json::to_string(&*pulls.borrow_and_update()).unwrap_or_default();
        Some((Ok(Event::default().event("pulls").data(data)), pulls))
    });
    Sse::new(told).keep_alive(KeepAlive::default())
}

/// What to do where no node has a model for some kind of work.
const NO_MODEL_FOR_IT: &str = "fetch one: p2p-ai-agents model pull OWNER/NAME; for generation a small one is \
                               HuggingFaceTB/SmolLM2-135M-Instruct";
/// When to submit a task again whose model is being fetched.
const PULL_RETRY: Duration = Duration::from_secs(5);
