//! How much faster than real is the simulated time of a hundred nodes that do nothing, on one core? And of ten, so
//! that one sees what grows with the mesh.
//!
//! Once everybody in the one mesh knows everybody, an hour of heartbeats is measured: with announcements by multicast,
//! as every node makes them on a local network, and without.

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

/// When the mesh must be whole.
const FORMED_BY: Instant = Instant::from_micros(60_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
