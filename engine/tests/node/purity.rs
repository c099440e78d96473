//! The engine is pure: its source names no clock, socket, thread or file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn no_dependency_does_input_or_output() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "p2p-ai-agents-engine",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--locked",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"ed25519-dalek"), "the tree was read: {names:?}");
    for banned in ["async-std", "futures", "getrandom", "libp2p", "mio", "rand", "smol", "socket2", "tokio"] {
        assert!(!names.contains(&banned), "the engine depends on {banned}");
    }
}

#[test]
fn no_source_names_the_outside() {
    let banned =
        ["std::net", "std::thread", "std::fs", "std::io", "std::env", "std::time", "HashMap", "HashSet"];
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 20, "the sources were found");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in banned {
                assert!(!code.contains(word), "{}:{}: {word}", file.display(), number + 1);
            }
        }
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
