//! Routes about the node itself: status, health, diagnosis and shutdown.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::answer::JsonResult;
use crate::http::error::ApiError;
use crate::http::node_client::{ask, unexpected};
use crate::http::state::Api;
use api::{DamagedRecord, Diagnosis, Health, StatusResponse};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::request::{Request as NodeRequest, Response as NodeResponse};

pub(super) async fn status(State(api): State<Api>) -> JsonResult<StatusResponse> {
    match ask(&api, NodeRequest::Status).await? {
        NodeResponse::Status(view) => {
            let mut answer = StatusResponse::from(*view);
            if let StatusResponse::Full(status) = &mut answer {
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

pub(super) async fn health(State(api): State<Api>) -> JsonResult<Health> {
    match ask(&api, NodeRequest::Health).await? {
        NodeResponse::Health(report) => Ok(Json(Health::from(*report))),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn diagnosis(State(api): State<Api>) -> JsonResult<Diagnosis> {
    match ask(&api, NodeRequest::Diagnosis).await? {
        NodeResponse::Diagnosis(view) => {
            let damage = api.results.damage();
            let records_damaged = damage.count();
            let record = |(kind, task)| DamagedRecord { kind, task };
            let damaged = damage.list().into_iter().map(record).take(DAMAGED_SHOWN).collect();
            Ok(Json(Diagnosis { records_damaged, damaged, ..Diagnosis::from(view) }))
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn shutdown(State(api): State<Api>) -> Result<StatusCode, ApiError> {
    match ask(&api, NodeRequest::Shutdown).await? {
        NodeResponse::ShuttingDown => Ok(StatusCode::ACCEPTED),
        other => Err(unexpected(&other)),
    }
}

/// Maximum damaged records that are listed.
const DAMAGED_SHOWN: usize = 100;
