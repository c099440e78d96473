//! `embed`, `rerank`, `classify` and `run`: submit one task, wait, and print just the answer. `run` without a prompt
//! is a conversation.

mod chat;

use super::task::submit;
use super::task::{answer, result, text_stream};
use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use crate::terminal;
use api::{InputBody, NewTask, OneOrMany, OutputBody, ResultBody};
use clap::Args;
use engine::TaskId;
use engine::task::{ChatMessage, ChatRole, TaskKind, TaskStatus};
use hyper::body::Bytes;
use runtime::home::Home;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;

/// Options of the short commands that submit a task.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Model to use [default: chosen by the node]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Give up after this many seconds [default: 30; run: 300]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Embed {
    /// Texts; without one, or with -, the lines of standard input
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct Rerank {
    /// Query to score the texts against
    query: String,
    /// Texts; without one, or with -, the lines of standard input
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// Model to use [default: chosen by the node]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Classify {
    /// Text; without one, or with -, standard input
    text: Option<String>,
    /// Label to choose from; can be repeated, or several with commas [default: the labels of the model]
    #[arg(long = "label", value_name = "LABEL", value_delimiter = ',')]
    labels: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// Prompt; - reads standard input. Without one, a terminal starts a conversation
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    /// Instructions for the model, before the prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Continue the prompt instead of answering it, for models without a chat format
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// Maximum number of tokens to produce [default: 256]
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// Sampling temperature; 0 always takes the most likely token [default: 1]
    #[arg(long, value_name = "0..2")]
    temperature: Option<f64>,
    /// Random seed; the same seed, model and prompt give the same text
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Stop at this text; can be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn embed(home: &Home, arguments: Embed) -> Result<(), Failure> {
    let Embed { texts, common } = arguments;
    let texts = InputBody::Texts(texts_or_stdin(texts)?);
    let task = NewTask { input: Some(texts), ..task(TaskKind::Embedding, &common) };
    let (bytes, result) = answered(&Client::connect(home)?, task, &common).await?;
    show(&bytes, &result, &common)
}

pub(super) async fn rerank(home: &Home, arguments: Rerank) -> Result<(), Failure> {
    let Rerank { query, texts, model, format } = arguments;
    let texts = texts_or_stdin(texts)?;
    // The route uses a model for embeddings if there is none for rerankings.
    let request = json!({ "query": query, "documents": texts, "model": model });
    let ranking: Value = Client::connect(home)?.post("/v1/rerank", &request).await?.read()?;
    if format.json {
        return output::json(&ranking);
    }
    let Ranking { mut results } = Ranking::deserialize(&ranking).map_err(|error| {
        Failure::new("this version cannot read the ranking from the node")
            .id("answer_unreadable")
            .because(Some(&error))
    })?;
    results.sort_by(|one, other| other.relevance_score.total_cmp(&one.relevance_score));
    results.iter().try_for_each(|ranked| {
        scored(ranked.relevance_score, texts.get(ranked.index).map_or("", String::as_str))
    })
}

/// The part of the response to a reranking that is shown.
#[derive(Deserialize)]
struct Ranking {
    results: Vec<Ranked>,
}

#[derive(Deserialize)]
struct Ranked {
    index: usize,
    relevance_score: f32,
}

pub(super) async fn classify(home: &Home, arguments: Classify) -> Result<(), Failure> {
    let Classify { text, labels, common } = arguments;
    let text = text_or_stdin(text.into_iter().collect())?;
    let labels = (!labels.is_empty()).then_some(labels);
    let input = Some(InputBody::Text(text));
    let task = NewTask { labels, input, ..task(TaskKind::Classification, &common) };
    let (bytes, result) = answered(&Client::connect(home)?, task, &common).await?;
    match &result.output {
        Some(OutputBody::Classification { scores, .. }) if !common.format.json && !output::is_quiet() => {
            scores.iter().try_for_each(|it| scored(it.score, &it.label))
        }
        Some(_) | None => show(&bytes, &result, &common),
    }
}

pub(super) async fn run(home: &Home, arguments: Run) -> Result<(), Failure> {
    let Run { prompt, system, raw, max_tokens, temperature, seed, stop, mut common } = arguments;
    common.timeout = common.timeout.or(Some(RUN_TIMEOUT_SECONDS));
    let is_chat = prompt.is_empty() && !raw && !common.format.json && terminal::is_screen();
    let prompt = if is_chat { String::new() } else { text_or_stdin(prompt)? };
    let stop = (!stop.is_empty()).then_some(OneOrMany::Many(stop));
    let mut task = NewTask { max_tokens, temperature, seed, stop, ..task(TaskKind::Generation, &common) };
    let client = Client::connect(home)?;
    let system = system.map(|content| ChatMessage { role: ChatRole::System, content });
    if is_chat {
        let first = NewTask { messages: Some(system.into_iter().collect()), ..task };
        return chat::converse(&client, first).await;
    }
    if raw {
        task.input = Some(InputBody::Text(prompt));
    } else {
        let messages = system.into_iter().chain([ChatMessage { role: ChatRole::User, content: prompt }]);
        task.messages = Some(messages.collect());
    }
    if common.format.json {
        let (bytes, result) = answered(&client, task, &common).await?;
        return show(&bytes, &result, &common);
    }
    let id = submit::submit(&client, &submit::checked(task)?).await?;
    let mut printed = unless_interrupted(&client, id, text_stream::print(&client, id)).await?;
    let (_, result) = result::fetch(&client, id).await?;
    if printed.end(&result)?.is_some() {
        return Ok(());
    }
    let failure = answer::failure(&result);
    let is_base = failure.message().contains("chat template");
    Err(if is_base { failure.hint("add --raw to continue the prompt as a text") } else { failure })
}

fn task(kind: TaskKind, common: &Common) -> NewTask {
    NewTask {
        input: None,
        model: common.model.clone(),
        timeout_seconds: common.timeout,
        ..NewTask::from_text(kind, String::new())
    }
}

/// Submits a task and returns its result once it has ended.
async fn answered(client: &Client, task: NewTask, common: &Common) -> Result<(Bytes, ResultBody), Failure> {
    let id = submit::submit(client, &submit::checked(task)?).await?;
    unless_interrupted(client, id, submit::ended(client, id)).await?;
    let (bytes, result) = result::fetch(client, id).await?;
    if result.status == TaskStatus::Completed || common.format.json {
        Ok((bytes, result))
    } else {
        Err(answer::failure(&result))
    }
}

/// Waits for a task. Ctrl-C cancels it, because nobody would read its answer.
async fn unless_interrupted<T>(
    client: &Client,
    id: TaskId,
    waiting: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        waited = waiting => waited,
        _ = tokio::signal::ctrl_c() => {
            // The task may have ended in this moment.
            let _ = client.delete(&format!("/api/v1/tasks/{id}")).await;
            output::write_error(b"\ninterrupted: the task is cancelled\n")?;
            Err(Failure::interrupted())
        }
    }
}

