//! `model list`: the models on this machine.

use crate::error::Failure;
use crate::output;
use runtime::hub::{Format, Hub, Present};
use runtime::inference::EMBEDDED_MODEL;
use serde::Serialize;

/// A model as it is listed.
#[derive(Serialize)]
struct Row {
    name: String,
    bytes: Option<u64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "where")]
    place: String,
}

pub(super) fn run(hub: &Hub, format: crate::args::Format) -> Result<(), Failure> {
    let models = hub.list().map_err(|error| Failure::from_error(&error))?;
    let embedded = Row {
        name: EMBEDDED_MODEL.to_owned(),
        bytes: None,
        kind: Some("embedding".to_owned()),
        place: "built in".to_owned(),
    };
    let rows: Vec<Row> = std::iter::once(embedded).chain(models.iter().map(Row::of)).collect();
    if format.json {
        return output::json(&rows);
    }
    let rows: Vec<[String; 4]> = rows
        .into_iter()
        .map(|row| {
            let size = row.bytes.map_or_else(|| "-".to_owned(), output::bytes);
            [row.name, size, row.kind.unwrap_or_else(|| "-".to_owned()), row.place]
        })
        .collect();
    output::table(["NAME", "SIZE", "TYPE", "WHERE"], &rows)
}

impl Row {
    fn of(model: &Present) -> Self {
        let kind = match model.format {
            Format::Gguf => Some("GGUF".to_owned()),
            Format::Safetensors => model.architecture.clone(),
        };
        let place = model.path.display().to_string();
        Self { name: model.id.to_string(), bytes: Some(model.bytes), kind, place }
    }
}
