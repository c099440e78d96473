//! `node ready`: requests `GET /readyz` and exits with 0 if the node is ready; for probes in containers.

use crate::client::Client;
use crate::error::Failure;
use crate::output;
use api::Readiness;
use runtime::home::Home;
use serde_json::json;

pub(super) async fn run(home: &Home) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let reply = client.readiness().await?;
    if reply.is_unavailable() {
        return Err(Failure::new(format!("The node is not ready (home: {})", home.root().display()))
            .id("node_not_ready")
            .hint("it is starting or stopping; p2p-ai-agents node status shows its state"));
    }
    let ready: Readiness = reply.read()?;
    output::done(&ready.status, &json!(ready))
}
