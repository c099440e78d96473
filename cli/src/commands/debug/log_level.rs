//! `debug log-level [LEVEL]`: shows or changes the log level of the running node.

use crate::args;
use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::{ComponentLevel, LogLevel, LogLevels, NewLogLevel, Word};
use clap::Args;
use runtime::home::Home;
use std::time::Duration;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Lowest severity to log: trace, debug, info, warn, error or fatal
    #[arg(value_parser = parse_level, conflicts_with = "reset")]
    pub(crate) level: Option<LogLevel>,
    /// Change only this component, as the log names it [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) component: Option<String>,
    /// Change back after this time, such as 90s, 10m or 1h [default: when the node restarts]
    #[arg(long = "for", value_parser = args::parse_time, value_name = "TIME", requires = "level")]
    pub(crate) duration: Option<Duration>,
    /// Undo all changes, or that of --component
    #[arg(long)]
    pub(crate) reset: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let levels: LogLevels = if arguments.level.is_some() || arguments.reset {
        let seconds = arguments.duration.map(|duration| {
            // The node refuses more than a day.
            u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
        });
        let new = NewLogLevel { level: arguments.level, component: arguments.component.clone(), seconds };
        client.post(PATH, &new).await?.read()?
    } else {
        client.get(PATH).await?
    };
    if arguments.format.json {
        return output::json(&levels);
    }
    let rows: Vec<[String; 3]> = levels.levels.iter().map(|level| row(&levels, level)).collect();
    output::table(["COMPONENT", "LEVEL", "UNTIL"], &rows)
}

fn row(levels: &LogLevels, of: &ComponentLevel) -> [String; 3] {
    let until = match of.remaining_ms {
        Some(millis) => format!("in {}", output::duration(millis)),
        None if of.component.is_none() && of.level == levels.configured => "as configured".to_owned(),
        None => "the node restarts".to_owned(),
    };
    let component = of.component.as_ref().map_or("all", Word::as_str);
    [component.to_owned(), of.level.as_str().to_owned(), until]
}

fn parse_level(text: &str) -> Result<LogLevel, String> {
    let levels =
        [LogLevel::Trace, LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error, LogLevel::Fatal];
    levels
        .into_iter()
        .find(|level| level.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| "expected trace, debug, info, warn, error or fatal".to_owned())
}

const PATH: &str = "/api/v1/debug/log-level";
