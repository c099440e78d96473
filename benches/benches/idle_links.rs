//! How much processor time and memory does a node with 32 idle links use?
//!
//! One node runs in a process of its own. 32 others, each a process too, have a link to it only.

use benches::nodes::World;
use std::time::Duration;

fn main() {
    benches::run(async {
        let mut world = World::default();
        let mut hub = world.start(LINKS, None).await;
        let mut others = Vec::new();
        for _ in 0..LINKS {
            others.push(world.start(1, Some(&hub)).await);
        }
        hub.await_members(usize::from(LINKS) + 1).await;
        // By then the first pings and the flooding of adverts are over.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = hub.processor_time();
        tokio::time::sleep(WINDOW).await;
        let used = hub.processor_time() - before;
        let percent = 100.0 * used.as_secs_f64() / WINDOW.as_secs_f64();
        println!("{LINKS} idle links for {} s: {percent:.2} % of a core", WINDOW.as_secs());
        println!("resident: {:.1} MB", hub.resident_bytes() as f64 / 1e6);
    });
}

const LINKS: u16 = 32;
const WINDOW: Duration = Duration::from_secs(60);
