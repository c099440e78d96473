//! Spans in words.

use crate::commands::node_names::NodeNames;
use api::TraceSpan;
use engine::observers::traces::timeline::SpanKind;
use serde::Serialize;
pub(in crate::commands) use sim::pluralize as count;

/// Returns a name as it is in JSON, in words.
pub(in crate::commands) fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name.replace('_', " ").to_lowercase(),
        Ok(_) | Err(_) => String::new(),
    }
}

/// Describes a span.
pub(in crate::commands) fn what(span: &TraceSpan, names: &NodeNames) -> String {
    let attempt = span.attempt.map(|number| format!("attempt {number}")).unwrap_or_default();
    match &span.what {
        SpanKind::Attempt { worker, taken } => {
            let taken = taken.map(|why| format!(", taken back: {}", name(&why))).unwrap_or_default();
            format!("{attempt} at {}{taken}", names.label(*worker))
        }
        SpanKind::Compute { ending, batch, input_tokens, output_tokens, first_token_micros, .. } => {
            let ending = ending.map_or_else(|| "running".to_owned(), |ending| name(&ending));
            let mut text = format!("{attempt} computed: {ending}");
            if *batch > 1 {
                text += &format!(", in a batch of {batch}");
            }
            if *input_tokens > 0 {
                text += &format!(", {} read", count(*input_tokens, "token"));
            }
            if *output_tokens > 0 {
                text += &format!(", {} written", count(*output_tokens, "token"));
            }
            if let Some(first) = first_token_micros {
                text += &format!(", the first after {}", crate::output::micros(*first));
            }
            text
        }
        SpanKind::Drop { reason } => format!("message dropped: {}", name(reason)),
        SpanKind::Hop { number, to, message } => {
            format!("hop {number} of {} to {}", name(message), names.label(*to))
        }
        SpanKind::Load => format!("{attempt} waited for the model to load"),
        SpanKind::Message { kind, to, hops, retries, acknowledged_micros } => {
            let mut text = format!("{} to {}", name(kind), names.label(*to));
            if *hops > 1 {
                text += &format!(", {}", count(u64::from(*hops), "hop"));
            }
            if *retries == 1 {
                text += ", 1 retry";
            } else if *retries > 1 {
                text += &format!(", {retries} retries");
            }
            if *hops == 0 && acknowledged_micros.is_none() {
                text += ", not known to have arrived";
            }
            text
        }
        SpanKind::Queue => "queued".to_owned(),
        SpanKind::Recover => "recovered after a restart".to_owned(),
        SpanKind::Return { waiters } => format!("returned to {}", count(u64::from(*waiters), "request")),
        SpanKind::Schedule { worker, considered, .. } => {
            format!(
                "{attempt} scheduled on {}, of {}",
                names.label(*worker),
                count(u64::from(*considered), "candidate")
            )
        }
        SpanKind::Store => "outcome stored".to_owned(),
        SpanKind::Task { kind, status, .. } => match status {
            Some(status) => format!("task ({kind}): {status}"),
            None => format!("task ({kind})"),
        },
        SpanKind::Wait { ending: None } => format!("{attempt} waited at its worker"),
        SpanKind::Wait { ending: Some(ending) } => format!("{attempt} never started: {}", name(ending)),
    }
}
