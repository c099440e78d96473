//! `trace ID`: shows what happened to a task, step by step, on all nodes that took part.

mod perfetto;
pub(super) mod words;

use crate::client::{Client, block_on};
use crate::commands::node_names::{NodeNames, named};
use crate::commands::task;
use crate::error::{Failure, Outcome};
use crate::homes::SelectedHome;
use crate::output::{self, Format};
use api::{Trace, TraceNode, TraceSpan};
use clap::Args;
use engine::observers::traces::IdPrefix;
use engine::observers::traces::timeline::{ClockSource, NodeAnswer, SpanKind};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Id of a task or of a trace, the start of it, or @last for the last task
    id: String,
    /// Write the trace to this file, for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    perfetto: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(arguments: &Arguments, home: &SelectedHome) -> Outcome {
    let home = home.open()?;
    block_on(async {
        let client = Client::connect(&home)?;
        let path = path(&task::id::last_or(&client, &arguments.id).await?)?;
        if arguments.format.json {
            let body = client.get_raw(&path).await?;
            return output::write(&[&body[..], b"\n"].concat());
        }
        let trace: Trace = client.get(&path).await?;
        let names = trace.nodes.iter().map(|node| (node.id, node.name.clone())).collect();
        match &arguments.perfetto {
            Some(file) => perfetto::write(&trace, &names, file),
            None => show(&trace, &names),
        }
    })
}

/// Returns the path of the route for an id or its start.
pub(super) fn path(id: &str) -> Result<String, Failure> {
    if IdPrefix::parse(id).is_none() {
        return Err(Failure::new(format!("{id:?} is not the start of an id"))
            .id("trace_id_malformed")
            .hint("give at least four hexadecimal digits of the id of a task or a trace"));
    }
    Ok(format!("/api/v1/traces/{id}"))
}

fn show(trace: &Trace, names: &NodeNames) -> Result<(), Failure> {
    output::line(&format!("Trace {}", trace.trace_id))?;
    for span in &trace.spans {
        if let (Some(task), SpanKind::Task { kind, model, status, attempts, .. }) = (span.task, &span.what) {
            let end = match (status, span.duration_us) {
                (Some(status), Some(took)) => format!("{status} in {}", output::micros(took)),
                _ => "not ended".to_owned(),
            };
            let attempts = words::count(u64::from(*attempts), "attempt");
            output::prose(&format!("Task {task}: {kind}, {model}, {end}, {attempts}\n"))?;
        }
    }
    let start = trace.spans.iter().map(|span| span.start_us).min().unwrap_or_default();
    let row = |span: &TraceSpan| {
        let took = match span.duration_us {
            None => "not ended".to_owned(),
            Some(0) => "-".to_owned(),
            Some(took) => output::micros(took),
        };
        let at = output::micros(span.start_us.saturating_sub(start));
        [at, took, names.label(span.node), words::what(span, names)]
    };
    output::table(["AT", "TOOK", "NODE", "WHAT"], &trace.spans.iter().map(row).collect::<Vec<_>>())?;
    for node in &trace.nodes {
        notes(node).into_iter().try_for_each(|note| output::line(&note))?;
    }
    if trace.lost_steps > 0 {
        output::line(&format!(
            "{} are missing: there were too many",
            words::count(trace.lost_steps, "step")
        ))?;
    }
    Ok(())
}

/// Returns what must be known about a node to read the timeline.
fn notes(node: &TraceNode) -> Vec<String> {
    let id = named(&node.name, node.id);
    let answer = match node.answer {
        NodeAnswer::Answered => None,
        NodeAnswer::Away => Some(format!("Node {id} is not reachable: its steps are missing")),
        NodeAnswer::Late => Some(format!("Node {id} did not answer: its steps are missing")),
        NodeAnswer::Skipped => Some(format!("Node {id} was not asked: too many nodes took part")),
    };
    let (ahead, error) = (output::micros(node.ahead_us.unsigned_abs()), output::micros(node.error_us));
    let direction = if node.ahead_us < 0 { "behind" } else { "ahead" };
    let clock = match node.clock {
        _ if node.answer != NodeAnswer::Answered => None,
        ClockSource::Base => None,
        ClockSource::Messages => {
            Some(format!("Clock of {id}: {ahead} {direction}, corrected (within {error}, by messages)"))
        }
        ClockSource::Query => {
            Some(format!("Clock of {id}: {ahead} {direction}, corrected (within {error}, by this query)"))
        }
        ClockSource::Unknown => Some(format!("Clock of {id}: unknown, so its times may be wrong")),
    };
    answer.into_iter().chain(clock).collect()
}
