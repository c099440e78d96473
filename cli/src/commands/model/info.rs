//! `model info`: shows the details of one model of this machine or of its node.

use super::{cache, list};
use crate::error::Failure;
use crate::output::{self, Format};
use api::{ModelAvailability, ModelStatus};
use runtime::catalog::{self, memory_for};
use runtime::home::Home;
use runtime::hub::{Hub, ModelId, Present};
use runtime::inference::{EMBEDDED_MODEL, EMBEDDED_MODEL_ON_HUB, ModelDetails};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

pub(super) async fn run(home: &Home, hub: Hub, asked: &str, format: Format) -> Result<(), Failure> {
    let mut models = list::model_states(home, hub.clone()).await?;
    let place = models.iter().position(|model| is(model, asked));
    let listed = match place {
        Some(place) => Some(models.swap_remove(place)),
        None if means_embedded(&hub, asked) => Some(embedded(models)),
        None => None,
    };
    let present = match &listed {
        Some(listed) => find_listed(&hub, asked, listed),
        None => {
            let id = cache::parse_id(asked, "inspected")?;
            Some(hub.find(&id).map_err(|error| cache::missing_model(&id, &error))?)
        }
    };
    let details = match (&present, &listed) {
        (Some(present), _) => ModelDetails::read(&present.path),
        (None, Some(listed)) if listed.status.name == EMBEDDED_MODEL => ModelDetails::embedded(),
        (None, _) => ModelDetails::default(),
    };
    if format.json {
        output::json(&fields(listed.as_ref(), present.as_ref(), &details))
    } else {
        show(listed, present, &details)
    }
}

/// Returns whether a listed model has the requested name or path.
fn is(model: &ModelAvailability, asked: &str) -> bool {
    let place = Path::new(&model.status.place);
    model.status.name == asked || fs::canonicalize(asked).is_ok_and(|asked| asked == place)
}

/// Returns whether a name that is not listed means the built-in model.
fn means_embedded(hub: &Hub, asked: &str) -> bool {
    let is_fetched = || asked.parse::<ModelId>().is_ok_and(|id| hub.find(&id).is_ok());
    asked == EMBEDDED_MODEL || (asked.eq_ignore_ascii_case(EMBEDDED_MODEL_ON_HUB) && !is_fetched())
}

/// Returns the state of the built-in model, which not every node offers.
fn embedded(models: Vec<ModelAvailability>) -> ModelAvailability {
    let listed = models.into_iter().find(|model| model.status.name == EMBEDDED_MODEL);
    listed.unwrap_or_else(|| {
        let reason = Some("this node does not offer it".to_owned());
        ModelAvailability::from(ModelStatus { reason, ..catalog::built_in_status() })
    })
}

/// Finds the files of a listed model; `None` if it is built in or missing.
fn find_listed(hub: &Hub, asked: &str, listed: &ModelAvailability) -> Option<Present> {
    let named = asked.parse::<ModelId>().ok().and_then(|id| hub.find(&id).ok());
    let place = Path::new(&listed.status.place);
    named.or_else(|| place.is_absolute().then(|| hub.find(&ModelId::Local(place.to_owned())).ok()).flatten())
}

fn fields(listed: Option<&ModelAvailability>, present: Option<&Present>, details: &ModelDetails) -> Value {
    let mut fields = Map::new();
    let mut add = |more: Value| {
        let Value::Object(more) = more else { return };
        more.into_iter().for_each(|(name, value)| drop(fields.insert(name, value)));
    };
    if let Some(present) = present {
        let files = present.files.iter().map(|file| {
            let hash = file.hash.map(|hash| hash.to_string());
            json!({ "name": file.name, "bytes": file.bytes, "hash": hash })
        });
        add(json!({
            "name": present.id.to_string(),
            "path": present.path,
            "format": present.format,
            "architecture": present.architecture,
            "commit": present.commit,
            "bytes": present.bytes,
            "files": files.collect::<Vec<_>>(),
        }));
    }
    add(json!(details));
    // The same fields as `model list --json`.
    add(listed.map_or(Value::Null, |listed| json!(listed)));
    Value::Object(fields)
}

fn show(
    listed: Option<ModelAvailability>,
    present: Option<Present>,
    details: &ModelDetails,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let name = listed.as_ref().map(|listed| listed.status.name.clone());
    let name = name.or_else(|| present.as_ref().map(|present| present.id.to_string()));
    rows.extend(name.map(|name| ("Name", name)));
    if let Some(ModelAvailability { status, state }) = &listed {
        let kinds = (!status.kinds.is_empty()).then(|| status.kinds.join(", "));
        rows.extend(kinds.map(|kinds| ("Type", kinds)));
        rows.push(("State", state.as_str().to_owned()));
        rows.extend(status.reason.clone().map(|reason| ("Reason", reason)));
        rows.extend(status.hint.clone().map(|hint| ("Hint", hint)));
        rows.extend(status.loaded_at.as_deref().map(|at| ("Loaded at", output::when_exactly(at))));
        rows.extend(status.memory_bytes.map(|bytes| ("Memory", output::bytes(bytes))));
        if status.memory_bytes.is_none() && status.is_usable() && status.bytes > 0 {
            rows.push(("Memory", format!("about {} once loaded", output::bytes(memory_for(status.bytes)))));
        }
    }
    rows.extend(details.dimensions.map(|count| ("Dimensions", count.to_string())));
    rows.extend(details.tokens_max.map(|count| ("Longest text", format!("{count} tokens"))));
    rows.extend(details.pooling.clone().map(|pooling| ("Pooling", pooling)));
    if !details.labels.is_empty() {
        rows.push(("Labels", details.labels.join(", ")));
    }
    if !details.prompts.is_empty() {
        let prompts = details.prompts.iter().map(|(name, prompt)| format!("{name} {prompt:?}"));
        rows.push(("Prompts", prompts.collect::<Vec<_>>().join(", ")));
    }
    rows.extend(details.license.clone().map(|license| ("Licence", license)));
    match present {
        Some(present) => {
            let unknown = || "-".to_owned();
            let files =
                present.files.iter().map(|file| format!("{} ({})", file.name, output::bytes(file.bytes)));
            rows.push(("Size", output::bytes(present.bytes)));
            rows.push(("Architecture", present.architecture.clone().unwrap_or_else(unknown)));
            rows.push(("Commit", present.commit.clone().unwrap_or_else(unknown)));
            rows.push(("Path", present.path.display().to_string()));
            rows.push(("Files", files.collect::<Vec<_>>().join(", ")));
        }
        None => rows.extend(listed.into_iter().flat_map(|ModelAvailability { status, .. }| {
            [("Size", output::bytes(status.bytes)), ("Path", status.place)]
        })),
    }
    output::properties(&rows)
}
