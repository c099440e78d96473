//! `node list`: lists the running nodes of this user in all homes.

use crate::commands::all_nodes;
use crate::error::Failure;
use crate::output::{self, Format};
use api::StatusResponse;
use engine::NodeName;
use engine::lifecycle::State;
use runtime::home::{Holder, Home};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

/// A running node, with the details that are known.
#[derive(Serialize)]
struct Running {
    home: PathBuf,
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<NodeName>,
    /// Absent if the node does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_address: Option<String>,
}

pub(super) async fn run(format: Format) -> Result<(), Failure> {
    let answers = all_nodes::request::<StatusResponse>("/api/v1/status").await?;
    let nodes: Vec<Running> = answers
        .into_iter()
        .map(|(home, said)| running(&home, said.ok().map(|(_, status)| status.state())))
        .collect();
    if format.json {
        return output::json(&json!({ "nodes": nodes }));
    }
    if nodes.is_empty() {
        return output::line("No running nodes");
    }
    let rows: Vec<[String; 7]> = nodes.iter().map(row).collect();
    output::table(["NAME", "ID", "STATE", "PORT", "API", "PID", "HOME"], &rows)
}

fn running(home: &Home, state: Option<State>) -> Running {
    let pid = match home.holder() {
        Holder::Process { pid } => pid,
        Holder::Nobody => None,
    };
    let info = home.info();
    Running {
        home: home.root().to_owned(),
        pid,
        node_id: info.as_ref().map(|info| info.node_id.to_string()),
        name: info.as_ref().map(|info| info.name.clone()),
        state,
        network: info.as_ref().map(|info| info.network.clone()),
        network_port: info.as_ref().map(|info| info.network_port),
        api_address: info.as_ref().map(|info| info.api_address.to_string()),
    }
}

fn row(node: &Running) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let name = node.name.as_ref().filter(|name| !name.is_empty());
    [
        or_dash(name.map(NodeName::to_string)),
        or_dash(node.node_id.clone()),
        node.state.map_or_else(|| "no answer".to_owned(), |state| state.to_string()),
        or_dash(node.network_port.map(|port| port.to_string())),
        or_dash(node.api_address.clone()),
        or_dash(node.pid.map(|pid| pid.to_string())),
        node.home.display().to_string(),
    ]
}
