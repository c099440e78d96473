//! `node status`: how this machine's node is.

use super::node_health::{self, word};
use crate::args::Format;
use crate::client::Client;
use crate::error::Failure;
use crate::output;
use runtime::home::Home;
use runtime::http::view::{Health, Model, Status};

pub(super) async fn run(home: &Home, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if format.json {
        let body = client.get_raw("/api/v1/status").await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let status: Status = client.get("/api/v1/status").await?;
    let models: Vec<String> = status.models.iter().map(describe).collect();
    let addresses: Vec<String> = status.addresses.iter().map(|address| address.ip().to_string()).collect();
    output::properties(&[
        ("Node", status.node_id.to_string()),
        ("State", status.state.to_string()),
        ("Version", status.version),
        ("Network", format!("{} (open on this local network)", status.network)),
        ("Port", status.network_port.to_string()),
        ("Addresses", if addresses.is_empty() { "none".to_owned() } else { addresses.join(", ") }),
        ("API", client.info().api_address.to_string()),
        ("Uptime", status.uptime_ms.map_or_else(|| "-".to_owned(), output::duration)),
        ("Health", health(status.health.as_ref())),
        ("Peers", status.peers.to_string()),
        ("Members", status.members.to_string()),
        ("Tasks", format!("{} queued, {} running", status.tasks_queued, status.tasks_running)),
        ("Results", status.results.to_string()),
        ("Models", if models.is_empty() { "none".to_owned() } else { models.join(", ") }),
        ("Process", client.info().pid.to_string()),
    ])
}

fn health(health: Option<&Health>) -> String {
    let Some(health) = health else { return "not checked yet".to_owned() };
    let reasons: Vec<&str> = health.components.iter().filter_map(|found| found.reason).map(word).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!("{}{reasons}", node_health::shown(health.status))
}

fn describe(model: &Model) -> String {
    format!("{} ({}, {})", model.name, model.kind, if model.ready { "ready" } else { "not loaded" })
}
