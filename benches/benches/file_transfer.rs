//! How fast is a file fetched from a peer, and how much are other messages delayed meanwhile?
//!
//! Two nodes in two processes on loopback transfer a file in pieces, which are encrypted, verified and written to disk.
//! For comparison, two processes use plain TCP.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

use benches::median;
use benches::nodes::{Node, World};
use benches::tcp::Server;
use engine::blobs::{BlobId, Pin};
use engine::request::{FetchSpec, Request, Response, RoundTrips};

fn main() {
    benches::run(async {
        let mut world = World::default();
        let mut near = world.start(32, None).await;
        let mut far = world.start(32, Some(&near)).await;
        near.await_members(2).await;
        let server = Server::start().await;
        let mut rounds: Vec<[f64; 4]> = Vec::new();
        for round in 0..ROUNDS {
            let frames = u32::try_from(BYTES / FRAME_BYTES).unwrap();
            let raw = server.frames_per_second(frames, FRAME_BYTES).await * FRAME_BYTES as f64 / 1e6;
            let idle = pinged(&mut far, &near, PINGS).await;
            let blob = share(&mut far, &world, round).await;
            let (rate, busy) = fetch(&mut near, &mut far, blob).await;
            rounds.push([raw, rate, f64::from(idle.median) / 1e3, f64::from(busy.p99) / 1e3]);
            println!("{:.0?}: busy median {:.2} ms", rounds.last().unwrap(), f64::from(busy.median) / 1e3);
        }
        let [raw, rate, idle, busy] =
            [0, 1, 2, 3].map(|column| median(rounds.iter().map(|round| round[column]).collect()));
        println!("MB a second: TCP {raw:.0}, nodes {rate:.0}, {:.2} x", rate / raw);
        println!("round trip of a message: idle {idle:.2} ms, p99 meanwhile {busy:.2} ms");
    });
}

/// Has a node share a new file.
async fn share(node: &mut Node, world: &World, round: u32) -> BlobId {
    let mut state = round.wrapping_add(1);
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()
    });
    let content: Vec<u8> = words.take(BYTES / 4).flatten().collect();
    let path = world.path(&format!("file-{round}"));
    std::fs::write(&path, &content).unwrap();
    node.share(&path).await;
    BlobId::from_content(&content)
}

/// Fetches a file; returns the MB a second, and the round trips of messages meanwhile.
async fn fetch(near: &mut Node, far: &mut Node, blob: BlobId) -> (f64, RoundTrips) {
    let spec = FetchSpec { pin: Pin::Blake3(blob.root), bytes: blob.bytes };
    let to = near.id;
    let asked = async {
        match near.ask(&Request::Fetch(spec)).await {
            Ok(Response::Fetched(fetched)) => fetched,
            other => panic!("{other:?}"),
        }
    };
    let meanwhile = async { far.ping(to, PINGS, 256, 1).await.round_trips.unwrap() };
    let (fetched, trips) = tokio::join!(asked, meanwhile);
    (blob.bytes as f64 / fetched.elapsed_micros as f64, trips)
}

async fn pinged(from: &mut Node, to: &Node, count: u32) -> RoundTrips {
    from.ping(to.id, count, 256, 1).await.round_trips.unwrap()
}

const ROUNDS: u32 = 5;
const BYTES: usize = 256 << 20;
const FRAME_BYTES: usize = 32 << 10;
/// Messages sent one at a time; together they take about as long as the file.
const PINGS: u32 = 300;
