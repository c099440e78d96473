//! How many inputs a second of a journal are replayed?
//!
//! Each input is read, checked, decoded and given to the node. Each output is encoded and compared with the recorded
//! one.
//!
//! The speed depends on the inputs, so there are two journals, each of one node of a simulated mesh of ten. One has
//! twelve idle hours: heartbeats and deadlines. The other has one minute in which the node accepts, assigns and ends
//! tasks: sessions, frames with texts and vectors, writes, replies to users.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sim::replay;
use sim::{Options, Scenario};
use std::hint::black_box;

fn replays(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    group.sample_size(10);
    for (name, text) in [("idle", IDLE), ("tasks", TASKS)] {
        let directory = tempfile::tempdir().expect("the system has room for temporary files");
        let place = directory.path().join("journals");
        let scenario = Scenario::parse(name, text).expect("the scenario below is valid");
        let report =
            sim::run_recorded(&scenario, 7, Options::default(), &place).expect("there is room for it");
        assert!(report.passed(), "{report}");
        let journal = place.join("n0.1.journal");
        let replayed = replay::replay(&journal, None).expect("it replays");
        let length = std::fs::metadata(&journal).map(|file| file.len()).unwrap_or_default();
        println!("{name}: {} inputs, {} outputs, {length} bytes", replayed.inputs, replayed.outputs);
        group.throughput(Throughput::Elements(replayed.inputs));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| black_box(replay::replay(&journal, None).expect("it replays").outputs));
        });
    }
    group.finish();
}

const IDLE: &str = r#"
nodes = 10
executor = "event-queue"
duration = "12h"
"#;

const TASKS: &str = r#"
nodes = 10
executor = "event-queue"
duration = "60s"
[workload]
tasks = 5000
every = "10ms"
origin = "n0"
compute = "5ms..20ms"
timeout = "60s"
"#;

criterion_group!(benches, replays);
criterion_main!(benches);
