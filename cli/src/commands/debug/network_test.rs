//! `debug network-test`: measures latency, loss and throughput to every member.
//!
//! It sends the same acknowledged messages as `route ping`: a few small ones for the latency, then a bounded burst of
//! large ones for the throughput. Members are measured one after another, so that they do not disturb each other.

mod hops;

use crate::client::Client;
use crate::commands::node_names::NodeNames;
use crate::error::Failure;
use crate::output::{self, Format};
use crate::progress;
use crate::terminal;
use api::{Member, Members, Ping, Route};
use clap::Args;
use engine::NodeId;
use engine::request::RoundTrips;
use hops::HopMatrix;
use runtime::home::Home;
use serde::Serialize;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Small messages for each member
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "N")]
    pub(crate) count: u32,
    /// KiB that measure the throughput to each member; 0 for none
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(..=65_536), value_name = "KIB")]
    pub(crate) burst_kib: u32,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    members: Vec<Measured>,
    matrix: HopMatrix,
}

/// What was measured of one member.
#[derive(Debug, Serialize)]
struct Measured {
    id: NodeId,
    /// The nodes on the way, the member last.
    path: Vec<NodeId>,
    sent: u32,
    lost: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_us: Option<RoundTrips>,
    /// Acknowledged bytes of the burst per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<u64>,
    /// Why it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let own = client.info().node_id;
    let Members { members, .. } = client.get("/api/v1/members").await?;
    let others: Vec<&Member> = members.iter().filter(|member| member.id != own).collect();
    let bar = progress::bar(others.len() as u64, "members");
    let mut measured = Vec::new();
    for member in others {
        measured.push(measure(&client, member.id, arguments).await);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = Report { members: measured, matrix: HopMatrix::new(&members) };
    if arguments.format.json {
        return output::json(&report);
    }
    print(&report, &members.iter().map(|member| (member.id, member.name.clone())).collect())
}

/// Measures one member. It may leave meanwhile, so a failure is part of the result.
async fn measure(client: &Client, id: NodeId, arguments: &Arguments) -> Measured {
    let mut measured = Measured {
        id,
        path: Vec::new(),
        sent: 0,
        lost: 0,
        round_trip_us: None,
        bytes_per_second: None,
        error: None,
    };
    if let Err(failure) = measure_into(client, &mut measured, arguments).await {
        measured.error = Some(failure.message().to_owned());
    }
    measured
}

async fn measure_into(client: &Client, into: &mut Measured, arguments: &Arguments) -> Result<(), Failure> {
    let route: Route = client.get(&format!("/api/v1/routes/{}", into.id)).await?;
    into.path = route.hops.iter().map(|hop| hop.id).collect();
    let small = ping(client, into.id, arguments.count, SMALL_BYTES, SMALL_AT_ONCE).await?;
    into.sent += small.answered + small.lost;
    into.lost += small.lost;
    into.round_trip_us = small.round_trip_us;
    let large = arguments.burst_kib.div_ceil(LARGE_BYTES >> 10);
    // A burst after losses would only wait for acknowledgements.
    if large > 0 && small.lost == 0 {
        let burst = ping(client, into.id, large, LARGE_BYTES, LARGE_AT_ONCE).await?;
        into.sent += burst.answered + burst.lost;
        into.lost += burst.lost;
        let bytes = u64::from(burst.answered) * u64::from(LARGE_BYTES);
        into.bytes_per_second = Some(bytes.saturating_mul(1_000_000) / burst.elapsed_us.max(1));
    }
    Ok(())
}

async fn ping(client: &Client, id: NodeId, count: u32, bytes: u32, at_once: u32) -> Result<Ping, Failure> {
    let path = format!("/api/v1/routes/{id}/ping?count={count}&bytes={bytes}&at_once={at_once}");
    client.post(&path, &()).await?.read()
}

fn print(report: &Report, names: &NodeNames) -> Result<(), Failure> {
    if report.members.is_empty() {
        return output::line("No other members");
    }
    let rows: Vec<[String; 7]> = report.members.iter().map(|measured| row(measured, names)).collect();
    output::table(["NODE", "PATH", "LEAST", "MEDIAN", "P99", "LOST", "THROUGHPUT"], &rows)?;
    for measured in &report.members {
        if let Some(error) = &measured.error {
            output::line(&format!("{}: {}", names.named(measured.id), terminal::sanitize_line(error)))?;
        }
    }
    match report.matrix.text(terminal::columns()) {
        Some(matrix) => output::write(format!("\nLinks between each two nodes:\n{matrix}").as_bytes()),
        None => output::line("\nThe matrix of links is too wide for this terminal; --json has it"),
    }
}

fn row(of: &Measured, names: &NodeNames) -> [String; 7] {
    let time =
        |micros: Option<u32>| micros.map_or_else(|| "-".to_owned(), |micros| output::micros(micros.into()));
    let relays: Vec<String> = of.path.iter().rev().skip(1).rev().map(|relay| names.label(*relay)).collect();
    let path = match relays.as_slice() {
        [] if of.path.is_empty() => "-".to_owned(),
        [] => "direct".to_owned(),
        relays => format!("via {}", relays.join(", ")),
    };
    let trips = of.round_trip_us;
    [
        names.named(of.id),
        path,
        time(trips.map(|trips| trips.least)),
        time(trips.map(|trips| trips.median)),
        time(trips.map(|trips| trips.p99)),
        format!("{} of {}", of.lost, of.sent),
        of.bytes_per_second.map_or_else(|| "-".to_owned(), |bytes| format!("{}/s", output::bytes(bytes))),
    ]
}

const SMALL_BYTES: u32 = 64;
/// More than one, so that a few lost messages do not take the time of all.
const SMALL_AT_ONCE: u32 = 2;
const LARGE_BYTES: u32 = 32 << 10;
const LARGE_AT_ONCE: u32 = 16;
