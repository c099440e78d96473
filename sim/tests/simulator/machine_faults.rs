//! Each machine fault has its effect, and nothing else has it.

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use sim::report::Report;
use sim::scenario::OutcomeKind;
use sim::{Executor, Scenario};

/// Runs three nodes with some faults; the first gets ten tasks.
fn run(executor: Executor, faults: &str) -> Report {
    run_seed(executor, faults, 3)
}

fn run_seed(executor: Executor, faults: &str, seed: u64) -> Report {
    let text = format!(
        "nodes = 3\nduration = \"60s\"\n[workload]\ntasks = 10\nat = \"2s\"\nevery = \"300ms\"\norigin = \"n0\"\n\
         compute = \"100ms..200ms\"\ntimeout = \"40s\"\n[node]\nqueue_tasks_max = 20\n{faults}\
         [liveness]\nafter = \"20s\"\nwithin = \"39s\"\n"
    );
    let scenario = Scenario::parse("machine_faults.toml", &text).unwrap().on(executor).unwrap();
    let report = sim::run(&scenario, seed);
    assert!(report.passed(), "{faults}: {report}");
    report
}

fn fault(kind: &str, more: &str) -> String {
    format!("[[fault]]\nat = \"1900ms\"\nkind = \"{kind}\"\n{more}")
}

fn count(report: &Report, event: &str) -> u64 {
    report.events.get(event).copied().unwrap_or_default()
}

const MACHINE: &str = "node = \"n0\"\nheal_after = \"15s\"\n";

#[test]
fn each_leaves_its_mark() {
    let cases = [
        ("burst", "node = \"n0\"\ncount = 50\n", "queue_full", true),
        ("clock_drift", "node = \"n0\"\nppm = 50\n", "clock_drifts", false),
        ("clock_jump", "node = \"n0\"\noffset = \"+1h\"\n", "clock_jumped", false),
        ("disk_error", MACHINE, "write_failed", true),
        ("disk_full", MACHINE, "disk_full", true),
        ("disk_slow", "node = \"n0\"\nadd = \"1s\"\nheal_after = \"15s\"\n", "disk_slow", true),
        ("inference_crash", MACHINE, "inference_crashed", true),
        ("inference_error", MACHINE, "inference_failed", true),
        ("inference_slow", "node = \"n0\"\nadd = \"1s\"\nheal_after = \"15s\"\n", "inference_slow", true),
        ("machine_asleep", MACHINE, "machine_woke", false),
        ("poison_input", "tasks = [4]\n", "poison_taken", true),
        ("process_stopped", MACHINE, "process_continued", false),
    ];
    let well = run(Executor::EventQueue, "");
    for (kind, more, mark, on_both) in cases {
        assert_eq!(count(&well, mark), 0, "{mark}");
        assert!(count(&run(Executor::EventQueue, &fault(kind, more)), mark) > 0, "{kind}");
        if on_both {
            assert!(count(&run(Executor::Turmoil, &fault(kind, more)), mark) > 0, "{kind} on turmoil");
        }
    }
}

#[test]
fn a_torn_write_leaves_whole_writes_or_none() {
    let torn = fault("torn_write", "node = \"n0\"\nrestart_after = \"1s\"\n");
    let reports: Vec<Report> = (1..=20).map(|seed| run_seed(Executor::EventQueue, &torn, seed)).collect();
    let survived = reports.iter().filter(|report| count(report, "write_torn") > 0).count();
    assert!((3..=17).contains(&survived), "{survived}");
    // A write that completed was accepted but never acknowledged: the task runs all the same.
    let untold = |report: &&Report| {
        report.outcomes.first() == Some(&OutcomeKind::Unanswered) && count(report, "task_recovered") > 0
    };
    assert!(reports.iter().any(|report| untold(&report)));
}

#[test]
fn a_disk_that_takes_nothing_costs_a_refusal() {
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        for kind in ["disk_full", "disk_error"] {
            let report = run(executor, &fault(kind, "node = \"n0\"\nheal_after = \"1s\"\n"));
            let refused = report.rejections.get("storage_failed").copied().unwrap_or_default();
            assert!((2..=4).contains(&refused), "{executor} {kind}: {report}");
            let completed = report.outcome_counts().get(&OutcomeKind::Completed).copied().unwrap_or_default();
            assert_eq!(completed + refused, 10, "{report}");
        }
    }
}

#[test]
fn a_task_that_ended_stays_open_until_the_disk_takes_its_end() {
    let full = "[[fault]]\nat = \"4720ms\"\nkind = \"disk_full\"\nnode = \"n0\"\nheal_after = \"10s\"\n";
    let report = run(Executor::EventQueue, full);
    assert!(count(&report, "write_failed") >= 10, "{report}");
    assert_eq!(report.outcomes, [OutcomeKind::Completed; 10], "{report}");
}

#[test]
fn an_input_that_kills_its_worker_fails_alone() {
    for executor in [Executor::EventQueue, Executor::Turmoil] {
        let report = run(executor, &fault("poison_input", "tasks = [4]\n"));
        let mut expected = [OutcomeKind::Completed; 10];
        expected[4] = OutcomeKind::Failed;
        assert_eq!(report.outcomes, expected, "{executor}");
        assert_eq!(count(&report, "poison_taken"), 3, "{executor}");
    }
}

#[test]
fn a_clock_that_jumped_is_seen_after_a_restart() {
    let restart = "[[fault]]\nat = \"6s\"\nkind = \"kill\"\nnode = \"n0\"\nrestart_after = \"1s\"\n";
    let jump = fault("clock_jump", "node = \"n0\"\noffset = \"-2h\"\n");
    assert_eq!(count(&run(Executor::EventQueue, restart), "clock_differs"), 0);
    assert!(count(&run(Executor::EventQueue, &(jump.clone() + restart)), "clock_differs") > 0);
    assert_eq!(count(&run(Executor::EventQueue, &jump), "clock_differs"), 0);
}

#[test]
fn a_suspended_process_or_sleeping_machine_does_not_respond() {
    assert_eq!(count(&run(Executor::EventQueue, ""), "peer_dead"), 0);
    for kind in ["machine_asleep", "process_stopped"] {
        let report = run(Executor::EventQueue, &fault(kind, "node = \"n1\"\nheal_after = \"18s\"\n"));
        assert!(count(&report, "peer_dead") >= 1, "{kind}: {report}");
        assert_eq!(report.outcomes, [OutcomeKind::Completed; 10], "{kind}");
    }
}

#[test]
fn work_waits_for_models_that_are_not_loaded() {
    let unready = |node| fault("model_unready", &format!("node = \"n{node}\"\nheal_after = \"15s\"\n"));
    let all: String = (0..3).map(unready).collect();
    let report = run(Executor::EventQueue, &all);
    assert_eq!(report.outcomes, [OutcomeKind::Completed; 10], "{report}");
    assert!(count(&report, "model_changed") > count(&run(Executor::EventQueue, ""), "model_changed"));
    assert_eq!(count(&report, "task_finished"), 10);
}
