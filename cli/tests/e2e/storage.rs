//! A disk that damages or loses data, or is full: what the node reports.

use crate::doctor::codes;
use crate::harness::{Node, Ran, Sandbox, exchange, run, until};
use engine::record::{Record, RecordKind, find};
use engine::task::{
    Outcome, ResultSummary, StoredTask, TaskInput, TaskKind, TaskOutput, TaskResult, TaskSpec, TaskStatus,
};
use engine::{TaskId, TraceId, UnixMillis, WriteId};
use runtime::clock::wall;
use runtime::ports::Store;
use runtime::store::RedbStore;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn id(number: u8) -> TaskId {
    TaskId([number; 16])
}

fn data_file(node: &Node<'_>) -> PathBuf {
    node.home.root().join("data/node.redb")
}

fn result(number: u8) -> Record {
    let outcome = Outcome::Completed(TaskOutput::Embedding {
        vectors: vec![vec![f32::from(number); 384]],
        tokens: 3,
        truncated: Vec::new(),
    });
    let now = wall();
    let summary = ResultSummary {
        id: id(number),
        kind: TaskKind::Embedding,
        model: "m".to_owned(),
        status: TaskStatus::Completed,
        failure: None,
        worker: None,
        execution_micros: 1_500,
        attempts: 1,
        submitted_at: now,
        completed_at: now,
        expires_at: UnixMillis(now.0 + 24 * 3_600_000),
        output_bytes: 1536,
        preview: "a text".to_owned(),
        output_preview: "[…]".to_owned(),
        trace: TraceId([3; 16]),
    };
    Record::Result(Box::new(TaskResult { summary, outcome, fingerprint: None }))
}

/// A task that stays open, because no model runs it.
fn task(number: u8) -> Record {
    let spec = TaskSpec {
        input: TaskInput::from_text(TaskKind::Embedding, "waits".to_owned()),
        model: Some("m".to_owned()),
        timeout: Duration::from_secs(3600),
    };
    let (submitted_at, trace) = (wall(), TraceId([4; 16]));
    Record::Task(Box::new(StoredTask {
        id: id(number),
        spec,
        submitted_at,
        trace,
        attempts: 0,
        choice: None,
        caller: None,
    }))
}

/// Stores results 1 to 20 and tasks 101 to 110 in the home of a node that has run.
fn store(node: &Node<'_>) {
    node.start_bare();
    node.run(&["node", "stop"]).good();
    let (mut store, ..) = RedbStore::open(&data_file(node)).unwrap();
    // Dropping it flushes the queued writes.
    store.write(WriteId(1), (1..=20).map(result).chain((101..=110).map(task)).collect());
}

/// Flips a bit at the end of each copy of a record in the data file.
fn damage(node: &Node<'_>, kind: RecordKind, number: u8) {
    let mut bytes = std::fs::read(data_file(node)).unwrap();
    let start = bytes.as_ptr() as usize;
    let ends: Vec<usize> = find(&bytes)
        .filter(|found| (found.kind, found.id) == (kind, id(number)))
        .map(|found| found.bytes.as_ptr() as usize - start + found.bytes.len())
        .collect();
    assert!(!ends.is_empty());
    for end in ends {
        bytes[end - 20] ^= 0x10;
    }
    std::fs::write(data_file(node), bytes).unwrap();
}

