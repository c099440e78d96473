//! Functions that print the output of commands. A closed pipe ends the command quietly, as with every tool in a
//! pipe.

mod table;
mod when;

pub(crate) use table::{properties, table, wrapped, wrapped_lines};
pub(crate) use when::{when, when_exactly, zoned};

use crate::error::Failure;
use crate::terminal;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Output format of a command that reads.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Sets whether notices are suppressed.
pub(crate) fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Returns whether notices are suppressed.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Sets whether the command line asks for JSON.
pub(crate) fn set_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// Returns whether the command line asks for JSON. Failures are then JSON, too.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Sets whether tables keep their full width on a terminal.
pub(crate) fn set_wide(wide: bool) {
    WIDE.store(wide, Ordering::Relaxed);
}

/// Returns whether output is shortened to fit a terminal.
pub(crate) fn is_shortened() -> bool {
    terminal::stdout_is_terminal() && !WIDE.load(Ordering::Relaxed)
}

/// Prints sentences, whose lines are wrapped to fit a terminal.
pub(crate) fn prose(text: &str) -> Result<(), Failure> {
    let text = terminal::sanitize(text);
    write(if is_shortened() { wrapped_lines(&text, terminal::columns()) } else { text }.as_bytes())
}

/// Prints a notice of what was done, unless quiet.
pub(crate) fn notice(text: &str) -> Result<(), Failure> {
    if is_quiet() { Ok(()) } else { line(text) }
}

/// Prints what a command has done: the value with `--json`, else the notice.
pub(crate) fn done(notice: &str, value: &serde_json::Value) -> Result<(), Failure> {
    if is_json() { json(value) } else { self::notice(notice) }
}

/// Prints a line on standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Prints a line on standard output unless quiet, and ignores errors: the caller continues without a reader.
pub(crate) fn try_notice(text: &str) {
    if is_quiet() {
        return;
    }
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text =
        serde_json::to_vec(value).map_err(|error| Failure::from_error(&error).id("internal_error"))?;
    text.push(b'\n');
    write(&text)
}

/// Prints bytes unchanged.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            Err(Failure::new("cannot write to standard output").id("output_failed").because(Some(&error)))
        }
    }
}

/// Prints bytes unchanged on standard error.
pub(crate) fn write_error(bytes: &[u8]) -> Result<(), Failure> {
    io::stderr().lock().write_all(bytes).map_err(Failure::from)
}

/// Formats a duration with its two largest units.
pub(crate) fn duration(millis: u64) -> String {
    let seconds = Duration::from_millis(millis).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{seconds}.{}s", millis % 1000 / 100),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Formats microseconds as milliseconds.
pub(crate) fn micros(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}

/// Formats a number of bytes with a fitting unit.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut size = count as f64;
    let mut unit = "B";
    for larger in units {
        if size < 999.95 {
            break;
        }
        (size, unit) = (size / 1000.0, larger);
    }
    if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") }
}

static JSON: AtomicBool = AtomicBool::new(false);
static QUIET: AtomicBool = AtomicBool::new(false);
static WIDE: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_two_units() {
        let shown: Vec<String> =
            [0, 9_999, 10_000, 61_000, 3_660_000, 90_000_000].map(duration).into_iter().collect();
        assert_eq!(shown, ["0.0s", "9.9s", "10s", "1m 1s", "1h 1m", "1d 1h"]);
    }

    #[test]
    fn sizes_show_one_digit_behind_the_point() {
        let shown = [0, 999, 1000, 90_900_000, 999_949, 999_950, 6_000_000_000_000_000].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "90.9 MB", "999.9 kB", "1.0 MB", "6000.0 TB"]);
    }
}
