//! Operation of nodes: status, restarts, logs, and files of tasks.

use crate::harness::{Node, Sandbox, run, signal, until, write};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::tcgetattr;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

#[test]
fn a_restart_starts_the_node_as_it_was_started() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    write(&sandbox.path("other.toml"), "max_peers = 5\n");
    // Relative to the directory of the first start, which is not that of the restart.
    let mut start = node.command(&["node", "start", "--no-model", "--config", "other.toml"]);
    start.current_dir(sandbox.path("")).env("P2P_AI_MAX_MEMORY_MB", "300");
    run(start, b"").good();
    let (pid, before) = (node.pid(), node.json(&["node", "config", "--json"]));
    let started = node.json(&["node", "restart", "--json"]);
    assert!(node.pid().is_some() && node.pid() != pid);
    assert_eq!((&started["pid"], &started["network_port"]), (&json!(node.pid()), &json!(node.port)));
    assert_eq!(node.json(&["node", "ready", "--json"])["status"], "node_ready");
    let after = node.json(&["node", "config", "--json"]);
    assert_eq!(before["settings"], after["settings"]);
    let setting = |key: &str| {
        let settings = after["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).unwrap().clone()
    };
    assert_eq!(setting("max_peers")["value"], 5);
    assert!(setting("max_peers")["source"].as_str().unwrap().ends_with("other.toml"));
    assert_eq!(setting("max_memory_mb")["source"], "environment variable P2P_AI_MAX_MEMORY_MB");
    assert_eq!(
        (&setting("run_models")["value"], &setting("run_models")["source"]),
        (&json!(false), &json!("flag --no-model"))
    );

    // Flags and variables of the restart count before those of the start.
    let mut restart = node.command(&["node", "restart", "--max-peers", "6"]);
    restart.env("P2P_AI_MAX_MEMORY_MB", "310");
    run(restart, b"").good();
    // A restart with a mistake leaves the node running.
    let pid = node.pid();
    assert!(node.run(&["node", "restart", "--max-peers", "1000"]).bad(1).contains("max_peers_exceeds_limit"));
    assert_eq!(node.pid(), pid);
    for (key, value) in [("max_peers", "6\n"), ("max_memory_mb", "310\n"), ("run_models", "false\n")] {
        assert_eq!(node.run(&["config", "get", key]).good(), value);
    }

    let listed = sandbox.run(&["node", "list", "--json"]).good();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed["nodes"][0]["pid"], &listed["nodes"][0]["state"]),
        (&json!(node.pid()), &json!("ACTIVE"))
    );
    assert_eq!(sandbox.run(&["node", "restart", "--all", "--quiet"]).good(), "");
    let stopped = node.json(&["node", "stop", "--json"]);
    assert_eq!(stopped["stopped"], true, "{stopped}");
    let said = node.run(&["node", "stop", "--json"]).bad(1);
    assert!(said.starts_with("{\"error\":{\"code\":\"node_not_running\","), "{said}");
    assert_eq!(sandbox.run(&["node", "list"]).good(), "No running nodes\n");
    assert!(node.run(&["node", "restart"]).bad(1).contains("hint: start one with: p2p-ai-agents node start"));
}

