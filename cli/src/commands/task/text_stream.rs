//! The text of a generation on standard output, while it is produced.
//!
//! A worker may die in the middle. Another attempt then starts over: what it says again is not printed twice, and a
//! different text starts on a new line.

use super::wait_notice::WaitNotice;
use crate::client::Client;
use crate::error::Failure;
use crate::output;
use crate::terminal;
use api::{ErrorBody, OutputBody, ResultBody, Task};
use engine::TaskId;
use serde::Deserialize;
use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

/// Prints the text of a generation until it ends, and returns what was printed. Until the text begins, says what the
/// task waits for.
pub(in crate::commands) async fn print(client: &Client, id: TaskId) -> Result<Printed, Failure> {
    let begun = Cell::new(false);
    tokio::select! {
        printed = follow(client, id, &begun) => printed,
        failure = report_waits(client, id, &begun) => Err(failure),
    }
}

async fn follow(client: &Client, id: TaskId, begun: &Cell<bool>) -> Result<Printed, Failure> {
    let mut printed = Printed::default();
    let mut ended = false;
    while !ended {
        // A stream has a maximum duration. The next one starts with the text so far.
        client
            .events(&events_path(id), |name, data| {
                match name {
                    "progress" => {
                        let new = printed.take(&read(data)?);
                        begun.set(begun.get() || !new.is_empty());
                        write(&new)?;
                    }
                    "end" => ended = true,
                    "status" => ended = read::<Task>(data)?.status.is_terminal(),
                    "error" => return Err(failure(data)),
                    _ => {}
                }
                Ok(if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
            .await?;
    }
    Ok(printed)
}

/// Says what the task waits for until its text has begun. Returns only if it cannot print.
async fn report_waits(client: &Client, id: TaskId, begun: &Cell<bool>) -> Failure {
    let mut notice = WaitNotice::default();
    loop {
        tokio::time::sleep(NOTICE_INTERVAL).await;
        // If the node does not answer, the stream fails too, with the better reason.
        let task = if begun.get() { None } else { client.await_task(id, Duration::ZERO).await.ok() };
        match task.filter(|task| !begun.get() && !task.status.is_terminal()) {
            Some(task) => {
                if let Err(failure) = notice.take(&task) {
                    return failure;
                }
            }
            None => return std::future::pending().await,
        }
    }
}

/// Returns the path of the events of a task.
pub(super) fn events_path(id: TaskId) -> String {
    format!("/api/v1/tasks/{id}/events")
}

/// Reads the data of an event.
pub(super) fn read<'d, T: Deserialize<'d>>(data: &'d str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|error| {
        Failure::new("this version cannot read the event from the node")
            .id("answer_unreadable")
            .because(Some(&error))
    })
}

/// Returns the failure that an `error` event reports.
pub(super) fn failure(data: &str) -> Failure {
    match read::<ErrorBody>(data) {
        Ok(ErrorBody { error }) => Failure::new(error.message).id(error.code),
        Err(failure) => failure,
    }
}

/// A part of the text of a task.
#[derive(Deserialize)]
pub(super) struct Part {
    attempt: u32,
    offset: usize,
    text: String,
}

/// The text of the current attempt.
#[derive(Default)]
pub(super) struct Text {
    attempt: u32,
    text: String,
}

impl Text {
    /// Adds a part and returns what is new of it. A new attempt starts over. A part after a gap has nothing new.
    pub(super) fn more(&mut self, part: &Part) -> Option<String> {
        if part.attempt != self.attempt {
            self.attempt = part.attempt;
            self.text.clear();
        }
        // A part may repeat the end of the one before.
        let known = self.text.len().checked_sub(part.offset)?;
        let more = part.text.get(known..).filter(|more| !more.is_empty())?.to_owned();
        self.text.push_str(&more);
        Some(more)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// What was printed of a text.
#[derive(Default)]
pub(in crate::commands) struct Printed {
    text: Text,
    /// The text on the terminal.
    printed: String,
}

impl Printed {
    /// Prints the rest of the text of a result and ends the line. Returns the text; `None` if the result has none.
    pub(in crate::commands) fn end<'r>(
        &mut self,
        result: &'r ResultBody,
    ) -> Result<Option<&'r str>, Failure> {
        let text = match &result.output {
            Some(OutputBody::Generation { text, .. }) => Some(text.as_str()),
            Some(_) | None => None,
        };
        if let Some(text) = text {
            write(&unprinted(&mut self.printed, text))?;
        }
        let is_ended = self.printed.ends_with('\n') || (text.is_none() && self.printed.is_empty());
        if !is_ended {
            output::line("")?;
        }
        Ok(text)
    }

    /// Adds a part and returns what to print.
    fn take(&mut self, part: &Part) -> String {
        match self.text.more(part) {
            Some(_) => unprinted(&mut self.printed, self.text.as_str()),
            None => String::new(),
        }
    }
}

/// Returns what to print so that `text` is on the terminal, where `printed` is.
fn unprinted(printed: &mut String, text: &str) -> String {
    if printed.starts_with(text) {
        return String::new();
    }
    let new = match text.strip_prefix(printed.as_str()) {
        Some(more) => more.to_owned(),
        None => format!("\n{text}"),
    };
    text.clone_into(printed);
    new
}

fn write(text: &str) -> Result<(), Failure> {
    if text.is_empty() { Ok(()) } else { output::write(terminal::for_stdout(text).as_bytes()) }
}

/// Time between two looks at a task whose text has not begun.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_printed_once_and_another_one_on_a_new_line() {
        let mut printed = Printed::default();
        let mut take =
            |attempt, offset, text: &str| printed.take(&Part { attempt, offset, text: text.to_owned() });
        assert_eq!(take(1, 0, "once"), "once");
        assert_eq!(take(1, 2, "ce upon"), " upon");
        assert_eq!(take(1, 99, "gap"), "");
        assert_eq!(take(2, 0, "once"), "", "the next attempt says the same");
        assert_eq!(take(2, 4, " upon a time"), " a time");
        assert_eq!(take(3, 0, "there"), "\nthere", "the next attempt says something else");
        assert_eq!(printed.printed, "there");
    }

    #[test]
    fn only_the_new_end_of_a_part_counts() {
        let mut text = Text::default();
        let mut more =
            |attempt, offset, part: &str| text.more(&Part { attempt, offset, text: part.to_owned() });
        assert_eq!(more(1, 0, "once"), Some("once".to_owned()));
        assert_eq!(more(1, 4, " upon"), Some(" upon".to_owned()));
        assert_eq!(more(1, 0, "once upon a"), Some(" a".to_owned()), "a new stream tells it all again");
        assert_eq!(more(1, 2, "ce"), None);
        assert_eq!(more(1, 99, "gap"), None);
        assert_eq!(more(2, 0, "there"), Some("there".to_owned()), "another attempt begins anew");
    }
}
