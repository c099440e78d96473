//! The tours in the README and the pages of `docs/`: every block marked `console` is run, and what it prints has the
//! shape that the page shows.
//!
//! The blocks of one page run in order, in one sandbox. A line that starts with `$ ` is a command; the lines below it
//! are its output. A command without output has only to succeed. Shapes are compared, not values: ids, times, numbers
//! and the width of columns may differ. An id that the page shows stands for the id that the program gave there.

use crate::harness::{Ran, Sandbox, TIMEOUT, is_time, is_uuid, run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
fn the_tour_of_the_readme() {
    take(&root().join("README.md"));
}

#[test]
fn the_tours_of_the_pages() {
    let mut commands = 0;
    let mut pages: Vec<PathBuf> =
        root().join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        commands += take(page);
    }
    assert!(commands > 0, "no page has a block marked console");
}

/// Runs the blocks of a page, and returns how many commands they have.
fn take(page: &Path) -> usize {
    let steps = steps(&std::fs::read_to_string(page).unwrap());
    let mut tour = Tour::new();
    for step in &steps {
        tour.take(step, &page.display().to_string());
    }
    steps.len()
}

/// One command and the output below it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut inside): (Vec<Step>, bool) = (Vec::new(), false);
    for line in page.lines() {
        match (inside, line, line.strip_prefix("$ ")) {
            (false, "```console", _) => inside = true,
            (true, "```", _) => inside = false,
            (true, _, Some(command)) => {
                steps.push(Step { command: command.to_owned(), output: Vec::new() });
            }
            (true, ..) => steps.last_mut().expect("a command comes first").output.push(line.to_owned()),
            (false, ..) => {}
        }
    }
    steps
}

/// The state of one page's tour.
struct Tour {
    sandbox: Sandbox,
    /// A port for each of the page.
    ports: BTreeMap<String, u16>,
    /// The program's id for each of the page.
    ids: BTreeMap<String, String>,
}

impl Tour {
    fn new() -> Self {
        Self { sandbox: Sandbox::new(), ports: BTreeMap::new(), ids: BTreeMap::new() }
    }

    fn take(&mut self, step: &Step, page: &str) {
        let Some(command) = step.command.strip_prefix("p2p-ai-agents ") else {
            assert!(step.command.starts_with("cargo build "), "{page}: only this program is run: {step:?}");
            return;
        };
        let mut arguments: Vec<String> = Vec::new();
        for word in words(command) {
            let is_port = arguments.last().is_some_and(|flag| flag.ends_with("port"));
            arguments.push(if is_port { self.port(&word).to_string() } else { self.translate(&word) });
        }
        // What only reads may be asked again, as the nodes of the tour may not have met yet.
        let reads = arguments.iter().any(|word| ["peers", "status", "list"].contains(&word.as_str()));
        let begun = Instant::now();
        loop {
            let ran = self.run(&arguments);
            let difference = self.difference(step, &ran);
            match difference {
                None => return,
                Some(_) if reads && begun.elapsed() < TIMEOUT => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Some(difference) => panic!("{page}: {}\n{difference}\n{ran:?}", step.command),
            }
        }
    }

    /// Returns a word of a command with the paths and ids of this run.
    fn translate(&self, word: &str) -> String {
        if let Some(path) = word.strip_prefix("/tmp/") {
            return self.sandbox.path(path).display().to_string();
        }
        self.ids.get(word).cloned().unwrap_or_else(|| word.to_owned())
    }

    fn port(&mut self, name: &str) -> u16 {
        *self.ports.entry(name.to_owned()).or_insert_with(crate::harness::free_port)
    }