#[test]
fn the_configuration_is_shown_before_during_and_after() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let said = node.run(&["node", "config"]).good();
    assert!(said.starts_with("SETTING ") && said.contains("No node is running"), "{said}");
    assert!(!node.home.root().exists(), "looking changes nothing");
    let places = node.json(&["paths", "--json"]);
    assert_eq!(places["log"], json!(node.home.log_file()));
    assert!(!node.home.root().exists());

    write(&node.home.config_file(), r#"{"max_peers": 7}"#);
    node.start_bare();
    write(&node.home.config_file(), r#"{"max_peers": 9, "run_models": true}"#);
    let shown = node.json(&["node", "config", "--json"]);
    assert_eq!(shown["after_restart"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(
        (&shown["after_restart"][0]["key"], &shown["after_restart"][0]["value"]),
        (&json!("max_peers"), &json!(9))
    );
    let said = node.run(&["config", "set", "max_peers", "10"]).good();
    assert_eq!(
        said,
        "max_peers is 10 (before: 9)\nThe running node uses it after: p2p-ai-agents node restart\n"
    );
    let said = node.run(&["config", "set", "port", "9100"]).good();
    assert!(said.contains("no effect while this sets the value: environment variable P2P_AI_PORT"), "{said}");
    assert_eq!(
        node.run(&["config", "unset", "port"]).good().lines().next(),
        Some("port is 9000 (before: 9100)")
    );
    assert_eq!(node.run(&["config", "get", "max_peers"]).good(), "7\n");
    node.run(&["node", "restart"]).good();
    assert_eq!(node.run(&["config", "get", "max_peers"]).good(), "10\n");
    for (words, id) in [
        (&["config", "set", "max_peers", "1000"][..], "config_invalid"),
        (&["config", "set", "max_pears", "3"], "config_invalid"),
        (&["config", "get", "max_pears"], "setting_unknown"),
    ] {
        assert!(node.run(words).bad(1).contains(&format!("id: {id}")), "{words:?}");
    }
    let mut edit = node.command(&["config", "edit"]);
    edit.env("EDITOR", "sed -i s/10/11/");
    assert!(run(edit, b"").good().starts_with("Written; it is used after"));
    let mut edit = node.command(&["config", "edit"]);
    edit.env("EDITOR", "sed -i s/11/1000/");
    assert!(run(edit, b"").bad(1).contains("max_peers_exceeds_limit"));
    assert_eq!(
        std::fs::read_to_string(node.home.config_file()).unwrap(),
        "{\n  \"max_peers\": 11,\n  \"run_models\": true\n}\n"
    );
    write(&node.home.config_file(), r#"{"max_pears": 9}"#);
    let ran = node.run(&["node", "config"]);
    assert!(ran.stdout.contains("max_peers ") && ran.stderr.contains("unknown_key"), "{ran:?}");
    assert_eq!(ran.code, 1);
}

#[test]
fn the_log_is_read_and_followed() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let said = node.run(&["node", "logs"]).bad(1);
    assert!(said.starts_with("error: there is no log yet"), "{said}");
    node.start_bare();
    until("the log tells that the node is ACTIVE", || {
        let said = node.run(&["node", "logs"]).good();
        said.contains(" INFO  lifecycle: state changed from=\"REGISTERING\" to=\"ACTIVE\"").then_some(())
    });
    let said = node.run(&["node", "logs", "--lines", "3"]).good();
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_eq!(node.run(&["node", "logs", "--level", "fatal"]).good(), "");
    let mut follow = node.command(&["node", "logs", "-f", "-n", "0", "--json"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    // It may read only after the node has stopped; then it finds the earlier lines.
    node.run(&["node", "stop"]).good();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    node.start_bare();
    let active = lines.find_map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        (line["to"] == "ACTIVE").then_some(line)
    });
    assert_eq!(active.unwrap()["component"], "lifecycle");
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn a_file_of_tasks_is_done_once_however_often_it_is_begun() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let (tasks, results) = (sandbox.path("tasks.jsonl"), sandbox.path("results.jsonl"));
    let lines: String = (0..40).map(|number| format!("{{\"input\": \"text {number}\"}}\n")).collect();
    let named = "{\"custom_id\": \"seven\", \"input\": \"text 7\"}\n";
    let lines = lines.replace("{\"input\": \"text 7\"}\n", named);
    write(&tasks, &format!("{lines}nonsense\n"));
    let submit = || {
        let (tasks, results) = (tasks.to_str().unwrap(), results.to_str().unwrap());
        node.run(&["task", "submit", "--type", "embedding", "--file", tasks, "--output", results])
    };
    let entries = || -> Vec<Value> {
        let text = std::fs::read_to_string(&results).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let ran = submit();
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "40 completed, 1 refused\n"), "{ran:?}");
    assert!(ran.stderr.contains("tasks.jsonl line 41: not a task"), "{ran:?}");
    assert_eq!(entries().len(), 40);
    assert_eq!(entries()[7]["custom_id"], "seven");
    assert!(entries().iter().all(|entry| entry["output"]["vector"].as_array().unwrap().len() == 384));

    // As after a power failure: a few results, the last one truncated, and one failed task.
    let text = std::fs::read_to_string(&results).unwrap();
    let failed = text.lines().nth(5).unwrap().replace("COMPLETED", "FAILED");
    let kept: Vec<&str> = text.lines().take(5).collect();
    write(&results, &format!("{}\n{failed}\n{}", kept.join("\n"), &text.lines().nth(7).unwrap()[..100]));
    write(&tasks, &lines);
    assert_eq!(submit().good(), "35 completed, 5 done before\n");
    let numbers = || -> Vec<u64> { entries().iter().map(|entry| entry["line"].as_u64().unwrap()).collect() };
    assert_eq!(numbers(), (1..=40).collect::<Vec<_>>(), "each once, in the order of the tasks");
    assert_eq!(node.json(&["task", "list", "--json"])["total"], 75, "nothing was done that was done");
    assert_eq!(submit().good(), "0 completed, 40 done before\n");

    write(&tasks, &lines.replace("text 3\"", "another text\""));
    let said = submit().bad(1);
    assert!(said.contains("holds the results of another file: line 4 differs"), "{said}");
    let same = ["task", "submit", "--file", tasks.to_str().unwrap(), "--output", tasks.to_str().unwrap()];
    assert!(node.run(&same).bad(1).contains("would overwrite the input"));
}

#[test]
fn an_interrupted_file_of_texts_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let (texts, results) = (sandbox.path("texts.txt"), sandbox.path("results.jsonl"));
    let lines: String = (0..400).map(|number| format!("{{ text {number}\n")).collect();
    write(&texts, &lines);
    let arguments = ["task", "submit", "--type", "embedding", "--file", texts.to_str().unwrap(), "--output"];
    let arguments = [&arguments[..], &[results.to_str().unwrap()]].concat();
    let first = node.command(&arguments).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    until("some results are there", || {
        std::fs::read_to_string(&results).ok()?.lines().nth(20).is_some().then_some(())
    });
    signal(first.id(), Signal::SIGINT);
    let first = first.wait_with_output().unwrap();
    let said = String::from_utf8(first.stderr).unwrap();
    assert_eq!(first.status.code(), Some(130), "{said}");
    assert!(said.contains("accepted tasks go on in the node\nhint: the same command resumes"), "{said}");
    let again = node.run(&arguments).good();
    assert!(again.contains(" completed, ") && again.contains(" done before"), "{again}");
    let text = std::fs::read_to_string(&results).unwrap();
    let numbers =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["line"].as_u64().unwrap());
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=400).collect::<Vec<_>>());
    let total = node.json(&["task", "list", "--json"])["total"].as_u64().unwrap();
    assert_eq!(total, 400, "accepted tasks are not done again");
    assert!(!sandbox.path("results.jsonl.accepted").exists());
}

