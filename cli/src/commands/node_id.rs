//! Nodes on the command line: by name, by id, or by the start of either.
//!
//! Names are labels that nodes choose for themselves. So a word that could mean two nodes is rejected, and a whole id
//! means its node, whatever others call themselves.

use super::node_names::NodeNames;
use crate::client::Client;
use crate::error::Failure;
use api::{Member, Members};
use engine::NodeId;

/// Returns the only member that a word names, and the names of all. Members that left lately are named as well.
pub(super) async fn resolve(client: &Client, word: &str) -> Result<(NodeId, NodeNames), Failure> {
    let Members { members, former } = client.get("/api/v1/members").await?;
    let found = find(&members, word)
        .or_else(|error| match error {
            NameError::Unknown => find(&former, word),
            NameError::Ambiguous(_) => Err(error),
        })
        .map_err(|error| match error {
            NameError::Ambiguous(found) => {
                Failure::new(format!("More than one node has the name or id {word:?}"))
                    .id("node_ambiguous")
                    .hint(format!("give more characters of one of these ids: {}", listed(&found)))
            }
            NameError::Unknown => Failure::new(format!("Node not found (name or id: {word})"))
                .id("node_unknown")
                .hint("p2p-ai-agents node members lists the nodes of the network"),
        })?;
    Ok((found, NodeNames::from(Members { members, former })))
}

/// Why a word names no node.
#[derive(Debug, PartialEq, Eq)]
enum NameError {
    /// It could mean any of these.
    Ambiguous(Vec<NodeId>),
    Unknown,
}

/// Returns the member that a word names: the one with this id, or else the only one with this name or whose id begins
/// so, or else the only one whose name begins so.
fn find(members: &[Member], word: &str) -> Result<NodeId, NameError> {
    let word = word.trim().to_lowercase();
    if word.is_empty() {
        return Err(NameError::Unknown);
    }
    if let Ok(id) = word.parse::<NodeId>()
        && members.iter().any(|member| member.id == id)
    {
        return Ok(id);
    }
    let name = |member: &Member| member.name.as_str().to_lowercase();
    let exact = |member: &&Member| name(member) == word || member.id.to_string().starts_with(&word);
    let similar = |member: &&Member| name(member).starts_with(&word);
    let ids = |found: Vec<&Member>| found.into_iter().map(|member| member.id).collect::<Vec<_>>();
    let mut found = ids(members.iter().filter(exact).collect());
    if found.is_empty() {
        found = ids(members.iter().filter(similar).collect());
    }
    match found.as_slice() {
        [] => Err(NameError::Unknown),
        [id] => Ok(*id),
        _ => Err(NameError::Ambiguous(found)),
    }
}

fn listed(ids: &[NodeId]) -> String {
    let shown: Vec<String> = ids.iter().take(IDS_SHOWN).map(NodeId::to_string).collect();
    let more = if ids.len() > IDS_SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

const IDS_SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::NodeName;

    fn member(id: u8, name: &str) -> Member {
        Member::new(NodeId([id; 16]), NodeName::new(name).unwrap())
    }

    #[test]
    fn a_word_names_one_node_or_none() {
        let members =
            [member(0xab, "cedar"), member(0xac, "Cellar"), member(0x01, "birch"), member(2, "birch")];
        let found = |word: &str| find(&members, word);
        assert_eq!(found("cedar"), Ok(NodeId([0xab; 16])));
        assert_eq!(found("CELL"), Ok(NodeId([0xac; 16])));
        assert_eq!(found("abab"), Ok(NodeId([0xab; 16])));
        assert_eq!(found("ce"), Err(NameError::Ambiguous(vec![NodeId([0xab; 16]), NodeId([0xac; 16])])));
        assert_eq!(found("birch"), Err(NameError::Ambiguous(vec![NodeId([1; 16]), NodeId([2; 16])])));
        assert_eq!(found("01"), Ok(NodeId([1; 16])));
        assert_eq!(found("oak"), Err(NameError::Unknown));
        assert_eq!(found(" "), Err(NameError::Unknown));
    }

    #[test]
    fn no_name_takes_the_id_of_another_node() {
        let id = NodeId([0xab; 16]);
        let members = [member(0xab, "cedar"), member(1, &id.to_string()), member(2, "abab")];
        assert_eq!(find(&members, &id.to_string()), Ok(id));
        assert_eq!(find(&members, "abab"), Err(NameError::Ambiguous(vec![id, NodeId([2; 16])])));
    }
}
