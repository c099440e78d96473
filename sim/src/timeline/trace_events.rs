//! Chromium's trace event format, as ui.perfetto.dev reads it: one process per node with tracks for its states, jobs
//! and messages; flows from the sender of a message to its receiver; instants for faults and events.

use crate::observer::recorder::Recording;
use crate::observer::recorder::rows::Row;
use crate::report::Report;
use engine::Instant;
use serde_json::{Value, json};

/// Renders the file.
pub(super) fn json(report: &Report, end: Instant, recording: &Recording) -> String {
    let mut events = Vec::new();
    tracks(recording, &mut events);
    spans(end, recording, &mut events);
    instants(report, recording, &mut events);
    for (number, row) in recording.rows.iter().enumerate() {
        rows(recording, number, row, &mut events);
    }
    let left_out: Vec<String> =
        recording.left_out.iter().map(|(kind, count)| format!("{count} of {}", kind.name())).collect();
    let about = json!({
        "scenario": report.scenario, "why": report.why, "seed": report.seed.to_string(), "trace": report.trace.hash,
        "passed": report.passed(), "repeat": report.repeat, "left_out": left_out,
    });
    // One event per line, so that text tools can search a run.
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    format!(
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{about},\"traceEvents\":[\n{}\n]}}\n",
        lines.join(",\n")
    )
}

fn tracks(recording: &Recording, events: &mut Vec<Value>) {
    let mut name = |node: usize, track: u32, name: &str| {
        events.push(
            json!({ "ph": "M", "pid": node, "tid": track, "name": "thread_name", "args": { "name": name } }),
        );
    };
    for node in 1..=recording.node_ids.len() {
        name(node, STATES, "state");
        name(node, MESSAGES, "messages");
        name(node, EVENTS, "events");
    }
    for (node, id) in (1..).zip(&recording.node_ids) {
        let name = format!("n{} {}", node - 1, id.get(..8).unwrap_or_default());
        events.push(
            json!({ "ph": "M", "pid": node, "tid": 0, "name": "process_name", "args": { "name": name } }),
        );
        events.push(json!({ "ph": "M", "pid": node, "tid": 0, "name": "process_sort_index", "args": { "sort_index": node } }));
    }
}

fn spans(end: Instant, recording: &Recording, events: &mut Vec<Value>) {
    let end = end.as_micros();
    for life in &recording.lives {
        let lasts = life.to.unwrap_or(end) - life.from;
        events.push(json!({ "ph": "X", "pid": life.node + 1, "tid": STATES, "ts": life.from, "dur": lasts, "name": life.state, "cat": "state" }));
    }
    let mut next = 0;
    let mut span = |pid: u32, from: u64, to: Option<u64>, category: &str, name: String, arguments: Value| {
        next += 1;
        lasting(events, json!(next), pid, from, to.unwrap_or(end), category, &name, &arguments);
    };
    for (number, task) in (1..).zip(&recording.tasks) {
        let arguments = json!({ "id": task.id, "status": task.status, "worker": task.worker.map(|worker| format!("n{worker}")) });
        span(task.origin + 1, task.from, task.to, "task", format!("task {number}"), arguments);
        for attempt in &task.attempts {
            let name = format!("task {number} at n{}", attempt.worker);
            span(
                task.origin + 1,
                attempt.from,
                attempt.to,
                "lease",
                name,
                json!({ "attempt": attempt.number, "end": attempt.end }),
            );
        }
    }
    for run in &recording.runs {
        let arguments = json!({ "attempt": run.attempt, "end": run.end });
        span(run.node + 1, run.from, run.to, "job", format!("run task {}", run.task), arguments);
    }
    for suspicion in &recording.suspicions {
        let name = format!("n{} is SLOW", suspicion.peer);
        span(
            suspicion.node + 1,
            suspicion.from,
            suspicion.to,
            "peer",
            name,
            json!({ "then_dead": suspicion.dead }),
        );
    }
    for band in &recording.bands {
        let mut nodes: Vec<u32> = band.groups.iter().map(|(node, _)| node + 1).collect();
        nodes.dedup();
        for &pid in &nodes {
            span(pid, band.from, band.to, "fault", band.words.clone(), json!({}));
        }
    }
}

fn instants(report: &Report, recording: &Recording, events: &mut Vec<Value>) {
    for band in &recording.bands {
        let pid = band.groups.first().map_or(1, |(node, _)| node + 1);
        events.push(json!({ "ph": "i", "pid": pid, "tid": EVENTS, "ts": band.from, "s": "g", "cat": "fault", "name": band.words }));
    }
    for failure in &report.failures {
        if let crate::report::Failure::Violated(violation) = failure {
            let (pid, at) = (violation.node.unwrap_or_default() + 1, violation.at.as_micros());
            let arguments = json!({ "words": violation.description });
            events.push(json!({ "ph": "i", "pid": pid, "tid": EVENTS, "ts": at, "s": "g", "cat": "violation", "name": violation.invariant, "args": arguments }));
        }
    }
}

fn rows(recording: &Recording, number: usize, row: &Row, events: &mut Vec<Value>) {
    let text = recording.texts.get(row.text as usize).map(String::as_str).unwrap_or_default();
    let (pid, kind) = (row.node + 1, row.kind.name());
    let arguments = json!({ "says": text });
    let Some(transfer) = row.transfer else {
        events.push(json!({ "ph": "i", "pid": pid, "tid": EVENTS, "ts": row.at, "s": "t", "cat": kind, "name": row.name, "args": arguments }));
        return;
    };
    if transfer.to == row.node {
        let (id, to) = (json!(format!("w{number}")), transfer.arrives.unwrap_or(row.at));
        lasting(events, id, pid, row.at, to, "disk", row.name, &arguments);
        return;
    }
    events.push(json!({ "ph": "X", "pid": pid, "tid": MESSAGES, "ts": row.at, "dur": 1, "cat": kind, "name": row.name, "args": arguments }));
    if let Some(arrives) = transfer.arrives {
        // A flow binds to the slice in which it starts or ends.
        events.push(json!({ "ph": "s", "id": number, "pid": pid, "tid": MESSAGES, "ts": row.at, "cat": kind, "name": row.name }));
        events.push(json!({ "ph": "X", "pid": transfer.to + 1, "tid": MESSAGES, "ts": arrives, "dur": 1, "cat": kind, "name": row.name }));
        events.push(json!({ "ph": "f", "bp": "e", "id": number, "pid": transfer.to + 1, "tid": MESSAGES, "ts": arrives, "cat": kind, "name": row.name }));
    }
}

/// Adds an asynchronous event. Events that overlap on one track must be asynchronous, each with a start, an end and an
/// id.
#[allow(clippy::too_many_arguments, reason = "the fields of the format")]
fn lasting(
    events: &mut Vec<Value>,
    id: Value,
    pid: u32,
    from: u64,
    to: u64,
    category: &str,
    name: &str,
    arguments: &Value,
) {
    events.push(json!({ "ph": "b", "id": id, "pid": pid, "tid": 0, "ts": from, "cat": category, "name": name, "args": arguments }));
    events
        .push(json!({ "ph": "e", "id": id, "pid": pid, "tid": 0, "ts": to, "cat": category, "name": name }));
}

/// The tracks of a node.
const STATES: u32 = 1;
const MESSAGES: u32 = 2;
const EVENTS: u32 = 3;
