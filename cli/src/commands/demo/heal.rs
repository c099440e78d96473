//! `demo heal`: ends all faults and starts the stopped nodes again.

use crate::client::Client;
use crate::error::Failure;

pub(super) async fn run(client: &Client) -> Result<(), Failure> {
    super::print_change(&client.post("/api/v1/demo/heal", &()).await?.read()?)
}
