//! Routes about other nodes: peers, members, and paths to them.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::answer::{JsonResult, QueryOf, query_malformed};
use crate::http::error::ApiError;
use crate::http::node_client::{ask, node_names, unexpected};
use crate::http::state::Api;
use api::{Member, Members, Peers, Ping, Route};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use engine::NodeId;
use engine::request::{PingSpec, Request as NodeRequest, Response as NodeResponse};
use serde::Deserialize;

pub(super) async fn peers(State(api): State<Api>) -> JsonResult<Peers> {
    match ask(&api, NodeRequest::Peers).await? {
        NodeResponse::Peers(peers) => Ok(Json(Peers { peers: peers.into_iter().map(Into::into).collect() })),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn members(State(api): State<Api>) -> JsonResult<Members> {
    let members = members_of(ask(&api, NodeRequest::Members).await?)?;
    let former = members_of(ask(&api, NodeRequest::FormerMembers).await?)?;
    Ok(Json(Members { members, former }))
}

fn members_of(response: NodeResponse) -> Result<Vec<Member>, ApiError> {
    match response {
        NodeResponse::Members(members) => Ok(members.into_iter().map(Into::into).collect()),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn route(State(api): State<Api>, Path(id): Path<String>) -> JsonResult<Route> {
    match ask(&api, NodeRequest::Route(node_id(&id)?)).await? {
        NodeResponse::Route(route) => {
            let (mut route, names) = (Route::from(*route), node_names(&api).await);
            for hop in &mut route.hops {
                hop.name = names.get(&hop.id).cloned().unwrap_or_default();
            }
            Ok(Json(route))
        }
        other => Err(unexpected(&other)),
    }
}

#[derive(Deserialize)]
pub(super) struct PingOptions {
    count: u32,
    bytes: u32,
    at_once: u32,
}

pub(super) async fn ping(
    State(api): State<Api>,
    Path(id): Path<String>,
    options: QueryOf<PingOptions>,
) -> JsonResult<Ping> {
    let Query(PingOptions { count, bytes, at_once }) = options.map_err(query_malformed)?;
    let spec = PingSpec { destination: node_id(&id)?, count, bytes, at_once };
    match ask(&api, NodeRequest::Ping(spec)).await? {
        NodeResponse::Ping(ping) => Ok(Json((*ping).into())),
        other => Err(unexpected(&other)),
    }
}

fn node_id(id: &str) -> Result<NodeId, ApiError> {
    id.parse().map_err(|_| {
        ApiError::new(StatusCode::NOT_FOUND, "node_unknown", format!("Node not found (id: {id})"))
    })
}
