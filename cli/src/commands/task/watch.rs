//! `task watch ID`: prints every change of a task until it ends, the text of a generation as it is produced, and
//! the result.

use super::text_stream::{self, Part, Text, events_path, read};
use super::{answer, id, result};
use crate::client::Client;
use crate::commands::node_names::named;
use crate::error::Failure;
use crate::output::{self, Format};
use crate::terminal;
use api::{OutputBody, Task};
use engine::TaskId;
use engine::task::TaskStatus;
use runtime::home::Home;
use serde_json::Value;
use std::ops::ControlFlow;

pub(super) async fn run(home: &Home, id: &str, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let id = id::resolve(&client, id).await?;
    if output::is_quiet() && !format.json {
        return print_answer(&client, id).await;
    }
    let mut watched = Watched { json: format.json, ..Watched::default() };
    let ended = loop {
        // A stream has a maximum duration. The next one starts with the current state.
        client.events(&events_path(id), |name, data| watched.take(name, data)).await?;
        if let Some(ended) = watched.ended {
            break ended;
        }
    };
    if !format.json && ended == TaskStatus::Completed {
        output::line("")?;
        let (_, result) = result::fetch(&client, id).await?;
        // The text is on the terminal already.
        let printed = matches!(&result.output, Some(OutputBody::Generation { text, .. }) if text == watched.text.as_str());
        result::print(&result, !printed)?;
    }
    if ended == TaskStatus::Completed { Ok(()) } else { Err(Failure::silent()) }
}

/// Prints just the answer of a task; a text while it is produced.
async fn print_answer(client: &Client, id: TaskId) -> Result<(), Failure> {
    let mut printed = text_stream::print(client, id).await?;
    let (_, result) = result::fetch(client, id).await?;
    if printed.end(&result)?.is_some() { Ok(()) } else { answer::print(&result) }
}

/// What was printed of a task.
#[derive(Default)]
struct Watched {
    json: bool,
    text: Text,
    /// Whether the current output line is unfinished.
    within_line: bool,
    /// The last printed status.
    last_status: String,
    ended: Option<TaskStatus>,
}

impl Watched {
    fn take(&mut self, name: &str, data: &str) -> Result<ControlFlow<()>, Failure> {
        match name {
            "progress" => {
                let part: Part = read(data)?;
                if let Some(more) = self.text.more(&part) {
                    self.print_text(name, data, &more)?;
                }
            }
            "status" | "end" => self.take_status(name, data)?,
            "error" => return Err(text_stream::failure(data)),
            _ => {}
        }
        Ok(if self.ended.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn take_status(&mut self, name: &str, data: &str) -> Result<(), Failure> {
        let task: Task = read(data)?;
        if task.status.is_terminal() {
            self.ended = Some(task.status);
        }
        let last_status = format!("{:?}", (task.status, task.attempts, task.worker));
        if self.last_status == last_status {
            return Ok(());
        }
        self.last_status = last_status;
        if self.json { line(name, data) } else { self.print_status(&task) }
    }

    fn print_text(&mut self, name: &str, data: &str, more: &str) -> Result<(), Failure> {
        if self.json {
            return line(name, data);
        }
        let more = terminal::sanitize(more);
        // The text of a new attempt starts on a new line.
        let apart = if self.within_line && self.text.as_str().len() == more.len() { "\n" } else { "" };
        self.within_line = true;
        output::write(format!("{apart}{more}").as_bytes())
    }

    fn print_status(&mut self, task: &Task) -> Result<(), Failure> {
        let mut text = format!("{:>8}  {}", output::duration(task.elapsed_ms), task.status);
        if let Some(worker) = task.worker {
            text = format!("{text}  on {}", named(&task.worker_name, worker));
        }
        if task.attempts > 1 {
            text = format!("{text}  (attempt {})", task.attempts);
        }
        let reason = task.result.as_ref().and_then(|result| result::reason(task.status, result));
        if let Some(reason) = reason {
            text = format!("{text}: {reason}");
        }
        let end = if std::mem::take(&mut self.within_line) { "\n" } else { "" };
        output::line(&format!("{end}{}", terminal::sanitize_line(&text)))
    }
}

/// Prints the data of an event as a JSON line, with its name as the field `event`.
fn line(name: &str, data: &str) -> Result<(), Failure> {
    let mut value: Value = read(data)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("event".to_owned(), name.into());
    }
    output::json(&value)
}
