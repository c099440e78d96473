//! `task submit`: submits one task, or a file of tasks.

mod bulk;

use super::wait_notice::WaitNotice;
use super::{answer, result, text_stream};
use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use crate::{progress, terminal};
use api::{InputBody, InvalidTask, Models, NewTask, OneOrMany, Submitted, Task};
use clap::{Args, ValueEnum};
use engine::TaskId;
use engine::task::{TaskKind, TaskStatus};
use indicatif::ProgressBar;
use runtime::home::Home;
use runtime::text::without_mark;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Text to process; - reads standard input
    #[arg(long, required_unless_present = "file", conflicts_with = "file", value_name = "TEXT")]
    pub(crate) input: Option<String>,
    /// Type of the task
    #[arg(long = "type", value_enum, required_unless_present = "file", value_name = "TYPE")]
    pub(crate) kind: Option<Kind>,
    /// Submit one task per line of this JSON Lines file, or of a .txt file of texts; - reads standard input
    ///
    /// Each line is a JSON object with input and type. It can set the options below, such as model, timeout_seconds,
    /// labels and max_tokens; what a line sets comes before the options. A generation can have messages instead of
    /// input. A custom_id of a line is repeated in its result.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Each line of the file is a text, not JSON; for standard input, or a file with another ending than .txt
    #[arg(long, requires = "file")]
    pub(crate) plain: bool,
    /// Wait for all tasks of the file and write their results to this JSON Lines file, in the order of the lines; skip tasks completed in it
    #[arg(long, requires = "file", conflicts_with_all = ["input", "wait"], value_name = "JSONL")]
    pub(crate) output: Option<PathBuf>,
    /// Model to use [default: chosen by the node]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Time the task out after this many seconds [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Reject a text with more tokens than the model accepts, instead of truncating it
    #[arg(long)]
    pub(crate) no_truncate: bool,
    /// Generation only: maximum number of tokens to produce
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u32>,
    /// Generation only: sampling temperature; 0 always takes the most likely token [default: 1]
    #[arg(long, value_name = "0..2")]
    pub(crate) temperature: Option<f64>,
    /// Generation only: sample from the most likely tokens with this total probability [default: 1]
    #[arg(long, value_name = "0..1")]
    pub(crate) top_p: Option<f64>,
    /// Generation only: sample from this many of the most likely tokens [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) top_k: Option<u32>,
    /// Generation only: random seed; the same seed, model and input give the same text
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Generation only: stop at this text; can be repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// Classification only: label to choose from; can be repeated [default: the labels of the model]
    #[arg(long = "label", value_name = "TEXT")]
    pub(crate) labels: Vec<String>,
    /// Reranking only: query to score the texts against; the input has one text per line
    #[arg(long, value_name = "TEXT")]
    pub(crate) query: Option<String>,
    /// Wait for the result and print it
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Turn a text into a vector
    Embedding,
    /// Score labels for a text
    Classification,
    /// Generate text from a prompt
    Generation,
    /// Score texts, one per line, against a query
    Reranking,
}

pub(super) async fn run(home: &Home, arguments: Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if arguments.file.is_some() && is_plain(&arguments) {
        // Plain texts have no type of their own: without one, the same is wrong with each line.
        kind(&arguments)?;
    }
    match (&arguments.file, &arguments.output) {
        (Some(path), Some(output)) => bulk::run(home, path, output, &arguments).await,
        (Some(path), None) => submit_file(&client, path, &arguments).await,
        (None, _) => {
            let task = one_task(&arguments)?;
            let id = submit(&client, &task).await?;
            finish(&client, id, &arguments).await
        }
    }
}

fn one_task(arguments: &Arguments) -> Result<NewTask, Failure> {
    let input = match arguments.input.as_deref() {
        Some("-") => read_text(io::stdin().lock(), "standard input")?,
        Some(text) => text.to_owned(),
        None => String::new(),
    };
    let task = text_task(kind(arguments)?.into(), input);
    checked(with_options(task, arguments))
}

fn kind(arguments: &Arguments) -> Result<Kind, Failure> {
    arguments.kind.ok_or_else(|| {
        Failure::new("the task needs a --type")
            .id("task_type_missing")
            .hint("add --type embedding, classification, generation or reranking")
    })
}