fn show(bytes: &[u8], result: &ResultBody, common: &Common) -> Result<(), Failure> {
    if !common.format.json {
        return answer::print(result);
    }
    result::show(bytes, result, true)
}

fn scored(score: f32, text: &str) -> Result<(), Failure> {
    output::line(&format!("{score:.3}  {}", terminal::sanitize_line(text)))
}

/// Returns the given texts, or the lines of standard input.
fn texts_or_stdin(texts: Vec<String>) -> Result<Vec<String>, Failure> {
    if !is_stdin(&texts) {
        return Ok(texts);
    }
    let text = submit::read_text(io::stdin().lock(), "standard input")?;
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if lines.is_empty() { Err(nothing_to_read()) } else { Ok(lines) }
}

/// Returns the given words as one text, or all of standard input.
fn text_or_stdin(words: Vec<String>) -> Result<String, Failure> {
    if !is_stdin(&words) {
        return Ok(words.join(" "));
    }
    let text = submit::read_text(io::stdin().lock(), "standard input")?;
    if text.trim().is_empty() { Err(nothing_to_read()) } else { Ok(text) }
}

fn is_stdin(words: &[String]) -> bool {
    words.is_empty() || *words == ["-"]
}

fn nothing_to_read() -> Failure {
    Failure::new("there is no text: neither an argument nor standard input has one")
        .id("input_empty")
        .hint("give it in quotes, or in a pipe: p2p-ai-agents embed <texts.txt")
}

/// Longer than that of other tasks, because a text takes its time on a small machine.
const RUN_TIMEOUT_SECONDS: u64 = 300;
