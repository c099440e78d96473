//! Invalid user input: each gets its error, nothing crashes and nothing is lost.

use crate::harness::{Node, Sandbox, exchange, run, wall, write};
use engine::task::{
    Outcome, ResultSummary, StoredTask, TaskInput, TaskKind, TaskOutput, TaskResult, TaskSpec, TaskStatus,
};
use engine::{Record, TaskId, TraceId, UnixMillis, WriteId};
use runtime::inference::EMBEDDED_MODEL;
use runtime::ports::Store;
use runtime::store::RedbStore;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[test]
fn ports_outside_the_range() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    for port in ["80", "0", "65536", "-1", "http"] {
        let said = node.run(&["node", "start", &format!("--port={port}")]).bad(2);
        assert!(said.contains("Invalid port number (must be 1024-65535)"), "{said}");
    }
    let mut command = node.command(&["node", "start"]);
    command.env("P2P_AI_PORT", "99999");
    let said = run(command, b"").bad(1);
    assert!(said.contains("port_exceeds_limit: port = 99999"), "{said}");
    assert!(said.contains("P2P_AI_PORT") && said.contains("1024 to 65535"), "{said}");
}

#[test]
fn a_port_that_is_taken() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let _taken = TcpListener::bind(("0.0.0.0", node.port)).unwrap();
    let said = node.run(&["node", "start"]).bad(1);
    assert!(said.starts_with(&format!("error: Port {} already in use\n", node.port)), "{said}");
    assert!(said.contains("hint: choose another port: p2p-ai-agents node start --port"), "{said}");
}

#[test]
fn an_identity_that_cannot_be_trusted() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let id = node.start();
    node.run(&["node", "stop"]).good();
    let path = node.home.identity_file();
    let good = fs::read(&path).unwrap();

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let said = node.run(&["node", "start"]).bad(1);
    assert!(said.contains("mode 0640, must be 0600") && said.contains("chmod 600"), "{said}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    let said = node.run(&["node", "start"]).bad(1);
    assert!(said.contains("is damaged: it is not a key file") && said.contains("backup"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), &good[..good.len() / 2], "nothing replaced it");

    fs::write(&path, &good).unwrap();
    assert_eq!(node.start(), id);
}

#[test]
fn a_configuration_with_mistakes() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let wrong = r#"{"max_pears": 3, "max_peers": 300, "port": 80, "max_memory_mb": 64, "log_level": "LOUD",
        "storage_path": "config/node_config.json", "health_check_interval_secs": 0.5, "models": "all"}"#;
    write(&node.home.config_file(), wrong);
    let mut start = node.command(&["node", "start"]);
    start.env("P2P_AI_API_PORT", "eighty").env("P2P_AI_MAX_CONCURRENT_TASKS", "0");
    let said = run(start, b"").bad(1).replace(&sandbox.path("").display().to_string(), "HOME/");
    insta::assert_snapshot!("config_mistakes", said);
    write(&node.home.config_file(), &"x".repeat(1_000_001));
    let said = node.run(&["node", "start"]).bad(1);
    assert!(said.contains("config_too_large"), "{said}");
    // The example that an error shows is itself a good configuration.
    write(&node.home.config_file(), "{");
    let said = node.run(&["node", "start"]).bad(1);
    let example = said.split_once("an example is ").unwrap().1.split_once("; ").unwrap().0;
    write(&node.home.config_file(), example);
    node.start();
}

#[test]
fn tasks_that_make_no_sense() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let submit = |input: &str| node.run(&["task", "submit", "--type", "embedding", "--input", input]);
    let said = submit("").bad(1);
    assert!(said.starts_with("error: the input is empty\nhint: give a text with `--input`"), "{said}");
    assert!(said.ends_with("\n  id: input_empty\n"), "{said}");
    let arguments = ["task", "submit", "--type", "embedding", "--input", "-"];
    let said = node.run_with_input(&arguments, &vec![b'a'; 300 << 10]).bad(1);
    assert!(
        said.starts_with("error: the input has 307200 bytes; at most 262144 are allowed\nhint: "),
        "{said}"
    );
    assert!(said.ends_with("\n  id: input_exceeds_max_length\n"), "{said}");
    let said = node.run_with_input(&arguments, &vec![b'a'; 2 << 20]).bad(1);
    assert!(said.starts_with("error: standard input has more than"), "{said}");
    let said = node.run_with_input(&arguments, b"\xff\xfe").bad(1);
    assert!(said.starts_with("error: standard input is not UTF-8 text\n"), "{said}");
    node.run(&["task", "submit", "--type", "poetry", "--input", "x"]).bad(2);
    let said = node.run(&["task", "submit", "--type", "generation", "--input", "x"]).bad(1);
    assert!(said.starts_with("error: no node of this network has a model for generation tasks\n"), "{said}");
    let said = node.run(&["task", "submit", "--type", "embedding", "--input", "x", "--model", "none"]).bad(1);
    assert!(said.contains("has a model called \"none\""), "{said}");
    let said = node.run(&["task", "submit", "--type", "embedding", "--input", "x", "--timeout", "0"]).bad(1);
    assert!(said.contains("1 s to 3600 s are allowed"), "{said}");
    assert_eq!(node.json(&["task", "list", "--json"])["total"], 0, "nothing of it was accepted");
}

