//! `alerts list`: lists the active alerts of the node, and the receivers that did not take some.

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::{Alert, AlertSink, AlertSinkKind, Alerts};
use runtime::home::Home;

pub(super) async fn run(home: &Home, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if format.json {
        let body = client.get_raw("/api/v1/alerts").await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let Alerts { active, sinks, .. } = client.get("/api/v1/alerts").await?;
    if active.is_empty() {
        output::line("No active alerts")?;
    } else {
        let rows: Vec<[String; 4]> = active.into_iter().map(row).collect();
        output::table(["SEVERITY", "RULE", "SINCE", "MESSAGE"], &rows)?;
    }
    sinks.iter().filter_map(complaint).try_for_each(|line| output::line(&line))
}

fn row(alert: Alert) -> [String; 4] {
    [alert.severity.to_string(), alert.rule.to_string(), output::when(&alert.raised_at), alert.message]
}

/// Describes a receiver that did not get every alert.
fn complaint(sink: &AlertSink) -> Option<String> {
    let AlertSink { kind, target, failed, dropped, last_error, .. } = sink;
    if failed + dropped == 0 {
        return None;
    }
    let kind = match kind {
        AlertSinkKind::Command => "command",
        AlertSinkKind::Webhook => "webhook",
    };
    let error = last_error.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
    let lost = failed + dropped;
    Some(format!("The {kind} {target} did not get {lost} alerts{error}"))
}
