//! What do a thousand nodes cost, and ten thousand, from nothing to a minute later, in time of one core and in memory?
//!
//! They form one mesh, in which everybody knows everybody in the end. Arguments: how many nodes, and for how many
//! simulated seconds; a thousand for a minute where there are none.

use benches::{Cost, Figure, peak_memory_mib};
use core::time::Duration;
use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let nodes = numbers.next().unwrap_or(1_000);
    let seconds = numbers.next().unwrap_or(60);
    let text = format!(
        "nodes = {nodes}\nexecutor = \"event-queue\"\nduration = \"168h\"\n[network]\nmulticast = false\nlatency = \"5ms..50ms\"\n"
    );
    let scenario = Scenario::parse("sim_large", &text).expect("the scenario above is valid");
    let mut mesh = EventQueue::new(&scenario, 7);
    let mut on_core = 0.0;
    let mut whole = None;
    for second in 1..=seconds {
        let end = Instant::ZERO.after(Duration::from_secs(u64::from(second)));
        let ((), cost) = Cost::of(|| mesh.run_until(end));
        on_core += cost.seconds();
        let missing = mesh.not_whole();
        if whole.is_none() && missing.is_none() {
            whole = Some(second);
            println!("whole after {second} simulated seconds and {on_core:.3} s of one core");
        }
        if cost.elapsed > TELLING {
            let missing = missing.unwrap_or_default();
            println!("{second} s: {on_core:.1} s of one core, {} records; {missing}", mesh.records());
        }
    }
    println!("{nodes} nodes, {seconds} s: {on_core:.3} s of one core, {} inputs and outputs", mesh.records());
    let (floor, goal) = if nodes > 1_000 { (f64::INFINITY, 60.0) } else { (60.0, 20.0) };
    let what = "forming one mesh and idling for a minute";
    println!("  {}", Figure { what, value: on_core, unit: "s of one core", floor, goal });
    if let Some(value) = peak_memory_mib() {
        let what = "peak memory";
        println!("  {}", Figure { what, value, unit: "MiB", floor: 8_192.0, goal: 4_096.0 });
    }
    assert!(whole.is_some(), "the mesh is not whole: {:?}", mesh.not_whole());
}

/// A simulated second that takes longer is told of.
const TELLING: Duration = Duration::from_secs(5);