/// Returns a task with a text. A reranking takes the lines of the text.
fn text_task(kind: TaskKind, text: String) -> NewTask {
    let mut task = NewTask::from_text(kind, text);
    if let (TaskKind::Reranking, Some(InputBody::Text(lines))) = (task.kind, &task.input) {
        let texts = lines.lines().filter(|line| !line.trim().is_empty());
        task.input = Some(InputBody::Texts(texts.map(str::to_owned).collect()));
    }
    task
}

/// Checks what belongs together. The node would report the same in the terms of its API.
pub(in crate::commands) fn checked(task: NewTask) -> Result<NewTask, Failure> {
    task.clone().spec().map_err(|InvalidTask(why)| {
        Failure::new(why)
            .id("task_malformed")
            .hint("p2p-ai-agents task submit --help shows the options of each type")
    })?;
    Ok(task)
}

/// Fills the unset fields of a task from the command line. In a file, an option applies only to the tasks of its
/// type; for a single task the node rejects a wrong option.
fn with_options(mut task: NewTask, arguments: &Arguments) -> NewTask {
    let given = |texts: &Vec<String>| (!texts.is_empty()).then(|| texts.clone());
    let takes = |kind| arguments.file.is_none() || task.kind == kind;
    let (labels, generation) = (takes(TaskKind::Classification), takes(TaskKind::Generation));
    let query = takes(TaskKind::Reranking);
    task.model = task.model.or_else(|| arguments.model.clone());
    task.timeout_seconds = task.timeout_seconds.or(arguments.timeout);
    // A prompt that is too long is rejected in any case.
    task.truncate = task.truncate.or_else(|| arguments.no_truncate.then_some(false));
    if labels {
        task.labels = task.labels.or_else(|| given(&arguments.labels));
    }
    if query {
        task.query = task.query.or_else(|| arguments.query.clone());
    }
    if generation {
        task.max_tokens = task.max_tokens.or(arguments.max_tokens);
        task.temperature = task.temperature.or(arguments.temperature);
        task.top_p = task.top_p.or(arguments.top_p);
        task.top_k = task.top_k.or(arguments.top_k);
        task.seed = task.seed.or(arguments.seed);
        task.stop = task.stop.or_else(|| given(&arguments.stop).map(OneOrMany::Many));
    }
    task
}

/// Submits the lines of a file, several in parallel, and reports in the order of the lines. A rejected line does
/// not stop the others.
async fn submit_file(client: &Client, path: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let cannot_read = |error: &io::Error| {
        Failure::new(format!("cannot read {}", path.display()))
            .id("input_unreadable")
            .because(Some(error))
            .hint("check its path and permissions; - reads standard input")
    };
    let mut lines = open(path).map_err(|error| cannot_read(&error))?;
    let mut under_way: VecDeque<JoinHandle<Result<TaskId, Failure>>> = VecDeque::new();
    let (mut number, mut failed, mut accepted, mut at_end) = (0_u64, 0_u64, Vec::new(), false);
    while !at_end || !under_way.is_empty() {
        if !at_end && under_way.len() < SUBMISSIONS_MAX {
            let mut line = Vec::new();
            let length = lines.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
            if length.map_err(|error| cannot_read(&error))? == 0 {
                at_end = true;
                continue;
            }
            number += 1;
            let at = |failure: Failure| failure.at(&format!("{} line {number}", path.display()));
            if line.len() as u64 > LINE_BYTES_MAX {
                return Err(at(Failure::new(format!("the line has more than {LINE_BYTES_MAX} bytes"))
                    .id("input_exceeds_max_length")));
            }
            match file_task(&line, arguments) {
                Ok(None) => {}
                Ok(Some(FileTask { task, .. })) => {
                    let (client, place) = (client.clone(), format!("{} line {number}", path.display()));
                    under_way.push_back(tokio::spawn(async move {
                        submit(&client, &task).await.map_err(|failure| failure.at(&place))
                    }));
                }
                Err(failure) => {
                    failed += 1;
                    at(failure).report();
                }
            }
        } else if let Some(first) = under_way.pop_front() {
            match first.await.map_err(|error| Failure::from_error(&error).id("internal_error"))? {
                Ok(id) => {
                    accepted.push(id);
                    announce(id, arguments)?;
                }
                Err(failure) => {
                    failed += 1;
                    failure.report();
                }
            }
        }
    }
    if arguments.wait {
        for (number, id) in accepted.into_iter().enumerate() {
            if number > 0 && !arguments.format.json && !output::is_quiet() {
                output::line("")?;
            }
            match await_result(client, id, arguments).await {
                Ok(()) => {}
                Err(failure) if failure.is_interruption() => return Err(failure),
                Err(failure) => {
                    failed += 1;
                    failure.report();
                }
            }
        }
    }
    if failed > 0 { Err(Failure::silent()) } else { Ok(()) }
}

