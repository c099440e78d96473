//! The terminal that a command may write to: what it can show, and which text may reach it.
//!
//! Text that came from elsewhere (a peer, a file, a log) passes [`sanitize`] or [`sanitize_line`], so that no escape
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

/// Tells whether somebody looks at standard output on a terminal that can be drawn on, and has keys.
pub(crate) fn is_screen() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
}

/// Tells whether colour on standard output helps its reader.
pub(crate) fn stdout_takes_colour() -> bool {
    io::stdout().is_terminal() && colour_is_welcome()
}

/// Tells whether colour on standard error helps its reader.
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
