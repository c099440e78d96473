//! Completes commands and names of nodes at the prompt.

use super::Line;
use crate::commands::demo::names;
use clap::CommandFactory;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

/// What the prompt completes.
pub(super) struct Completion {
    commands: Vec<String>,
    nodes: Vec<String>,
}

impl Completion {
    /// Creates the completion of a demo with this many nodes.
    pub(super) fn new(nodes: u32) -> Self {
        let line = Line::command();
        let commands = line.get_subcommands().map(|command| command.get_name().to_owned());
        Self {
            commands: commands.chain(["help".to_owned()]).collect(),
            nodes: (0..nodes).map(names::name).collect(),
        }
    }

    /// Returns where the last word of a text starts, and what it may become.
    fn candidates(&self, text: &str) -> (usize, Vec<String>) {
        let start = text.rfind([' ', ',', '=', '|']).map_or(0, |at| at + 1);
        let word = &text[start..];
        let is_first = text[..start].trim().is_empty();
        let known = if is_first { &self.commands } else { &self.nodes };
        let mut found: Vec<String> =
            known.iter().filter(|name| name.starts_with(&word.to_lowercase())).cloned().collect();
        if let ([one], true) = (found.as_mut_slice(), is_first) {
            one.push(' ');
        }
        (start, found)
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(line.get(..position).unwrap_or(line)))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_first_and_names_follow() {
        let completion = Completion::new(3);
        let complete = |text: &str| completion.candidates(text);
        assert_eq!(complete("ki"), (0, vec!["kill ".to_owned()]));
        assert_eq!(complete("  sta"), (2, vec!["status ".to_owned()]));
        assert_eq!(complete("kill AM"), (5, vec!["amber".to_owned()]));
        assert_eq!(complete("partition amber,b"), (16, vec!["birch".to_owned()]));
        assert_eq!(complete("fault kill node=c"), (16, vec!["cedar".to_owned()]));
        assert_eq!(complete("kill ").1, ["amber", "birch", "cedar"]);
        assert_eq!(complete("kill dune"), (5, Vec::new()), "there are only three nodes");
        assert!(complete("").1.contains(&"help".to_owned()));
    }
}
