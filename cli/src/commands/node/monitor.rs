//! `node monitor`: shows live state: a screen on a terminal, otherwise one line per refresh.

mod sample;
mod screen;

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use crate::terminal;
use clap::Args;
use runtime::home::Home;
use sample::{Observer, Sample};
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Seconds between refreshes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600), value_name = "SECONDS")]
    pub(crate) interval: u32,
    /// Exit after this many seconds [default: run until Ctrl-C]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "SECONDS")]
    pub(crate) duration: Option<u32>,
    #[command(flatten)]
    pub(crate) format: Format,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let on_screen = terminal::is_screen() && !arguments.format.json;
    let mut observer = Observer::new(home, client, if on_screen { INITIAL_EVENTS } else { 0 });
    let interval = Duration::from_secs(arguments.interval.into());
    let mut next = Instant::now();
    let until = arguments.duration.map(|seconds| next + Duration::from_secs(seconds.into()));
    if on_screen {
        return screen::run(observer, interval, until).await;
    }
    loop {
        let sample = observer.sample().await?;
        if arguments.format.json {
            output::json(&sample)?;
        } else {
            for event in &sample.events {
                output::line(event)?;
            }
            output::line(&line(&sample))?;
        }
        // A slow refresh does not shift the later ones.
        next = (next + interval).max(Instant::now());
        if until.is_some_and(|until| next > until) {
            return Ok(());
        }
        tokio::time::sleep_until(next.into()).await;
    }
}

/// Formats a sample as one line with a fixed order of fields.
fn line(sample: &Sample) -> String {
    let times = match (sample.latency_ms_median, sample.latency_ms_p99) {
        (Some(median), Some(p99)) => format!("{median} ms median {p99} ms p99"),
        _ => "-".to_owned(),
    };
    format!(
        "{}  {}  health {}  peers {}  members {}  queued {}  running {}  here: {}  {:.1} tasks/s  {times}  {} MB  {:.1} % CPU",
        sample.timestamp,
        sample.state,
        sample.health.as_deref().unwrap_or("-"),
        sample.peers.len(),
        sample.members,
        sample.tasks_queued,
        sample.tasks_running,
        sample.running_here,
        sample.tasks_per_second,
        sample.memory_bytes >> 20,
        sample.cpu_percent,
    )
}

/// Log lines that a screen shows at first.
const INITIAL_EVENTS: usize = 20;