#[test]
fn results_are_never_written_over_another_file() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let tasks = sandbox.path("tasks.jsonl");
    write(&tasks, "{\"input\": \"text\", \"type\": \"embedding\"}\n");
    let submit = |output: &std::path::Path| {
        let (tasks, output) = (tasks.to_str().unwrap(), output.to_str().unwrap());
        node.run(&["task", "submit", "--file", tasks, "--output", output])
    };
    let results = sandbox.path("results.jsonl");
    submit(&results).good();
    let result = std::fs::read_to_string(&results).unwrap();
    let numbers: String = (1..=1000).map(|number| format!("{number}\n")).collect();
    let with_foreign_end = format!("{result}not a result");
    let log = "{\"line\": 1, \"status\": \"COMPLETED\"}\n".to_owned();
    let texts = [numbers, "one line without an end".to_owned(), "\n".to_owned(), with_foreign_end, log];
    for (text, line) in texts.iter().zip([1, 1, 1, 2, 1]) {
        let file = sandbox.path("precious");
        write(&file, text);
        let said = submit(&file).bad(1);
        assert!(said.contains(&format!("is not a file of results: line {line} is not a result")), "{said}");
        assert!(said.contains("id: output_not_results") && said.contains("hint: "), "{said}");
        assert_eq!(&std::fs::read_to_string(&file).unwrap(), text);
    }
    // Opening a pipe would block.
    let pipe = sandbox.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let said = submit(&pipe).bad(1);
    assert!(said.contains("it is not a file"), "{said}");
    // A link to a file of results stays a link.
    let link = sandbox.path("link.jsonl");
    write(&results, &result[..result.len() - 10]);
    std::os::unix::fs::symlink(&results, &link).unwrap();
    assert_eq!(submit(&link).good(), "1 completed\n");
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_to_string(&results).unwrap().lines().count(), 1);
    // A line may be truncated within its first word.
    write(&results, &result[..3]);
    assert_eq!(submit(&results).good(), "1 completed\n");
    assert_eq!(std::fs::read_to_string(&results).unwrap().lines().count(), 1);
    let names = std::fs::read_dir(sandbox.path("")).unwrap().flatten().map(|entry| entry.file_name());
    let drafts: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".results.jsonl.")).collect();
    assert!(drafts.is_empty(), "{drafts:?}");
}

