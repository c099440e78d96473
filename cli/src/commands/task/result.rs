//! `task result ID`: shows the output of a finished task, its worker and its execution time.

use super::{answer, id};
use crate::client::Client;
use crate::commands::node_names::named;
use crate::error::Failure;
use crate::output;
use crate::terminal;
use api::{Dropped, OutputBody, ResultBody, Summary};
use clap::ValueEnum;
use engine::TaskId;
use engine::task::TaskStatus;
use hyper::body::Bytes;
use runtime::home::Home;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResultFormat {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

pub(super) async fn run(home: &Home, id: &str, format: ResultFormat, json: bool) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let id = id::resolve(&client, id).await?;
    let (body, result) = fetch(&client, id).await?;
    print_as(&body, &result, json || format == ResultFormat::Json)
}

/// Prints the result of a finished task.
///
/// # Errors
/// If the task did not complete.
pub(in crate::commands) fn show(body: &[u8], result: &ResultBody, json: bool) -> Result<(), Failure> {
    print_as(body, result, json)?;
    if result.status == TaskStatus::Completed { Ok(()) } else { Err(Failure::silent()) }
}

fn print_as(body: &[u8], result: &ResultBody, json: bool) -> Result<(), Failure> {
    if json {
        output::write(&[body, b"\n"].concat())
    } else if output::is_quiet() {
        answer::print(result)
    } else {
        print(result, true)
    }
}

/// Fetches the result of a finished task. Returns its bytes and the decoded value.
pub(in crate::commands) async fn fetch(client: &Client, id: TaskId) -> Result<(Bytes, ResultBody), Failure> {
    let body = client.get_raw(&format!("/api/v1/tasks/{id}/result")).await?;
    let result: ResultBody = serde_json::from_slice(&body).map_err(|error| {
        Failure::new("this version cannot read the result from the node")
            .id("answer_unreadable")
            .because(Some(&error))
    })?;
    Ok((body, result))
}

/// Prints a result as text, optionally without the text of a generation.
pub(super) fn print(result: &ResultBody, with_text: bool) -> Result<(), Failure> {
    output::properties(&properties(result))?;
    match &result.output {
        Some(OutputBody::Generation { text, .. }) if with_text => {
            output::line(&format!("\n{}", terminal::sanitize(text)))
        }
        Some(_) | None => Ok(()),
    }
}

fn properties(result: &ResultBody) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Task", result.id.to_string()),
        ("Status", result.status.to_string()),
        ("Type", result.kind.to_string()),
        ("Model", result.model.clone()),
    ];
    rows.extend(result.worker.map(|worker| ("Worker", named(&result.worker_name, worker))));
    rows.extend(execution(&result.summary));
    if result.output.is_none() {
        rows.push(("Elapsed", output::duration(result.elapsed_ms)));
    }
    rows.push(("Completed", output::when_exactly(&result.summary.completed_at)));
    rows.extend(reason(result.status, &result.summary).map(|reason| ("Reason", reason)));
    match &result.output {
        Some(OutputBody::Embedding { vector, tokens, dropped }) => {
            let first: Vec<String> =
                vector.iter().take(COMPONENTS_SHOWN).map(|number| format!("{number:.4}")).collect();
            let more = if vector.len() > COMPONENTS_SHOWN { ", …" } else { "" };
            rows.push(("Tokens", tokens_read(*tokens, dropped)));
            rows.push(("Output", format!("{} numbers: [{}{more}]", vector.len(), first.join(", "))));
        }
        Some(OutputBody::Embeddings { vectors, tokens, dropped }) => {
            rows.push(("Tokens", tokens_read(*tokens, dropped)));
            let numbers = vectors.first().map_or(0, Vec::len);
            rows.push((
                "Output",
                format!("{} vectors of {numbers} numbers; --format json shows them", vectors.len()),
            ));
        }
        Some(OutputBody::Classification { scores, dropped, .. }) => {
            if dropped.dropped_tokens > 0 {
                rows.push(("Dropped", dropped_tokens(dropped)));
            }
            let scores = scores.iter().map(|score| format!("{} {:.3}", score.label, score.score));
            rows.push(("Output", scores.collect::<Vec<_>>().join(", ")));
        }
        Some(OutputBody::Reranking { scores, tokens, dropped }) => {
            let mut ranked: Vec<(usize, &f32)> = scores.iter().enumerate().collect();
            ranked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            let ranked = ranked.iter().map(|(text, score)| format!("text {text} {score:.3}"));
            rows.push(("Tokens", tokens_read(*tokens, dropped)));
            rows.push(("Output", ranked.collect::<Vec<_>>().join(", ")));
        }
        Some(OutputBody::Generation { prompt_tokens, tokens, finish_reason, .. }) => {
            let end = finish_reason.as_str();
            rows.push(("Tokens", format!("{prompt_tokens} read, {tokens} written (end: {end})")));
        }
        None => {}
    }
    rows
}

/// Formats how many tokens the model read and how many were dropped.
fn tokens_read(tokens: u32, dropped: &Dropped) -> String {
    if dropped.dropped_tokens == 0 {
        tokens.to_string()
    } else {
        format!("{tokens} read, {}", dropped_tokens(dropped))
    }
}

fn dropped_tokens(dropped: &Dropped) -> String {
    let (count, inputs) = (dropped.dropped_tokens, dropped.truncated.len());
    let of = if inputs == 1 { "1 input".to_owned() } else { format!("{inputs} inputs") };
    format!("{count} dropped from {of}: the model takes no more of one")
}

/// Returns the execution time of a task, if a worker reported it.
pub(super) fn execution(summary: &Summary) -> Option<(&'static str, String)> {
    (summary.execution_ms > 0.0).then(|| ("Execution", format!("{:.1} ms", summary.execution_ms)))
}

/// Returns why a task ended without an output.
pub(super) fn reason(status: TaskStatus, summary: &Summary) -> Option<String> {
    match &summary.error {
        Some(error) if error.code == "not_started" => {
            Some(format!("{}; p2p-ai-agents node members shows who runs models", error.message))
        }
        Some(error) => Some(format!("{} ({})", error.message, error.code)),
        None if status == TaskStatus::Timeout => {
            Some("it was not done in its time; --timeout SECONDS gives a task more".to_owned())
        }
        None => None,
    }
}

/// Number of vector components in the text output.
const COMPONENTS_SHOWN: usize = 6;
