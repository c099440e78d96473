//! Node ids on the command line.

use crate::client::Client;
use crate::error::Failure;
use api::Members;
use engine::NodeId;

/// Returns the only member whose id starts with `start`.
pub(super) async fn resolve(client: &Client, start: &str) -> Result<NodeId, Failure> {
    let Members { members } = client.get("/api/v1/members").await?;
    let start = start.to_ascii_lowercase();
    let mut found = members.iter().map(|member| member.id).filter(|id| id.to_string().starts_with(&start));
    match (found.next(), found.next()) {
        (Some(id), None) if !start.is_empty() => Ok(id),
        (Some(_), _) => Err(Failure::new(format!("More than one node id starts with {start:?}"))
            .id("node_ambiguous")
            .hint("give more characters of the id")),
        (None, _) => Err(Failure::new(format!("Node not found (id: {start})"))
            .id("node_unknown")
            .hint("p2p-ai-agents node peers lists the peers of this node")),
    }
}