fn healthz(node: &Node<'_>) -> String {
    let host = node.api();
    exchange(host, format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
}

#[test]
fn damaged_records_are_named_and_never_given_out() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    store(&node);
    node.run(&["store", "check"]).good();
    assert_eq!(
        node.run(&["store", "salvage"]).good(),
        "All stored records are sound; nothing was changed.\n"
    );
    damage(&node, RecordKind::Result, 7);
    damage(&node, RecordKind::Summary, 8);
    damage(&node, RecordKind::Task, 103);

    let checked = node.run(&["store", "check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    for named in [format!("damaged: result {}", id(7)), format!("damaged: task {}", id(103))] {
        assert!(checked.stdout.contains(&named), "{checked:?}");
    }
    let checked: Value = serde_json::from_str(&node.run(&["store", "check", "--json"]).stdout).unwrap();
    assert_eq!((&checked["sound"], &checked["lost"]), (&false.into(), &0.into()));
    assert!(codes(&node).1.contains(&"data_damaged".to_owned()));

    let started = node.run(&["node", "start", "--no-model"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert!(started.stderr.contains("warning: the data file was damaged: "), "{started:?}");
    let ask = |what: &str, number: u8| node.run(&["task", what, &id(number).to_string()]);
    for (what, number) in [("result", 7), ("result", 103), ("status", 103)] {
        let said = ask(what, number).bad(1);
        assert!(said.contains("id: record_damaged") && said.contains(&id(number).to_string()), "{said}");
    }
    // A summary is rebuilt from its result.
    for number in (1..=20).filter(|number| *number != 7) {
        let said = node.run(&["task", "result", &id(number).to_string(), "--json"]).good();
        let result: Value = serde_json::from_str(&said).unwrap();
        let vector = result["output"]["vector"].as_array().unwrap();
        assert!(vector.len() == 384 && vector.iter().all(|value| *value == f64::from(number)), "{number}");
    }
    let listed = node.json(&["task", "list", "--limit", "100", "--json"]);
    assert_eq!(listed["total"], 29);

    let health = node.run(&["node", "health"]).good();
    assert!(health.contains("Storage:        WARN  records_damaged: "), "{health}");
    assert!(healthz(&node).contains("\"reason\":\"records_damaged\""));
    let status = node.run(&["node", "status"]).good();
    assert!(status.contains("WARN (records_damaged)"), "{status}");
    let (code, found) = codes(&node);
    assert!(code == 1 && found.contains(&"records_damaged".to_owned()), "{found:?}");
    assert!(found.contains(&"damaged_file_kept".to_owned()), "{found:?}");
    let logs = std::fs::read_dir(node.home.log_file().parent().unwrap()).unwrap().flatten();
    let crashes = logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("crash-")).count();
    assert_eq!(crashes, 0, "a damaged disk is no fault of the program");

    // The damage is remembered, and the remaining records are valid.
    node.run(&["node", "restart"]).good();
    assert!(ask("status", 103).bad(1).contains("id: record_damaged"));
    assert!(ask("result", 7).bad(1).contains("id: record_damaged"));
    node.run(&["node", "stop"]).good();
    let said = node.run(&["store", "check"]).stdout;
    assert!(said.contains(&format!("damaged: result {}", id(7))), "{said}");
}

#[test]
fn one_bad_byte_after_a_kill_costs_one_record() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    store(&node);
    node.start_bare();
    node.kill();
    damage(&node, RecordKind::Result, 7);
    let damaged = std::fs::read(data_file(&node)).unwrap();
    let said: Value = serde_json::from_str(&node.run(&["store", "salvage", "--json"]).good()).unwrap();
    assert_eq!((&said["tasks"], &said["results"]), (&10.into(), &19.into()), "{said}");
    let kept = said["kept"].as_str().unwrap();
    assert!(std::fs::read(kept).unwrap() == damaged, "the damaged file is kept");
    node.start_bare();
    let result = |number: u8| node.run(&["task", "result", &id(number).to_string(), "--json"]);
    assert!(result(7).bad(1).contains("\"code\":\"record_damaged\""));
    result(8).good();
    assert!(node.run(&["store", "check"]).bad(1).contains("id: node_already_running"));
}

#[test]
fn data_that_are_gone_are_missed() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    store(&node);
    for empty in [false, true] {
        if empty {
            std::fs::write(data_file(&node), "").unwrap();
        } else {
            std::fs::remove_dir_all(node.home.root().join("data")).unwrap();
        }
        let said = node.run(&["node", "start", "--no-model"]).bad(1);
        assert!(said.contains("the data of this node are gone: "), "{said}");
        assert!(said.contains("id: data_lost") && said.contains("--accept-data-loss"), "{said}");
        assert!(codes(&node).1.contains(&"data_lost".to_owned()));
        let started = node.run(&["node", "start", "--no-model", "--accept-data-loss"]);
        assert_eq!(started.code, 0, "{started:?}");
        assert!(started.stderr.contains("warning: the data file "), "{started:?}");
        // The data loss was accepted for one start, not for every restart.
        node.run(&["node", "restart"]).good();
        node.run(&["node", "stop"]).good();
    }
    // A file without records of a node is changed only on request.
    std::fs::write(data_file(&node), "my notes").unwrap();
    let said = node.run(&["node", "start", "--no-model"]).bad(1);
    assert!(said.contains("id: storage_unusable") && said.contains("hint: "), "{said}");
    assert_eq!(std::fs::read_to_string(data_file(&node)).unwrap(), "my notes");
    node.run(&["node", "start", "--no-model", "--accept-data-loss"]).good();
    assert_eq!(
        std::fs::read_to_string(data_file(&node).with_added_extension("damaged-1")).unwrap(),
        "my notes"
    );
    node.run(&["node", "stop"]).good();
    // Data at another path, because the setting has changed, are not lost and are named.
    let mut start = node.command(&["node", "start", "--no-model"]);
    start.env("P2P_AI_STORAGE_PATH", sandbox.path("elsewhere"));
    let started = run(start, b"");
    assert!(started.code == 0 && started.stderr.contains("stay in "), "{started:?}");
    let mode = |path: PathBuf| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!((mode(sandbox.path("elsewhere")), mode(sandbox.path("elsewhere/files"))), (0o700, 0o700));
}

