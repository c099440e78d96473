//! How much processor time and memory do a thousand or ten thousand nodes need for their first simulated minute?
//!
//! Arguments: nodes in a mesh, simulated seconds, and number of meshes. The default is one mesh of a thousand nodes
//! for a minute.
//!
//! In the end all nodes of a mesh know each other. A thousand nodes therefore hold a million entries, and the cost of
//! forming the mesh grows faster than the square of its size. Ten thousand nodes are a hundred meshes of a hundred,
//! in as many simulations side by side: `100 60 100`. One mesh of ten thousand would need a hundred million entries,
//! which is beyond the time and memory of this benchmark.

use benches::figures::{Cost, Figure, peak_memory_mib};
use core::time::Duration;
use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let nodes = numbers.next().unwrap_or(1_000);
    let seconds = numbers.next().unwrap_or(60);
    let meshes = numbers.next().unwrap_or(1);
    let text = format!(
        "nodes = {nodes}\nexecutor = \"event-queue\"\nduration = \"168h\"\n[network]\nmulticast = false\nlatency = \"5ms..50ms\"\n"
    );
    let scenario = Scenario::parse("sim_large", &text).expect("the scenario above is valid");
    let mut worlds: Vec<EventQueue> =
        (1..=meshes).map(|seed| EventQueue::new(&scenario, u64::from(seed))).collect();
    let mut on_core = 0.0;
    let mut whole = false;
    for second in 1..=seconds {
        let end = Instant::ZERO.after(Duration::from_secs(u64::from(second)));
        let ((), cost) = Cost::of(|| worlds.iter_mut().for_each(|world| world.run_until(end)));
        on_core += cost.seconds();
        if !whole && worlds.iter().all(|world| world.not_whole().is_none()) {
            whole = true;
            println!("whole after {second} simulated seconds and {on_core:.3} s of one core");
        }
        if cost.elapsed > TELLING {
            println!("{second} s: {on_core:.1} s of one core");
        }
    }
    let records: u64 = worlds.iter().map(EventQueue::records).sum();
    println!("{meshes} x {nodes} nodes, {seconds} s: {records} inputs and outputs");
    let (floor, goal) = if meshes > 1 { (f64::INFINITY, 60.0) } else { (60.0, 20.0) };
    let what = "forming and idling";
    println!("  {}", Figure { what, value: on_core, unit: "s of one core", floor, goal });
    if let Some(value) = peak_memory_mib() {
        println!("  {}", Figure { what: "peak memory", value, unit: "MiB", floor: 8_192.0, goal: 4_096.0 });
    }
    assert!(whole, "not everybody knows everybody");
}

/// A simulated second that takes longer is reported.
const TELLING: Duration = Duration::from_secs(5);
