//! Sub-machines are independent: each returns actions, and only the node routes them to another or to the outside.
//!
//! So a sub-machine's source names no other sub-machine, not the node, and not `Output`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn no_sub_machine_names_another_the_node_or_an_output() {
    let mut found = Vec::new();
    for machine in SUB_MACHINES {
        let files = sources(machine);
        assert!(!files.is_empty(), "no source of {machine}");
        for (module, file) in files {
            let code = code(&fs::read_to_string(&file).unwrap());
            let banned = SUB_MACHINES.into_iter().filter(|other| *other != machine).chain(["node"]);
            let paths = paths(&module, &code);
            for other in banned {
                let is_named = |path: &String| path == other || path.starts_with(&format!("{other}::"));
                found
                    .extend(paths.iter().find(|path| is_named(path)).map(|path| format!("{module}: {path}")));
            }
            if words(&code).any(|word| word == "Output") {
                found.push(format!("{module}: Output"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn paths_are_found_in_every_form() {
    let code = "use crate::{peers, tasks::{A, B}};\nuse super::super::router::X;\nlet x = crate::worker::Y;";
    let found = paths("blobs::downloader::tests", code);
    assert_eq!(found, ["peers", "tasks::A", "tasks::B", "blobs::router::X", "worker::Y"]);
}

/// The module of each sub-machine.
const SUB_MACHINES: [&str; 15] = [
    "blobs::downloader",
    "blobs::provider",
    "deliveries",
    "discovery",
    "health",
    "heartbeat",
    "membership",
    "peers",
    "results",
    "router",
    "scheduler",
    "session",
    "tasks",
    "worker",
    "writes",
];

/// Returns the files of a module and of those in it, each with its module's path.
fn sources(module: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module.replace("::", "/"));
    let file = folder.with_extension("rs");
    let mut files = Vec::from_iter(file.exists().then(|| (module.to_owned(), file)));
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        files.extend(sources(&format!("{module}::{name}")));
    }
    files.dedup();
    files
}

/// Returns a source without its comments.
fn code(source: &str) -> String {
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Returns the paths that code in a module names, from the root of the crate.
fn paths(module: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = [rest.find("crate::"), rest.find("super::")].into_iter().flatten().min() {
        rest = &rest[at..];
        let mut base: Vec<&str> = module.split("::").collect();
        if let Some(after) = rest.strip_prefix("crate::") {
            (base, rest) = (Vec::new(), after);
        }
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        rest = expand(&base.join("::"), rest, &mut found);
    }
    found
}

/// Adds the paths that begin at `base`, with all that braces hold; returns what follows them.
fn expand<'code>(base: &str, rest: &'code str, found: &mut Vec<String>) -> &'code str {
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            inner = inner.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            match inner.strip_prefix('}') {
                Some(after) => return after,
                None if inner.is_empty() => return inner,
                None => {}
            }
            let after = expand(base, inner, found);
            // What is no path at all is passed over.
            inner = if after.len() < inner.len() { after } else { inner.get(1..).unwrap_or_default() };
        }
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if name.is_empty() {
        return after;
    }
    let path = if base.is_empty() { name.to_owned() } else { format!("{base}::{name}") };
    match after.strip_prefix("::") {
        Some(after) => expand(&path, after, found),
        None => {
            found.push(path);
            after
        }
    }
}