#[test]
fn a_file_of_tasks_with_bad_lines() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let file = sandbox.path("tasks.jsonl");
    write(
        &file,
        "\u{feff}{\"input\": \"one\"}\n\nnot json\n{\"input\": \"two\", \"colour\": 1}\n{\"input\": \"\"}\n{\"input\": \"three\"}\n",
    );
    let ran = node.run(&["task", "submit", "--type", "embedding", "--file", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (1, 2), "{ran:?}");
    for line in ["line 3: not a task", "line 4: not a task", "line 5: the input is empty"] {
        assert!(ran.stderr.contains(line), "{ran:?}");
    }
}

#[test]
fn tasks_that_do_not_exist() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    for id in ["5f2b0d0e-0000-4000-8000-000000000000", "no-such-task", "../status", ""] {
        for command in ["status", "result", "watch", "cancel"] {
            let said = node.run(&["task", command, id]).bad(1);
            let hint = "hint: p2p-ai-agents task list shows the tasks";
            assert_eq!(said, format!("error: Task not found (id: {id})\n{hint}\n  id: task_not_found\n"));
        }
    }
}

#[test]
fn an_api_client_without_the_token() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let token = fs::read_to_string(node.home.token_file()).unwrap();
    assert_eq!(fs::metadata(node.home.token_file()).unwrap().permissions().mode() & 0o777, 0o600);
    let host = node.api();
    let ask = |authorization: &str, body: &[u8]| {
        let head = format!(
            "POST /api/v1/tasks HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             {authorization}Content-Length: {}\r\n\r\n",
            body.len()
        );
        exchange(host, &[head.as_bytes(), body].concat())
    };
    let task = br#"{"type": "embedding", "input": "hello"}"#;
    assert!(ask("", task).starts_with("HTTP/1.1 401"));
    assert!(ask("Authorization: Bearer wrong\r\n", task).starts_with("HTTP/1.1 401"));
    let authorized = format!("Authorization: Bearer {token}\r\n");
    let said = ask(&authorized, b"{\"type\": \"embedding\", \"input\": \"\xff\"}");
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("input_not_utf8"), "{said}");
    assert!(ask(&authorized, task).starts_with("HTTP/1.1 202"));
    let shutdown = format!("POST /api/v1/shutdown HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert!(exchange(host, shutdown.as_bytes()).starts_with("HTTP/1.1 401"));
    node.run(&["node", "status"]).good();
}

#[test]
fn a_scenario_with_a_typo() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("typo.toml");
    write(&file, "nodes = 2\nduratoin = \"5s\"\n");
    let said = sandbox.run(&["sim", "run", file.to_str().unwrap()]).bad(1);
    assert!(said.contains("duratoin"), "{said}");
    let said = sandbox.run(&["sim", "run", "/nowhere.toml"]).bad(1);
    assert_eq!(
        said,
        "error: /nowhere.toml: cannot read the file: No such file or directory\n\
         hint: p2p-ai-agents sim list shows all scenarios, and sim new NAME writes one\n  \
         id: scenario_unreadable\n"
    );
}

#[test]
fn configurations_that_are_none() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let file = |name: &str| sandbox.path(name);
    fs::create_dir(file("directory")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(file("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink(file("loop"), file("loop")).unwrap();
    fs::File::create(file("huge.json")).unwrap().set_len(2 << 30).unwrap();
    fs::write(file("binary.json"), b"\x7fELF\x02\x01\x01\0\0\0").unwrap();
    fs::write(file("empty.json"), b"").unwrap();
    fs::write(file("latin1.toml"), b"network = \"caf\xe9\"").unwrap();
    fs::write(file("list.json"), b"[1, 2]").unwrap();
    for name in [
        "directory",
        "pipe",
        "loop",
        "huge.json",
        "binary.json",
        "empty.json",
        "latin1.toml",
        "list.json",
        "gone",
    ] {
        let said = node.run(&["node", "start", "--config", file(name).to_str().unwrap()]).bad(1);
        let said = said.replace(&sandbox.path("").display().to_string(), "HOME/");
        insta::assert_snapshot!(format!("config_{}", name.replace('.', "_")), said);
    }
}

#[test]
fn a_home_on_a_disk_that_takes_nothing() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let place = sandbox.path("disk");
    fs::create_dir(&place).unwrap();
    let home = place.join("home");
    let program = env!("CARGO_BIN_EXE_p2p-ai-agents");
    let start = format!("{program} --home {} node start --no-model", home.display());
    for (name, script) in [
        ("read_only", format!("mount -t tmpfs -o ro none {} && {start}", place.display())),
        (
            "full",
            format!(
                "mount -t tmpfs -o size=64k none {0} && ! head -c 1M /dev/zero >{0}/fill 2>/dev/null; {start}",
                place.display()
            ),
        ),
    ] {
        let mut command = node.command(&[]);
        let environment: Vec<(std::ffi::OsString, std::ffi::OsString)> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = std::process::Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]).env_clear().envs(environment);
        let ran = run(command, b"");
        if ran.stderr.contains("unshare") {
            eprintln!("this machine has no namespaces for this: {ran:?}");
            return;
        }
        let said = ran.bad(1).replace(&sandbox.path("").display().to_string(), "HOME/");
        insta::assert_snapshot!(format!("home_{name}"), said);
    }
}

