//! `node status`: how this machine's node is, or all of this user's.

use super::node_health::{self, word};
use crate::args::Format;
use crate::client::Client;
use crate::error::{Failure, Outcome};
use crate::output;
use runtime::home::Home;
use runtime::http::view::{Health, Metadata, Model, Status, StatusAnswer};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) async fn run(home: &Home, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if format.json {
        let body = client.get_raw("/api/v1/status").await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    print(&client, client.get("/api/v1/status").await?, None)
}

/// One node of several.
#[derive(Serialize)]
struct Of {
    home: PathBuf,
    #[serde(flatten)]
    status: StatusAnswer,
}

/// Shows every node of this user; one that does not answer hides none of the others.
pub(super) fn run_all(format: Format) -> Outcome {
    let (mut found, mut failed) = (Vec::new(), 0);
    super::block_on(async {
        for home in super::running_homes()? {
            let asked = async {
                let client = Client::connect(&home)?;
                let status = client.get::<StatusAnswer>("/api/v1/status").await?;
                Ok::<_, Failure>((client, status))
            };
            match asked.await {
                Ok((client, status)) => found.push((home, client, status)),
                Err(failure) => {
                    failed += 1;
                    failure.at(&home.root().display().to_string()).report();
                }
            }
        }
        Ok(())
    })?;
    if format.json {
        let all = found.into_iter().map(|(home, _, status)| Of { home: home.root().to_owned(), status });
        output::json(&all.collect::<Vec<_>>())?;
    } else if found.is_empty() && failed == 0 {
        output::line("No running nodes")?;
    } else {
        for (number, (home, client, status)) in found.into_iter().enumerate() {
            if number > 0 {
                output::line("")?;
            }
            print(&client, status, Some(&home))?;
        }
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(client: &Client, status: StatusAnswer, home: Option<&Home>) -> Result<(), Failure> {
    let home = home.map(|home| ("Home", home.root().display().to_string()));
    let rows = match status {
        StatusAnswer::Early(metadata) => early(client, metadata),
        StatusAnswer::Whole(status) => whole(client, *status),
    };
    let rows: Vec<_> = home.into_iter().chain(rows).collect();
    output::properties(&rows)
}

fn early(client: &Client, metadata: Metadata) -> Vec<(&'static str, String)> {
    vec![
        ("State", metadata.state.to_string()),
        ("Version", metadata.version),
        ("API", client.info().api_address.to_string()),
        ("Process", client.info().pid.to_string()),
    ]
}

fn whole(client: &Client, status: Status) -> Vec<(&'static str, String)> {
    let models: Vec<String> = status.models.iter().map(describe).collect();
    let addresses: Vec<String> = status.addresses.iter().map(|address| address.ip().to_string()).collect();
    vec![
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
    ]
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
