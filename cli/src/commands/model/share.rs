//! `model share`: offers the files of a model to other nodes, and prints their manifest.

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::NewShare;
use runtime::blobs::Manifest;
use runtime::home::Home;
use std::path::Path;

pub(super) async fn run(home: &Home, path: &Path, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    // Links are not resolved, because the snapshots of a cache consist of links.
    let path = std::path::absolute(path).map_err(|error| {
        Failure::new(format!("cannot share {}", path.display())).id("path_unusable").because(Some(&error))
    })?;
    let manifest: Manifest = client.post("/api/v1/files", &NewShare { path }).await?.read()?;
    if format.json {
        return output::json(&manifest);
    }
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| Failure::from_error(&error).id("internal_error"))?;
    output::line(&text)
}
