//! The commands of the simulator: their output, files and exit status.

use crate::harness::{Ran, Sandbox, run, signal, until, write};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::process::Stdio;

/// Runs a command in the sandbox's own directory.
fn sim(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(&[&["sim"], arguments].concat());
    command.current_dir(sandbox.path(""));
    run(command, b"")
}

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let ran = sim(sandbox, arguments);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// Some of its seeds fail: whether the nodes know each other in time depends on when they start.
const TOO_LATE: &str = "# Why: some seeds of this fail.\nnodes = 2\nexecutor = \"event-queue\"\nduration = \"3s\"\n\
    start = \"0s..200ms\"\n[[fault]]\nat = \"1ms\"\nkind = \"kill\"\nrestart_after = \"1ms\"\n\
    [liveness]\nafter = \"10ms\"\nwithin = \"310ms\"\n";

/// All of its seeds fail.
const NEVER: &str = "# Why: all seeds of this fail.\nnodes = 6\nexecutor = \"event-queue\"\nduration = \"9s\"\n\
    [workload]\ntasks = 9\nat = \"1ms\"\nevery = \"1ms\"\ncompute = \"5ms\"\n\
    [[fault]]\nat = \"1ms..9ms\"\nkind = \"kill\"\nrestart_after = \"1ms\"\n\
    [liveness]\nafter = \"40ms\"\nwithin = \"1ms\"\n";

#[test]
fn a_new_scenario_passes_and_is_never_overwritten() {
    let sandbox = Sandbox::new();
    let said = sim(&sandbox, &["new", "my_story"]).good();
    assert!(said.contains("p2p-ai-agents sim run scenarios/my_story.toml"), "{said}");
    let said = sim(&sandbox, &["check", "scenarios/my_story.toml"]).good();
    assert!(said.starts_with("scenarios/my_story.toml is valid: 3 nodes, 1 fault, 20 tasks,"), "{said}");
    let said = sim(&sandbox, &["run", "scenarios/my_story.toml"]).good();
    assert!(said.contains("\npassed  trace "), "{said}");
    write(&sandbox.path("scenarios/my_story.toml"), "mine");
    let said = sim(&sandbox, &["new", "my_story"]).bad(1);
    assert!(said.starts_with("error: scenarios/my_story.toml exists already\nhint: "), "{said}");
    assert_eq!(fs::read_to_string(sandbox.path("scenarios/my_story.toml")).unwrap(), "mine");
    for name in ["", "My story", "../up", "a/b", "é"] {
        let said = sim(&sandbox, &["new", name]).bad(1);
        assert!(said.contains("is not a valid scenario name"), "{said}");
    }
}

#[test]
fn a_check_shows_every_place_that_is_wrong() {
    let sandbox = Sandbox::new();
    write(&sandbox.path("good.toml"), TOO_LATE);
    write(&sandbox.path("typo.toml"), "nodes = 2\nduratoin = \"5s\"\n");
    let fault = "[[fault]]\nat = \"1s\"\nkind = \"kill\"\nnode = \"n7\"\n";
    write(&sandbox.path("nobody.toml"), &format!("nodes = 2\nduration = \"5s\"\n{fault}"));
    let ran = sim(&sandbox, &["check", "typo.toml", "good.toml", "nobody.toml", "none.toml"]);
    insta::assert_snapshot!(format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        ran.code, ran.stdout, ran.stderr
    ));
    sim(&sandbox, &["check"]).bad(2);
    let found = json(&sandbox, &["check", "--json", "good.toml", "nobody.toml"]);
    assert_eq!(found["valid"], false);
    assert_eq!(found["files"][0]["valid"], true);
    assert_eq!((&found["files"][1]["line"], &found["files"][1]["column"]), (&6.into(), &8.into()));
}

#[test]
fn a_run_shows_the_same_place_as_a_check() {
    let sandbox = Sandbox::new();
    write(&sandbox.path("typo.toml"), "nodes = 2\nduratoin = \"5s\"\n");
    let said = sim(&sandbox, &["run", "typo.toml"]).bad(1);
    assert_eq!(said, sim(&sandbox, &["check", "typo.toml"]).bad(1));
    assert!(said.contains("2 | duratoin = \"5s\"\n  | ^^^^^^^^\nhint: valid: nodes, executor,"), "{said}");
}

