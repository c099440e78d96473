//! The report of a failed command: what failed, why, what to do, and an id to look it up.

mod catalogue;

pub(crate) use catalogue::{ENTRIES, Entry};

use crate::terminal;
use api::ErrorDetail;
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

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the failure in the form of the control API.
    pub(crate) fn into_detail(self) -> ErrorDetail {
        let message = std::iter::once(self.message).chain(self.causes).collect::<Vec<_>>().join(": ");
        ErrorDetail { code: self.id.into(), message, hint: self.hint }
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
        let _ = io::stderr().lock().write_all(self.text(terminal::stderr_takes_colour()).as_bytes());
        ExitCode::FAILURE
    }

    fn text(&self, colour: bool) -> String {
        if self.silent {
            return String::new();
        }
        let (red, cyan, plain) = if colour { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error:{plain} {}\n", terminal::sanitize(&self.message));
        if let Some(snippet) = &self.snippet {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", terminal::sanitize(snippet));
        }
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {}", terminal::sanitize(cause));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{cyan}hint:{plain} {}", terminal::sanitize(hint).trim_end());
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
        assert_eq!(failure.text(false), "error: cannot write: the disk is full\n  id: output_failed\n");
        let failure = Failure::new("cannot write").id("output_failed").because(Some(&cause));
        assert!(failure.text(true).starts_with("\x1b[1;31merror:\x1b[0m cannot write"));
    }
}
