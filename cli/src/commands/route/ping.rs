//! `route ping ID`: measures the round-trip time and throughput to a node.

use crate::client::Client;
use crate::commands::node_id;
use crate::error::Failure;
use crate::output::{self, Format};
use api::Ping;
use clap::Args;
use engine::request::{PING_AT_ONCE_MAX, PING_BYTES_MAX, PING_COUNT_MAX};
use runtime::home::Home;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Name or id of the node, or the start of it
    pub(crate) id: String,
    /// Number of messages to send
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=PING_COUNT_MAX as i64), value_name = "N")]
    pub(crate) count: u32,
    /// Payload of each message, in bytes
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=PING_BYTES_MAX as i64), value_name = "N")]
    pub(crate) bytes: u32,
    /// Maximum number of messages in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=PING_AT_ONCE_MAX as i64), value_name = "N")]
    pub(crate) at_once: u32,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) async fn run(home: &Home, ping: &Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let Arguments { count, bytes, at_once, format, .. } = ping;
    let (id, names) = node_id::resolve(&client, &ping.id).await?;
    if id == client.info().node_id {
        return Err(Failure::new("That is this node itself: there is no way to measure")
            .id("node_is_this")
            .hint("p2p-ai-agents node members lists the other nodes"));
    }
    let path = format!("/api/v1/routes/{id}/ping?count={count}&bytes={bytes}&at_once={at_once}");
    let told: Ping = client.post(&path, &()).await?.read()?;
    if format.json {
        let told =
            serde_json::to_string(&told).map_err(|error| Failure::from_error(&error).id("internal_error"))?;
        return output::line(&told);
    }
    let name = names.named(id);
    let hops = if told.hops == 1 { "1 hop".to_owned() } else { format!("{} hops", told.hops) };
    output::line(&format!(
        "{} messages of {bytes} bytes to {name}, {hops}: {} answered, {} lost",
        told.answered + told.lost,
        told.answered,
        told.lost
    ))?;
    let Some(took) = told.round_trip_us else { return Ok(()) };
    let [least, median, p99, most] =
        [took.least, took.median, took.p99, took.most].map(|micros| output::micros(micros.into()));
    output::line(&format!("Round trip: least {least}, median {median}, p99 {p99}, most {most}"))?;
    let a_second = u64::from(told.answered) * 1_000_000 / told.elapsed_us.max(1);
    output::line(&format!("Messages a second: {a_second}"))
}
