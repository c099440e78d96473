//! Routes about files that nodes fetch from each other.
//!
//! The response to a fetch is a stream of JSON lines: progress several times a second, then the result or an error. If
//! the client disconnects, the fetch is cancelled.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each request has one kind of response; every other kind is the same bug"
)]

use crate::blobs::{Manifest, ShareError, SharedFile, SharedFiles};
use crate::home;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::state::Api;
use api::{Fetch, FetchLine, Fetches, NewFetch, NewShare};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use engine::blobs::{Hash, Pin};
use engine::request::{FetchSpec, FetchView, Request as NodeRequest, Response as NodeResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Files that this node shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Files {
    /// The files.
    files: Vec<SharedFile>,
}

pub(super) async fn fetches(State(api): State<Api>) -> Result<Json<Fetches>, ApiError> {
    Ok(Json(Fetches { fetches: views(&api).await?.into_iter().map(Fetch::from).collect() }))
}

pub(super) async fn files(State(api): State<Api>) -> Json<Files> {
    Json(Files { files: api.shared_files.list() })
}

pub(super) async fn share(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Manifest>, ApiError> {
    let NewShare { path } = read(&headers, &body, r#"{"path": "/models/mine"}"#)?;
    absolute(&path)?;
    let shared_files = Arc::clone(&api.shared_files);
    let shared = tokio::task::spawn_blocking(move || shared_files.share(&path)).await;
    match shared {
        Ok(Ok(manifest)) => Ok(Json(manifest)),
        Ok(Err(error)) => Err(not_shared(&error)),
        Err(error) => Err(internal(&error)),
    }
}

pub(super) async fn fetch(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let new: NewFetch = read(&headers, &body, r#"{"blake3": "…", "bytes": 5, "path": "/models/mine/x"}"#)?;
    absolute(&new.path)?;
    if new.path.exists() {
        let message = format!("{} exists", new.path.display());
        return Err(ApiError::new(StatusCode::CONFLICT, "file_exists", message));
    }
    let pin = match (new.blake3, new.sha256) {
        (Some(hash), None) => Pin::Blake3(hash),
        (None, Some(hash)) => Pin::Sha256(hash),
        (None, None) | (Some(_), Some(_)) => {
            let message = "a file is known by either blake3 or sha256";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "hash_missing", message));
        }
    };
    let (lines, inbox) = mpsc::channel(LINES_MAX);
    let spec = FetchSpec { pin, bytes: new.bytes };
    tokio::spawn(async move {
        if let Some(last) = follow(&api, spec, &new.path, &lines).await {
            let _ = lines.send(last).await;
        }
    });
    Ok(body::lines(inbox))
}

/// Reports progress until a fetch ends; `None` if the client disconnects, which cancels the fetch.
async fn follow(
    api: &Api,
    spec: FetchSpec,
    path: &Path,
    lines: &mpsc::Sender<FetchLine>,
) -> Option<FetchLine> {
    // A file that was deleted here can be fetched again.
    let shared_files = Arc::clone(&api.shared_files);
    let forgotten = tokio::task::spawn_blocking(move || shared_files.forget_missing()).await;
    let mut attempts = if forgotten.is_ok_and(|forgotten| forgotten) { ATTEMPTS_AFTER_LOSS } else { 1 };
    loop {
        attempts -= 1;
        let line = fetch_once(api, spec, path, lines).await?;
        match line {
            // The node has not yet learned that its own file is gone.
            Err(NotPlaced(error)) if attempts > 0 && error.kind() == io::ErrorKind::NotFound => {
                tokio::time::sleep(LOSS_POLL_INTERVAL).await;
            }
            Err(NotPlaced(error)) => return Some(FetchLine::Error(not_placed(path, &error).detail())),
            Ok(line) => return Some(line),
        }
    }
}

/// A fetched file could not be put at its destination.
struct NotPlaced(io::Error);

/// Reports progress until one fetch ends; `None` if the client disconnects.
async fn fetch_once(
    api: &Api,
    spec: FetchSpec,
    path: &Path,
    lines: &mpsc::Sender<FetchLine>,
) -> Option<Result<FetchLine, NotPlaced>> {
    let answer = api.handle.ask(NodeRequest::Fetch(spec));
    tokio::pin!(answer);
    let mut look = tokio::time::interval(PROGRESS_INTERVAL);
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer,
            () = lines.closed() => return None,
            _ = look.tick() => {
                let views = views(api).await.unwrap_or_default();
                if let Some(view) = views.into_iter().find(|view| view.spec == spec) {
                    // A slow client skips some progress.
                    let _ = lines.try_send(FetchLine::Progress(view.into()));
                }
            }
        }
    };
    let fetched = match answer {
        Ok(Ok(NodeResponse::Fetched(fetched))) => fetched,
        Ok(Ok(other)) => return Some(Ok(FetchLine::Error(internal(&format!("{other:?}")).detail()))),
        Ok(Err(rejection)) => return Some(Ok(FetchLine::Error(ApiError::from(rejection).detail()))),
        Err(stopped) => return Some(Ok(FetchLine::Error(ApiError::from(stopped).detail()))),
    };
    let (shared_files, root, to) = (Arc::clone(&api.shared_files), fetched.blob.root, path.to_owned());
    let placed =
        tokio::task::spawn_blocking(move || place(&shared_files, root, &to)).await.map_err(io::Error::other);
    Some(match placed.and_then(|placed| placed) {
        Ok(()) => Ok(FetchLine::Fetched {
            blake3: root,
            peers: fetched.peers,
            elapsed_ms: fetched.elapsed_micros / 1000,
        }),
        Err(error) => Err(NotPlaced(error)),
    })
}

