//! `metrics targets`: the nodes whose metrics can be read, as a list for Prometheus.
//!
//! A node serves its metrics on loopback, so Prometheus reaches the nodes of its own machine. Members on other machines
//! are named, and listed on request for those whose metrics are forwarded.

use super::output_file;
use crate::client::Client;
use crate::error::Failure;
use crate::homes;
use crate::output;
use api::{Member, Members};
use clap::Args;
use engine::NodeId;
use runtime::home::{Home, RunInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// File to write, or - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Also list the members on other machines, with this port; for metrics that are forwarded to it
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    forwarded_port: Option<u16>,
}

/// An entry of a list for `file_sd_configs`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    targets: Vec<SocketAddr>,
    labels: Labels,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    p2p_ai_node: NodeId,
    p2p_ai_network: String,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let Members { members, .. } = client.get("/api/v1/members").await?;
    let here: Vec<RunInfo> = homes::running()?.iter().filter_map(Home::info).collect();
    let network = client.info().network.clone();
    let found = Found::new(members, here, &network, arguments.forwarded_port);
    let mut text = serde_json::to_vec_pretty(&found.targets)
        .map_err(|error| Failure::from_error(&error).id("internal_error"))?;
    text.push(b'\n');
    output_file::write(&arguments.output, &text, |bytes| {
        serde_json::from_slice::<Vec<Target>>(bytes).is_ok()
    })?;
    output::write_error(found.notice().as_bytes())
}

/// The nodes of a network, by whether their metrics can be read here.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    targets: Vec<Target>,
    /// Nodes of this machine without a port of metrics.
    without_port: Vec<NodeId>,
    /// Members on other machines, or of other users.
    elsewhere: Vec<NodeId>,
    /// Whether the members elsewhere are among the targets.
    forwarded: bool,
}

impl Found {
    fn new(members: Vec<Member>, here: Vec<RunInfo>, network: &str, forwarded_port: Option<u16>) -> Self {
        let target = |id, address| Target {
            targets: vec![address],
            labels: Labels { p2p_ai_node: id, p2p_ai_network: network.to_owned() },
        };
        let mut found = Self {
            targets: Vec::new(),
            without_port: Vec::new(),
            elsewhere: Vec::new(),
            forwarded: forwarded_port.is_some(),
        };
        // A node that has just started may not be a member yet.
        let here: BTreeMap<NodeId, RunInfo> = here
            .into_iter()
            .filter(|info| info.network == network)
            .map(|info| (info.node_id, info))
            .collect();
        for (id, info) in &here {
            match info.metrics_address {
                Some(address) => found.targets.push(target(*id, address)),
                None => found.without_port.push(*id),
            }
        }
        for member in members.into_iter().filter(|member| !here.contains_key(&member.id)) {
            found.elsewhere.push(member.id);
            if let Some((address, port)) = member.addresses.first().zip(forwarded_port) {
                found.targets.push(target(member.id, SocketAddr::new(address.ip(), port)));
            }
        }
        found
    }

    /// Says which nodes are missing from the list, and why.
    fn notice(&self) -> String {
        let list = |ids: &[NodeId]| ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ");
        let mut notice = String::new();
        if !self.without_port.is_empty() {
            notice += &format!("note: without metrics, as metrics_port is 0: {}\n", list(&self.without_port));
        }
        match (self.elsewhere.is_empty(), self.forwarded) {
            (true, _) => {}
            (false, true) => {
                notice += "note: members elsewhere serve metrics on loopback; forward them to the given port there\n";
            }
            (false, false) => {
                notice += &format!(
                    "note: not listed, as they run elsewhere and serve metrics on loopback only: {}\n",
                    list(&self.elsewhere)
                );
                notice += "hint: run this command on their machines; p2p-ai-agents help observability shows other ways\n";
            }
        }
        notice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u8) -> Member {
        let addresses = vec![SocketAddr::from(([192, 168, 0, id], 9000))];
        Member { addresses, ..Member::new(NodeId([id; 16]), engine::NodeName::default()) }
    }

    fn info(id: u8, network: &str, metrics_port: Option<u16>) -> RunInfo {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        RunInfo {
            pid: 1,
            node_id: NodeId([id; 16]),
            name: engine::NodeName::default(),
            api_address: address(8080),
            metrics_address: metrics_port.map(address),
            network_port: 9000,
            network: network.to_owned(),
            version: "1".to_owned(),
            timestamp: String::new(),
            startup: None,
        }
    }

    #[test]
    fn nodes_of_this_machine_are_listed_and_the_others_named() {
        let here =
            || vec![info(1, "local", Some(9100)), info(2, "local", None), info(4, "other", Some(9101))];
        let members = || vec![member(1), member(2), member(3)];
        let found = Found::new(members(), here(), "local", None);
        let texts: Vec<String> = found.targets.iter().map(|target| target.targets[0].to_string()).collect();
        assert_eq!(texts, ["127.0.0.1:9100"]);
        assert_eq!(
            (found.without_port.clone(), found.elsewhere.clone()),
            (vec![NodeId([2; 16])], vec![NodeId([3; 16])])
        );
        let notice = found.notice();
        assert!(notice.contains(&"02".repeat(16)) && notice.contains(&"03".repeat(16)), "{notice}");
        let found = Found::new(members(), here(), "local", Some(9200));
        assert_eq!(found.targets[1].targets, ["192.168.0.3:9200".parse().unwrap()]);
        let alone = Found::new(vec![member(1)], vec![info(1, "local", Some(9100))], "local", None);
        assert_eq!(alone.notice(), "");
    }
}