    fn run(&mut self, arguments: &[String]) -> Ran {
        let home = arguments.iter().skip_while(|word| *word != "--home").nth(1).cloned();
        let home = home.unwrap_or_default();
        let [port, api_port, metrics_port] =
            ["peers", "API", "metrics"].map(|what| self.port(&format!("{home} {what}")));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.sandbox.command(&arguments);
        // Relative paths of a page start at the root of the repository.
        command
            .current_dir(root())
            // The host of the pages.
            .env("P2P_AI_NODE_NAME", "desk")
            .env("P2P_AI_PORT", port.to_string())
            .env("P2P_AI_API_PORT", api_port.to_string())
            .env("P2P_AI_METRICS_PORT", metrics_port.to_string());
        run(command, b"")
    }

    /// Compares what a command did with what the page shows, and remembers the ids.
    fn difference(&mut self, step: &Step, ran: &Ran) -> Option<String> {
        if ran.code != 0 {
            return Some(format!("it ends with {}", ran.code));
        }
        if step.output.is_empty() {
            return None;
        }
        let default_home = self.sandbox.path(".p2p-ai-agents").display().to_string();
        let printed = ran
            .stdout
            .replace(&default_home, "/home/you/.p2p-ai-agents")
            .replace(&self.sandbox.path("").display().to_string(), "/tmp/")
            .replace(self.sandbox.network(), "local");
        let printed: Vec<&str> = printed.lines().collect();
        let shapes = |lines: &[&str]| lines.iter().map(|line| shape(line)).collect::<Vec<_>>();
        let shown: Vec<&str> = step.output.iter().map(String::as_str).collect();
        let (expected, got) = (shapes(&shown), shapes(&printed));
        if expected != got {
            return Some(format!("expected {expected:#?}\n     got {got:#?}"));
        }
        let ids = |lines: &[&str]| -> Vec<String> {
            lines
                .iter()
                .flat_map(|line| line.split(BOUNDARIES))
                .filter(|word| is_id(word))
                .map(str::to_owned)
                .collect()
        };
        self.ids.extend(ids(&shown).into_iter().zip(ids(&printed)));
        None
    }
}

/// Returns the words of a command as a shell splits them, with double quotes only.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, piece) in command.split('"').enumerate() {
        if number % 2 == 1 {
            words.push(piece.to_owned());
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Returns a line without what differs from run to run: ids, times, numbers, and the width of columns.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for word in line.split_inclusive(BOUNDARIES) {
        let inner = word.trim_end_matches(BOUNDARIES);
        if is_id(inner) || is_time(inner) {
            shape += &word.replace(inner, if is_id(inner) { "ID" } else { "TIME" });
            continue;
        }
        // Either node may run a task.
        if NODES.contains(&inner) {
            shape += &word.replace(inner, "NODE");
            continue;
        }
        for c in word.chars() {
            match c {
                // A number, its sign and its fraction are one.
                '0'..='9' if !shape.ends_with('#') => shape.push('#'),
                '-' | '0'..='9' => {}
                '.' if shape.ends_with('#') => {}
                ' ' if shape.ends_with("  ") => {}
                c => shape.push(c),
            }
        }
    }
    shape.trim_end().to_owned()
}

fn is_id(word: &str) -> bool {
    is_uuid(word) || (word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of the nodes of the pages.
const NODES: [&str; 2] = ["desk", "attic"];
/// The characters around an id or a time in what the program prints.
const BOUNDARIES: [char; 6] = [' ', '(', ')', ',', '"', '/'];

#[test]
fn pages_are_read_as_they_are_meant() {
    let page = "```console\n$ a \"b c\"\nout  1\n```\ntext\n```\n$ not run\n```\n```console\n$ d\n```\n";
    let step = |command: &str, output: &[&str]| Step {
        command: command.to_owned(),
        output: output.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(steps(page), [step("a \"b c\"", &["out  1"]), step("d", &[])]);
    assert_eq!(words("a \"b c\" --d e"), ["a", "b c", "--d", "e"]);
    assert_eq!(
        shape(
            "76ef3849f26cd4788912ec61dac1fb2a  127.0.0.1  9001   0.8s   5/5  -0.25 2026-11-22T14:45:20.973Z"
        ),
        "ID  #  #  #s  #/#  # TIME"
    );
}
