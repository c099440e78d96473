//! The text of a generation on standard output, while it is produced.
//!
//! A worker may die in the middle. Another attempt then starts over: what it says again is not printed twice, and a
//! different text starts on a new line.

use crate::client::Client;
use crate::error::Failure;
use crate::output;
use crate::terminal;
use api::{ErrorBody, Task};
use engine::TaskId;
use serde::Deserialize;
use std::ops::ControlFlow;

/// Prints the text of a generation until it ends, and returns what was printed.
pub(in crate::commands) async fn print(client: &Client, id: TaskId) -> Result<Printed, Failure> {
    let mut printed = Printed::default();
    let mut ended = false;
    while !ended {
        // A stream has a maximum duration. The next one starts with the text so far.
        client
            .events(&format!("/api/v1/tasks/{id}/events"), |name, data| {
                match name {
                    "progress" => {
                        let new = printed.take(&read(data)?);
                        write(&new)?;
                    }
                    "end" => ended = true,
                    "status" => ended = read::<Task>(data)?.status.is_terminal(),
                    "error" => {
                        let ErrorBody { error } = read(data)?;
                        return Err(Failure::new(error.message).id(error.code));
                    }
                    _ => {}
                }
                Ok(if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
            .await?;
    }
    Ok(printed)
}

/// What was printed of a text.
#[derive(Default)]
pub(in crate::commands) struct Printed {
    attempt: u32,
    /// The text of the attempt so far.
    text: String,
    /// The text on the terminal.
    printed: String,
}

/// A part of the text of a task.
#[derive(Deserialize)]
struct Part {
    attempt: u32,
    offset: usize,
    text: String,
}

impl Printed {
    /// Prints the rest of the whole text, and ends the line.
    pub(in crate::commands) fn finish(&mut self, whole: &str) -> Result<(), Failure> {
        whole.clone_into(&mut self.text);
        let new = self.unprinted();
        write(&new)?;
        if self.printed.ends_with('\n') { Ok(()) } else { output::line("") }
    }

    /// Ends the line of an unfinished text.
    pub(in crate::commands) fn abandon(&self) -> Result<(), Failure> {
        if self.printed.is_empty() || self.printed.ends_with('\n') { Ok(()) } else { output::line("") }
    }

    /// Adds a part and returns what to print.
    fn take(&mut self, part: &Part) -> String {
        if part.attempt != self.attempt {
            self.attempt = part.attempt;
            self.text.clear();
        }
        // A part may repeat the end of the one before. One after a gap waits for the whole text.
        let known = self.text.len().checked_sub(part.offset);
        let Some(more) = known.and_then(|known| part.text.get(known..)) else { return String::new() };
        self.text.push_str(more);
        self.unprinted()
    }

    fn unprinted(&mut self) -> String {
        if self.printed.starts_with(&self.text) {
            return String::new();
        }
        let new = match self.text.strip_prefix(&self.printed) {
            Some(more) => more.to_owned(),
            None => format!("\n{}", self.text),
        };
        self.text.clone_into(&mut self.printed);
        new
    }
}

fn write(text: &str) -> Result<(), Failure> {
    if text.is_empty() { Ok(()) } else { output::write(terminal::for_stdout(text).as_bytes()) }
}

fn read<'d, T: Deserialize<'d>>(data: &'d str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|error| {
        Failure::new("this version cannot read the event from the node")
            .id("answer_unreadable")
            .because(Some(&error))
    })
}

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
        assert_eq!(printed.text, "there");
    }
}
