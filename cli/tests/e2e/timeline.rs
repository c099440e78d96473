//! The timeline of a simulated run: it is written completely, and its page works in a browser.

use crate::harness::{Sandbox, write};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[test]
fn a_page_and_a_trace_are_written_and_are_the_same_each_time() {
    let sandbox = Sandbox::new();
    let (first, second, trace) =
        (sandbox.path("first.html"), sandbox.path("second.html"), sandbox.path("run.json"));
    for file in [&first, &second, &trace] {
        if *file == second {
            // An older, longer file is truncated.
            let older = std::fs::read_to_string(&first).unwrap();
            write(&second, &format!("{older}{}", "x".repeat(5 << 20)));
        }
        let said = sandbox
            .run(&["sim", "run", &scenario(), "--seed", "7", "--timeline", file.to_str().unwrap()])
            .good();
        assert!(
            said.contains("passed") && said.contains(&format!("timeline    {}", file.display())),
            "{said}"
        );
    }
    let page = std::fs::read_to_string(&first).unwrap();
    assert!(page == std::fs::read_to_string(&second).unwrap());
    assert!(page.contains("n1 loses power") && page.trim_end().ends_with("</html>"));
    for load in ["http://", "https://", "src=", "@import"] {
        assert!(!page.contains(load), "{load}");
    }
    let trace: Value = serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 100);
    assert!(trace["otherData"]["repeat"].as_str().unwrap().ends_with("--seed 7"));
}

#[test]
fn a_path_that_cannot_be_written_is_told_before_the_run() {
    let sandbox = Sandbox::new();
    let run = |file: &str| sandbox.run(&["sim", "run", &scenario(), "--timeline", file]).bad(1);
    let said = run("/nowhere/out.html");
    assert_eq!(
        said,
        "error: /nowhere/out.html: cannot write the timeline\n  caused by: No such file or directory\nhint: check the permissions and free disk space\n  id: output_failed\n"
    );
    let directory = sandbox.path("directory.html");
    std::fs::create_dir(&directory).unwrap();
    assert!(run(directory.to_str().unwrap()).contains("is a directory"));
    // Opening a pipe would block.
    let pipe = sandbox.path("pipe.html");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(run(pipe.to_str().unwrap()).contains("exists and is not a timeline"));
    // A scenario is not overwritten by mistake.
    let file = sandbox.path("precious.toml");
    write(&file, "nodes = 2\n");
    let said = run(file.to_str().unwrap());
    assert!(
        said.contains("the extension of a timeline must be .html or .json") && said.contains("hint:"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "nodes = 2\n");
    for name in ["precious.html", "precious.json"] {
        let file = sandbox.path(name);
        write(&file, "<!doctype html>\n<title>Accounts</title>\n");
        let said = run(file.to_str().unwrap());
        assert!(said.contains("exists and is not a timeline") && said.contains("id: file_exists"), "{said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "<!doctype html>\n<title>Accounts</title>\n");
    }
    let both = sandbox.run(&["sim", "run", &scenario(), "--seeds", "0..3", "--timeline", "x.html"]);
    assert!(both.bad(2).contains("cannot be used with"));
}

/// The page is opened as by a user, and tests itself: it clicks, presses keys, searches, and reports the results.
#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = browser() else {
        println!("no chromium is installed here: the page was not tried");
        return;
    };
    let sandbox = Sandbox::new();
    let page = sandbox.path("page.html");
    let (seed, file) = ("7", page.to_str().unwrap());
    sandbox.run(&["sim", "run", &scenario(), "--seed", seed, "--timeline", file]).good();
    let profile = sandbox.path("profile");
    let ran = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"])
        .args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--window-size=1400,900",
            "--virtual-time-budget=5000",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{file}#selftest"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let result = dom.split_once(r#"<pre id="selftest""#).and_then(|(_, rest)| rest.split_once("</pre>"));
    let Some((result, _)) = result else { panic!("the page did not load: {dom}\n{log}") };
    assert!(result.ends_with("done") && !result.contains("FAILED"), "{result}");
    for what in ["a click on an arrow shows a message", "a search finds a task", "no errors"] {
        assert!(result.contains(&format!("ok: {what}")), "{result}");
    }
    assert!(!log.contains("CONSOLE"), "{log}");
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

fn scenario() -> String {
    format!("{}/../scenarios/worker_dies.toml", env!("CARGO_MANIFEST_DIR"))
}
