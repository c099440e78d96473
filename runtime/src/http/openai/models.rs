//! `/v1/models`: models of all nodes that this one can reach.

use super::error::OpenAiError;
use crate::http::error::ApiError;
use crate::http::node_client::{ask, conflicts, unexpected};
use crate::http::state::Api;
use crate::inference::{EMBEDDED_MODEL, EMBEDDED_MODEL_ON_HUB};
use api::{Conflict, ModelVersion};
use axum::Json;
use axum::extract::{Path, State};
use engine::Rejection;
use engine::request::{Request as NodeRequest, Response as NodeResponse};
use serde::Serialize;
use std::collections::BTreeSet;

/// A list of models.
#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Model>,
}

/// A model.
#[derive(Serialize)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    /// Creation time, which is unknown here.
    created: u64,
    owned_by: &'static str,
    /// The different models with this name, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflict: Vec<ModelVersion>,
}

pub(super) async fn list(State(api): State<Api>) -> Result<Json<List>, OpenAiError> {
    let mut conflicts = conflicts(&api).await;
    let data = names(&api).await?.into_iter().map(|name| Model::new(name, &mut conflicts)).collect();
    Ok(Json(List { object: "list", data }))
}

pub(super) async fn one(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Model>, OpenAiError> {
    let mut names = names(&api).await?;
    let found = names.take(&name).or_else(|| {
        let is_embedded = name.eq_ignore_ascii_case(EMBEDDED_MODEL_ON_HUB);
        is_embedded.then(|| names.take(EMBEDDED_MODEL)).flatten()
    });
    let shown = || name.chars().take(NAME_CHARS_SHOWN).collect::<String>();
    let model = found.ok_or_else(|| ApiError::from(Rejection::ModelUnknown(shown().into())))?;
    Ok(Json(Model::new(model, &mut conflicts(&api).await)))
}

impl Model {
    fn new(id: String, conflicts: &mut [Conflict]) -> Self {
        let found = conflicts.iter_mut().find(|conflict| conflict.model == id);
        let conflict = found.map(|conflict| std::mem::take(&mut conflict.versions)).unwrap_or_default();
        Self { id, object: "model", created: 0, owned_by: "mesh", conflict }
    }
}

async fn names(api: &Api) -> Result<BTreeSet<String>, OpenAiError> {
    let reply = ask(api, NodeRequest::Members).await?;
    let NodeResponse::Members(members) = reply else { return Err(unexpected(&reply).into()) };
    Ok(members.into_iter().flat_map(|member| member.models).map(|model| model.name).collect())
}

const NAME_CHARS_SHOWN: usize = 100;
