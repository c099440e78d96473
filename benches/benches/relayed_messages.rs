//! How much does a message over three relays cost?
//!
//! Five nodes in a line run on loopback, each a process. Messages have 256 bytes, and are sealed and acknowledged end
//! to end.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

use benches::median;
use benches::nodes::{Node, World};
use std::time::Duration;

fn main() {
    benches::run(async {
        let mut world = World::default();
        let mut nodes = vec![world.start(1, None).await];
        for max_peers in [2, 2, 2, 1] {
            nodes.push(world.start(max_peers, nodes.last()).await);
            let count = nodes.len();
            nodes[0].await_members(count).await;
        }
        let far = nodes[4].id;
        let mut rounds: Vec<[f64; 3]> = Vec::new();
        let mut used = [Duration::ZERO; 5];
        for _ in 0..ROUNDS {
            let slow = nodes[0].ping(far, 5_000, BYTES, 1).await;
            let before: Vec<Duration> = nodes.iter().map(Node::processor_time).collect();
            let fast = nodes[0].ping(far, COUNT, BYTES, AT_ONCE).await;
            for (used, (node, before)) in used.iter_mut().zip(nodes.iter().zip(before)) {
                *used += node.processor_time() - before;
            }
            assert_eq!((slow.hops, fast.hops), (4, 4), "three relays");
            let took = slow.round_trips.unwrap();
            let rate = f64::from(fast.answered) * 1e6 / fast.elapsed_micros as f64;
            rounds.push([took.median.into(), took.p99.into(), rate]);
        }
        let [p50, p99, rate] =
            [0, 1, 2].map(|column| median(rounds.iter().map(|round| round[column]).collect()));
        println!("round trip over three relays: median {:.3} ms, p99 {:.3} ms", p50 / 1e3, p99 / 1e3);
        println!("messages a second over three relays: {rate:.0}");
        let used = used.map(|time| time.as_secs_f64() * 1e6 / f64::from(COUNT) / ROUNDS as f64);
        println!("processor time a message, from its origin to its destination: {used:.2?} us");
    });
}

const ROUNDS: usize = 5;
const COUNT: u32 = 200_000;
const BYTES: u32 = 256;
/// Messages in flight at a time.
const AT_ONCE: u32 = 1024;
