//! `route explain ID`: the path to a node, how long each hop takes, and other paths.

use crate::args::Format;
use crate::client::Client;
use crate::error::Failure;
use crate::output;
use engine::NodeId;
use runtime::home::Home;
use runtime::http::view::{Members, Route};

pub(super) async fn run(home: &Home, id: &str, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let path = format!("/api/v1/routes/{}", find(&client, id).await?);
    if format.json {
        let body = client.get_raw(&path).await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let route: Route = client.get(&path).await?;
    if route.hops.is_empty() {
        return output::line("That is this node itself");
    }
    let mut before = Some(0);
    let rows: Vec<[String; 4]> = (1..)
        .zip(&route.hops)
        .map(|(number, hop)| {
            let took = hop.round_trip_us.zip(before).map(|(after, before)| after.saturating_sub(before));
            before = hop.round_trip_us;
            let milliseconds = |micros: Option<u64>| micros.map_or_else(|| "no answer".to_owned(), millis);
            [number.to_string(), hop.id.to_string(), milliseconds(took), milliseconds(hop.round_trip_us)]
        })
        .collect();
    output::table(["HOP", "NODE", "THIS HOP", "ROUND TRIP"], &rows)?;
    if route.alternatives.is_empty() {
        return output::line("No other path");
    }
    for path in &route.alternatives {
        let nodes: Vec<String> = path.iter().map(NodeId::to_string).collect();
        output::line(&format!("Other path: {}", nodes.join(" -> ")))?;
    }
    Ok(())
}

/// Finds the one member whose id begins like this.
pub(super) async fn find(client: &Client, start: &str) -> Result<NodeId, Failure> {
    let Members { members } = client.get("/api/v1/members").await?;
    let start = start.to_ascii_lowercase();
    let mut found = members.iter().map(|member| member.id).filter(|id| id.to_string().starts_with(&start));
    match (found.next(), found.next()) {
        (Some(id), None) if !start.is_empty() => Ok(id),
        (Some(_), _) => Err(Failure::new(format!("More than one node begins with {start:?}"))
            .id("node_ambiguous")
            .hint("give more of its id")),
        (None, _) => Err(Failure::new(format!("Node not found (id: {start})"))
            .id("node_unknown")
            .hint("p2p-ai-agents node peers shows the nodes around this one")),
    }
}

pub(super) fn millis(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}
