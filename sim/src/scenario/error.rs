//! What can be wrong with a scenario file, said so that its author can put it right.

use crate::executor::Refusal;
use core::fmt;
use std::io;

/// A scenario file that cannot be used: which, where in it, and why.
#[derive(Debug, thiserror::Error)]
pub struct ScenarioError {
    /// The file, as the user wrote it.
    pub path: String,
    /// The line, from 1; `None` where it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

impl ScenarioError {
    pub(crate) fn of_file(path: &str, problem: Problem) -> Self {
        Self { path: path.to_owned(), line: None, problem }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.problem),
            None => write!(f, "{}: {}", self.path, self.problem),
        }
    }
}

/// What is wrong with a scenario file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Larger than allowed.
    #[error("the file is larger than the {limit} bytes allowed")]
    FileTooLarge {
        /// The most bytes.
        limit: u64,
    },
    /// Two values that cannot both be.
    #[error("{0}")]
    Inconsistent(String),
    /// Not text.
    #[error("the file is not UTF-8 text")]
    NotUtf8,
    /// A number outside its range.
    #[error("`{key}` is {value}, but must be {allowed}")]
    OutOfRange {
        /// Which.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// The executor cannot model it.
    #[error(transparent)]
    Refused(Refusal),
    /// Not TOML, or a value of the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A name that means nothing here.
    #[error("unknown {what} `{name}`{}", did_you_mean(.nearest.as_deref()))]
    Unknown {
        /// What the name should name.
        what: &'static str,
        /// The name.
        name: String,
        /// The known name that is most like it.
        nearest: Option<String>,
    },
    /// Cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(#[source] io::Error),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Returns the candidate most like `name`, unless none is at all like it.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // A name is user input of up to a mebibyte, and comparing is quadratic.
    if name.len() > 64 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.to_owned())
}
