//! What a user is told when a command fails: what, why, what to do about it, and a name to look it up by.

mod catalogue;

pub(crate) use catalogue::{ENTRIES, Entry};

use crate::terminal;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// A command's end without success.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    message: String,
    /// The place in a file that it is about, drawn below the message.
    snippet: Option<String>,
    causes: Vec<String>,
    hint: Option<String>,
    /// Its name in the catalogue; empty where nothing is said.
    id: Box<str>,
    /// A failure whose explanation stands on the terminal already.
    silent: bool,
}

/// A failure on its way to a name: nothing else can be done with it, so that no failure goes without.
#[derive(Debug)]
#[must_use]
pub(crate) struct UnidentifiedFailure(Failure);

impl UnidentifiedFailure {
    /// Names it as the catalogue does.
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

    /// Describes an error by itself and everything that caused it.
    pub(crate) fn from_error(error: &dyn Error) -> UnidentifiedFailure {
        UnidentifiedFailure(Self::new(error.to_string()).0.because(error.source()))
    }

    /// A failure about which everything has been said.
    pub(crate) fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns what failed.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn because(mut self, mut cause: Option<&dyn Error>) -> Self {
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors say themselves what their cause says.
            let said = self.causes.last().unwrap_or(&self.message);
            if !said.ends_with(&text) {
                self.causes.push(text);
            }
            cause = error.source();
        }
        self
    }

    /// Draws the place in a file that it is about.
    pub(crate) fn snippet(mut self, snippet: String) -> Self {
        self.snippet = Some(snippet);
        self
    }

    /// Says where it went wrong.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Tells the user, and returns the exit status of a failure.
    pub(crate) fn report(self) -> ExitCode {
        // Nobody can be told that standard error does not work.
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
            // Writing to a string does not fail.
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
