//! An invalid scenario is rejected, with the line and a fix.

#![allow(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use sim::{Executor, Scenario};

/// Replaces a line of a valid scenario, and returns the error.
fn said(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    match Scenario::parse("bad.toml", &GOOD.replacen(from, to, 1)) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_good_one_is_accepted() {
    let scenario = Scenario::parse("good.toml", GOOD).unwrap();
    assert_eq!(scenario.why, "it shows every section.");
    assert_eq!(scenario.faults.len(), 2);
}

#[test]
fn typos_get_the_nearest_name() {
    let cases = [
        ("latency", "latncy"),
        ("[workload]", "[wrokload]"),
        ("restart_after", "restartafter"),
        ("\"power_loss\"", "\"powerloss\""),
        ("\"turmoil\"", "\"tumoil\""),
        ("one_terminal_outcome", "one_terminal_outcom"),
        ("task_reassigned", "task_reasigned"),
        ("\"line\"", "\"lien\""),
        ("completed", "complete"),
        ("\"power_loss\"", "\"crash\""),
        ("\"power_loss\"", "\"byzantine\""),
        ("restart_after", "duration"),
        ("\"n1\"", "\"worker\""),
        ("\"n1\"", "\"n9\""),
        ("\"n1\"", "\"n01\""),
        ("nodes", "zzzzzz"),
    ];
    let all: Vec<String> = cases.iter().map(|(from, to)| said(from, to)).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_section_of_which_there_may_be_several_has_two_brackets() {
    for header in ["fault", "host"] {
        let text = format!("nodes = 3\nduration = \"10s\"\n[{header}]\nnode = \"n1\"\n");
        let said = Scenario::parse("bad.toml", &text).unwrap_err().to_string();
        let expected = format!("bad.toml:3:1: `[[{header}]]` has two brackets, for there may be several");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn steps_of_time_are_short() {
    for (tick, words) in
        [("1ms", "accepted"), ("100ms", "accepted"), ("0s", "`tick`"), ("101ms", "1 ms to 100 ms")]
    {
        let said = said("[network]", &format!("[network]\ntick = \"{tick}\""));
        assert!(said.contains(words), "{tick}: {said}");
    }
}

#[test]
fn values_outside_their_range_are_refused() {
    let cases = [
        ("nodes = 3", "nodes = 0"),
        ("nodes = 3", "nodes = 100001"),
        ("nodes = 3", "nodes = 51"),
        ("nodes = 3", "nodes = \"three\""),
        ("nodes = 3", "nodes = three"),
        ("\"60s\"", "60s"),
        ("\"power_loss\"", "power_loss"),
        ("duration = \"60s\"\n", ""),
        ("restart_after = \"10s\"", "lasts = \"10s\""),
        ("nodes = 3", "nodes = 3\nnodes = 4"),
        ("tasks = 20", "tasks = 4000000000"),
        ("tasks = 20", "tasks = 99999"),
        ("\"60s\"", "\"60\""),
        ("\"60s\"", "\"0s\""),
        ("\"60s\"", "\"9999999h\""),
        ("\"1ms..5ms\"", "\"5ms..1ms\""),
        ("\"1ms..5ms\"", "7"),
        ("max_peers = 8", "max_peers = 257"),
        ("at = \"5s\"", "at = \"55s\""),
        ("restart_after = \"10s\"", "heal_after = \"10s\""),
        ("[[\"n0\"], [\"n2\"]]", "[[\"n0\", \"n2\"]]"),
        ("[[\"n0\"], [\"n2\"]]", "[[\"n0\"], [\"n0\"]]"),
        ("within = \"20s\"", "within = \"31s\""),
        ("timeout = \"40s\"", "timeout = \"4h\""),
        ("kind = \"partition\"", "kind = \"stall\""),
        ("[network]", "[network"),
    ];
    let all: Vec<String> = cases.iter().map(|(from, to)| said(from, to)).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn hosts_that_make_no_sense_are_refused() {
    let said = |host: &str| {
        let text =
            format!("nodes = 4\nduration = \"60s\"\n[liveness]\nafter = \"30s\"\nwithin = \"9s\"\n{host}");
        without_column(&Scenario::parse("bad.toml", &text).unwrap_err().to_string())
    };
    let host = "[[host]]\nnode = \"n1\"\n";
    let cases = [
        ("", "bad.toml:6: this host does not differ from the others"),
        ("hostle = [\"flood\"]\n", "bad.toml:8: unknown key `hostle` in [[host]]; did you mean `hostile`?"),
        ("hostile = [\"floods\"]\n", "bad.toml:8: unknown attack `floods`; did you mean `flood`?"),
        ("hostile_at = \"1s\"\nstart = \"1s\"\n", "bad.toml:8: `hostile_at` needs `hostile`"),
        ("hostile = [\"flood\"]\nhostile_at = \"31s\"\n", "bad.toml:9: 31s is after 30s"),
        ("start = \"1s..31s\"\n", "bad.toml:8: 31s is after 30s"),
        ("protocol = 70000\n", "bad.toml:8:"),
        ("identity = \"n4\"\n", "bad.toml:8: no node is called `n4`"),
        ("identity = \"n1\"\nstart = \"5s\"\n", "bad.toml:8: n1 cannot be copied"),
        ("identity = \"n0\"\n", "bad.toml:8: a copy must start after its original"),
        ("identity = \"n0\"\nhostile = [\"flood\"]\n", "bad.toml:6: a host with the key of another"),
        (
            "protocol = 8\n[[host]]\nnode = \"n1\"\nprotocol = 9\n",
            "bad.toml:10: n1 has two `[[host]]` sections",
        ),
        (
            "hostile = [\"flood\"]\n[[fault]]\nat = \"5s\"\nkind = \"kill\"\nnode = \"n1\"\n",
            "bad.toml:12: n1 is hostile, a copy or copied; no fault may stop it",
        ),
    ];
    for (more, words) in cases {
        let said = said(&format!("{host}{more}"));
        assert!(said.starts_with(words), "{more}: {said}");
    }
    let scenario =
        Scenario::parse("good.toml", "nodes = 2\nduration = \"9s\"\n[[host]]\nnode = \"n1\"\nprotocol = 9\n");
    let refusal = scenario.unwrap().on(Executor::Turmoil).unwrap_err().to_string();
    assert!(refusal.contains("does not model `host`"), "{refusal}");
}

#[test]
fn faults_that_lack_something_are_refused() {
    let said = |fault: &str| {
        let text = format!("nodes = 4\nduration = \"60s\"\n[[fault]]\nat = \"5s\"\n{fault}");
        without_column(&Scenario::parse("bad.toml", &text).unwrap_err().to_string())
    };
    let cases = [
        ("kind = \"latency_step\"\n", "bad.toml:5: `latency_step` needs `add`"),
        ("kind = \"latency_step\"\nadd = \"5\"\n", "bad.toml:6:"),
        ("kind = \"asymmetry\"\nadd = \"5ms\"\n", "bad.toml:5: `asymmetry` needs `from`"),
        (
            "kind = \"asymmetry\"\nadd = \"5ms\"\nfrom = [\"n0\"]\nto = [\"n0\"]\n",
            "bad.toml:8: `n0` is in `to`",
        ),
        ("kind = \"duplicate\"\n", "bad.toml:5: `duplicate` needs `share`"),
        ("kind = \"replay\"\nshare = \"5ms\"\n", "bad.toml:6:"),
        ("kind = \"isolate_one\"\nnode = \"n4\"\n", "bad.toml:6: no node is called `n4`"),
        ("kind = \"isolate_one\"\nheal_after = \"56s\"\n", "bad.toml:4: the fault would last until 61s"),
        ("kind = \"swizzle_clog\"\n", "bad.toml:5: `swizzle_clog` needs `every`"),
        ("kind = \"swizzle_clog\"\nevery = \"7s\"\n", "bad.toml:4: the fault would last until 61s"),
        (
            "kind = \"connection_reset\"\nheal_after = \"1s\"\n",
            "bad.toml:6: `connection_reset` takes no `heal_after`; it takes `at`, `node` and `probability`",
        ),
    ];
    for (fault, words) in cases {
        let said = said(fault);
        assert!(said.starts_with(words), "{fault}: {said}");
    }
    for (kind, more) in
        [("latency_step", "add = \"5ms\""), ("reorder", "share = \"5%\""), ("connection_reset", "")]
    {
        let text =
            format!("nodes = 4\nduration = \"60s\"\n[[fault]]\nat = \"5s\"\nkind = \"{kind}\"\n{more}\n");
        let refusal =
            Scenario::parse("good.toml", &text).unwrap().on(Executor::Turmoil).unwrap_err().to_string();
        assert!(refusal.contains(&format!("does not model `{kind}`")), "{refusal}");
    }
}

#[test]
fn ailments_and_swarms_that_make_no_sense_are_refused() {
    let said = |fault: &str| {
        let text = format!(
            "nodes = 4\nduration = \"60s\"\n[workload]\ntasks = 5\nevery = \"1s\"\ncompute = \"1s\"\n\
             [[fault]]\nat = \"5s\"\n{fault}"
        );
        without_column(&Scenario::parse("bad.toml", &text).unwrap_err().to_string())
    };
    let cases = [
        ("kind = \"clock_drift\"\n", "bad.toml:9: `clock_drift` needs `ppm`"),
        ("kind = \"clock_drift\"\nppm = 1001\n", "bad.toml:10: `ppm` is 1001, but must be -1000 to 1000"),
        ("kind = \"clock_jump\"\n", "bad.toml:9: `clock_jump` needs `offset`"),
        ("kind = \"clock_jump\"\noffset = \"3h\"\n", "bad.toml:10: `offset` must be an offset such as"),
        ("kind = \"disk_slow\"\n", "bad.toml:9: `disk_slow` needs `add`"),
        ("kind = \"disk_full\"\nshare = \"5%\"\n", "bad.toml:10: `disk_full` takes no `share`"),
        ("kind = \"disk_error\"\nshare = \"0%\"\n", "bad.toml:10: a `share` of 0% has no effect"),
        ("kind = \"disk_ful\"\n", "bad.toml:9: unknown kind of fault `disk_ful`; did you mean `disk_full`?"),
        ("kind = \"inference_crash\"\nnode = \"n4\"\n", "bad.toml:10: no node is called `n4`"),
        ("kind = \"process_stopped\"\nheal_after = \"56s\"\n", "bad.toml:8: the fault would last until 61s"),
        ("kind = \"burst\"\n", "bad.toml:9: `burst` needs `count`"),
        ("kind = \"burst\"\ncount = 10001\n", "bad.toml:10: `count` is 10001, but must be 1 to 10000"),
        ("kind = \"poison_input\"\n", "bad.toml:9: `poison_input` needs `tasks`"),
        ("kind = \"poison_input\"\ntasks = [4, 5]\n", "bad.toml:10: there is no task 5: the workload has 5"),
        ("kind = \"torn_write\"\nheal_after = \"1s\"\n", "bad.toml:10: `torn_write` takes no `heal_after`"),
        ("kind = \"kill\"\nprobability = \"101%\"\n", "bad.toml:10: `probability` must be a share such as"),
        ("kind = \"kill\"\n[swarm]\nfaults = \"1..2\"\n", "bad.toml:11: a seed cannot draw 2 of 1 faults"),
        ("kind = \"kill\"\n[swarm]\nfaults = \"2..1\"\n", "bad.toml:11: `faults` must be a count such as"),
    ];
    for (fault, words) in cases {
        let said = said(fault);
        assert!(said.starts_with(words), "{fault}: {said}");
    }
    for kind in ["machine_asleep", "process_stopped", "model_unready"] {
        let text = format!("nodes = 4\nduration = \"60s\"\n[[fault]]\nat = \"5s\"\nkind = \"{kind}\"\n");
        let refusal =
            Scenario::parse("good.toml", &text).unwrap().on(Executor::Turmoil).unwrap_err().to_string();
        assert!(refusal.contains(&format!("does not model `{kind}`")), "{refusal}");
    }
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = std::env::temp_dir().join(format!("sim-bad-scenarios-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let said = |bytes: &[u8]| {
        let file = folder.join("bad.toml");
        std::fs::write(&file, bytes).unwrap();
        let error = Scenario::load(&file).unwrap_err();
        error.problem.to_string()
    };
    assert_eq!(said(&vec![b'#'; (1 << 20) + 1]), "the file is larger than the 1048576 bytes allowed");
    assert_eq!(said(b"nodes = \"\xff\""), "the file is not UTF-8 text");
    assert!(
        Scenario::load(&folder.join("none.toml")).unwrap_err().to_string().contains("cannot read the file")
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

const GOOD: &str = r#"# Why: it shows every section.
nodes = 3
executor = "turmoil"
duration = "60s"

[network]
latency = "1ms..5ms"
topology = "line"
multicast = true

[node]
max_peers = 8

[workload]
tasks = 20
every = "200ms"
compute = "300ms..2s"
timeout = "40s"

[[fault]]
at = "5s"
kind = "power_loss"
node = "n1"
restart_after = "10s"

[[fault]]
at = "6s"
kind = "partition"
groups = [["n0"], ["n2"]]
heal_after = "3s"

[liveness]
after = "30s"
within = "20s"

[expect]
always = ["one_terminal_outcome", "durable_before_acknowledged"]
sometimes = ["task_reassigned"]
outcomes = { completed = 20 }
"#;

/// Returns an error without the column, which other tests check.
fn without_column(error: &str) -> String {
    let mut parts = error.splitn(4, ':');
    let mut part = || parts.next().unwrap();
    let (file, line, column, words) = (part(), part(), part(), part());
    assert!(column.parse::<u32>().is_ok(), "{error}");
    format!("{file}:{line}:{words}")
}
