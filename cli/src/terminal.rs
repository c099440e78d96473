//! The terminal: its capabilities, and the filter for text that is written to it.
//!
//! Text from elsewhere (a peer, a file, a log) passes through [`sanitize`] or [`sanitize_line`], so that no escape
//! sequence in it reaches the terminal.

use std::io::{self, IsTerminal};

/// Replaces every control character except line feeds and tabs.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Replaces every control character of a text that goes into one line.
pub(crate) fn sanitize_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Returns a text of several lines for standard output: a terminal gets no control characters, a pipe the exact text.
pub(crate) fn for_stdout(text: &str) -> String {
    if stdout_is_terminal() { sanitize(text) } else { text.to_owned() }
}

/// Returns whether standard input and output are a terminal that supports a full screen.
pub(crate) fn is_screen() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
}

/// Returns whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns how many columns a text takes; wide characters take two.
pub(crate) fn width(text: &str) -> usize {
    ratatui::text::Span::raw(text).width()
}

/// Returns the width of the terminal; 80 where it is not known.
pub(crate) fn columns() -> usize {
    let size = io::stdout().is_terminal().then(|| ratatui::crossterm::terminal::size().ok()).flatten();
    // Some terminals do not know their size and say 0.
    size.map(|(columns, _)| columns.into()).filter(|columns| *columns > 0).unwrap_or(80)
}

/// Returns whether standard output accepts colour.
pub(crate) fn stdout_takes_colour() -> bool {
    io::stdout().is_terminal() && colour_is_welcome()
}

/// Returns whether standard error accepts colour.
pub(crate) fn stderr_takes_colour() -> bool {
    io::stderr().is_terminal() && colour_is_welcome()
}

fn colour_is_welcome() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !set("NO_COLOR") && !dumb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_is_harmless() {
        assert_eq!(sanitize_line("a\u{1b}[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(sanitize("a\r\nb\t"), "a\u{fffd}\nb\t");
    }
}
