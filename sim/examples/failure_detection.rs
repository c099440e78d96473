//! How fast is a silent death noticed, and how often is a live peer taken for dead, at which rate of loss?
//!
//! Prints a table. `cargo run --release -p sim --example failure_detection -- [SEEDS]`; more seeds, finer figures.
//!
//! Loss is modelled twice. Heartbeats that stay lost are what a datagram would suffer; all other frames are sent
//! again, or there would be no mesh to watch. Heartbeats that are sent again after 0.2, 0.4, 0.8 s and so on are what
//! TCP makes of it: late, and everything after them too.

use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;
use std::time::Duration;

fn main() {
    let seeds = std::env::args().nth(1).map_or(SEEDS, |seeds| seeds.parse().expect("a number of seeds"));
    println!(
        "| loss | heartbeats | false deaths in 1000 heartbeats | a silent death is gone everywhere: median | latest |"
    );
    println!("|---|---|---|---|---|");
    for retransmission in [false, true] {
        for percent in [0, 1, 2, 5, 10, 15, 20] {
            let mut sum = Measured::default();
            (1..=seeds).for_each(|seed| sum.add(percent, retransmission, seed));
            sum.gone_after.sort_unstable();
            let how = if retransmission { "sent again" } else { "stay lost" };
            let false_deaths = sum.false_deaths as f64 * 1000.0 / sum.heartbeats as f64;
            let median = sum.gone_after[sum.gone_after.len() / 2].as_secs_f64();
            let latest = sum.gone_after[sum.gone_after.len() - 1].as_secs_f64();
            println!(
                "| {percent} %, {how} | {} | {} of {}: {false_deaths:.3} | {median:.1} s | {latest:.1} s |",
                sum.heartbeats, sum.false_deaths, sum.heartbeats
            );
        }
    }
}

#[derive(Default)]
struct Measured {
    heartbeats: u64,
    false_deaths: u64,
    gone_after: Vec<Duration>,
}

impl Measured {
    fn add(&mut self, percent: u32, retransmission: bool, seed: u64) {
        let text = format!(
            "nodes = {NODES}\nexecutor = \"event-queue\"\nduration = \"168h\"\n[network]\nmulticast = false\n\
             loss = \"{percent}%\"\nretransmission = {retransmission}\n[expect]\nalways = []\n"
        );
        let scenario = Scenario::parse("failure_detection", &text).expect("the scenario is valid");
        let mut mesh = EventQueue::new(&scenario, seed);
        mesh.run_until(Instant::ZERO.after(FORMED_BY));
        let deaths = mesh.count("peer_dead");
        // The moment of death falls anywhere between two heartbeats.
        let dies_at = mesh.now().after(WATCHED + Duration::from_millis(seed * 2_741 % 20_000));
        mesh.run_until(dies_at);
        let links: u64 = (0..NODES).map(|node| mesh.peers(node).len() as u64).sum();
        self.heartbeats += links / 2 * WATCHED.as_secs() / 10;
        self.false_deaths += mesh.count("peer_dead") - deaths;
        let victim = u32::try_from(seed).unwrap_or_default() % NODES;
        mesh.cut_power(victim);
        while (0..NODES).any(|node| mesh.knows(node, victim)) {
            let next = mesh.now().after(STEP);
            mesh.run_until(next);
            assert!(mesh.now().since(dies_at) < GIVEN_UP_AFTER, "n{victim} is still listed, seed {seed}");
        }
        self.gone_after.push(mesh.now().since(dies_at));
    }
}

const SEEDS: u64 = 40;
const NODES: u32 = 10;
const FORMED_BY: Duration = Duration::from_secs(60);
/// How long each mesh is watched for false deaths.
const WATCHED: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_millis(50);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(300);