/// Puts a fetched file at its destination. If it was in the node's own folder, it is shared from the destination.
fn place(shared_files: &SharedFiles, root: Hash, to: &Path) -> io::Result<()> {
    let from = shared_files.path(root).ok_or(io::ErrorKind::NotFound)?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    // Files outside the node's own folder stay where they are: the user's, or those of an earlier fetch.
    if !shared_files.is_own(&from) {
        return copy(&from, to);
    }
    if fs::hard_link(&from, to).is_err() {
        copy(&from, to)?;
    }
    shared_files.moved(root, to)?;
    fs::remove_file(&from)
}

/// Copies a file atomically, without replacing another one.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (draft, mut copy) = home::create_draft(to, 0o666)?;
    let copied = fs::File::open(from)
        .and_then(|mut from| io::copy(&mut from, &mut copy))
        .and_then(|_| copy.sync_all())
        .and_then(|()| if to.exists() { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) });
    copied.and_then(|()| fs::rename(&draft, to)).inspect_err(|_| drop(fs::remove_file(&draft)))
}

async fn views(api: &Api) -> Result<Vec<FetchView>, ApiError> {
    match api.handle.ask(NodeRequest::Fetches).await?? {
        NodeResponse::Fetches(views) => Ok(views),
        other => Err(internal(&format!("{other:?}"))),
    }
}

fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8], sample: &str) -> Result<T, ApiError> {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Browsers send every other content type across origins without a preflight request.
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "the body must be application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type_unsupported", message));
    }
    serde_json::from_slice(body).map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, "body_malformed", format!("the body makes no sense: {error}"))
            .hint(format!("send {sample}"))
    })
}

fn absolute(path: &Path) -> Result<(), ApiError> {
    if path.is_absolute() {
        return Ok(());
    }
    let message = format!("{} is not an absolute path", path.display());
    Err(ApiError::new(StatusCode::BAD_REQUEST, "path_not_absolute", message))
}

fn not_shared(error: &ShareError) -> ApiError {
    let (status, code) = match error {
        ShareError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            (StatusCode::NOT_FOUND, "path_unknown")
        }
        ShareError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "storage_failed"),
        ShareError::Nothing(_) => (StatusCode::UNPROCESSABLE_ENTITY, "folder_empty"),
        ShareError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "file_too_large"),
        ShareError::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many_files"),
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    ApiError::new(status, code, format!("{error}{cause}"))
}

fn not_placed(path: &Path, error: &io::Error) -> ApiError {
    let message = format!("the file was fetched and cannot be put at {}: {error}", path.display());
    ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "storage_failed", message)
        .hint("fetch it again with another place; what was fetched is kept".to_owned())
}

fn internal(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "the control API failed");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the node could not do that")
}

/// Interval between progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// How many times a fetch is tried after files of this node were found to be gone.
const ATTEMPTS_AFTER_LOSS: u32 = 50;
/// Pause between these attempts.
const LOSS_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Lines that are buffered for a client.
const LINES_MAX: usize = 4;
