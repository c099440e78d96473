//! How many messages a second does a mesh carry?
//!
//! Fifty nodes run on loopback, each a process with at most eight links. Ten at a time send 256-byte messages to ten
//! others, which are mostly several links away.

use benches::nodes::{Node, World};
use std::time::Instant;

fn main() {
    benches::run(async {
        let mut world = World::default();
        let mut nodes: Vec<Node> = vec![world.start(LINKS, None).await];
        for at in 1..NODES {
            let node = world.start(LINKS, nodes.get(at / 2)).await;
            nodes.push(node);
        }
        for node in &mut nodes {
            node.await_members(NODES).await;
        }
        let (senders, receivers) = nodes.split_at_mut(NODES / 2);
        let begun = Instant::now();
        let (mut messages, mut hops) = (0, 0);
        for (senders, receivers) in senders.chunks_mut(AT_ONCE).zip(receivers.chunks(AT_ONCE)) {
            let pings =
                senders.iter_mut().zip(receivers).map(|(from, to)| from.ping(to.id, COUNT, BYTES, 64));
            for view in futures::future::join_all(pings).await {
                messages += view.answered;
                hops += view.hops * view.answered;
            }
        }
        let rate = f64::from(messages) / begun.elapsed().as_secs_f64();
        let hops = f64::from(hops) / f64::from(messages);
        println!("{NODES} nodes: {rate:.0} messages a second, {hops:.1} links each");
    });
}

const NODES: usize = 50;
const LINKS: u16 = 8;
const AT_ONCE: usize = 10;
const COUNT: u32 = 5_000;
const BYTES: u32 = 256;
