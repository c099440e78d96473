//! Routes about models: list, refresh, download, and progress of downloads.

use crate::http::error::ApiError;
use crate::http::node_client::{ask, conflicts};
use crate::http::state::Api;
use crate::hub::ModelId;
use crate::text::plain_words;
use api::{Availability, ModelAvailability, ModelStatus, Models, NewPull};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use engine::request::{Request as NodeRequest, Response as NodeResponse};
use futures::stream::{self, Stream};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

/// Returns all models. The node knows which of them it offers.
async fn models(api: &Api) -> Models {
    let offered = match ask(api, NodeRequest::Status).await {
        Ok(NodeResponse::Status(status)) => {
            let offered = status.models.into_iter().filter(|model| model.ready);
            Some(offered.map(|model| model.name).collect::<BTreeSet<_>>())
        }
        Ok(_) | Err(_) => None,
    };
    let standing = |status: ModelStatus| {
        let offered = offered.as_ref().is_none_or(|offered| offered.contains(&status.name));
        ModelAvailability { state: Availability::new(offered, Some(&status)), status }
    };
    let conflicts = conflicts(api).await;
    Models {
        models: api.models.models().into_iter().map(standing).collect(),
        pulls: api.models.pulls().borrow().clone(),
        conflicts,
    }
}

pub(super) async fn list(State(api): State<Api>) -> Json<Models> {
    Json(models(&api).await)
}

/// Searches for models again.
pub(super) async fn refresh(State(api): State<Api>) -> Json<Models> {
    // A model may have been removed, whose files this node shared.
    let shared_files = Arc::clone(&api.shared_files);
    let _ = tokio::task::spawn_blocking(move || shared_files.forget_missing()).await;
    api.models.refresh().await;
    Json(models(&api).await)
}

/// Starts the download of a model.
pub(super) async fn pull(
    State(api): State<Api>,
    new: Result<Json<NewPull>, JsonRejection>,
) -> Result<(StatusCode, Json<Models>), ApiError> {
    let Json(new) = new.map_err(|rejection| {
        ApiError::new(rejection.status(), "body_malformed", plain_words(&rejection.body_text()))
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

/// Streams the state of all downloads, first now and then after every change.
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
