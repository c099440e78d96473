//! Measures how fast a silent death is detected, and how often a live peer is declared dead, by loss rate.
//!
//! Prints a table, and draws it: `cargo run --release -p p2p-ai-agents-sim --example failure_detection -- [SEEDS [FILE.svg]]`. More
//! seeds give finer figures.
//!
//! Loss is modelled in two ways. Heartbeats that stay lost are what a datagram protocol would suffer; all other frames
//! are retransmitted, or there would be no mesh to observe. Heartbeats that are retransmitted after 0.2, 0.4, 0.8 s
//! and so on are what TCP does: they arrive late, and so does everything behind them.

use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;
use std::fmt;
use std::time::Duration;

mod figure;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seeds = arguments.next().map_or(SEEDS, |seeds| seeds.parse().expect("a number of seeds"));
    let mut rows = Vec::new();
    println!("| loss | heartbeats | false deaths in 1000 heartbeats | gone everywhere: median | latest |");
    println!("|---|---|---|---|---|");
    for retransmission in [false, true] {
        for percent in [0, 1, 2, 5, 10, 15, 20] {
            let row = Row::measure(percent, retransmission, seeds);
            println!("{row}");
            rows.push(row);
        }
    }
    if let Some(path) = arguments.next() {
        std::fs::write(&path, figure::svg(&rows, seeds)).expect("the figure can be written");
    }
}

/// The measurements at one loss rate.
struct Row {
    percent: u32,
    retransmission: bool,
    heartbeats: u64,
    false_deaths_per_mille: f64,
    median_s: f64,
    latest_s: f64,
}

impl Row {
    fn measure(percent: u32, retransmission: bool, seeds: u64) -> Self {
        let mut sum = Measured::default();
        (1..=seeds).for_each(|seed| sum.add(percent, retransmission, seed));
        sum.gone_after.sort_unstable();
        Self {
            percent,
            retransmission,
            heartbeats: sum.heartbeats,
            false_deaths_per_mille: sum.false_deaths as f64 * 1000.0 / sum.heartbeats as f64,
            median_s: sum.gone_after[sum.gone_after.len() / 2].as_secs_f64(),
            latest_s: sum.gone_after[sum.gone_after.len() - 1].as_secs_f64(),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.retransmission { "sent again" } else { "stay lost" };
        write!(
            f,
            "| {} %, {how} | {} | {:.2} | {:.1} s | {:.1} s |",
            self.percent, self.heartbeats, self.false_deaths_per_mille, self.median_s, self.latest_s
        )
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
        // The death happens at any point between two heartbeats.
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
/// How long each mesh is observed for false deaths.
const WATCHED: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_millis(50);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(300);
