//! `demo partition`: divides the network into groups that do not reach each other.

use crate::client::Client;
use crate::error::Failure;
use api::DemoPartition;

pub(super) async fn run(client: &Client, groups: &[String]) -> Result<(), Failure> {
    let group = |words: &String| words.split(',').map(|word| word.trim().to_owned()).collect();
    let partition = DemoPartition { groups: groups.iter().map(group).collect() };
    super::print_change(&client.post("/api/v1/demo/partition", &partition).await?.read()?)
}
