//! How many tokens a second a Llama reads and writes on this machine's cores, and what memory it takes.
//!
//! `cargo bench -p benches --bench generation -- MODEL [--threads N] [--prompt N] [--tokens N] [--runs N]`; one line of
//! JSON for each run. `benches/peers/llama.py` runs it in turn with llama.cpp.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use engine::task::{Generation, Prompt};
use runtime::inference::llama::{Generator, Options, Step};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some(model) = arguments.first().filter(|model| Path::new(model).exists()) else {
        println!("generation: name a model to measure it");
        return;
    };
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).and_then(|number| number.parse().ok()).unwrap_or(default)
    };
    let packed_folder = arguments
        .iter()
        .position(|argument| argument == "--packed")
        .map(|at| PathBuf::from(&arguments[at + 1]));
    let threads = number("--threads", std::thread::available_parallelism().unwrap().get());
    let (prompt, tokens) = (number("--prompt", 256), number("--tokens", 64));
    let options = Options { threads, packed_folder, ..Options::default() };
    let started = Instant::now();
    let mut generator = Generator::load(Path::new(model), &options).unwrap();
    let load = started.elapsed().as_secs_f64();
    let request = Generation {
        max_tokens: tokens as u32 + 1,
        temperature_thousandths: 0,
        ..Generation::of(Prompt::Text(String::new()))
    };
    for _ in 0..number("--runs", 3) {
        let ids = (0..prompt as u32).map(|at| 300 + at * 37 % 30_000).collect();
        let mut session = generator.begin_with(ids, &request).unwrap();
        let started = Instant::now();
        while session.tokens() == 0 {
            generator.step(&mut session).unwrap();
        }
        let read = started.elapsed().as_secs_f64();
        let started = Instant::now();
        while let Step::Going { .. } = generator.step(&mut session).unwrap() {}
        let written = f64::from(session.tokens() - 1) / started.elapsed().as_secs_f64();
        generator.end(session);
        let resident = resident_mib();
        println!(
            r#"{{"prompt":{:.2},"decode":{written:.2},"load_seconds":{load:.2},"resident_mib":{resident}}}"#,
            prompt as f64 / read
        );
    }
}

/// The most memory that this process had.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
