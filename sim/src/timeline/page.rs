//! The HTML page: the markup, style and script of this folder, with the run as one compact JSON text.
//!
//! The dashboard's drawing code is a part of the script.
//!
//! Texts of scenarios and messages are data to the page: no text can end the element that contains it, and the script
//! inserts it as text only.

use crate::observer::recorder::Recording;
use crate::observer::recorder::rows::{Kind, Row};
use crate::report::Report;
use engine::Instant;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Renders the page.
pub(super) fn html(report: &Report, end: Instant, recording: &Recording, is_replay: bool) -> String {
    let (head, rest) = PAGE.split_once(STYLE_HERE).unwrap_or((PAGE, ""));
    let (body, rest) = rest.split_once(DATA_HERE).unwrap_or((rest, ""));
    let (between, foot) = rest.split_once(SCRIPT_HERE).unwrap_or((rest, ""));
    [head, STYLE, body, &embedded(&data(report, end, recording, is_replay)), between, SCRIPT, foot].concat()
}

/// Formats a value as JSON that is safe inside a script element.
fn embedded(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn data(report: &Report, end: Instant, recording: &Recording, is_replay: bool) -> Value {
    let violation = report.failures.iter().find_map(|failure| match failure {
        crate::report::Failure::Violated(violation) => Some(json!({
            "invariant": violation.invariant, "at": violation.at.as_micros(), "node": violation.node, "words": violation.description,
        })),
        crate::report::Failure::AlertActive { .. }
        | crate::report::Failure::AlertMissing(_)
        | crate::report::Failure::NotReached(_)
        | crate::report::Failure::Outcomes { .. } => None,
    });
    let left_out: Vec<Value> =
        recording.left_out.iter().map(|(kind, count)| json!([*kind as u8, count])).collect();
    let outcomes: BTreeMap<String, u32> =
        report.outcome_counts().iter().map(|(outcome, count)| (outcome.to_string(), *count)).collect();
    json!({
        "scenario": report.scenario,
        "why": report.why,
        "executor": report.executor.to_string(),
        "seed": report.seed.to_string(),
        "end": end.as_micros(),
        "hash": report.trace.hash,
        "inputs": report.trace.inputs,
        "outputs": report.trace.outputs,
        "passed": report.passed(),
        "replay": is_replay,
        "failures": report.failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "violation": violation,
        "repeat": report.repeat,
        "outcomes": outcomes,
        "story": report.story.iter().map(|line| json!([line.at.as_micros(), line.text])).collect::<Vec<_>>(),
        "storyLeftOut": report.story_left_out,
        "well": report.liveness.map(|at| at.map(Instant::as_micros)),
        "leftOut": left_out,
        "textsLeftOut": recording.texts_left_out,
        "nodes": recording.node_ids,
        "kinds": Kind::ALL.map(Kind::name),
        "texts": recording.texts,
        "rows": rows(&recording.rows),
        "lives": recording.lives.iter().map(|life| json!([life.node, life.from, life.to, life.state])).collect::<Vec<_>>(),
        "suspicions": recording.suspicions.iter()
            .map(|suspicion| json!([suspicion.node, suspicion.peer, suspicion.from, suspicion.to, u8::from(suspicion.dead)])).collect::<Vec<_>>(),
        "tasks": recording.tasks.iter().map(task).collect::<Vec<_>>(),
        "runs": recording.runs.iter()
            .map(|run| json!([run.node, run.task, run.attempt, run.from, run.to, run.end])).collect::<Vec<_>>(),
        "bands": recording.bands.iter()
            .map(|band| json!([band.from, band.to, band.words, band.groups, u8::from(band.stops)])).collect::<Vec<_>>(),
    })
}

fn task(task: &crate::observer::recorder::spans::Task) -> Value {
    let attempts: Vec<Value> = task
        .attempts
        .iter()
        .map(|attempt| json!([attempt.worker, attempt.number, attempt.from, attempt.to, attempt.end]))
        .collect();
    json!([task.id, task.origin, task.from, task.to, task.status, task.worker, attempts])
}

/// Returns rows by column, with times as differences: half the size of objects, and fast to parse.
fn rows(rows: &[Row]) -> Value {
    let mut names: BTreeMap<&'static str, usize> = rows.iter().map(|row| (row.name, 0)).collect();
    names.values_mut().zip(0..).for_each(|(index, next)| *index = next);
    let mut before = 0;
    let times: Vec<u64> = rows.iter().map(|row| row.at - core::mem::replace(&mut before, row.at)).collect();
    let column = |of: &dyn Fn(&Row) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
    json!({
        "names": names.keys().collect::<Vec<_>>(),
        "at": times,
        "node": column(&|row| i64::from(row.node)),
        "kind": column(&|row| row.kind as i64),
        "name": column(&|row| names.get(row.name).map_or(0, |&index| i64::try_from(index).unwrap_or_default())),
        "text": column(&|row| i64::from(row.text)),
        "task": column(&|row| i64::from(row.task)),
        "to": column(&|row| row.transfer.map_or(-1, |transfer| i64::from(transfer.to))),
        "took": column(&|row| row.transfer.and_then(|transfer| transfer.arrives)
            .map_or(-1, |arrives| i64::try_from(arrives.saturating_sub(row.at)).unwrap_or(-1))),
        "bytes": column(&|row| row.transfer.map_or(0, |transfer| i64::from(transfer.bytes))),
    })
}

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    include_str!("../../../runtime/web/canvas.js"),
    include_str!("data.js"),
    include_str!("draw.js"),
    include_str!("page.js"),
    include_str!("selftest.js"),
);

/// The markers at which the parts are inserted.
const STYLE_HERE: &str = "/* style */";
const DATA_HERE: &str = "/* data */";
const SCRIPT_HERE: &str = "/* script */";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_the_element_that_it_is_in() {
        let hostile = json!({ "why": "</script><script>alert(1)</script><!-- \u{2028}" });
        let embedded = embedded(&hostile);
        assert!(!embedded.contains('<') && !embedded.contains('\u{2028}'), "{embedded}");
        assert_eq!(serde_json::from_str::<Value>(&embedded).unwrap(), hostile);
    }

    #[test]
    fn the_page_has_a_place_for_each_part_and_loads_nothing() {
        for place in [STYLE_HERE, DATA_HERE, SCRIPT_HERE] {
            assert_eq!(PAGE.matches(place).count(), 1, "{place}");
        }
        for part in [PAGE, STYLE, SCRIPT] {
            for load in
                ["http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttp", "innerHTML", "import("]
            {
                assert!(!part.contains(load), "{load}");
            }
        }
    }
}