/// Opens a file of tasks; `-` is standard input.
fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(Box::new(BufReader::new(file)))
}

/// A task of a file.
struct FileTask {
    task: NewTask,
    /// What the caller calls the line: a text or a number.
    custom_id: Option<Value>,
}

/// Parses one line and fills its unset fields from the command line; `None` if it is blank.
fn file_task(line: &[u8], arguments: &Arguments) -> Result<Option<FileTask>, Failure> {
    let line = without_mark(line);
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    if is_plain(arguments) {
        let text = String::from_utf8(line.trim_ascii().to_owned()).map_err(|error| {
            Failure::new("the line is not UTF-8 text").id("input_not_utf8").because(Some(&error))
        })?;
        let task = with_options(text_task(kind(arguments)?.into(), text), arguments);
        return Ok(Some(FileTask { task, custom_id: None }));
    }
    let malformed = |error: &dyn std::error::Error| {
        Failure::new("not a task")
            .id("line_malformed")
            .because(Some(error))
            .hint(r#"write lines such as {"type": "embedding", "input": "some text"}, or add --plain if each line is a text"#)
    };
    let mut value: Value = serde_json::from_slice(line).map_err(|error| malformed(&error))?;
    let mut custom_id = None;
    if let Some(fields) = value.as_object_mut() {
        custom_id = fields.remove("custom_id");
        if let Some(kind) = arguments.kind {
            let kind = TaskKind::from(kind).to_string();
            fields.entry("type").or_insert_with(|| kind.into());
        }
    }
    if custom_id.as_ref().is_some_and(|id| !id.is_string() && !id.is_number()) {
        return Err(Failure::new("the custom_id is neither a text nor a number")
            .id("line_malformed")
            .hint(r#"write lines such as {"custom_id": "one", "type": "embedding", "input": "some text"}"#));
    }
    let task: NewTask = serde_json::from_value(value).map_err(|error| malformed(&error))?;
    Ok(Some(FileTask { task: with_options(task, arguments), custom_id }))
}

/// Returns whether each line of the file is a text.
fn is_plain(arguments: &Arguments) -> bool {
    let has_texts = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "txt");
    arguments.plain || arguments.file.as_ref().is_some_and(has_texts)
}

/// Submits a task. Retries after the given delay if the queue is full, and polls while the node fetches the model.
pub(in crate::commands) async fn submit(client: &Client, task: &NewTask) -> Result<TaskId, Failure> {
    let (begun, mut bar) = (Instant::now(), None);
    loop {
        let reply = client.post("/api/v1/tasks", task).await?;
        if reply.is_pulling() {
            report_pull(client, task.model.as_deref().unwrap_or_default(), &mut bar).await?;
            tokio::time::sleep(PULL_POLL_INTERVAL).await;
            continue;
        }
        if let Some(bar) = bar.take() {
            bar.finish_and_clear();
        }
        match reply.retry_after() {
            Some(pause) if begun.elapsed() + pause < RETRY_TIMEOUT => tokio::time::sleep(pause).await,
            Some(_) | None => return Ok(reply.read::<Submitted>()?.id),
        }
    }
}

/// Reports once that a model is being fetched, with a progress bar on a terminal.
async fn report_pull(client: &Client, model: &str, bar: &mut Option<ProgressBar>) -> Result<(), Failure> {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    if !REPORTED.swap(true, Ordering::Relaxed) {
        let text = format!("fetching the model {model}; the task is submitted afterwards");
        output::write_error(format!("{}\n", terminal::sanitize_line(&text)).as_bytes())?;
        *bar = Some(progress::bytes());
    }
    let Some(bar) = bar else { return Ok(()) };
    let models: Models = client.get("/api/v1/models").await?;
    if let Some(pull) = models.pulls.get(model) {
        bar.set_length(pull.bytes_total);
        bar.set_position(pull.bytes_done);
    }
    Ok(())
}

impl From<Kind> for TaskKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classification => Self::Classification,
            Kind::Embedding => Self::Embedding,
            Kind::Generation => Self::Generation,
            Kind::Reranking => Self::Reranking,
        }
    }
}

