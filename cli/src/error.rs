//! The report of a failed command: what failed, why, what to do, and an id to look it up.

mod catalogue;

pub(crate) use catalogue::{ENTRIES, Entry};

use crate::output;
use crate::{homes, terminal};
use api::ErrorDetail;
use runtime::text::plain_words;
use serde::Serialize;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The failure of a command.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    message: String,
    /// The place in a file that the failure is about, drawn below the message.
    snippet: Option<String>,
    causes: Vec<String>,
    hint: Option<String>,
    /// The id in the catalogue; empty if the failure is silent.
    id: Box<str>,
    /// Whether the failure is reported already.
    silent: bool,
    /// The exit status, if it is not that of every failure.
    exit_status: Option<u8>,
}

/// A failure as `--json` prints it: the error of the API, and the place in a file.
#[derive(Serialize)]
struct JsonFailure {
    error: JsonDetail,
}

#[derive(Serialize)]
struct JsonDetail {
    #[serde(flatten)]
    detail: ErrorDetail,
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<String>,
}

/// A failure without an id. The only thing to do with it is to give it one, so every failure has an id.
#[derive(Debug)]
#[must_use]
pub(crate) struct UnidentifiedFailure(Failure);

impl UnidentifiedFailure {
    /// Sets the id of the failure, as in the catalogue.
    pub(crate) fn id(self, id: impl Into<Box<str>>) -> Failure {
        Failure { id: id.into(), ..self.0 }
    }
}

pub(crate) type Outcome = Result<ExitCode, Failure>;

impl Failure {
    #[allow(clippy::new_ret_no_self, reason = "it becomes one with its name")]
    pub(crate) fn new(message: impl Into<String>) -> UnidentifiedFailure {
        UnidentifiedFailure(Self { message: message.into(), ..Self::default() })
    }

    /// Creates a failure from an error and its chain of causes.
    pub(crate) fn from_error(error: &dyn Error) -> UnidentifiedFailure {
        UnidentifiedFailure(Self::new(error.to_string()).0.because(error.source()))
    }

    /// Creates a failure that is reported already.
    pub(crate) fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    /// Creates the failure of a command that Ctrl-C ended, after its explanation was printed.
    pub(crate) fn interrupted() -> Self {
        Self { exit_status: Some(INTERRUPTED_EXIT_STATUS), ..Self::silent() }
    }

    /// Returns whether Ctrl-C ended the command.
    pub(crate) fn is_interruption(&self) -> bool {
        self.exit_status == Some(INTERRUPTED_EXIT_STATUS)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks the failure as a mistake in the arguments, which has an exit status of its own.
    pub(crate) fn usage(mut self) -> Self {
        self.exit_status = Some(USAGE_EXIT_STATUS);
        self
    }

    /// Returns the message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the failure in the form of the control API.
    pub(crate) fn into_detail(self) -> ErrorDetail {
        let hint = self.advice();
        let parts = std::iter::once(&self.message).chain(&self.causes).map(|part| plain_words(part));
        ErrorDetail { code: self.id.to_string(), message: parts.collect::<Vec<_>>().join(": "), hint }
    }

    /// Returns the hint, or else what the catalogue says about the id.
    fn advice(&self) -> Option<String> {
        let general = || {
            let entry = ENTRIES.iter().find(|entry| *entry.id == *self.id)?;
            let todo = entry.todo.trim_end_matches('.');
            let (first, rest) = todo.split_at_checked(1)?;
            // A name keeps its capitals.
            let is_word = rest.starts_with(|c: char| c.is_ascii_lowercase() || c == ' ');
            Some(if is_word { format!("{}{rest}", first.to_lowercase()) } else { todo.to_owned() })
        };
        self.hint.clone().or_else(general)
    }

    pub(crate) fn because(mut self, mut cause: Option<&dyn Error>) -> Self {
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause in their own message.
            let said = self.causes.last().unwrap_or(&self.message);
            if !said.ends_with(&text) {
                self.causes.push(text);
            }
            cause = error.source();
        }
        self
    }