#[test]
fn manuals_and_units_replace_only_their_own() {
    let sandbox = Sandbox::new();
    let pages = sandbox.path("man");
    std::fs::create_dir(&pages).unwrap();
    let page = pages.join("p2p-ai-agents.1");
    write(&page, "my notes\n");
    assert!(
        sandbox
            .run(&["man", "--directory", pages.to_str().unwrap()])
            .bad(1)
            .contains("exists and is another page")
    );
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "my notes\n");

    let install = || {
        let mut command = sandbox.command(&["node", "install-service"]);
        command.env("XDG_CONFIG_HOME", sandbox.path("settings"));
        run(command, b"")
    };
    install().good();
    let unit = sandbox.path("settings/systemd/user/p2p-ai-agents.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    write(&unit, &format!("{text}Nice=5\n"));
    assert!(install().good().contains("The previous unit was kept as "));
    assert_eq!(std::fs::read_to_string(&unit).unwrap(), text);
    write(&unit, &format!("{text}Nice=6\n"));
    assert!(install().good().contains("p2p-ai-agents.service.old-2"));
    for (kept, end) in [("old", "Nice=5\n"), ("old-2", "Nice=6\n")] {
        assert!(std::fs::read_to_string(unit.with_added_extension(kept)).unwrap().ends_with(end));
    }
    write(&unit, "[Unit]\n");
    assert!(install().bad(1).contains("was not written by this command"));
    assert_eq!(std::fs::read_to_string(&unit).unwrap(), "[Unit]\n");
}

#[test]
fn a_task_is_watched_until_it_ends() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let submit = ["task", "submit", "--quiet", "--type", "embedding", "--input", "x"];
    let id = node.run(&submit).good();
    let id = id.trim_end();
    let said = node.run(&["task", "watch", id]).good();
    assert!(said.contains("COMPLETED  on ") && said.contains("384 numbers"), "{said}");
    assert!(node.run(&["task", "watch", id, "-q"]).good().starts_with('['), "just the vector");
    let said = node.run(&["task", "watch", id, "--json"]).good();
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["status"], "COMPLETED");
    assert!(node.run(&["task", "watch", "none"]).bad(1).contains("Task not found (id: none)"));
    let timeout = ["task", "submit", "--quiet", "--type", "embedding", "--input", "x", "--timeout", "1"];
    let model = until("the model's process is there", || crate::crashes::child_of(node.pid()?));
    signal(model, Signal::SIGSTOP);
    let id = node.run(&timeout).good();
    let ran = node.run(&["task", "watch", id.trim_end()]);
    assert!(ran.code == 1 && ran.stdout.contains("TIMEOUT"), "{ran:?}");
}

