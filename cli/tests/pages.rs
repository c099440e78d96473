//! The README and the pages of `docs/`: short sentences, valid links and paths, every route of the API, and a front page
//! that stays short. The first lines of comments are checked, too.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// The 90th percentile of words a sentence, as of text that is easy to read.
#[test]
fn sentences_are_short() {
    for page in pages() {
        let mut sentences = sentences(&fs::read_to_string(&page).unwrap());
        sentences.sort_by_key(|sentence| words(sentence));
        let Some(at_90) = sentences.get(sentences.len() * 9 / 10) else { continue };
        assert!(words(at_90) <= WORDS_MAX, "{} has too many long sentences: {at_90:?}", page.display());
    }
}

#[test]
fn relative_links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{} links to {link}, which does not exist", page.display());
            if !heading.is_empty() {
                let headings = headings(&fs::read_to_string(&target).unwrap());
                assert!(headings.iter().any(|found| found == heading), "{}: {link}", page.display());
            }
        }
    }
}

#[test]
fn every_path_of_the_repository_exists() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for path in text.split('`').skip(1).step_by(2).flat_map(paths) {
            assert!(root().join(&path).exists(), "{} names {path}, which does not exist", page.display());
        }
    }
}

/// The first lines of doc comments, in all crates.
#[test]
fn the_first_lines_of_comments_are_plain() {
    let folders = ["benches", "cli", "engine", "runtime", "sim"].map(|folder| root().join(folder));
    let mut checked = 0;
    for file in folders.iter().flat_map(|folder| sources(folder)) {
        let text = fs::read_to_string(&file).unwrap();
        for line in first_lines(&text) {
            let lower = line.to_lowercase();
            let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
            let says = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
            let found = PHRASES.iter().find(|phrase| says(phrase));
            assert!(found.is_none(), "{}: {line:?} says {found:?}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 1000, "{checked} comments");
}

#[test]
fn every_route_is_on_the_page_of_the_api() {
    let page = fs::read_to_string(root().join("docs/api.md")).unwrap();
    let mut routes = Vec::new();
    for file in sources(&root().join("runtime/src/http")) {
        let text = fs::read_to_string(&file).unwrap();
        let calls = text.split(".route(\"").skip(1);
        routes.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.replace("{*", "{"))));
    }
    assert!(routes.len() > 20, "the routes are written in another way: {routes:?}");
    for route in routes {
        let route = route.trim_start_matches("/api/v1");
        assert!(page.contains(&format!("{route}`")) || page.contains(&format!("{route}?")), "{route}");
    }
}

/// The scenarios of this repository use every kind.
#[test]
fn every_fault_is_on_the_page_of_the_demo() {
    let page = fs::read_to_string(root().join("docs/demo.md")).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for scenario in fs::read_dir(root().join("scenarios")).unwrap().map(|entry| entry.unwrap().path()) {
        if scenario.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(scenario).unwrap();
            for fault in text.split("[[fault]]").skip(1) {
                let kind = fault.lines().find_map(|line| line.strip_prefix("kind = ")).unwrap();
                kinds.insert(kind.trim_matches('"').replace('_', "-"));
            }
        }
    }
    assert!(kinds.len() > 30, "{kinds:?}");
    // It is about the tasks of a scenario, and the demo refuses it.
    kinds.remove("poison-input");
    for kind in kinds {
        assert!(page.contains(&format!("`{kind}`")), "{kind} is not on the page");
    }
}

#[test]
fn the_front_page_is_short() {
    let readme = fs::read(root().join("README.md")).unwrap();
    assert!(readme.len() <= README_BYTES_MAX, "README.md has {} bytes", readme.len());
}

#[test]
fn every_page_is_linked_from_the_front_page() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for page in pages().iter().filter(|page| page.file_name().unwrap() != "README.md") {
        let name = page.strip_prefix(root()).unwrap().to_str().unwrap();
        assert!(links(&readme).any(|link| link == name), "README.md has no link to {name}");
    }
}

