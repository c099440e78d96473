//! Routes for finding faults: snapshots, profiles, memory and log levels.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use super::answer::{JsonResult, QueryOf, query_malformed};
use crate::clock;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::node_client::{ask, internal, unexpected};
use crate::http::state::Api;
use crate::logging::LevelInForce;
use crate::memory_map;
use crate::profile::{ProfileError, Running, encode};
use crate::snapshot;
use api::{ComponentLevel, LogLevels, Memory, NewLogLevel, Snapshot, Word};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use engine::request::{Request as NodeRequest, Response as NodeResponse};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Gathers all figures of the node.
pub(super) async fn snapshot(State(api): State<Api>) -> JsonResult<Snapshot> {
    let begun = Instant::now();
    let dump = match ask(&api, NodeRequest::Dump).await? {
        NodeResponse::Dump(dump) => *dump,
        other => return Err(unexpected(&other)),
    };
    let levels = levels(&api);
    let gathered = tokio::task::spawn_blocking(move || {
        let damaged = api.results.damage().count();
        snapshot::gather(begun, dump, &api.models, &api.inspected, damaged, &api.log, levels)
    });
    gathered.await.map(Json).map_err(|error| internal("internal_error", error.to_string()))
}

/// Returns where the memory of the node and its models is.
pub(super) async fn memory(State(api): State<Api>) -> JsonResult<Memory> {
    let dump = match ask(&api, NodeRequest::Dump).await? {
        NodeResponse::Dump(dump) => *dump,
        other => return Err(unexpected(&other)),
    };
    let gathered = tokio::task::spawn_blocking(move || Memory {
        processes: snapshot::processes(),
        mappings: memory_map::of_this_process(),
        models: snapshot::model_figures(&api.models, &dump.status),
        collections: dump.occupancy.into_iter().map(Into::into).collect(),
        storage: snapshot::storage_figures(&api.inspected, api.results.damage().count()),
    });
    gathered.await.map(Json).map_err(|error| internal("internal_error", error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileOptions {
    seconds: u32,
    model: Option<String>,
}

/// Samples the node and the processes of its models, or the process of one model. If the client disconnects, all of
/// them stop.
pub(super) async fn profile(
    State(api): State<Api>,
    options: QueryOf<ProfileOptions>,
) -> Result<Response, ApiError> {
    let Query(ProfileOptions { seconds, model }) = options.map_err(query_malformed)?;
    if !(1..=PROFILE_SECONDS_MAX).contains(&seconds) {
        let message = format!("seconds must be 1 to {PROFILE_SECONDS_MAX}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "duration_out_of_range", message));
    }
    let Ok(_turn) = api.profiling.try_lock() else {
        let message = "another profile of this node is being taken";
        return Err(ApiError::new(StatusCode::CONFLICT, "profile_running", message)
            .hint("wait until it is over".to_owned()));
    };
    let mut workers = api.models.profile().await;
    if let Some(model) = &model {
        workers.retain(|worker| worker.model == *model);
        if workers.is_empty() {
            let message = format!("no process of this node has loaded a model named {model}");
            return Err(ApiError::new(StatusCode::NOT_FOUND, "model_not_loaded", message)
                .hint("p2p-ai-agents model list shows the models".to_owned()));
        }
    }
    let unprofiled = |error: ProfileError| internal("profile_failed", error.to_string());
    let own = if model.is_none() { Some(Running::start().map_err(unprofiled)?) } else { None };
    let (begun, started) = (clock::wall(), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let length = started.elapsed();
    let ends = workers.into_iter().map(async |worker| {
        let process = format!("model {}", worker.model);
        (process, worker.end().await)
    });
    let sampled = futures::future::join_all(ends);
    let own = async {
        let Some(running) = own else { return Ok(None) };
        let stopped = tokio::task::spawn_blocking(move || running.stop()).await;
        let stopped = stopped.map_err(|error| internal("internal_error", error.to_string()))?;
        stopped.map(Some).map_err(unprofiled)
    };
    let (own, sampled) = futures::join!(own, sampled);
    let own = own?.map(|samples| ("node".to_owned(), samples));
    let sampled = sampled.into_iter().filter_map(|(process, samples)| Some((process, samples?)));
    let processes: Vec<_> = own.into_iter().chain(sampled).collect();
    if processes.is_empty() {
        return Err(internal(
            "profile_failed",
            "the model's process ended, or cannot be profiled".to_owned(),
        ));
    }
    let bytes = encode(&processes, begun, length);
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

pub(super) async fn log_levels(State(api): State<Api>) -> Json<LogLevels> {
    Json(levels(&api))
}

/// Changes a log level, or undoes changes.
pub(super) async fn set_log_level(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> JsonResult<LogLevels> {
    let new: NewLogLevel = body::json(&headers, &bytes, "a log level")
        .map_err(|error| error.hint(r#"send {"level": "DEBUG", "seconds": 600}"#.to_owned()))?;
    if new.component.as_deref().is_some_and(|name| !is_component(name)) {
        let message = format!("a component has 1 to {COMPONENT_BYTES_MAX} letters, digits, '-' or '_'");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "component_invalid", message));
    }
    if new.seconds.is_some_and(|seconds| !(1..=SECONDS_MAX).contains(&seconds)) {
        let message = format!("seconds must be 1 to {SECONDS_MAX}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "duration_out_of_range", message));
    }
    let log = &api.log;
    let Some(level) = new.level else {
        log.reset_level(new.component.as_deref());
        return Ok(Json(levels(&api)));
    };
    let duration = new.seconds.map(|seconds| Duration::from_secs(seconds.into()));
    log.set_level(new.component.as_deref(), level, duration)
        .map_err(|error| ApiError::new(StatusCode::CONFLICT, "log_levels_full", error.to_string()))?;
    tracing::warn!(
        component = "logging",
        of = new.component.as_deref().unwrap_or("all"),
        to = level.as_str(),
        seconds = new.seconds,
        "the log level was changed"
    );
    if let Some(duration) = duration {
        let log = log.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            log.expire_levels();
        });
    }
    Ok(Json(levels(&api)))
}

fn levels(api: &Api) -> LogLevels {
    let level = |LevelInForce { component, level, remaining }| ComponentLevel {
        component: component.as_deref().map(Word::new),
        level,
        remaining_ms: remaining.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
    };
    LogLevels {
        configured: api.log.configured_level(),
        levels: api.log.levels().into_iter().map(level).collect(),
    }
}

fn is_component(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=COMPONENT_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_letter)
}

const PROFILE_SECONDS_MAX: u32 = 300;
const COMPONENT_BYTES_MAX: usize = 64;
/// Maximum duration of a change: a day.
const SECONDS_MAX: u32 = 24 * 3600;