async fn finish(client: &Client, id: TaskId, arguments: &Arguments) -> Result<(), Failure> {
    announce(id, arguments)?;
    if arguments.wait { await_result(client, id, arguments).await } else { Ok(()) }
}

fn announce(id: TaskId, arguments: &Arguments) -> Result<(), Failure> {
    match (arguments.format.json, arguments.wait) {
        (true, true) => Ok(()),
        (true, false) => output::json(&serde_json::json!({ "id": id })),
        // Quiet means the result alone.
        (false, true) if output::is_quiet() => Ok(()),
        (false, false) if output::is_quiet() => output::line(&id.to_string()),
        (false, _) => output::line(&format!("Task submitted (id: {id})")),
    }
}

/// Waits for a task and prints its result; the text of a generation while it is produced.
async fn await_result(client: &Client, id: TaskId, arguments: &Arguments) -> Result<(), Failure> {
    let waiting = async {
        // The texts of several tasks would be mixed up with their results.
        if arguments.file.is_none() && arguments.kind == Some(Kind::Generation) && !arguments.format.json {
            text_stream::print(client, id).await.map(Some)
        } else {
            ended(client, id).await.map(|()| None)
        }
    };
    let printed = tokio::select! {
        waited = waiting => waited?,
        _ = tokio::signal::ctrl_c() => {
            let text = format!(
                "\ninterrupted: the task goes on (id: {id})\n\
                 hint: p2p-ai-agents task watch {id} follows it, p2p-ai-agents task cancel {id} ends it\n"
            );
            output::write_error(text.as_bytes())?;
            return Err(Failure::interrupted());
        }
    };
    let (bytes, result) = result::fetch(client, id).await?;
    let Some(mut printed) = printed else { return result::show(&bytes, &result, arguments.format.json) };
    printed.end(&result)?;
    if output::is_quiet() {
        return if result.output.is_some() { Ok(()) } else { Err(answer::failure(&result)) };
    }
    output::line("")?;
    result::print(&result, false)?;
    if result.status == TaskStatus::Completed { Ok(()) } else { Err(Failure::silent()) }
}

/// Waits until a task ends. If that takes more than a moment, says what it waits for, once for each reason.
pub(in crate::commands) async fn ended(client: &Client, id: TaskId) -> Result<(), Failure> {
    let mut notice = WaitNotice::default();
    ended_with(client, id, |task| notice.take(task)).await
}

/// Waits for the end of a task, and calls `notice` while it waits.
async fn ended_with(
    client: &Client,
    id: TaskId,
    mut notice: impl FnMut(&Task) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut wait = FIRST_POLL;
    // Every task ends, because it has a timeout.
    loop {
        let task = client.await_task(id, wait).await?;
        if task.status.is_terminal() {
            return Ok(());
        }
        notice(&task)?;
        // A queued task may start, or wait for something else.
        wait = if task.status == TaskStatus::Queued { QUEUED_POLL } else { LONG_POLL };
    }
}

/// Reads a text that is not too long for a task.
pub(in crate::commands) fn read_text(source: impl Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    source.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::new(format!("{name} has more than {INPUT_BYTES_MAX} bytes"))
            .id("input_exceeds_max_length"));
    }
    String::from_utf8(bytes).map_err(|error| {
        Failure::new(format!("{name} is not UTF-8 text")).id("input_not_utf8").because(Some(&error))
    })
}

/// More than a node accepts, so that the limit of the node applies first.
const INPUT_BYTES_MAX: u64 = 1 << 20;
const LINE_BYTES_MAX: u64 = 2 << 20;
const SUBMISSIONS_MAX: usize = 16;
/// Poll interval for a model that is being fetched.
const PULL_POLL_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Duration of the first poll for a task. If it has not ended by then, the user is told why.
const FIRST_POLL: Duration = Duration::from_secs(1);
/// Duration of a poll for a task that has not started.
const QUEUED_POLL: Duration = Duration::from_secs(2);
/// Duration of one long poll for a task.
const LONG_POLL: Duration = Duration::from_secs(30);
