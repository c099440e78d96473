//! Crash reports. The only test of its program, because a panic hook applies to the whole process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use runtime::config::LogLevel;
use runtime::logging::{self, Line, Log, LogOptions};
use serde_json::Map;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_crash_leaves_a_report_and_a_log_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.log");
    let log = Log::open(&path, LogOptions::default()).unwrap();
    logging::report_panics(&log, &path);
    let (component, fields) = ("test", Map::new());
    log.write(&Line { level: LogLevel::Info, component, message: "just before", fields });
    let crashed = std::thread::Builder::new().name("node".to_owned()).spawn(|| panic!("on purpose"));
    assert!(crashed.unwrap().join().is_err());

    let told = fs::read_to_string(&path).unwrap();
    let last: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&last["level"], &last["component"]), (&"FATAL".into(), &"crash".into()));
    let report = std::path::Path::new(last["report"].as_str().unwrap());
    assert_eq!(fs::metadata(report).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(report).unwrap();
    for part in
        ["message:   on purpose", "thread:    node", "crash_report.rs", "just before", "open an issue"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let backtrace = text.split_once("backtrace:\n").unwrap().1;
    assert!(backtrace.lines().count() > 3, "{backtrace}");
}
