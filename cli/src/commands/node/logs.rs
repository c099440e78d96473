//! `node logs`: prints the newest lines of the log, formatted or as JSON, and follows it.
//!
//! It also reads the log of a node that has ended or does not start.

use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use crate::terminal;
use clap::{Args, ValueEnum};
use runtime::config::LogLevel;
use runtime::home::Home;
use runtime::logging::{self, Follower};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Keep printing new lines until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Number of most recent lines to show
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1_000_000), value_name = "N")]
    pub(crate) lines: u32,
    /// Lowest severity to show
    #[arg(long, value_enum, ignore_case = true, value_name = "LEVEL")]
    pub(crate) level: Option<Level>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Every message
    Trace,
    /// Details for debugging
    Debug,
    /// Lifecycle events
    Info,
    /// Something to look into
    Warn,
    /// A failed operation
    Error,
    /// A failure that stopped the node
    Fatal,
}

pub(super) fn run(home: &Home, arguments: &Arguments) -> Outcome {
    let path = home.log_file();
    if !path.exists() && !arguments.follow {
        return Err(Failure::new(format!("there is no log yet ({})", path.display()))
            .id("log_missing")
            .hint("start a node with: p2p-ai-agents node start"));
    }
    let unreadable = |error: io::Error| {
        Failure::new(format!("cannot read {}", path.display())).id("log_unreadable").because(Some(&error))
    };
    let formatter = LineFormatter { least: arguments.level.map(LogLevel::from), json: arguments.format.json };
    let mut follower = Follower::at_start(&path);
    let mut newest = VecDeque::new();
    let wanted = usize::try_from(arguments.lines).unwrap_or(usize::MAX);
    if let Some(older) = older_file(&path) {
        collect_newest(&mut Follower::at_start(&older), &formatter, wanted, &mut newest)
            .map_err(unreadable)?;
    }
    collect_newest(&mut follower, &formatter, wanted, &mut newest).map_err(unreadable)?;
    for line in newest {
        output::line(&line)?;
    }
    if !arguments.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        std::thread::sleep(POLL_INTERVAL);
        while let Some(line) = follower.next_line().map_err(unreadable)? {
            if let Some(line) = formatter.show(&line) {
                output::line(&line)?;
            }
        }
    }
}

/// Returns the last rotated file, because the newest lines may be in two files.
fn older_file(path: &Path) -> Option<PathBuf> {
    let older = logging::rotated(path, 1);
    older.exists().then_some(older)
}

fn collect_newest(
    follower: &mut Follower,
    formatter: &LineFormatter,
    wanted: usize,
    newest: &mut VecDeque<String>,
) -> io::Result<()> {
    while let Some(line) = follower.next_line()? {
        let Some(line) = formatter.show(&line) else { continue };
        newest.push_back(line);
        if newest.len() > wanted {
            newest.pop_front();
        }
    }
    Ok(())
}

struct LineFormatter {
    least: Option<LogLevel>,
    json: bool,
}

impl LineFormatter {
    /// Formats a line; `None` if it is filtered out.
    fn show(&self, line: &str) -> Option<String> {
        let Some(told) = logging::Told::parse(line) else {
            // It is not a log record and has no level to compare.
            return self.least.is_none().then(|| terminal::sanitize_line(line));
        };
        if self.least.is_some_and(|least| told.level < least) {
            return None;
        }
        if self.json {
            return Some(line.to_owned());
        }
        let text = told.plain();
        let text = match text.split_once(' ') {
            Some((time, rest)) => format!("{} {rest}", output::zoned(time)),
            None => text,
        };
        let colour = match told.level {
            LogLevel::Error | LogLevel::Fatal => "\x1b[31m",
            LogLevel::Warn => "\x1b[33m",
            LogLevel::Trace | LogLevel::Debug | LogLevel::Info => return Some(text),
        };
        Some(if terminal::stdout_takes_colour() { format!("{colour}{text}\x1b[0m") } else { text })
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
            Level::Fatal => Self::Fatal,
        }
    }
}

/// Poll interval of a followed log.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
