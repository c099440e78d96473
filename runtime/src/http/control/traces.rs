//! The route of traces.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::answer::JsonResult;
use crate::http::node_client::{ask, node_names, unexpected};
use crate::http::state::Api;
use api::Trace;
use axum::Json;
use axum::extract::{Path, State};
use engine::Rejection;
use engine::observers::traces::IdPrefix;
use engine::request::{Request as NodeRequest, Response as NodeResponse};

pub(super) async fn trace(State(api): State<Api>, Path(id): Path<String>) -> JsonResult<Trace> {
    // Text in another form is the id of no trace.
    let id = IdPrefix::parse(&id).ok_or(Rejection::TraceNotFound)?;
    match ask(&api, NodeRequest::Trace(id)).await? {
        NodeResponse::Trace(view) => {
            let (mut trace, mut names) = (Trace::from(*view), node_names(&api).await);
            for node in &mut trace.nodes {
                node.name = names.remove(&node.id).unwrap_or_default();
            }
            Ok(Json(trace))
        }
        other => Err(unexpected(&other)),
    }
}
