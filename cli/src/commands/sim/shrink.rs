//! `sim shrink FILE --seed N`: writes the smallest scenario that fails in the same way.

use super::list::BUGS;
use super::new::{cannot_write, write_new};
use super::scenario;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::{progress, terminal};
use clap::Args;
use serde_json::json;
use sim::shrink::{Limits, ShrinkError, Shrunk, shrink};
use sim::{Options, Scenario};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Scenario file, or a name that `sim list` shows
    pub(crate) file: PathBuf,
    /// Seed that fails [default: the seed in the scenario, or 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Executor to use instead of the one in the scenario
    #[arg(long, value_enum, value_name = "EXECUTOR")]
    pub(crate) executor: Option<scenario::ExecutorChoice>,
    /// File to write [default: scenarios/bugs/SCENARIO_SEED.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Maximum number of runs
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub(crate) max_runs: u32,
    /// Start no run after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) max_time: u64,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let scenario = scenario::load(&arguments.file, arguments.executor)?;
    let seed = arguments.seed.or(scenario.seed).unwrap_or_default();
    let file = arguments.output.clone().unwrap_or_else(|| default_path(&arguments.file, seed));
    if file.exists() {
        return Err(Failure::new(format!("{} exists already", file.display()))
            .id("file_exists")
            .hint("name another file with -o FILE; nothing was changed"));
    }
    let limits = Limits { runs: arguments.max_runs, time: Duration::from_secs(arguments.max_time) };
    let spinner = progress::spinner();
    let shrunk = shrink(&scenario, seed, Options::default(), limits, |progress| {
        spinner.set_message(format!("{} after {} runs", progress.size, progress.runs));
    });
    spinner.finish_and_clear();
    let shrunk = shrunk.map_err(|error| failed(&error, &scenario))?;
    let shown = file.display().to_string();
    write_new(&file, &shrunk.text).map_err(|error| cannot_write(&shown, &error))?;
    if arguments.format.json { print_json(&shrunk, &shown) } else { print_text(&shrunk, &shown) }?;
    Ok(ExitCode::SUCCESS)
}

fn default_path(file: &Path, seed: u64) -> PathBuf {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Path::new("scenarios").join(BUGS).join(format!("{name}_{seed}.toml"))
}

fn failed(error: &ShrinkError, scenario: &Scenario) -> Failure {
    let failure = Failure::from_error(error).id(id(error));
    match error {
        ShrinkError::Passes { .. } => failure.hint(format!(
            "find a seed that fails with: p2p-ai-agents sim run {} --seeds 0..1000",
            scenario.path
        )),
        ShrinkError::NotAgain
        | ShrinkError::SeedTooLarge
        | ShrinkError::Unshrinkable { .. }
        | ShrinkError::Unwritable { .. } => failure,
    }
}

const fn id(error: &ShrinkError) -> &'static str {
    match error {
        ShrinkError::NotAgain => "simulator_differs",
        ShrinkError::Passes { .. } => "seed_passes",
        ShrinkError::SeedTooLarge => "seed_too_large",
        ShrinkError::Unshrinkable { .. } | ShrinkError::Unwritable { .. } => "unshrinkable",
    }
}

fn print_text(shrunk: &Shrunk, file: &str) -> Result<(), Failure> {
    let mut text = String::from("shrunk, and it still fails\n");
    for failure in &shrunk.report.failures {
        text += &format!("  {failure}\n");
    }
    text += &format!("\nfrom        {}\nto          {}\n", shrunk.from, shrunk.to);
    text += &format!("in          {} runs, {:.1} s", shrunk.runs, shrunk.wall.as_secs_f64());
    text += if shrunk.complete { "\n" } else { "; stopped at the limit: a smaller scenario may exist\n" };
    text += &format!("\nwritten:    {file}\nrepeat it:  p2p-ai-agents sim run {file}\n");
    output::write(terminal::sanitize(&text).as_bytes())
}

fn print_json(shrunk: &Shrunk, file: &str) -> Result<(), Failure> {
    output::json(&json!({
        "file": file,
        "failures": shrunk.report.failures,
        "from": shrunk.from,
        "to": shrunk.to,
        "runs": shrunk.runs,
        "wall_micros": u64::try_from(shrunk.wall.as_micros()).unwrap_or(u64::MAX),
        "complete": shrunk.complete,
    }))
}
