//! How much does a large mesh cost that does nothing? A thousand nodes, eight links each, sixty simulated
//! seconds of heartbeats on one core, once everybody knows everybody.

use core::time::Duration;
use criterion::{Criterion, criterion_group, criterion_main};
use engine::Instant;
use sim::Scenario;
use sim::executor::event_queue::EventQueue;

fn idle_mesh(criterion: &mut Criterion) {
    let scenario = Scenario::parse("idle_mesh", SCENARIO).expect("the scenario above is valid");
    let mut mesh = EventQueue::new(&scenario, 7);
    let mut end = Instant::ZERO;
    while mesh.not_whole().is_some() {
        assert!(end < FORMED_BY, "the mesh is not whole: {:?}", mesh.not_whole());
        end = end.after(Duration::from_secs(1));
        mesh.run_until(end);
    }
    let mut group = criterion.benchmark_group("idle_mesh");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("1000 nodes, 60 s", |bencher| {
        bencher.iter(|| {
            let before = mesh.records();
            end = end.after(Duration::from_secs(60));
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
start = "0s..10s"
[network]
multicast = false
latency = "5ms..50ms"
[node]
max_peers = 32
[expect]
always = []
"#;

/// When the mesh must be whole.
const FORMED_BY: Instant = Instant::from_micros(300_000_000);

criterion_group!(benches, idle_mesh);
criterion_main!(benches);
