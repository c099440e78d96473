//! `node peers`: lists the peers of the node, or of all nodes of this user.

use crate::client::Client;
use crate::commands::all_nodes;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use api::{Peer, Peers};
use engine::heartbeat::Liveness;
use runtime::home::Home;

pub(super) async fn run(home: &Home, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if format.json {
        let body = client.get_raw("/api/v1/peers").await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let Peers { peers } = client.get("/api/v1/peers").await?;
    print(&peers)
}

/// Shows the peers of all nodes of this user.
pub(super) fn run_all(format: Format) -> Outcome {
    let print = |home: &Home, _: &Client, Peers { peers }| {
        output::properties(&[("Home", home.root().display().to_string())])?;
        print(&peers)
    };
    all_nodes::show::<Peers>("/api/v1/peers", format, |_| true, print)
}

pub(in crate::commands) fn print(peers: &[Peer]) -> Result<(), Failure> {
    if peers.is_empty() {
        return output::line("No connected peers; the node keeps looking for others");
    }
    let rows: Vec<[String; 8]> = peers.iter().map(row).collect();
    output::table(
        ["NAME", "ID", "ADDRESS", "PORT", "CONNECTED", "MESSAGES IN/OUT", "LAST HEARTBEAT", "STATE"],
        &rows,
    )
}

fn row(peer: &Peer) -> [String; 8] {
    let liveness = match peer.liveness {
        Liveness::Alive => "ALIVE",
        Liveness::Slow => "SLOW",
        Liveness::Dead => "DEAD",
    };
    [
        if peer.name.is_empty() { "-".to_owned() } else { peer.name.to_string() },
        peer.id.to_string(),
        peer.address.ip().to_string(),
        peer.network_port.to_string(),
        output::duration(peer.connected_ms),
        format!("{}/{}", peer.messages_in, peer.messages_out),
        format!("{} ago", output::duration(peer.last_heartbeat_ms)),
        liveness.to_owned(),
    ]
}
