//! Routes about alerts: the active ones, the past ones, and the thresholds.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::answer::{JsonResult, QueryOf, query_malformed};
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::node_client::{ask, unexpected};
use crate::http::state::Api;
use api::{AlertPage, Alerts, NewThresholds, Thresholds};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use engine::request::{LIST_MAX, Request as NodeRequest, Response as NodeResponse};
use serde::Deserialize;

pub(super) async fn active(State(api): State<Api>) -> JsonResult<Alerts> {
    match ask(&api, NodeRequest::Alerts).await? {
        NodeResponse::Alerts(view) => Ok(Json(Alerts::new(view, api.alert_sinks.all()))),
        other => Err(unexpected(&other)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<u32>,
    offset: Option<u32>,
}

pub(super) async fn history(State(api): State<Api>, page: QueryOf<Page>) -> JsonResult<AlertPage> {
    let Query(page) = page.map_err(query_malformed)?;
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        let message = format!("limit must be 1 to {LIST_MAX}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "limit_out_of_range", message));
    }
    match ask(&api, NodeRequest::AlertHistory { limit, offset: page.offset.unwrap_or(0) }).await? {
        NodeResponse::AlertHistory(history) => Ok(Json(AlertPage::from(history))),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn set(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> JsonResult<Thresholds> {
    let new: NewThresholds = body::json(&headers, &bytes, "a set of thresholds")
        .map_err(|error| error.hint(r#"send {"memory_critical": 95, "peer_warning": 2}"#.to_owned()))?;
    let request = NodeRequest::SetThresholds { changes: new.changes(), reset: new.reset };
    match ask(&api, request).await? {
        NodeResponse::Thresholds(set) => Ok(Json(Thresholds::from(&set))),
        other => Err(unexpected(&other)),
    }
}

const LIMIT_DEFAULT: u32 = 20;