#[test]
fn health_names_what_is_wrong_and_recovers() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let mut start = node.command(&["node", "start", "--no-model"]);
    start.env("P2P_AI_HEALTH_CHECK_INTERVAL_SECS", "1");
    run(start, b"").good();
    let said = until("the node is well", || {
        let ran = node.run(&["node", "health"]);
        (ran.code == 0).then_some(ran.stdout)
    });
    assert!(said.starts_with("Health:         PASS") && said.contains("Memory:         PASS  "), "{said}");
    let good = std::fs::read(node.home.config_file()).unwrap();
    write(&node.home.config_file(), "{");
    let ran = node.run(&["node", "health"]);
    assert!(ran.code == 1 && ran.stdout.contains("Configuration:  FAIL  config_unreadable"), "{ran:?}");
    let host = node.api();
    let probe = || {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        crate::harness::exchange(host, request.as_bytes())
    };
    let said = probe();
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"health\":\"FAIL\""), "{said}");
    assert!(said.contains("config_unreadable"), "{said}");
    assert_eq!(node.json(&["node", "status", "--json"])["health"]["status"], "FAIL");
    std::fs::write(node.home.config_file(), good).unwrap();
    // The node is checked without a request.
    until("the node is well again", || probe().contains("\"health\":\"PASS\"").then_some(()));
    node.run(&["node", "stop"]).good();
    let log = std::fs::read_to_string(node.home.log_file()).unwrap();
    let told: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["message"] == "health changed")
        .collect();
    let told: Vec<_> = told.iter().map(|line| (line["level"].as_str(), line["reasons"].clone())).collect();
    // A busy machine may add another finding.
    let failed = told.iter().position(|told| *told == (Some("ERROR"), json!(["config_unreadable"]))).unwrap();
    assert_eq!(told[failed + 1..].last(), Some(&(Some("INFO"), json!([]))), "{told:?}");
}

#[test]
fn a_monitor_prints_a_line_each_time() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let id = node.start_bare();
    let said = node.run(&["node", "monitor", "--interval", "1", "--duration", "1"]).good();
    // Events in the meantime may follow.
    let looks: Vec<&str> = said.lines().filter(|line| line.contains(" tasks/s  ")).collect();
    assert_eq!(looks.len(), 2, "{said}");
    // Its first health check may still be running.
    assert!(looks[1].contains("  health PASS  "), "{said}");
    for line in looks {
        let line = line.replace("health -", "health PASS");
        assert!(
            line.contains(
                "  ACTIVE  health PASS  peers 0  members 1  queued 0  running 0  here: nothing  0.0 tasks/s"
            ),
            "{line}"
        );
        assert!(line.ends_with(" % CPU") && !line.contains('\x1b'), "{line}");
    }
    let said = node.run(&["node", "monitor", "--duration", "1", "--json"]).good();
    let sample: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&sample["node_id"], &sample["state"]), (&json!(id), &json!("ACTIVE")));
    assert!(sample["memory_bytes"].as_u64() > Some(1 << 20), "{sample}");
    node.kill();
    assert!(node.run(&["node", "monitor"]).bad(1).starts_with("error: No node is running"));
}