#[test]
fn scenarios_are_listed_and_so_are_bugs() {
    let sandbox = Sandbox::new();
    let said = sim(&sandbox, &["list", "--dir", "scenarios"]).bad(1);
    assert!(
        said.starts_with("error: scenarios cannot be listed\n")
            && said.contains("hint: name another directory with --dir DIR"),
        "{said}"
    );
    let embedded = sim(&sandbox, &["list"]).good();
    assert!(embedded.contains("\nworker_dies ") && embedded.contains("\nfails_on_purpose "), "{embedded}");
    write(&sandbox.path("scenarios/late.toml"), TOO_LATE);
    write(&sandbox.path("scenarios/bugs/never.toml"), NEVER);
    write(&sandbox.path("scenarios/notes.txt"), "no scenario");
    insta::assert_snapshot!("sim_list", sim(&sandbox, &["list", "--dir", "scenarios"]).good());
    let all = sim(&sandbox, &["list"]).good();
    assert_eq!(all.lines().count(), embedded.lines().count() + 2, "{all}");
    let found = json(&sandbox, &["list", "--json", "--dir", "scenarios"]);
    assert_eq!(found["scenarios"][1]["name"], "bugs/never");
    assert_eq!(found["scenarios"][0]["why"], "some seeds of this fail.");
    write(&sandbox.path("scenarios/bad.toml"), "nodes = 0\n");
    let ran = sim(&sandbox, &["list", "--dir", "scenarios"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (1, 3), "{ran:?}");
    assert!(ran.stderr.contains("--> scenarios/bad.toml:"), "{ran:?}");
}

#[test]
fn embedded_scenarios_run_anywhere_and_files_come_first() {
    let sandbox = Sandbox::new();
    let names = ["run", "two_nodes_meet", "worker_dies", "--executor", "event-queue"];
    let said = sim(&sandbox, &names).good();
    assert!(said.ends_with("\n2 of 2 scenarios passed\n"), "{said}");
    let both = json(&sandbox, &[&names[..], &["--json"]].concat());
    assert_eq!((&both["passed"], both["runs"].as_array().map(Vec::len)), (&true.into(), Some(2)));
    let said = sim(&sandbox, &["check", "worker_dies", "churn"]).good();
    assert!(said.ends_with("\nall 2 scenarios are valid\n"), "{said}");
    let said = sim(&sandbox, &["run", "scenarios/worker_dies.toml"]).bad(1);
    assert!(said.contains("hint: did you mean the embedded scenario worker_dies?"), "{said}");
    write(&sandbox.path("scenarios/worker_dies.toml"), NEVER);
    let ran = sim(&sandbox, &["run", "worker_dies", "two_nodes_meet"]);
    assert!(ran.code == 1 && ran.stdout.contains("violated liveness at "), "{ran:?}");
    let end = "\n1 of 2 scenarios passed; failed: scenarios/worker_dies.toml\n";
    assert!(ran.stdout.ends_with(end), "{ran:?}");
    let said = sim(&sandbox, &["run", "churn", "swarm", "--record", "journals"]).bad(1);
    assert!(said.contains("take the run of one scenario\nhint: "), "{said}");
}

#[test]
fn the_example_shows_a_failure_its_smallest_form_and_its_journals() {
    let sandbox = Sandbox::new();
    let ran = sim(&sandbox, &["run", "fails_on_purpose", "--record", "journals", "--details"]);
    for part in [
        "\nrepeat it:  p2p-ai-agents sim run fails_on_purpose --seed 2\n",
        "\nshrink it:  p2p-ai-agents sim shrink fails_on_purpose --seed 2\n",
        "\nchecks of each property\n",
        "\nreplay one: p2p-ai-agents sim replay journals/n0.1.journal\n",
    ] {
        assert!(ran.code == 1 && ran.stdout.contains(part), "{part:?} is missing: {ran:?}");
    }
    let said = sim(&sandbox, &["shrink", "fails_on_purpose"]).good();
    assert!(said.contains("written:    scenarios/bugs/fails_on_purpose_2.toml\n"), "{said}");
    let replay = ["replay", "journals/n1.1.journal", "--state", "--timeline"];
    let said = sim(&sandbox, &[&replay[..], &["n1.html"]].concat()).good();
    assert!(said.contains("about its start, its key and its end\n"), "{said}");
    assert!(said.contains("\nThe node at ") && said.contains("Timeline:"), "{said}");
    let page = fs::read_to_string(sandbox.path("n1.html")).unwrap();
    assert!(page.contains("\"replay\":true") && page.trim_end().ends_with("</html>"));
    sim(&sandbox, &[&replay[..], &["n1.json"]].concat()).good();
    let trace: Value = serde_json::from_slice(&fs::read(sandbox.path("n1.json")).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 100);
}

#[test]
fn every_word_of_a_scenario_is_explained() {
    let sandbox = Sandbox::new();
    let said = sim(&sandbox, &["explain"]).good();
    assert!(said.contains("\nfaults (") && said.contains("swizzle_clog"), "{said}");
    let said = sim(&sandbox, &["explain", "kill"]).good();
    assert!(said.contains("restart_after: time in us, ms, s, m or h\n"), "{said}");
    let said = sim(&sandbox, &["explain", "outcomes"]).good();
    assert!(said.contains("\n  completed\n    The task ended with an output.\n"), "{said}");
    let found = json(&sandbox, &["explain", "[expect]", "--json"]);
    assert_eq!(found["entries"][0]["name"], "expect");
    let said = sim(&sandbox, &["explain", "crash"]).bad(1);
    assert!(said.contains("hint: did you mean kill, power_loss, inference_crash"), "{said}");
}

#[test]
fn the_first_failure_is_told_in_full_and_repeats() {
    let sandbox = Sandbox::new();
    write(&sandbox.path("never.toml"), NEVER);
    let ran = sim(&sandbox, &["run", "never.toml", "--seeds", "5..20"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "{ran:?}");
    for part in [
        "violated liveness at 0.041000s, step ",
        "\n    Some time after the last fault, every accepted task has its outcome",
        "\nlast events of n",
        "the process starts\n",
        "\nrepeat it:  p2p-ai-agents sim run never.toml --seed 5\n",
        "\nshrink it:  p2p-ai-agents sim shrink never.toml --seed 5\n",
        "\nseeds       1 run, 1 failed\n",
        "\nfaults      1 kill\n",
    ] {
        assert!(ran.stdout.contains(part), "{part:?} is missing:\n{}", ran.stdout);
    }
    let failed =
        |text: &str| text.lines().find(|line| line.starts_with("FAILED  trace ")).unwrap().to_owned();
    let again = sim(&sandbox, &["run", "never.toml", "--seed", "5"]);
    assert_eq!((again.code, failed(&again.stdout)), (1, failed(&ran.stdout)));
    let all = json(&sandbox, &["run", "never.toml", "--seeds", "5..20", "--keep-going", "--json"]);
    assert_eq!((&all["runs"], &all["failed"], &all["complete"]), (&15.into(), &15.into(), &true.into()));
}

#[test]
fn the_number_of_jobs_changes_nothing() {
    let sandbox = Sandbox::new();
    write(&sandbox.path("late.toml"), TOO_LATE);
    let of = |jobs: &str, more: &[&str]| {
        let arguments = [&["run", "late.toml", "--seeds", "0..64", "--json", "--jobs", jobs], more].concat();
        let mut found = json(&sandbox, &arguments);
        found["wall_micros"].take();
        for report in found["failures"].as_array_mut().unwrap() {
            report["wall_micros"].take();
        }
        found
    };
    assert_eq!(of("1", &[]), of("4", &[]));
    let all = of("4", &["--keep-going"]);
    assert_eq!(of("1", &["--keep-going"]), all);
    assert_eq!(all["failures"][0]["seed"], of("3", &[])["failures"][0]["seed"]);
    assert!(all["failed"].as_u64() > Some(0) && all["failed"].as_u64() < Some(64), "{all}");
}

#[test]
fn a_scenario_may_bring_its_seed() {
    let sandbox = Sandbox::new();
    write(
        &sandbox.path("seeded.toml"),
        "nodes = 2\nseed = 9\nduration = \"1s\"\nexecutor = \"event-queue\"\n",
    );
    let seed =
        |more: &[&str]| json(&sandbox, &[&["run", "seeded.toml", "--json"], more].concat())["seed"].clone();
    assert_eq!((seed(&[]), seed(&["--seed", "4"])), (9.into(), 4.into()));
    let executor = |name: &str| {
        json(&sandbox, &["run", "seeded.toml", "--json", "--executor", name])["executor"].clone()
    };
    assert_eq!((executor("auto"), executor("event-queue")), ("turmoil".into(), "event-queue".into()));
    let said = sim(&sandbox, &["run", "seeded.toml", "--executor", "magic"]).bad(2);
    assert!(said.contains("[possible values: auto, event-queue, turmoil]"), "{said}");
    sim(&sandbox, &["run", "seeded.toml", "--seeds", "0..3", "--jobs", "0"]).bad(2);
}

#[test]
fn ctrl_c_tells_what_there_is_so_far() {
    let sandbox = Sandbox::new();
    write(&sandbox.path("calm.toml"), "nodes = 2\nduration = \"9s\"\nexecutor = \"event-queue\"\n");
    let mut command = sandbox.command(&["sim", "run", "calm.toml", "--seeds", "0..1000000000000", "--json"]);
    command.current_dir(sandbox.path("")).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    until("the command listens to Ctrl-C", || {
        let text = fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim();
        let bit = 1 << (Signal::SIGINT as u64 - 1);
        (u64::from_str_radix(caught, 16).unwrap() & bit != 0).then_some(())
    });
    signal(child.id(), Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let sweep: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&sweep["failed"], &sweep["complete"]), (&0.into(), &false.into()));
}

#[test]
fn a_failure_shrinks_to_a_file_that_fails_in_the_same_way() {
    let sandbox = Sandbox::new();
    write(&sandbox.path("never.toml"), NEVER);
    let said = sim(&sandbox, &["shrink", "never.toml", "--seed", "5"]).good();
    for part in [
        "violated liveness at ",
        "1 fault, 6 nodes, 9 tasks, 9 s",
        "0 faults, ",
        "scenarios/bugs/never_5.toml",
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    let text = fs::read_to_string(sandbox.path("scenarios/bugs/never_5.toml")).unwrap();
    assert!(text.starts_with("# Why: liveness was violated; shrunk from never.toml, seed 5.\n"), "{text}");
    let ran = sim(&sandbox, &["run", "scenarios/bugs/never_5.toml"]);
    assert!(ran.code == 1 && ran.stdout.contains("violated liveness at "), "{ran:?}");
    let said = sim(&sandbox, &["shrink", "never.toml", "--seed", "5"]).bad(1);
    assert!(said.starts_with("error: scenarios/bugs/never_5.toml exists already\n"), "{said}");
    let found = json(&sandbox, &["shrink", "never.toml", "--seed", "5", "-o", "small.toml", "--json"]);
    assert_eq!(
        (&found["complete"], &found["from"]["faults"], &found["to"]["faults"]),
        (&true.into(), &1.into(), &0.into())
    );
    assert_eq!(fs::read_to_string(sandbox.path("small.toml")).unwrap(), text);
}

#[test]
fn what_does_not_fail_is_not_shrunk() {
    let sandbox = Sandbox::new();
    write(&sandbox.path("calm.toml"), "nodes = 2\nduration = \"9s\"\nexecutor = \"event-queue\"\n");
    let said = sim(&sandbox, &["shrink", "calm.toml"]).bad(1);
    assert!(said.starts_with("error: seed 0 passes: there is nothing to shrink\nhint: "), "{said}");
    write(
        &sandbox.path("calm.toml"),
        "nodes = 2\nduration = \"9s\"\n[expect]\nsometimes = [\"peer_dead\"]\n",
    );
    let said = sim(&sandbox, &["shrink", "calm.toml"]).bad(1);
    assert!(said.contains("because the run never reached `peer_dead`"), "{said}");
    assert!(!sandbox.path("scenarios").exists());
}
