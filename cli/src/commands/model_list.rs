//! `model list`: the models on this machine, and how they stand where a node runs them.

use crate::args::Format;
use crate::client::Client;
use crate::error::Failure;
use crate::output;
use runtime::catalog::{self, Sources};
use runtime::config::ModelEntry;
use runtime::home::{Holder, Home};
use runtime::http::models::Models;
use runtime::hub::Hub;
use runtime::inference::{EMBEDDED_MODEL, ModelSpec, ModelStatus};

pub(super) async fn run(home: &Home, hub: Hub, format: Format) -> Result<(), Failure> {
    let models = if home.holder() == Holder::Nobody {
        on_disk(hub)
    } else {
        Client::connect(home)?.get::<Models>("/api/v1/models").await?.models
    };
    if format.json {
        return output::json(&models);
    }
    let dash = || "-".to_owned();
    let rows: Vec<[String; 7]> = models
        .into_iter()
        .map(|model| {
            let state = match (model.ready, &model.reason, &model.hint) {
                (true, _, _) => "yes".to_owned(),
                (false, None, _) => "no".to_owned(),
                (false, Some(reason), None) => format!("no: {reason}"),
                (false, Some(reason), Some(hint)) => format!("no: {reason}; {hint}"),
            };
            let kinds = if model.kinds.is_empty() { dash() } else { model.kinds.join(", ") };
            [
                model.name,
                output::bytes(model.bytes),
                kinds,
                model.loaded_at.unwrap_or_else(dash),
                model.memory_bytes.map_or_else(dash, output::bytes),
                model.place,
                state,
            ]
        })
        .collect();
    output::table(["NAME", "SIZE", "TYPE", "LOADED AT", "MEMORY", "WHERE", "READY"], &rows)
}

/// What a node of this user could run, if one ran.
fn on_disk(hub: Hub) -> Vec<ModelStatus> {
    let entries = vec![ModelEntry::Name(EMBEDDED_MODEL.to_owned())];
    let found = catalog::find(&Sources { entries, cached: true, pull_on_demand: false, hub: Some(hub) });
    let mut models: Vec<ModelStatus> = found.models.iter().map(ModelSpec::status).collect();
    models.extend(found.unusable);
    models.sort_by(|one, other| one.name.cmp(&other.name));
    models
}