/// Runs a script with `$home` as an empty directory on a disk of its own.
fn on_small_disk(node: &Node<'_>, place: &std::path::Path, script: &str) -> Option<Ran> {
    std::fs::create_dir_all(place).unwrap();
    let program = env!("CARGO_BIN_EXE_p2p-ai-agents");
    let preamble = format!(
        "mount -t tmpfs -o size=8m small {place} || exit 99; home={place}/home; \
         node() {{ {program} --home $home node \"$@\"; }}; fill() {{ cat /dev/zero >$home/fill 2>/dev/null; }}; \
         trap 'node stop >/dev/null 2>&1' EXIT\n",
        place = place.display()
    );
    let command = node.command(&[]);
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .filter(|(name, _)| name != "P2P_AI_HOME")
        .collect();
    let mut command = std::process::Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &(preamble + script)]);
    command.env_clear().envs(environment);
    let ran = run(command, b"");
    if ran.code == 99 || ran.stderr.contains("unshare") {
        eprintln!("skipped: this machine has no namespaces for this: {ran:?}");
        return None;
    }
    Some(ran)
}

#[test]
fn a_full_disk_fails_the_health_check_and_the_start_and_is_named() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let place = sandbox.path("disk");
    let script = "node start --no-model || exit 1
        node health >/dev/null || exit 2
        fill
        node health; echo health=$?
        node status
        rm $home/fill
        node health >/dev/null || exit 3
        node stop || exit 4
        fill
        node start --no-model; echo start=$?
        truncate -s -64K $home/fill
        node start --no-model; echo again=$?
        rm $home/fill
        node start --no-model && node stop";
    let begun = Instant::now();
    let Some(ran) = on_small_disk(&node, &place, script) else { return };
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("Storage:        FAIL  storage_failed: "), "{ran:?}");
    for outcome in ["health=1", "FAIL (storage_failed)", "start=1", "again=1"] {
        assert!(ran.stdout.contains(outcome), "{outcome}: {ran:?}");
    }
    assert_eq!(ran.stderr.matches("error: no space is left on the disk of ").count(), 2, "{ran:?}");
    assert_eq!(ran.stderr.matches("id: disk_full").count(), 2, "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(25), "nothing waits for what cannot come: {ran:?}");
}

#[test]
fn a_disk_that_became_read_only_is_named() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let place = sandbox.path("disk");
    let script = "node start --no-model && node stop || exit 1
        mount -o remount,ro small ${home%/home}
        node start --no-model; echo start=$?
        node start --no-model --foreground; echo foreground=$?";
    let Some(ran) = on_small_disk(&node, &place, script) else { return };
    assert!(ran.stdout.contains("start=1") && ran.stdout.contains("foreground=1"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("error: cannot use the home {}", place.display())), "{ran:?}");
    assert!(ran.stderr.contains(&format!("error: cannot use {}", place.display())), "{ran:?}");
    assert_eq!(ran.stderr.matches("Read-only file system").count(), 2, "{ran:?}");
    assert_eq!(ran.stderr.matches("id: home_unusable").count(), 2, "{ran:?}");
}

#[test]
fn directories_that_others_may_look_into_are_found() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    std::fs::create_dir(node.home.root()).unwrap();
    std::fs::set_permissions(node.home.root(), PermissionsExt::from_mode(0o755)).unwrap();
    node.start_bare();
    let report = node.run(&["doctor"]);
    let home = node.home.root().display();
    let found = format!("Other users of this machine may look into {home} (mode 755).");
    assert!(
        report.stdout.contains(&found) && report.stdout.contains(&format!("chmod 700 {home}")),
        "{report:?}"
    );
    std::fs::set_permissions(node.home.root(), PermissionsExt::from_mode(0o700)).unwrap();
    until("nothing of it is left", || (!codes(&node).1.contains(&"directory_open".to_owned())).then_some(()));
}