#[test]
fn a_monitor_on_a_terminal_is_a_screen_and_leaves_the_terminal_as_it_was() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let id = node.start_bare();
    for (keys, size) in [(&b"q"[..], (40, 120)), (b"\x03", (24, 80))] {
        let size = Winsize { ws_row: size.0, ws_col: size.1, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let before = tcgetattr(&slave).unwrap();
        let mut command = node.command(&["node", "monitor", "--interval", "1"]);
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        let mut child = command.spawn().unwrap();
        drop(command);
        let (mut keyboard, mut screen) = (File::from(master.try_clone().unwrap()), File::from(master));
        let shown = Arc::new(Mutex::new(String::new()));
        let reader = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The last of its peers closes with an error.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                reader.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let shows = |text: &str| shown.lock().unwrap().contains(text);
        until("it is drawn", || (shows(&id) && shows("ACTIVE") && shows("\x1b[?1049h")).then_some(()));
        assert_ne!(tcgetattr(&slave).unwrap().local_flags, before.local_flags, "keys come one by one");
        keyboard.write_all(keys).unwrap();
        until("it has left", || child.try_wait().unwrap());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(tcgetattr(&slave).unwrap(), before);
        drop((keyboard, slave));
        reader.join().unwrap();
        assert!(shows("\x1b[?1049l"), "{:?}", shown.lock().unwrap());
    }
    // Other commands fit their tables to the terminal, and colour states.
    let (narrow, plain) =
        (on_terminal(&node, 60, "", &["node", "list"]), on_terminal(&node, 60, "1", &["node", "list"]));
    assert!(narrow.contains("\x1b[32mACTIVE\x1b[0m") && !plain.contains('\x1b'), "{narrow}{plain}");
    assert!(plain.lines().all(|line| line.chars().count() <= 60), "{plain}");
    assert!(plain.contains(&id[..8]) && !plain.contains(&id), "{plain}");
    for columns in [60, 80] {
        for command in [
            "node status",
            "node health",
            "node peers",
            "node members",
            "task list",
            "task list --all",
            "model list",
            "model info sentence-transformers/all-MiniLM-L6-v2",
            "alerts list",
            "alerts history",
            "metrics show",
            "debug log-level",
            "debug analyze",
            "doctor",
            "errors",
        ] {
            let words: Vec<&str> = command.split(' ').collect();
            let text = on_terminal(&node, columns, "1", &words);
            assert!(!text.is_empty() && !text.contains('\x1b'), "{command}: {text}");
            // A word that is too long stays whole.
            let is_over = |line: &&str| line.chars().count() > columns.into() && line.trim().contains(' ');
            let over: Vec<&str> = text.lines().filter(is_over).collect();
            assert!(over.is_empty(), "{command} is wider than {columns}: {over:#?}");
        }
    }
    let wide = on_terminal(&node, 60, "1", &["node", "list", "--wide"]);
    assert!(wide.contains(&id) && wide.contains(&node.home.root().display().to_string()), "{wide}");
}

/// Runs a command on a terminal and returns its output.
fn on_terminal(node: &Node<'_>, columns: u16, no_color: &str, arguments: &[&str]) -> String {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
    let mut command = node.command(arguments);
    command.env("TERM", "xterm-256color").env("NO_COLOR", no_color).stdout(Stdio::from(slave));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut text = Vec::new();
    // After the last byte, a terminal without a program reads as an error.
    let _ = File::from(master).read_to_end(&mut text);
    // The doctor of a bare node finds something, so its status is not 0.
    child.wait().unwrap();
    String::from_utf8(text).unwrap().replace("\r\n", "\n")
}

#[test]
fn the_status_of_all_nodes_names_their_homes() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    assert_eq!(sandbox.run(&["node", "status", "--all"]).good(), "No running nodes\n");
    let ids = [a.start_bare(), b.start_bare()];
    let said = sandbox.run(&["node", "status", "--all"]).good();
    let all: Value =
        serde_json::from_str(&sandbox.run(&["node", "status", "--all", "--json"]).good()).unwrap();
    assert_eq!(all["nodes"].as_array().unwrap().len(), 2);
    for (node, id) in [&a, &b].into_iter().zip(&ids) {
        let home = node.home.root().display().to_string();
        assert!(said.contains(&home) && said.contains(id), "{said}");
        assert!(
            all["nodes"].as_array().unwrap().iter().any(|one| one["home"] == home && one["node_id"] == **id),
            "{all}"
        );
    }
    // A node that does not answer does not hide the others.
    signal(a.pid().unwrap(), Signal::SIGKILL);
    until("it is gone", || a.pid().is_none().then_some(()));
    let said = sandbox.run(&["node", "status", "--all"]).good();
    assert!(said.contains(&ids[1]) && !said.contains(&ids[0]), "{said}");
}

