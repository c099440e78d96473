//! How much does it cost to simulate a thousand nodes that do nothing? Sixty simulated seconds of heartbeats on one
//! core, once everybody in the one mesh knows everybody, at about eight links a node.
//!
//! The mesh forms first, outside the measurement: within a simulated second, in about a minute of one core.

use core::time::Duration;
use criterion::{Criterion, criterion_group, criterion_main};
use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;

fn idle_mesh(criterion: &mut Criterion) {
    let scenario = Scenario::parse("idle_mesh", SCENARIO).expect("the scenario below is valid");
    let mut mesh = EventQueue::new(&scenario, 7);
    let mut end = FORMED_BY;
    mesh.run_until(end);
    assert_eq!(mesh.not_whole(), None);
    let mut group = criterion.benchmark_group("idle_mesh");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("1000 nodes, 60 s", |bencher| {
        bencher.iter(|| {
            end = end.after(Duration::from_secs(60));
            let before = mesh.records();
            mesh.run_until(end);
            assert!(mesh.records() > before, "nothing happened");
        });
    });
    group.finish();
    assert_eq!(mesh.not_whole(), None);
}

const SCENARIO: &str = r#"
nodes = 1000
executor = "event-queue"
duration = "168h"
[network]
multicast = false
latency = "5ms..50ms"
"#;

/// When the mesh must be whole.
const FORMED_BY: Instant = Instant::from_micros(60_000_000);

criterion_group!(benches, idle_mesh);
criterion_main!(benches);
