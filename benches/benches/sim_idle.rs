//! How much faster than real time is the simulation of a hundred idle nodes, on one core?
//!
//! Ten nodes are measured too, which shows what grows with the mesh. Once all nodes know each other, the benchmark
//! measures an hour of heartbeats: with multicast announcements, as on a local network, and without.

use benches::figures::{Cost, Figure};
use core::time::Duration;
use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;

fn main() {
    for (nodes, multicast, what) in [
        (10, true, "10 nodes idle, multicast"),
        (100, true, "100 nodes idle, multicast"),
        (100, false, "100 nodes idle, no multicast"),
    ] {
        let (mut mesh, forming) = Cost::of(|| formed(nodes, multicast));
        let before = mesh.records();
        let end = FORMED_BY.after(HOUR);
        let ((), cost) = Cost::of(|| mesh.run_until(end));
        assert_eq!(mesh.not_whole(), None);
        println!(
            "{what}: formed in {forming}; then {} inputs and outputs in {cost}",
            mesh.records() - before
        );
        let value = HOUR.as_secs_f64() / cost.seconds();
        println!("  {}", Figure { what, value, unit: "x real time", floor: 500.0, goal: 5_000.0 });
    }
}

fn formed(nodes: u32, multicast: bool) -> EventQueue {
    let text = format!(
        "nodes = {nodes}\nexecutor = \"event-queue\"\nduration = \"168h\"\n[network]\nmulticast = {multicast}\nlatency = \"5ms..50ms\"\n"
    );
    let scenario = Scenario::parse("sim_idle", &text).expect("the scenario above is valid");
    let mut mesh = EventQueue::new(&scenario, 7);
    mesh.run_until(FORMED_BY);
    assert_eq!(mesh.not_whole(), None);
    mesh
}

/// The time by which the mesh must be complete.
const FORMED_BY: Instant = Instant::from_micros(60_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
