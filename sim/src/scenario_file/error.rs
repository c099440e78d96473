//! Errors in scenario files, worded so that an author can fix them.

use crate::executor::Refusal;
use core::fmt;
use core::ops::Range;
use std::io;

/// A scenario file that cannot be used: which file, where in it, and why.
#[derive(Debug, thiserror::Error)]
pub struct ScenarioError {
    /// The file, as the user wrote it.
    pub path: String,
    /// The place in the file; `None` if the error is about the whole file.
    pub place: Option<Box<Place>>,
    /// What is wrong.
    #[source]
    pub problem: Box<Problem>,
}

/// A place in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The width in characters; at least 1.
    pub width: usize,
    /// The text of the line.
    pub text: String,
}

impl ScenarioError {
    pub(crate) fn for_file(path: &str, problem: Problem) -> Self {
        Self { path: path.to_owned(), place: None, problem: Box::new(problem) }
    }

    /// Returns what the author can do about it; `None` if the message says it all.
    pub fn hint(&self) -> Option<String> {
        let Problem::Unknown { what, place, meant, note, known, topic, .. } = &*self.problem else {
            return None;
        };
        let note = note.filter(|_| !meant.is_empty()).map(|note| format!("{note}\n")).unwrap_or_default();
        let list = if known.is_empty() { String::new() } else { format!("valid: {}\n", known.join(", ")) };
        Some(format!("{note}{list}p2p-ai-agents sim explain {topic} describes each {what}{}", within(place)))
    }

    /// Draws the place as compilers do; `None` if the error is about the whole file.
    pub fn picture(&self) -> Option<String> {
        let place = self.place.as_deref()?;
        let Place { line, column, width, text } = place;
        // A line can be as long as the file, so only the surroundings of the place are shown.
        let from = column.saturating_sub(SNIPPET_WIDTH / 2);
        let shown: String = text.chars().skip(from).take(SNIPPET_WIDTH).map(blank).collect();
        let shown = shown.trim_end();
        let before = column - 1 - from;
        let carets = "^".repeat((*width).min(SNIPPET_WIDTH.saturating_sub(before)).max(1));
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        Some(format!(
            "{margin}--> {}:{line}:{column}\n{margin} |\n{number} | {shown}\n{margin} | {}{carets}",
            self.path,
            " ".repeat(before)
        ))
    }
}

impl Place {
    /// Returns the place of a byte range in a text.
    pub(super) fn find(text: &str, range: Range<usize>) -> Self {
        let start = text.floor_char_boundary(range.start);
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[begin..].find('\n').map_or(text.len(), |at| begin + at);
        let covered = &text[start..text.ceil_char_boundary(range.end.max(start)).min(end.max(start))];
        Self {
            line: 1 + text[..begin].matches('\n').count(),
            column: 1 + text[begin..start].chars().count(),
            width: covered.trim_end().chars().count().max(1),
            text: text[begin..end].trim_end().to_owned(),
        }
    }
}

/// Replaces a tab, whose width depends on the terminal, so that the carets stay aligned.
fn blank(c: char) -> char {
    if c == '\t' { ' ' } else { c }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_deref() {
            Some(Place { line, column, .. }) => {
                write!(f, "{}:{line}:{column}: {}", self.path, self.problem)
            }
            None => write!(f, "{}: {}", self.path, self.problem),
        }
    }
}

/// What is wrong with a scenario file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file is too large.
    #[error("the file is larger than the {limit} bytes allowed")]
    FileTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Two values contradict each other.
    #[error("{0}")]
    Inconsistent(String),
    /// The file is not UTF-8.
    #[error("the file is not UTF-8 text")]
    NotUtf8,
    /// A number is outside its range.
    #[error("`{key}` is {value}, but must be {allowed}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// The allowed values.
        allowed: String,
    },
    /// The executor cannot model the scenario.
    #[error(transparent)]
    Refused(Refusal),
    /// The file is not TOML, or a value has the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A name is unknown.
    #[error("unknown {what} `{name}`{}{}", within(.place), did_you_mean(.meant, *.note))]
    Unknown {
        /// What the name should refer to.
        what: &'static str,
        /// The name.
        name: String,
        /// The section whose key it should be; empty for any other name.
        place: &'static str,
        /// The names that the author may mean, the most likely first.
        meant: Vec<&'static str>,
        /// Where else a scenario has what the author may mean.
        note: Option<&'static str>,
        /// All names that are valid there.
        known: Vec<String>,
        /// The word after `sim explain` that describes them.
        topic: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(#[source] io::Error),
}

fn within(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" in {place}") }
}

fn did_you_mean(meant: &[&str], note: Option<&str>) -> String {
    match (meant, note) {
        ([], None) => String::new(),
        ([], Some(note)) => format!("; {note}"),
        (_, _) => format!("; did you mean {}?", names(meant, "or")),
    }
}

/// Lists names in code marks.
pub(super) fn names(names: &[&str], last: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((one, [])) => one.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// The most characters of a line that are shown.
const SNIPPET_WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(text: &str, range: Range<usize>) -> String {
        let place = Some(Box::new(Place::find(text, range)));
        let problem = Box::new(Problem::Syntax("wrong".to_owned()));
        ScenarioError { path: "a.toml".to_owned(), place, problem }.picture().unwrap()
    }

    #[test]
    fn the_place_is_underlined() {
        let text = "nodes = 3\n\tduratoin = \"5s\"\n";
        let expected = " --> a.toml:2:2\n  |\n2 |  duratoin = \"5s\"\n  |  ^^^^^^^^";
        assert_eq!(picture(text, 11..19), expected);
        let expected = " --> a.toml:1:9\n  |\n1 | a = \"é\" b\n  |         ^";
        assert_eq!(picture("a = \"é\" b", 9..10), expected);
    }

    #[test]
    fn a_range_over_several_lines_is_underlined_on_the_first() {
        let text = "[[fault]]\nat = 1\n";
        assert_eq!(picture(text, 0..15), " --> a.toml:1:1\n  |\n1 | [[fault]]\n  | ^^^^^^^^^");
    }

    #[test]
    fn every_place_of_every_text_can_be_drawn() {
        let long = "é".repeat(500);
        for text in ["", "\n", "é\n\nü = 1", "a\r\nb", long.as_str()] {
            for start in 0..=text.len() {
                for end in start..=(start + 9).min(text.len()) {
                    let drawn = picture(text, start..end);
                    assert_eq!(drawn.lines().count(), 4, "{drawn}");
                    let caret = drawn.lines().last().unwrap().chars().count();
                    assert!(caret <= SNIPPET_WIDTH + 10, "{drawn}");
                }
            }
        }
    }
}
