//! `demo tasks`: runs tasks on the nodes of a demo, or lists the last ones.

use super::stats::{latency_text, workers_text};
use super::{connect, stats};
use crate::client::{Client, block_on};
use crate::commands::task::submit::Kind;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::{progress, terminal};
use api::{Demo, DemoBatch, DemoTask, DemoTaskLine, NewDemoTasks};
use clap::Args;
use engine::task::TaskStatus;
use runtime::home::Home;
use serde_json::json;
use std::ops::ControlFlow;

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Run this many tasks [default: list the last tasks]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000), allow_negative_numbers = true, value_name = "N")]
    pub(super) count: Option<u32>,
    /// Type of the tasks
    #[arg(long = "type", value_enum, default_value = "embedding", value_name = "TYPE", requires = "count")]
    pub(super) kind: Kind,
    /// Text of the tasks [default: another text for each]
    #[arg(long, value_name = "TEXT", requires = "count")]
    pub(super) input: Option<String>,
    /// Submit all to this node, given by name or the start of its id [default: each running node in turn]
    #[arg(long, value_name = "NODE", requires = "count")]
    pub(super) node: Option<String>,
    /// Model to use [default: chosen by the node]
    #[arg(long, value_name = "NAME", requires = "count")]
    pub(super) model: Option<String>,
    #[command(flatten)]
    pub(super) format: Format,
}

/// Runs the command by itself, with an exit status that says whether all tasks were completed.
pub(super) fn run_alone(home: &Home, arguments: &Arguments) -> Outcome {
    block_on(async { if run(&connect(home)?, arguments).await? { Ok(()) } else { Err(Failure::silent()) } })
}

/// Runs or lists tasks. Returns whether all tasks were completed.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> Result<bool, Failure> {
    let Some(count) = arguments.count else {
        list(client, arguments.format).await?;
        return Ok(true);
    };
    let tasks = NewDemoTasks {
        count,
        kind: arguments.kind.into(),
        input: arguments.input.clone(),
        node: arguments.node.clone(),
        model: arguments.model.clone(),
    };
    submit(client, &tasks, arguments.format).await
}

/// Runs tasks and prints what becomes of each. Returns whether all were completed.
pub(super) async fn submit(client: &Client, tasks: &NewDemoTasks, format: Format) -> Result<bool, Failure> {
    let each = tasks.count <= TASKS_SHOWN;
    let bar = progress::bar(tasks.count.into(), "tasks");
    let (mut printed, mut done, mut explained) = (Ok(()), None, String::new());
    let print = |line: DemoTaskLine| {
        if let DemoTaskLine::Waiting { reason } = &line
            && std::mem::replace(&mut explained, reason.clone()) == *reason
        {
            // It is repeated so that the stream stays alive.
            return ControlFlow::Continue(());
        }
        let shown = if format.json { output::json(&line) } else { bar.suspend(|| show(&line, each)) };
        bar.inc(u64::from(matches!(line, DemoTaskLine::Task(_))));
        if let DemoTaskLine::Done(batch) = line {
            done = Some(batch);
        }
        printed = shown;
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    client.post_lines("/api/v1/demo/tasks", tasks, print).await?;
    bar.finish_and_clear();
    printed?;
    let done: DemoBatch = done.ok_or_else(|| {
        Failure::new("the demo stopped before all tasks had ended")
            .id("demo_not_running")
            .hint("start another one with: p2p-ai-agents demo start")
    })?;
    // The line of a single task says it all.
    if !format.json && tasks.count > 1 {
        print_batch(&done)?;
    }
    Ok(done.failed == 0)
}

/// Shows a line, and tasks only if `each`.
fn show(line: &DemoTaskLine, each: bool) -> Result<(), Failure> {
    match line {
        DemoTaskLine::Task(task) if each || task.error.is_some() => output::line(&task_line(task)),
        DemoTaskLine::Waiting { reason } => {
            output::write_error(format!("{}\n", terminal::sanitize_line(reason)).as_bytes())
        }
        DemoTaskLine::Done(_) | DemoTaskLine::Task(_) => Ok(()),
    }
}

/// Formats a task: its outcome, its way and its latency.
pub(super) fn task_line(task: &DemoTask) -> String {
    let worker = task.worker.as_deref().unwrap_or("-");
    let id = task.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let latency = output::micros(task.elapsed_us);
    let line = format!("{id}  {}  {} → {worker}  {latency}", task.status, task.origin);
    let line = match &task.error {
        Some(error) => format!("{line}  {}", error.message),
        None => line,
    };
    terminal::sanitize_line(&line)
}

fn print_batch(batch: &DemoBatch) -> Result<(), Failure> {
    let seconds = batch.elapsed_ms.max(1) as f64 / 1000.0;
    let mut text = format!(
        "{} completed in {seconds:.2} s ({:.0} a second)",
        batch.completed,
        batch.completed as f64 / seconds
    );
    for (count, what) in
        [(batch.failed, "failed"), (batch.resubmitted, "submitted again after their node stopped")]
    {
        if count > 0 {
            text = format!("{text}, {count} {what}");
        }
    }
    output::notice(&text)?;
    if let Some(latency) = batch.latency_us {
        output::notice(&format!("Latency: {}", latency_text(latency)))?;
        output::notice(&format!("Ran on:  {}", workers_text(&batch.workers)))?;
    }
    Ok(())
}

async fn list(client: &Client, format: Format) -> Result<(), Failure> {
    let demo: Demo = client.get("/api/v1/demo").await?;
    if format.json {
        return output::json(&json!({ "tasks": demo.tasks.last }));
    }
    if demo.tasks.last.is_empty() {
        let waiting = demo.tasks.waiting;
        let text = if waiting > 0 {
            format!("{waiting} tasks wait for a running node")
        } else {
            "No tasks".to_owned()
        };
        return output::line(&text);
    }
    let rows: Vec<[String; 6]> = demo.tasks.last.iter().take(LIST_MAX).map(row).collect();
    output::table(["ID", "TYPE", "STATUS", "SUBMITTED TO", "RAN ON", "LATENCY"], &rows)?;
    output::properties(&stats::task_rows(&demo.tasks))
}

fn row(task: &DemoTask) -> [String; 6] {
    let status = match (&task.error, task.status) {
        (Some(error), status @ TaskStatus::Failed) => format!("{status}: {}", error.message),
        (_, status) => status.to_string(),
    };
    [
        task.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        task.kind.to_string(),
        status,
        task.origin.clone(),
        task.worker.clone().unwrap_or_else(|| "-".to_owned()),
        output::micros(task.elapsed_us),
    ]
}

/// Batches up to this size show each task.
const TASKS_SHOWN: u32 = 20;
const LIST_MAX: usize = 20;
