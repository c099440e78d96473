//! `node members`: lists the nodes of the network, also those that this node reaches through others, and those that
//! left lately.

use crate::client::Client;
use crate::commands::all_nodes;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use api::{Member, MemberRole, Members};
use engine::heartbeat::Liveness;
use runtime::home::Home;

pub(super) async fn run(home: &Home, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if format.json {
        let body = client.get_raw("/api/v1/members").await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    print(&client.get("/api/v1/members").await?)
}

/// Shows the members that each node of this user knows.
pub(super) fn run_all(format: Format) -> Outcome {
    let print = |home: &Home, _: &Client, members: Members| {
        output::properties(&[("Home", home.root().display().to_string())])?;
        print(&members)
    };
    all_nodes::show::<Members>("/api/v1/members", format, |_| true, print)
}

fn print(members: &Members) -> Result<(), Failure> {
    let headings = ["NAME", "ID", "ROLE", "STATE", "LOAD", "LINK", "LAST SEEN", "VERSION"];
    output::table(headings, &rows(members))
}

/// Returns this node, then the others by name, then those that left.
fn rows(members: &Members) -> Vec<[String; 8]> {
    let mut here: Vec<&Member> = members.members.iter().collect();
    here.sort_by_key(|member| (member.hops > 0, member.name.as_str().to_lowercase(), member.id));
    let present = here.into_iter().map(|member| row(member, false));
    present.chain(members.former.iter().map(|member| row(member, true))).collect()
}

fn row(member: &Member, former: bool) -> [String; 8] {
    let state = match member.liveness {
        _ if former => "UNREACHABLE",
        Some(Liveness::Slow) => "SLOW",
        Some(Liveness::Dead) => "DEAD",
        Some(Liveness::Alive) | None => "ALIVE",
    };
    let link = match member.hops {
        _ if former => "none".to_owned(),
        0 => "this node".to_owned(),
        1 => "direct".to_owned(),
        hops => format!("{hops} hops"),
    };
    let role = match member.role {
        MemberRole::Relay => "relay",
        MemberRole::Worker => "worker",
    };
    let load = member.load.filter(|_| !former).map(|load| {
        if load == 0 {
            "idle".to_owned()
        } else {
            format!("{load} {}", if load == 1 { "task" } else { "tasks" })
        }
    });
    let seen = member.last_seen_ms.map(|millis| format!("{} ago", output::duration(millis)));
    [
        if member.name.is_empty() { "-".to_owned() } else { member.name.to_string() },
        member.id.to_string(),
        role.to_owned(),
        state.to_owned(),
        load.unwrap_or_else(|| "-".to_owned()),
        link,
        seen.unwrap_or_else(|| "now".to_owned()),
        member.version.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{NodeId, NodeName};

    fn member(id: u8, name: &str, hops: u32) -> Member {
        let known = Member::new(NodeId([id; 16]), NodeName::new(name).unwrap());
        Member { hops, version: "0.1.0".to_owned(), ..known }
    }

    #[test]
    fn this_node_comes_first_and_those_that_left_last() {
        let own = Member { role: MemberRole::Worker, load: Some(1), ..member(9, "cedar", 0) };
        let slow = Liveness::Slow;
        let peer = Member {
            liveness: Some(slow),
            last_seen_ms: Some(4_200),
            load: Some(0),
            ..member(3, "birch", 1)
        };
        let former = Member { last_seen_ms: Some(61_000), load: Some(2), ..member(1, "amber", 0) };
        let members = Members { members: vec![member(2, "", 2), peer, own], former: vec![former] };
        let shown: Vec<String> = rows(&members).iter().map(|row| row.join(" | ")).collect();
        let id = |id: u8| NodeId([id; 16]).to_string();
        assert_eq!(
            shown,
            [
                format!("cedar | {} | worker | ALIVE | 1 task | this node | now | 0.1.0", id(9)),
                format!("- | {} | relay | ALIVE | - | 2 hops | now | 0.1.0", id(2)),
                format!("birch | {} | relay | SLOW | idle | direct | 4.2s ago | 0.1.0", id(3)),
                format!("amber | {} | relay | UNREACHABLE | - | none | 1m 1s ago | 0.1.0", id(1)),
            ]
        );
    }
}