#[test]
fn a_page_is_read_as_intended() {
    let text = "# Title\n\nOne two. Three\nfour five: `six`.\n\n- A b c.\n\n```\nnot this one\n```\n\n| nor | this |\n";
    assert_eq!(sentences(text), ["One two.", "Three four five:", "`six`.", "A b c."]);
    assert_eq!(links("see [a](b.md), ![c](d.png) and (e)").collect::<Vec<_>>(), ["b.md", "d.png"]);
    assert_eq!(paths("engine/src/{a,b}.rs --x"), ["engine/src/a.rs", "engine/src/b.rs"]);
    assert!(paths("/healthz").is_empty() && paths("scenarios/*.toml").is_empty());
    assert_eq!(headings("# A\n\n## Models: `x` and Y-z\n"), ["a", "models-x-and-y-z"]);
}

/// Returns all pages for people.
fn pages() -> Vec<PathBuf> {
    let in_folder = |folder: PathBuf| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    };
    let mut pages: Vec<PathBuf> =
        in_folder(root().to_owned()).chain(in_folder(root().join("docs"))).collect();
    pages.sort_unstable();
    pages
}

/// Returns the source files of a folder, without those of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if name.contains("tests") || name == "target" {
            continue;
        }
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources
}

/// Returns the first line of each doc comment.
fn first_lines(source: &str) -> Vec<&str> {
    let of_comment = |line: &str| line.starts_with("///") || line.starts_with("//!");
    let mut before = "";
    let mut lines = Vec::new();
    for line in source.lines().map(str::trim) {
        if of_comment(line) && !of_comment(before) {
            lines.push(line);
        }
        before = line;
    }
    lines
}

/// Returns the sentences of a page, without code, tables, headings and pictures.
fn sentences(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let mut is_code = false;
    for line in text.lines().map(str::trim) {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        let is_item = line.starts_with("- ") || line.starts_with(|c: char| c.is_ascii_digit());
        if line.is_empty() || is_item || is_fence {
            paragraphs.push(String::new());
        }
        if !is_code && !is_fence && !line.starts_with(['#', '|', '!', '<']) {
            let paragraph = paragraphs.last_mut().unwrap();
            paragraph.push(' ');
            paragraph.push_str(line.strip_prefix("- ").unwrap_or(line));
        }
    }
    let mut sentences = Vec::new();
    for paragraph in paragraphs {
        let mut sentence = Vec::new();
        for word in paragraph.split_whitespace() {
            sentence.push(word);
            if word.trim_end_matches(['*', '`', ')']).ends_with(['.', '?', ':']) {
                sentences.push(sentence.join(" "));
                sentence.clear();
            }
        }
        sentences.push(sentence.join(" "));
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

fn words(sentence: &str) -> usize {
    sentence.split_whitespace().count()
}

/// Returns the targets of links and pictures.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Returns the paths of this repository in a piece of code: `a/{b,c}.rs` is two.
fn paths(code: &str) -> Vec<String> {
    let path = code.split_whitespace().next().unwrap_or_default();
    let is_path = path.contains('/') && !path.contains(['*', '…', ':']);
    let is_own = |path: &str| FOLDERS.contains(&path.split('/').next().unwrap_or_default());
    if !is_path || !is_own(path) {
        return Vec::new();
    }
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (names, after))) => {
            names.split(',').map(|name| format!("{before}{name}{after}")).collect()
        }
        None => vec![path.to_owned()],
    }
}

/// Returns the anchors of a page, as GitHub makes them of headings.
fn headings(text: &str) -> Vec<String> {
    let anchor = |heading: &str| -> String {
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folders at the top that pages may name files in.
const FOLDERS: [&str; 10] =
    [".ci", "benches", "cli", "docs", "engine", "findings", "runtime", "scenarios", "scripts", "sim"];
/// Ways around the name of a thing or an action.
const PHRASES: [&[&str]; 3] = [&["goes", "on"], &["that", "has", "none"], &["whoever"]];
const WORDS_MAX: usize = 30;
const README_BYTES_MAX: usize = 8 << 10;
