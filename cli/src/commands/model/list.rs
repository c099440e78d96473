//! `model list`: lists the models on this machine, with their state in the running node.

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use crate::terminal;
use api::{Availability, Conflict, ModelAvailability, ModelStatus, Models};
use runtime::catalog::{self, Sources};
use runtime::config::{self, ModelEntry, Overrides};
use runtime::home::{Holder, Home};
use runtime::hub::Hub;
use runtime::inference::{EMBEDDED_MODEL, ModelSpec};
use std::collections::BTreeMap;

pub(super) async fn run(home: &Home, hub: Hub, format: Format) -> Result<(), Failure> {
    let listed = listing(home, hub).await?;
    if format.json {
        return output::json(&listed);
    }
    let Models { models, conflicts, .. } = listed;
    let dash = || "-".to_owned();
    let rows: Vec<[String; 7]> = models
        .into_iter()
        .map(|model| {
            let ModelAvailability { status: model, state } = model;
            let state = match (state, &model.reason, &model.hint) {
                (Availability::Loaded, _, _) => "yes".to_owned(),
                (Availability::Unusable, Some(reason), None) => format!("no: {reason}"),
                (Availability::Unusable, Some(reason), Some(hint)) => format!("no: {reason}; {hint}"),
                (state, _, _) => state.as_str().to_owned(),
            };
            let kinds = if model.kinds.is_empty() { dash() } else { model.kinds.join(", ") };
            [
                model.name,
                output::bytes(model.bytes),
                kinds,
                model.loaded_at.map_or_else(dash, |time| output::when(&time)),
                model.memory_bytes.map_or_else(dash, output::bytes),
                model.place,
                state,
            ]
        })
        .collect();
    for Conflict { model, versions } in &conflicts {
        let versions: Vec<String> = versions
            .iter()
            .map(|version| {
                let nodes: Vec<String> = version.nodes.iter().map(ToString::to_string).collect();
                format!("{} ({})", version.fingerprint, nodes.join(", "))
            })
            .collect();
        let versions = versions.join("; ");
        output::write_error(
            terminal::sanitize(&format!(
                "warning: nodes have different models under the name {model}: {versions}\n"
            ))
            .as_bytes(),
        )?;
    }
    output::table(["NAME", "SIZE", "TYPE", "LOADED AT", "MEMORY", "WHERE", "READY"], &rows)
}

/// Returns the models of the running node, or else those that the next one could run.
pub(super) async fn model_states(home: &Home, hub: Hub) -> Result<Vec<ModelAvailability>, Failure> {
    Ok(listing(home, hub).await?.models)
}

async fn listing(home: &Home, hub: Hub) -> Result<Models, Failure> {
    if home.holder() != Holder::Nobody {
        return Client::connect(home)?.get::<Models>("/api/v1/models").await;
    }
    let overrides = Overrides::from_environment();
    // Invalid settings are reported where they are used.
    let listed = config::preview(home, &overrides).map(|next| next.settings.models);
    let entries = listed.unwrap_or_else(|_| vec![ModelEntry::Name(EMBEDDED_MODEL.to_owned())]);
    let models = on_disk(home, hub, entries).into_iter().map(ModelAvailability::from).collect();
    Ok(Models { models, pulls: BTreeMap::new(), conflicts: Vec::new() })
}

fn on_disk(home: &Home, hub: Hub, entries: Vec<ModelEntry>) -> Vec<ModelStatus> {
    let hashes = Sources::kept_hashes();
    let folders = Some(home.models_directory());
    let sources = Sources { entries, cached: true, pull_on_demand: false, hub: Some(hub), folders, hashes };
    let found = catalog::find(&sources);
    let mut models: Vec<ModelStatus> = found.models.iter().map(ModelSpec::status).collect();
    models.extend(found.unusable);
    models.sort_by(|one, other| one.name.cmp(&other.name));
    models
}
