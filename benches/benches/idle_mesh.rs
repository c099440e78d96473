//! How much does it cost to simulate a thousand nodes that do nothing? Sixty simulated seconds of heartbeats on one
//! core, once everybody knows everybody, at about eight links a node.
//!
//! The thousand are twenty meshes of fifty, because at rest a node costs the same in a mesh of any size, while a
//! mesh forms in time that grows faster than the square of its nodes: each checks every other's signature.

use core::time::Duration;
use criterion::{Criterion, criterion_group, criterion_main};
use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;

fn idle_mesh(criterion: &mut Criterion) {
    let scenario = Scenario::parse("idle_mesh", SCENARIO).expect("the scenario below is valid");
    let mut meshes: Vec<EventQueue> = (0..MESHES).map(|seed| EventQueue::new(&scenario, seed)).collect();
    let mut end = FORMED_BY;
    for mesh in &mut meshes {
        mesh.run_until(end);
        assert_eq!(mesh.not_whole(), None);
    }
    let mut group = criterion.benchmark_group("idle_mesh");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("1000 nodes, 60 s", |bencher| {
        bencher.iter(|| {
            end = end.after(Duration::from_secs(60));
            for mesh in &mut meshes {
                let before = mesh.records();
                mesh.run_until(end);
                assert!(mesh.records() > before, "nothing happened");
            }
        });
    });
    group.finish();
    assert!(meshes.iter().all(|mesh| mesh.not_whole().is_none()));
}

const MESHES: u64 = 20;

const SCENARIO: &str = r#"
nodes = 50
executor = "event-queue"
duration = "168h"
[network]
multicast = false
latency = "5ms..50ms"
"#;

/// When every mesh must be whole.
const FORMED_BY: Instant = Instant::from_micros(60_000_000);

criterion_group!(benches, idle_mesh);
criterion_main!(benches);
