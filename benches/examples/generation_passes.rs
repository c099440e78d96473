//! Measures a Llama's passes over given tokens, for `benches/peers/llama.py`, which runs llama.cpp on the same.
//!
//! `generation_passes MODEL THREADS PACKED_FOLDER`: MODEL is a GGUF file or a folder. A line of standard input is a
//! request, `{"prompt": [5, 6], "tokens": 48}`. A line of standard output is the response,
//! `{"read": [0.9, 1.7], "written": [1, 2]}`: wall-clock and processor seconds for the prompt up to its first token,
//! and for the further tokens. The first line of output has the load time; the last line, after the end of input, has
//! the peak memory.

#![allow(clippy::print_stdout, reason = "this is its output")]

use engine::task::{Generation, Prompt};
use runtime::inference::decoder::{Generator, Options, Step};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, threads, packed] = arguments.as_slice() else {
        return Err("expected MODEL THREADS PACKED_FOLDER".into());
    };
    let packed_folder = Some(PathBuf::from(packed));
    let options = Options { threads: threads.parse()?, packed_folder, ..Options::default() };
    let started = Instant::now();
    let mut generator = Generator::load(Path::new(model), &options)?;
    println!("{}", json!({ "load": started.elapsed().as_secs_f64() }));
    for line in io::stdin().lock().lines() {
        println!("{}", answer(&mut generator, &serde_json::from_str(&line?)?)?);
        io::stdout().flush()?;
    }
    println!("{}", json!({ "memory_mib": memory_mib("VmHWM:")?, "own_mib": memory_mib("RssAnon:")? }));
    Ok(())
}

fn answer(generator: &mut Generator, request: &Value) -> Outcome<Value> {
    let prompt: Vec<u32> = serde_json::from_value(request["prompt"].clone())?;
    let tokens = u32::try_from(request["tokens"].as_u64().unwrap_or(1))?;
    let wanted = Generation {
        max_tokens: tokens + 1,
        temperature_thousandths: 0,
        ..Generation::from_prompt(Prompt::Text(String::new()))
    };
    let mut session = generator.begin_with(prompt, &wanted)?;
    let (started, busy) = (Instant::now(), busy_seconds()?);
    while session.tokens() == 0 {
        generator.step(&mut session)?;
    }
    let read = [started.elapsed().as_secs_f64(), busy_seconds()? - busy];
    let (started, busy) = (Instant::now(), busy_seconds()?);
    while let Step::Going { .. } = generator.step(&mut session)? {}
    let written = [started.elapsed().as_secs_f64(), busy_seconds()? - busy];
    let found = session.tokens();
    generator.end(session);
    if found != tokens + 1 {
        return Err(format!("the text ended after {found} tokens").into());
    }
    Ok(json!({ "read": read, "written": written }))
}

/// Returns the processor time of this process's threads.
fn busy_seconds() -> Outcome<f64> {
    let mut nanos = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(nanos as f64 / 1e9)
}

/// Returns a field of this process's memory status.
fn memory_mib(name: &str) -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