    /// Adds a drawing of the place in a file.
    pub(crate) fn snippet(mut self, snippet: String) -> Self {
        self.snippet = Some(snippet);
        self
    }

    /// Puts a place before the message.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Prints the failure on standard error and returns its exit status.
    pub(crate) fn report(self) -> ExitCode {
        // There is nowhere to report that standard error fails.
        let code = self.exit_status.map_or(ExitCode::FAILURE, ExitCode::from);
        let text =
            if output::is_json() { self.into_json() } else { self.text(terminal::stderr_takes_colour()) };
        // There is nowhere to report that standard error fails.
        let _ = io::stderr().lock().write_all(text.as_bytes());
        code
    }

    /// Returns the failure as one line of JSON.
    fn into_json(mut self) -> String {
        if self.silent {
            return String::new();
        }
        let snippet = self.snippet.take();
        let failure = JsonFailure { error: JsonDetail { detail: self.into_detail(), snippet } };
        serde_json::to_string(&failure).map_or_else(|error| error.to_string(), |text| format!("{text}\n"))
    }

    fn text(&self, colour: bool) -> String {
        if self.silent {
            return String::new();
        }
        let (red, cyan, plain) = if colour { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error:{plain} {}\n", terminal::sanitize(&plain_words(&self.message)));
        if let Some(snippet) = &self.snippet {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", terminal::sanitize(snippet));
        }
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {}", terminal::sanitize(&plain_words(cause)));
        }
        if let Some(hint) = self.advice() {
            let hint = homes::in_hint(&hint);
            let _ = writeln!(text, "{cyan}hint:{plain} {}", terminal::sanitize(&hint).trim_end());
        }
        let _ = writeln!(text, "  id: {}", terminal::sanitize_line(&self.id));
        text
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::from_error(&error).id("system_failed")
    }
}

/// 128 plus the number of the signal.
pub(crate) const INTERRUPTED_EXIT_STATUS: u8 = 130;
/// The exit status after a mistake in the arguments.
const USAGE_EXIT_STATUS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let cause = io::Error::other("the disk\u{1b}[31m is full");
        let failure =
            Failure::new("cannot write").id("output_failed").because(Some(&cause)).hint("make room");
        assert_eq!(
            failure.text(false),
            "error: cannot write\n  caused by: the disk\u{fffd}[31m is full\nhint: make room\n  id: output_failed\n"
        );
        let cause = io::Error::other("the disk is full");
        let failure =
            Failure::new("cannot write: the disk is full").id("output_failed").because(Some(&cause));
        let said = failure.text(false);
        assert!(said.starts_with("error: cannot write: the disk is full\nhint: "), "{said}");
        let failure = Failure::new("cannot write").id("output_failed").because(Some(&cause));
        assert!(failure.text(true).starts_with("\x1b[1;31merror:\x1b[0m cannot write"));
    }

    #[test]
    fn programs_get_a_failure_as_the_api_gives_it() {
        let cause = io::Error::from_raw_os_error(2);
        let failure = Failure::new("cannot read x").id("input_unreadable").because(Some(&cause));
        let value: serde_json::Value = serde_json::from_str(&failure.into_json()).unwrap();
        assert_eq!(value["error"]["code"], "input_unreadable");
        assert_eq!(value["error"]["message"], "cannot read x: No such file or directory");
        assert!(value["error"]["hint"].is_string(), "the catalogue gives a hint: {value}");
        assert_eq!(Failure::silent().into_json(), "");
    }

    #[test]
    fn every_failure_has_a_hint() {
        for entry in ENTRIES {
            let said = Failure::new("x").id(entry.id).text(false);
            let hint = said.lines().nth(1).and_then(|line| line.strip_prefix("hint: "));
            assert!(hint.is_some_and(|hint| hint.len() > 8 && !hint.ends_with('.')), "{said}");
        }
    }
}
