//! `node status`: shows the state of the node, or of all nodes of this user.

use super::health::{self, word};
use crate::client::Client;
use crate::commands::all_nodes;
use crate::commands::node_names::named;
use crate::commands::task::work;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use api::{Alert, Availability, Health, Model, StartingStatus, Status, StatusResponse};
use engine::task::TaskKind;
use runtime::home::Home;

pub(super) async fn run(home: &Home, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if format.json {
        let body = client.get_raw("/api/v1/status").await?;
        return output::write(&with_process(&client, &body)?);
    }
    print(&client, client.get("/api/v1/status").await?, None)
}

/// Adds to a status what the node wrote to its home: its process and its addresses on this machine.
fn with_process(client: &Client, status: &[u8]) -> Result<Vec<u8>, Failure> {
    let info = client.info();
    let process = serde_json::json!({
        "pid": info.pid,
        "api_address": info.api_address,
        "metrics_address": info.metrics_address,
    });
    let process =
        serde_json::to_vec(&process).map_err(|error| Failure::from_error(&error).id("internal_error"))?;
    // Both are objects that are not empty. The fields of the node keep their order.
    let status = status.trim_ascii_end().strip_suffix(b"}").unwrap_or(status);
    Ok([status, b",", process.strip_prefix(b"{").unwrap_or(&process), b"\n"].concat())
}

/// Shows all nodes of this user.
pub(super) fn run_all(format: Format) -> Outcome {
    let print = |home: &Home, client: &Client, status| print(client, status, Some(home));
    all_nodes::show::<StatusResponse>("/api/v1/status", format, |_| true, print)
}

fn print(client: &Client, status: StatusResponse, home: Option<&Home>) -> Result<(), Failure> {
    let home = home.map(|home| ("Home", home.root().display().to_string()));
    let rows = match status {
        StatusResponse::Starting(metadata) => early_rows(client, metadata),
        StatusResponse::Full(status) => full_rows(client, *status),
    };
    let rows: Vec<_> = home.into_iter().chain(rows).collect();
    output::properties(&rows)
}

fn early_rows(client: &Client, metadata: StartingStatus) -> Vec<(&'static str, String)> {
    vec![
        ("State", metadata.state.to_string()),
        ("Version", metadata.version),
        ("API", client.info().api_address.to_string()),
        ("Process", client.info().pid.to_string()),
    ]
}

fn full_rows(client: &Client, status: Status) -> Vec<(&'static str, String)> {
    let addresses: Vec<String> = status.addresses.iter().map(|address| address.ip().to_string()).collect();
    let models = models(&status);
    let alerts = alerts(&status.alerts);
    vec![
        ("Node", named(&status.name, status.node_id)),
        ("State", status.state.to_string()),
        ("Version", status.version),
        ("Network", format!("{} (open on this local network)", status.network)),
        ("Port", status.network_port.to_string()),
        ("Addresses", if addresses.is_empty() { "none".to_owned() } else { addresses.join(", ") }),
        ("API", client.info().api_address.to_string()),
        ("Metrics", metrics(client)),
        ("Uptime", status.uptime_ms.map_or_else(|| "-".to_owned(), output::duration)),
        ("Health", health(status.health.as_ref())),
        ("Alerts", alerts),
        ("Peers", status.peers.to_string()),
        ("Members", status.members.to_string()),
        ("Tasks", format!("{} queued, {} running", status.tasks_queued, status.tasks_running)),
        ("Running", work::summary(&status.work, status.node_id)),
        ("Results", status.results.to_string()),
        ("Models", models),
        ("Process", client.info().pid.to_string()),
    ]
}

/// Returns where the metrics are, if the node has a port for them.
fn metrics(client: &Client) -> String {
    let address = client.info().metrics_address;
    address.map_or_else(|| "no port".to_owned(), |address| format!("{address} (GET /metrics, no token)"))
}

fn health(health: Option<&Health>) -> String {
    let Some(health) = health else { return "not checked yet".to_owned() };
    let reasons: Vec<&str> = health.components.iter().filter_map(|found| found.reason).map(word).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!("{}{reasons}", health::shown(health.status))
}

/// Says which alerts are active, the most urgent first.
fn alerts(alerts: &[Alert]) -> String {
    if alerts.is_empty() {
        return "none".to_owned();
    }
    let mut sorted: Vec<&Alert> = alerts.iter().collect();
    sorted.sort_by_key(|alert| core::cmp::Reverse(alert.severity));
    let shown = sorted.iter().map(|alert| format!("{} {} ({})", alert.severity, alert.rule, alert.message));
    shown.collect::<Vec<_>>().join("; ")
}

/// Lists the usable models, then the configured ones that are unusable.
fn models(status: &Status) -> String {
    let models = described(&status.models);
    let models = if models.is_empty() { "none".to_owned() } else { models.join(", ") };
    if status.models_unusable.is_empty() {
        return models;
    }
    let unusable = status.models_unusable.join(", ");
    format!("{models}; not usable: {unusable} (p2p-ai-agents model list says why)")
}

/// Names each model once, with its types. A state other than ready is said.
fn described(models: &[Model]) -> Vec<String> {
    let mut grouped: Vec<(&str, Availability, Vec<TaskKind>)> = Vec::new();
    // Unusable models follow separately.
    for model in models.iter().filter(|model| model.state != Availability::Unusable) {
        match grouped.iter_mut().find(|(name, state, _)| *name == model.name && *state == model.state) {
            Some((_, _, kinds)) => kinds.push(model.kind),
            None => grouped.push((&model.name, model.state, vec![model.kind])),
        }
    }
    let describe = |(name, state, kinds): (&str, Availability, Vec<TaskKind>)| {
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let state =
            if state == Availability::Loaded { String::new() } else { format!("; {}", state.as_str()) };
        format!("{name} ({}{state})", kinds.join(", "))
    };
    grouped.into_iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_once() {
        let model = |name: &str, kind, state| Model {
            name: name.to_owned(),
            kind,
            fingerprint: None,
            ready: state == Availability::Loaded,
            state,
        };
        let models = [
            model("a", TaskKind::Embedding, Availability::Loaded),
            model("b", TaskKind::Generation, Availability::Loading),
            model("a", TaskKind::Reranking, Availability::Loaded),
            model("c", TaskKind::Embedding, Availability::Unusable),
        ];
        assert_eq!(described(&models), ["a (embedding, reranking)", "b (generation; loading)"]);
    }
}