#[test]
fn the_health_and_the_peers_of_all_nodes_name_their_homes() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    for command in ["health", "peers"] {
        assert_eq!(sandbox.run(&["node", command, "--all"]).good(), "No running nodes\n");
        assert_eq!(sandbox.run(&["node", command, "--all", "--json"]).good(), "{\"nodes\":[]}\n");
    }
    let ids = [a.start_bare(), b.start_bare()];
    a.await_peers(&[&ids[1]]);
    b.await_peers(&[&ids[0]]);
    let homes = [&a, &b].map(|node| node.home.root().display().to_string());
    let all = |command: &str| -> Value {
        let ran = sandbox.run(&["node", command, "--all", "--json"]);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let of = |all: &Value, home: &str| {
        let mut found = all["nodes"].as_array().unwrap().iter().filter(|one| one["home"] == home);
        found.next().unwrap_or_else(|| panic!("{home} is not in {all}")).clone()
    };
    let peers = all("peers");
    for (home, peer) in homes.iter().zip(ids.iter().rev()) {
        assert_eq!(of(&peers, home)["peers"][0]["id"], **peer, "{peers}");
    }
    let said = sandbox.run(&["node", "peers", "--all"]).good();
    assert_eq!(said.matches("ID  ").count(), 2, "{said}");
    assert!(ids.iter().chain(&homes).all(|part| said.contains(part.as_str())), "{said}");

    until("both are well", || (sandbox.run(&["node", "health", "--all"]).code == 0).then_some(()));
    write(&a.home.config_file(), "{");
    let ran = sandbox.run(&["node", "health", "--all"]);
    assert!(ran.code == 1 && ran.stdout.contains("FAIL  config_unreadable"), "one is enough: {ran:?}");
    assert_eq!(ran.stdout.matches("Home:  ").count(), 2, "{ran:?}");
    let health = all("health");
    assert_eq!(of(&health, &homes[0])["status"], "FAIL");
    assert_ne!(of(&health, &homes[1])["status"], "FAIL");

    signal(b.pid().unwrap(), Signal::SIGKILL);
    until("it is gone", || b.pid().is_none().then_some(()));
    assert_eq!(all("peers")["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_model_that_is_listed_and_cannot_be_used_is_named() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let mut start = node.command(&["node", "start"]);
    start.env("P2P_AI_MODELS", r#"["owner/none", {"model": "./nowhere", "name": "mine"}]"#);
    run(start, b"").good();
    let said = node.run(&["node", "status"]).good();
    let row = "none; not usable: mine, owner/none (p2p-ai-agents model list says why)\n";
    assert!(said.contains(row), "{said}");
    let status = node.json(&["node", "status", "--json"]);
    assert_eq!(status["models_unusable"], json!(["mine", "owner/none"]));
    let said = node.run(&["model", "list"]).good();
    assert!(said.contains("no: owner/none is not on this machine"), "{said}");
    let said = node.run(&["doctor"]).stdout;
    assert!(said.contains("The model owner/none cannot be used."), "{said}");

    let mut start = sandbox.node("b").command(&["node", "start"]);
    start.env("P2P_AI_MODELS", "[all-MiniLM-L6-v2]");
    let said = run(start, b"").bad(1);
    assert!(said.contains("malformed_value: models") && said.contains("P2P_AI_MODELS"), "{said}");
}
