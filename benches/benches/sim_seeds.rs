//! How many seeds a second does the simulator run on one core?
//!
//! There are three scenarios. Two use the event queue with every invariant: five nodes with tasks and faults for a
//! minute, and two nodes that meet and share tasks; a night should run a million seeds of the latter. The third has
//! ten nodes with tasks on turmoil's network. An argument selects the scenarios whose name contains it.

use benches::figures::{Cost, Figure};
use sim::Scenario;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let chosen = |question: &&Question| question.name.contains(&wanted);
    QUESTIONS.iter().filter(chosen).for_each(ask);
}

struct Question {
    name: &'static str,
    scenario: &'static str,
    seeds: u64,
    what: &'static str,
    floor: f64,
    goal: f64,
}

fn ask(question: &Question) {
    let &Question { name, scenario, seeds, what, floor, goal } = question;
    let scenario = Scenario::parse(name, scenario).expect("the scenarios below are valid");
    let (records, cost) = Cost::of(|| {
        let mut records = 0;
        for report in (1..=seeds).map(|seed| sim::run(&scenario, seed)) {
            assert!(report.passed(), "{report}");
            records += report.trace.inputs + report.trace.outputs;
        }
        records
    });
    println!("{name}: {seeds} seeds, {} inputs and outputs each, {cost}", records / seeds);
    #[allow(clippy::cast_precision_loss, reason = "seeds are few")]
    let value = if goal >= floor { seeds as f64 / cost.seconds() } else { cost.seconds() / seeds as f64 };
    let unit = if goal >= floor { "seeds/s" } else { "s" };
    println!("  {}", Figure { what, value, unit, floor, goal });
}

const QUESTIONS: [Question; 3] = [
    Question {
        name: "five",
        scenario: FIVE,
        seeds: 200,
        what: "five nodes, work and faults, 60 s, event queue",
        floor: 50.0,
        goal: 500.0,
    },
    Question {
        name: "night",
        scenario: NIGHT,
        seeds: 500,
        what: "a small scenario; a million in a night of two cores",
        floor: 17.4,
        goal: 174.0,
    },
    Question {
        name: "turmoil",
        scenario: TURMOIL,
        seeds: 3,
        what: "ten nodes with work, 60 s, turmoil in steps of 10 ms",
        floor: 1.0,
        goal: 0.2,
    },
];

const FIVE: &str = r#"
nodes = 5
executor = "event-queue"
duration = "60s"

[workload]
tasks = 40
at = "2s"
every = "250ms"
compute = "50ms..1s"
timeout = "50s"

[[fault]]
at = "3s..15s"
kind = "kill"
restart_after = "2s"

[[fault]]
at = "3s..10s"
kind = "power_loss"
restart_after = "10s"

[[fault]]
at = "3s..12s"
kind = "partition"
groups = [["n0", "n1"], ["n2", "n3", "n4"]]
heal_after = "8s"

[liveness]
after = "21s"
within = "35s"
"#;

const NIGHT: &str = r#"
nodes = 3
executor = "event-queue"
duration = "30s"

[workload]
tasks = 6
at = "2s"
every = "100ms"
compute = "50ms..500ms"

[[fault]]
at = "2s..4s"
kind = "kill"
restart_after = "1s"

[liveness]
after = "10s"
within = "20s"
"#;

const TURMOIL: &str = r#"
nodes = 10
executor = "turmoil"
duration = "60s"

[network]
tick = "10ms"

[workload]
tasks = 40
at = "2s"
every = "250ms"
compute = "50ms..1s"

[liveness]
after = "20s"
within = "30s"
"#;
