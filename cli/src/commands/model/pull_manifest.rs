//! `model pull --manifest`: fetches the files of a manifest from other nodes, without the internet.

use crate::client::Client;
use crate::error::Failure;
use crate::output;
use crate::progress;
use crate::terminal;
use api::{Fetch, FetchLine, ModelStatus, Models, NewFetch};
use engine::blobs::BlobId;
use runtime::blobs::{Manifest, ManifestFile, hash_file};
use runtime::home::Home;
use runtime::text::without_mark;
use serde_json::json;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(super) async fn run(home: &Home, manifest: &Path, to: Option<&Path>) -> Result<(), Failure> {
    let unusable = |cause: &dyn std::error::Error| {
        Failure::new(format!("{} is not a model manifest", manifest.display()))
            .id("manifest_unusable")
            .because(Some(cause))
            .hint("create one on a machine that has the model: p2p-ai-agents model share FOLDER > model.json")
    };
    let text = fs::read(manifest).map_err(|error| unusable(&error))?;
    let manifest = Manifest::read(without_mark(&text)).map_err(|error| unusable(&error))?;
    let folder = match to {
        Some(folder) => {
            std::path::absolute(folder).map_err(|error| Failure::from_error(&error).id("path_unusable"))?
        }
        None => home.models_directory().join(&manifest.name),
    };
    let client = Client::connect(home)?;
    let (begun, mut peers, mut fetched) = (Instant::now(), 0, 0);
    let bar = progress::bytes();
    bar.set_length(manifest.bytes());
    let mut done = 0;
    for file in &manifest.files {
        let path = folder.join(&file.path);
        if !is_present(&path, file)? {
            let from = fetch(&client, file, path, |fetch| bar.set_position(done + fetch.present)).await?;
            peers = peers.max(from);
            fetched += file.bytes;
        }
        done += file.bytes;
        bar.set_position(done);
    }
    bar.finish_and_clear();
    if output::is_json() {
        return output::json(&json!({
            "name": manifest.name,
            "path": folder,
            "bytes": manifest.bytes(),
            "bytes_fetched": fetched,
            "nodes": peers,
        }));
    }
    output::line(&summary(fetched, peers, begun, &folder))?;
    client.post("/api/v1/models/refresh", &()).await?.accepted()?;
    let models: Models = client.get("/api/v1/models").await?;
    let listed = models
        .models
        .iter()
        .map(|model| &model.status)
        .find(|model| Path::new(&model.place).starts_with(&folder));
    output::line(&terminal::sanitize_line(&listed.map_or_else(
        || format!("To run it, add {} to models in the settings, or to P2P_AI_MODELS", folder.display()),
        offered,
    )))
}

/// Says how the node offers a model.
fn offered(model: &ModelStatus) -> String {
    match &model.reason {
        Some(reason) => format!("The node lists it as {} and cannot run it: {reason}", model.name),
        None => format!("The node offers it as {} for {}", model.name, model.kinds.join(", ")),
    }
}

/// Returns whether a file is present already. A different file at the path is an error and stays unchanged.
fn is_present(path: &PathBuf, file: &ManifestFile) -> Result<bool, Failure> {
    let Ok(found) = fs::metadata(path) else { return Ok(false) };
    let blob = hash_file(path, found.len()).map_err(|error| {
        Failure::new(format!("cannot read {}", path.display())).id("path_unusable").because(Some(&error))
    })?;
    if blob == (BlobId { root: file.blake3, bytes: file.bytes }) {
        return Ok(true);
    }
    Err(Failure::new(format!("{} exists and is another file", path.display()))
        .id("file_exists")
        .hint("move it away, or name another directory with --to DIR"))
}

async fn fetch(
    client: &Client,
    file: &ManifestFile,
    path: PathBuf,
    mut on_progress: impl FnMut(&Fetch),
) -> Result<u32, Failure> {
    let new = NewFetch { blake3: Some(file.blake3), sha256: None, bytes: file.bytes, path };
    let mut last = None;
    client
        .post_lines("/api/v1/fetches", &new, |line: FetchLine| match line {
            FetchLine::Progress(fetch) => {
                on_progress(&fetch);
                ControlFlow::Continue(())
            }
            FetchLine::Error(_) | FetchLine::Fetched { .. } => {
                last = Some(line);
                ControlFlow::Break(())
            }
        })
        .await?;
    match last {
        Some(FetchLine::Fetched { peers, .. }) => Ok(peers),
        Some(FetchLine::Error(error)) => {
            let failure =
                Failure::new(format!("cannot fetch {}: {}", file.path, terminal::sanitize(&error.message)))
                    .id(error.code);
            Err(failure.hint(error.hint.unwrap_or_else(|| SHARE_HINT.to_owned())))
        }
        Some(FetchLine::Progress(_)) | None => {
            Err(Failure::new(format!("the node stopped before {} was complete", file.path))
                .id("fetch_interrupted")
                .hint("the received part is kept; run the same command again to resume"))
        }
    }
}

fn summary(bytes: u64, peers: u32, begun: Instant, folder: &Path) -> String {
    if bytes == 0 {
        return format!("All files are already here: {}", folder.display());
    }
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    let nodes = if peers == 1 { "1 node".to_owned() } else { format!("{peers} nodes") };
    #[allow(clippy::cast_precision_loss, reason = "it is shown with few digits")]
    let megabytes = bytes as f64 / 1e6;
    let rate = megabytes / seconds;
    format!("Fetched {megabytes:.1} MB from {nodes} in {seconds:.1} s ({rate:.0} MB/s): {}", folder.display())
}

const SHARE_HINT: &str = "share the model on a machine of this network with: p2p-ai-agents model share FOLDER; \
                    the received part is kept, and the same command resumes";
