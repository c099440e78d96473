//! `alerts set`: sets thresholds of alerts. Without an option it shows them.

use crate::args;
use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::{Alerts, NewThresholds, ThresholdValue, Thresholds};
use clap::Args;
use engine::observers::alerts::Threshold;
use runtime::home::Home;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Raise memory_critical when memory is above this share of its limit
    #[arg(long, value_parser = percent, allow_negative_numbers = true, value_name = "PERCENT")]
    memory_critical: Option<u64>,
    /// Raise memory_warning when memory is above this share of its limit
    #[arg(long, value_parser = percent, allow_negative_numbers = true, value_name = "PERCENT")]
    memory_warning: Option<u64>,
    /// Raise disk_used when more of the disk is used
    #[arg(long, value_parser = percent, allow_negative_numbers = true, value_name = "PERCENT")]
    disk_warning: Option<u64>,
    /// Raise peer_count when the node has fewer peers; 0 for never
    #[arg(long, value_parser = number, allow_negative_numbers = true, value_name = "N")]
    peer_warning: Option<u64>,
    /// Raise task_failure when more of the latest tasks failed
    #[arg(long, value_parser = percent, allow_negative_numbers = true, value_name = "PERCENT")]
    task_failure: Option<u64>,
    /// Raise message_p99 when 1 % of the latest messages took longer
    #[arg(long, value_parser = millis, allow_negative_numbers = true, value_name = "DURATION")]
    message_p99: Option<u64>,
    /// Raise and clear an alert only after its condition lasted this long
    #[arg(long = "for", value_parser = millis, allow_negative_numbers = true, value_name = "DURATION")]
    lasts: Option<u64>,
    /// Give all other thresholds their defaults back
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    format: Format,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let new = NewThresholds {
        disk_warning: arguments.disk_warning,
        for_ms: arguments.lasts,
        memory_critical: arguments.memory_critical,
        memory_warning: arguments.memory_warning,
        message_p99_ms: arguments.message_p99,
        peer_warning: arguments.peer_warning,
        task_failure: arguments.task_failure,
        reset: arguments.reset,
    };
    let thresholds = if new == NewThresholds::default() {
        client.get::<Alerts>("/api/v1/alerts").await?.thresholds
    } else {
        client.patch("/api/v1/alerts/thresholds", &new).await?.read::<Thresholds>()?.thresholds
    };
    if arguments.format.json {
        return output::json(&Thresholds { thresholds });
    }
    let rows: Vec<[String; 4]> = thresholds.iter().map(row).collect();
    output::table(["THRESHOLD", "VALUE", "SOURCE", "ALLOWED"], &rows)
}

fn row(threshold: &ThresholdValue) -> [String; 4] {
    let ThresholdValue { name, value, set, least, most } = threshold;
    let unit = match name {
        Threshold::DiskWarning
        | Threshold::MemoryCritical
        | Threshold::MemoryWarning
        | Threshold::TaskFailure => " %",
        Threshold::ForMs | Threshold::MessageP99Ms => " ms",
        Threshold::PeerWarning => "",
    };
    let value = value.map_or_else(|| "as each rule".to_owned(), |value| format!("{value}{unit}"));
    let source = if *set { "set" } else { "default" };
    [name.to_string(), value, source.to_owned(), format!("{least} to {most}{unit}")]
}

/// Reads a whole number. The node knows the range and names it in its error.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "must be a whole number".to_owned())
}

fn percent(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    number.parse().map_err(|_| "must be a whole number of percent, such as 95".to_owned())
}

/// Reads a duration as whole milliseconds.
fn millis(text: &str) -> Result<u64, String> {
    let micros = args::parse_time(text)?.as_micros();
    let millis = u64::try_from(micros / 1_000).ok().filter(|_| micros.is_multiple_of(1_000));
    millis.ok_or_else(|| "expected whole milliseconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_units() {
        assert_eq!(
            [millis("500ms"), millis("30s"), millis("2m"), millis("0s")].map(Result::unwrap),
            [500, 30_000, 120_000, 0]
        );
        for wrong in ["", "500", "ms", "-1s", "1.5s", "9999999999999999999h", "5 s", "5d", "250us"] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
        assert_eq!([percent("95"), percent("95%"), percent("95 %")].map(Result::unwrap), [95, 95, 95]);
        assert!(percent("%").is_err() && percent("-1").is_err() && number("2.5").is_err());
    }
}
