//! `explain TASK`: why a task ran where it did: the candidates of each attempt, the path there, and what went wrong.

use super::trace::{path, words};
use crate::client::{Client, block_on};
use crate::commands::node_names::NodeNames;
use crate::commands::task;
use crate::error::{Failure, Outcome};
use crate::homes::SelectedHome;
use crate::output::{self, Format};
use api::{Trace, TraceSpan};
use engine::event::{Estimate, PayloadKind};
use engine::observers::traces::timeline::SpanKind;
use engine::{NodeId, TaskId};
use serde::Serialize;

/// Why a task ran where it did.
#[derive(Debug, Serialize)]
struct Explanation {
    task: TaskId,
    trace_id: engine::TraceId,
    attempts: Vec<Attempt>,
}

/// One attempt, and why its worker got it.
#[derive(Debug, Serialize)]
struct Attempt {
    number: u32,
    worker: NodeId,
    /// The best candidates, best first.
    candidates: Vec<Estimate>,
    considered: u32,
    /// The nodes on the path of the assignment, the worker last; empty if it was this node, or a peer.
    path: Vec<NodeId>,
    /// Retries of the assignment.
    retries: u8,
    /// Why it was taken from its worker, if it was.
    taken: Option<engine::event::ReassignReason>,
    duration_us: Option<u64>,
}

pub(super) fn run(id: &str, format: Format, home: &SelectedHome) -> Outcome {
    let home = home.open()?;
    block_on(async {
        let client = Client::connect(&home)?;
        let id = task::id::last_or(&client, id).await?;
        let trace: Trace = client.get(&path(&id)?).await?;
        let explanation = explain(&trace, &id)?;
        if format.json {
            return output::json(&explanation);
        }
        show(&explanation, &NodeNames::fetch(&client).await?)
    })
}

fn explain(trace: &Trace, id: &str) -> Result<Explanation, Failure> {
    let digits = |text: &str| text.replace('-', "").to_ascii_lowercase();
    let is_task = |span: &&TraceSpan| matches!(span.what, SpanKind::Task { .. });
    let tasks: Vec<TaskId> = trace.spans.iter().filter(is_task).filter_map(|span| span.task).collect();
    let named = tasks.iter().find(|task| digits(&task.to_string()).starts_with(&digits(id)));
    let task = match (named, tasks.as_slice()) {
        (Some(task), _) | (None, [task]) => *task,
        (None, []) => {
            return Err(Failure::new("The node that accepted the task did not answer")
                .id("trace_incomplete")
                .hint("ask that node; p2p-ai-agents trace shows what the other nodes know"));
        }
        (None, several) => {
            return Err(Failure::new(format!("The trace has {} tasks", several.len()))
                .id("trace_ambiguous")
                .hint("give the id of one task; p2p-ai-agents trace lists them"));
        }
    };
    let spans: Vec<&TraceSpan> = trace.spans.iter().filter(|span| span.task == Some(task)).collect();
    let attempts = spans.iter().filter_map(|span| {
        let SpanKind::Schedule { worker, candidates, considered } = &span.what else { return None };
        let number = span.attempt?;
        let of_it = |other: &&&TraceSpan| other.attempt == Some(number);
        let attempt = spans.iter().filter(of_it).find_map(|other| {
            let SpanKind::Attempt { taken, .. } = &other.what else { return None };
            Some((*taken, other.duration_us))
        });
        let hops = spans.iter().filter(of_it).filter_map(|other| {
            let SpanKind::Hop { to, message: PayloadKind::Assign, .. } = &other.what else { return None };
            Some(*to)
        });
        let retries = spans.iter().filter(of_it).find_map(|other| {
            let SpanKind::Message { kind: PayloadKind::Assign, retries, .. } = &other.what else {
                return None;
            };
            Some(*retries)
        });
        let (taken, duration_us) = attempt.unwrap_or_default();
        Some(Attempt {
            number,
            worker: *worker,
            candidates: candidates.clone(),
            considered: *considered,
            path: hops.collect(),
            retries: retries.unwrap_or_default(),
            taken,
            duration_us,
        })
    });
    Ok(Explanation { task, trace_id: trace.trace_id, attempts: attempts.collect() })
}

fn show(explanation: &Explanation, names: &NodeNames) -> Result<(), Failure> {
    output::line(&format!("Task {}", explanation.task))?;
    if explanation.attempts.is_empty() {
        return output::line("No node has been chosen for it");
    }
    for attempt in &explanation.attempts {
        let considered = words::count(u64::from(attempt.considered), "candidate");
        let (number, worker) = (attempt.number, names.named(attempt.worker));
        output::prose(&format!("Attempt {number} ran at {worker}, of {considered}\n"))?;
        let row = |candidate| row(candidate, attempt.worker, names);
        let rows: Vec<[String; 6]> = attempt.candidates.iter().map(row).collect();
        output::table(["CANDIDATE", "EXPECTED", "PER TASK", "AHEAD", "ROUND TRIP", "NOTE"], &rows)?;
        if !attempt.path.is_empty() {
            let path: Vec<String> = attempt.path.iter().map(|node| names.label(*node)).collect();
            output::line(&format!("Path: {}", path.join(" -> ")))?;
        }
        if attempt.retries > 0 {
            output::line(&format!("Assignment sent again: {} times", attempt.retries))?;
        }
        if let Some(taken) = attempt.taken {
            let after = attempt.duration_us.map(output::micros).unwrap_or_default();
            output::line(&format!("Taken back after {after}: {}", words::name(&taken)))?;
        }
    }
    output::prose(
        "The choice among the nearly best candidates is random, so that not all nodes choose the same\n",
    )
}

fn row(candidate: &Estimate, worker: NodeId, names: &NodeNames) -> [String; 6] {
    let notes = [
        (candidate.node == worker, "chosen"),
        (candidate.full, "full"),
        (!candidate.loaded, "model not loaded"),
    ];
    let notes: Vec<&str> = notes.into_iter().filter_map(|(is, note)| is.then_some(note)).collect();
    [
        names.named(candidate.node),
        output::micros(candidate.finish_micros),
        candidate.service_micros.map_or_else(|| "not measured".to_owned(), output::micros),
        candidate.ahead.to_string(),
        output::micros(candidate.round_trip_micros),
        notes.join(", "),
    ]
}