#[test]
fn what_a_crash_left_in_run_is_no_obstacle() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    write(&node.home.lock_file(), "1");
    write(&node.home.info_file(), "{\"pid\": 1}");
    write(&node.home.ready_file(), "nonsense");
    let said = node.run(&["node", "status"]).bad(1);
    assert!(said.starts_with("error: No node is running"), "{said}");
    node.start_bare();
    node.run(&["node", "status"]).good();
}

/// Stores a result and a queued task as a node would whose clock is a day ahead.
fn leave_for_tomorrow(node: &Node<'_>, tomorrow: UnixMillis) -> (TaskId, TaskId) {
    let (done, open) = (TaskId([1; 16]), TaskId([2; 16]));
    let output = TaskOutput::Embedding { vectors: vec![vec![0.6, 0.8]], tokens: 3, truncated: Vec::new() };
    let summary = ResultSummary {
        id: done,
        kind: TaskKind::Embedding,
        model: EMBEDDED_MODEL.to_owned(),
        status: TaskStatus::Completed,
        failure: None,
        worker: None,
        execution_micros: 1_500,
        attempts: 1,
        submitted_at: tomorrow,
        completed_at: UnixMillis(tomorrow.0 + 100),
        expires_at: UnixMillis(tomorrow.0 + 24 * 3_600_000),
        output_bytes: 8,
        preview: "done tomorrow".to_owned(),
        output_preview: "[0.6, 0.8]".to_owned(),
        trace: TraceId([3; 16]),
    };
    let result = TaskResult { summary, outcome: Outcome::Completed(output), fingerprint: None };
    let spec = TaskSpec {
        input: TaskInput::from_text(TaskKind::Embedding, "accepted tomorrow".to_owned()),
        model: Some(EMBEDDED_MODEL.to_owned()),
        timeout: Duration::from_secs(30),
    };
    let task = StoredTask {
        id: open,
        spec,
        submitted_at: tomorrow,
        trace: TraceId([4; 16]),
        attempts: 0,
        choice: None,
        caller: None,
    };
    let (mut store, ..) = RedbStore::open(&node.home.root().join("data/node.redb")).unwrap();
    // Dropping it flushes the queued writes.
    store.write(WriteId(1), vec![Record::Result(Box::new(result)), Record::Task(Box::new(task))]);
    (done, open)
}

#[test]
fn a_clock_that_was_set_back_a_day_loses_nothing() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start_bare();
    node.run(&["node", "stop"]).good();
    let tomorrow = UnixMillis(wall().0 + 24 * 3_600_000);
    let (done, open) = leave_for_tomorrow(&node, tomorrow);
    node.start();
    let today = node.submit("submitted today");
    for id in [&today, &open.to_string()] {
        let task = node.await_task(id);
        assert_eq!(task["status"], "COMPLETED", "{task}");
        assert!(task["elapsed_ms"].as_u64() < Some(60_000), "no time is negative or a day long: {task}");
    }
    let task = node.json(&["task", "status", &today, "--json"]);
    let submitted = task["submitted_at"].as_str().unwrap();
    let said = [
        node.run(&["task", "list"]).good(),
        node.run(&["task", "result", &done.to_string()]).good(),
        node.run(&["task", "status", &done.to_string()]).good(),
    ];
    let said = said.join("---\n").replace(&today, "TODAY").replace(submitted, "NOW");
    let said = said.replace(&tomorrow.to_string(), "TOMORROW");
    let said = said.replace(&UnixMillis(tomorrow.0 + 100).to_string(), "TOMORROW+100ms");
    insta::assert_snapshot!(
        "clock_set_back",
        said.replace(&UnixMillis(tomorrow.0 + 24 * 3_600_000).to_string(), "THE DAY AFTER")
    );
    let log = node.run(&["node", "logs", "--level", "error"]).good();
    assert_eq!(log, "");
}

#[test]
fn odd_texts_are_tasks_or_errors() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let arguments = ["task", "submit", "--type", "embedding", "--input", "-", "--wait", "--json"];
    let done = node.run_with_input(&arguments, b"nul \0 and bell \x07").good();
    assert!(done.contains("\"status\":\"COMPLETED\""), "{done}");
    let said = node.run_with_input(&arguments, &vec![b'x'; 10 << 20]).bad(1);
    let (error, code) = ("standard input has more than 1048576 bytes", "input_exceeds_max_length");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["error"]["message"], &said["error"]["code"]), (&error.into(), &code.into()));
    let said = node.run(&["task", "submit", "--type", "embedding", "--file", "/"]).bad(1);
    assert!(said.starts_with("error: cannot read /\n"), "{said}");
    let listed = node.run(&["task", "list"]).good();
    assert!(!listed.contains('\0') && !listed.contains('\x07'), "{listed:?}");
}
