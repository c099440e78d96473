//! `demo record`: writes what happened as a scenario that `sim run` repeats.

use crate::client::Client;
use crate::commands::sim::new::cannot_write;
use crate::error::Failure;
use crate::output;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::Path;

pub(super) async fn run(client: &Client, path: &Path) -> Result<(), Failure> {
    let text = client.get_raw("/api/v1/demo/record").await?;
    let written = File::create_new(path).and_then(|mut file| file.write_all(&text));
    let place = path.display();
    written.map_err(|error| cannot_write(&place.to_string(), &error))?;
    output::done(
        &format!("Recorded to {place}; repeat it with: p2p-ai-agents sim run {place}"),
        &json!({ "file": path }),
    )
}
