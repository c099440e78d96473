//! `model info`: what is known of one model on this machine.

use crate::args::Format;
use crate::error::Failure;
use crate::output;
use runtime::hub::{Hub, ModelId};
use serde_json::json;

pub(super) fn run(hub: &Hub, id: &ModelId, format: Format) -> Result<(), Failure> {
    let model = hub.find(id).map_err(|error| super::absence(id, &error))?;
    if format.json {
        let files = model.files.iter().map(|file| {
            let hash = file.hash.map(|hash| hash.to_string());
            json!({ "name": file.name, "bytes": file.bytes, "hash": hash })
        });
        return output::json(&json!({
            "name": model.id.to_string(),
            "path": model.path,
            "format": model.format,
            "architecture": model.architecture,
            "commit": model.commit,
            "bytes": model.bytes,
            "files": files.collect::<Vec<_>>(),
        }));
    }
    let unknown = || "-".to_owned();
    let files = model.files.iter().map(|file| format!("{} ({})", file.name, output::bytes(file.bytes)));
    output::properties(&[
        ("Name", model.id.to_string()),
        ("Size", output::bytes(model.bytes)),
        ("Architecture", model.architecture.clone().unwrap_or_else(unknown)),
        ("Commit", model.commit.clone().unwrap_or_else(unknown)),
        ("Path", model.path.display().to_string()),
        ("Files", files.collect::<Vec<_>>().join(", ")),
    ])
}
