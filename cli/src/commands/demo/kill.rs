//! `demo kill`: kills a node's process, without a graceful stop.

use crate::client::Client;
use crate::error::Failure;
use api::DemoKill;

pub(super) async fn run(client: &Client, node: String) -> Result<(), Failure> {
    super::print_change(&client.post("/api/v1/demo/kill", &DemoKill { node }).await?.read()?)
}
