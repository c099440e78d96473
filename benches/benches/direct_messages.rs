//! How much does a message to a peer cost, compared with plain TCP?
//!
//! Two nodes in two processes on loopback exchange messages of 256 bytes, each acknowledged end to end. For comparison,
//! two processes use tokio's TCP alone.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

use benches::median;
use benches::nodes::{Node, World};
use benches::tcp::Server;

fn main() {
    benches::run(async {
        let mut world = World::default();
        let mut near = world.start(32, None).await;
        let far = world.start(32, Some(&near)).await;
        near.await_members(2).await;
        let server = Server::start().await;
        let mut rounds: Vec<[f64; 4]> = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push([
                server.round_trip(10_000, BYTES as usize).await.as_nanos() as f64 / 1e3,
                f64::from(near.ping(far.id, 10_000, BYTES, 1).await.round_trips.unwrap().median),
                server.frames_per_second(1_000_000, BYTES as usize).await,
                flood(&mut near, &far).await,
            ]);
        }
        let [raw_us, node_us, raw_rate, node_rate] =
            [0, 1, 2, 3].map(|column| median(rounds.iter().map(|round| round[column]).collect()));
        println!("round trip, median: TCP {raw_us:.1} us, node {node_us:.1} us, {:.2} x", node_us / raw_us);
        println!("one way, a second: TCP {raw_rate:.0}, node {node_rate:.0}, {:.2} x", node_rate / raw_rate);
        let before = [near.processor_time(), far.processor_time()];
        flood(&mut near, &far).await;
        let used = [near.processor_time() - before[0], far.processor_time() - before[1]];
        let [from, to] = used.map(|time| time.as_secs_f64() * 1e6 / f64::from(COUNT));
        println!("processor time a message: {from:.2} us where it is sent, {to:.2} us where it arrives");
    });
}

/// Returns the messages a second that arrive.
async fn flood(near: &mut Node, far: &Node) -> f64 {
    let view = near.ping(far.id, COUNT, BYTES, AT_ONCE).await;
    f64::from(view.answered) * 1e6 / view.elapsed_micros as f64
}

const ROUNDS: usize = 5;
const COUNT: u32 = 300_000;
const BYTES: u32 = 256;
/// Messages in flight at a time.
const AT_ONCE: u32 = 1024;
