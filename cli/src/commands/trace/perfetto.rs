//! Writes a trace in the Trace Event Format, which Perfetto and Chrome read.
//!
//! Each node is a process. Spans that overlap are on separate threads of it, because those of one thread must nest.
//!
//! Format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.

use super::words;
use crate::commands::node_names::NodeNames;
use crate::error::Failure;
use crate::output;
use api::{Trace, TraceSpan};
use engine::NodeId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn write(trace: &Trace, names: &NodeNames, path: &Path) -> Result<(), Failure> {
    let text = serde_json::to_vec(&events(trace, names))
        .map_err(|error| Failure::from_error(&error).id("internal_error"))?;
    std::fs::write(path, text).map_err(|error| {
        Failure::new(format!("cannot write {}", path.display())).id("output_failed").because(Some(&error))
    })?;
    output::notice(&format!("Trace written to {}", path.display()))
}

fn events(trace: &Trace, names: &NodeNames) -> Value {
    let process = |node: NodeId| {
        trace.nodes.iter().position(|known| known.id == node).map_or(0, |position| position + 1)
    };
    let mut events: Vec<Value> = Vec::new();
    for node in &trace.nodes {
        let name = json!({"name": format!("node {}", names.named(node.id))});
        events.push(
            json!({"ph": "M", "name": "process_name", "pid": process(node.id), "tid": 0, "args": name}),
        );
    }
    // The end of the last span of each thread, by process.
    let mut threads: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for span in &trace.spans {
        let (pid, duration) = (process(span.node), span.duration_us.unwrap_or_default());
        let ends = threads.entry(pid).or_default();
        let free = ends.iter().position(|end| *end <= span.start_us);
        let thread = free.unwrap_or_else(|| {
            ends.push(0);
            ends.len() - 1
        });
        ends[thread] = span.start_us.saturating_add(duration.max(1));
        events.push(json!({
            "ph": "X",
            "name": words::what(span, names),
            "cat": category(span),
            "ts": span.start_us,
            "dur": duration,
            "pid": pid,
            "tid": thread + 1,
            "args": span,
        }));
    }
    json!({"displayTimeUnit": "ms", "otherData": {"trace_id": trace.trace_id}, "traceEvents": events})
}

/// Returns the kind of a span: its name in JSON.
fn category(span: &TraceSpan) -> String {
    match serde_json::to_value(&span.what) {
        Ok(Value::String(name)) => name,
        Ok(Value::Object(fields)) => fields.keys().next().cloned().unwrap_or_default(),
        Ok(_) | Err(_) => String::new(),
    }
}
