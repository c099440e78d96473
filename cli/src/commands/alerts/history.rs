//! `alerts history`: lists the past and active alerts of the node, newest first.

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::{Alert, AlertPage};
use clap::Args;
use runtime::home::Home;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Maximum number of alerts to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000), allow_negative_numbers = true, value_name = "N")]
    limit: u32,
    /// Number of newest alerts to skip
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..), allow_negative_numbers = true, value_name = "N")]
    offset: u32,
    #[command(flatten)]
    format: Format,
}

pub(super) async fn run(home: &Home, arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let Arguments { limit, offset, format } = arguments;
    let path = format!("/api/v1/alerts/history?limit={limit}&offset={offset}");
    if format.json {
        let body = client.get_raw(&path).await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let AlertPage { total, alerts } = client.get(&path).await?;
    if alerts.is_empty() {
        return output::line(if total == 0 { "No alerts" } else { "No more alerts" });
    }
    let shown = u32::try_from(alerts.len()).unwrap_or(u32::MAX);
    let rows: Vec<[String; 5]> = alerts.into_iter().map(row).collect();
    output::table(["SEVERITY", "RULE", "RAISED", "CLEARED", "MESSAGE"], &rows)?;
    if shown < total { output::line(&format!("{shown} of {total} alerts")) } else { Ok(()) }
}

fn row(alert: Alert) -> [String; 5] {
    let cleared = alert.cleared_at.map_or_else(|| "active".to_owned(), |time| output::when(&time));
    [
        alert.severity.to_string(),
        alert.rule.to_string(),
        output::when(&alert.raised_at),
        cleared,
        alert.message,
    ]
}
