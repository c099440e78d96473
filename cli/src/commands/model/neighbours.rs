//! The running node as a source of model files: other nodes may have them, so it is tried before the hub.

use crate::client::Client;
use api::{FetchLine, NewFetch};
use engine::blobs::Hash;
use runtime::home::Home;
use runtime::hub::Neighbours;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Returns the source, if a node runs in this home.
pub(super) fn from_home(home: &Home) -> Option<Neighbours> {
    let client = Client::connect(home).ok()?;
    let ask = move |hash, bytes, to: &Path, on_progress: &mut dyn FnMut(u64) -> ControlFlow<()>| {
        // After any error here, the hub is tried.
        fetch(&client, hash, bytes, to, on_progress).unwrap_or_default()
    };
    Some(Neighbours(Arc::new(ask)))
}

fn fetch(
    client: &Client,
    hash: [u8; 32],
    bytes: u64,
    to: &Path,
    on_progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Option<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let new = NewFetch { blake3: None, sha256: Some(Hash(hash)), bytes, path: to.to_owned() };
    let mut given = false;
    let lines = client.post_lines("/api/v1/fetches", &new, |line: FetchLine| match line {
        FetchLine::Progress(fetch) => on_progress(fetch.present),
        FetchLine::Error(_) => ControlFlow::Break(()),
        FetchLine::Fetched { .. } => {
            given = true;
            ControlFlow::Break(())
        }
    });
    runtime.block_on(lines).ok()?;
    Some(given)
}
