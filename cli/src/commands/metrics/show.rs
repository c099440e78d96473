//! `metrics show`: the metrics for people, by group, without those that never counted anything.

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::metrics::{Family, Group, Histogram, MetricKind, Metrics, Series, Unit, Value};
use runtime::home::Home;

pub(super) async fn run(home: &Home, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if format.json {
        let body = client.get_raw("/api/v1/metrics").await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let metrics: Metrics = client.get("/api/v1/metrics").await?;
    for (number, (group, heading)) in GROUPS.iter().enumerate() {
        let families: Vec<&Family> =
            metrics.families.iter().filter(|family| family.group == *group).collect();
        let rows = rows(&families);
        let rows: Vec<(&str, String)> =
            rows.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        output::line(&format!("{}{heading}", if number == 0 { "" } else { "\n" }))?;
        output::properties(&rows)?;
    }
    Ok(())
}

fn rows(families: &[&Family]) -> Vec<(String, String)> {
    let shown = families.iter().filter(|family| family.name != LIMITS);
    let limit = |series: &Series| {
        let limits = families.iter().find(|family| family.name == LIMITS)?;
        let limit = limits.series.iter().find(|limit| limit.labels == series.labels)?;
        number(&limit.value)
    };
    shown.map(|family| (title(&family.name), value(family, limit))).collect()
}

/// Returns the name without what every name has.
fn title(name: &str) -> String {
    let name = name.strip_prefix("p2p_ai_").unwrap_or(name);
    let name = ["_total", "_info"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let name = ["_bytes", "_seconds"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    format!("  {}", name.replace('_', " "))
}

fn value(family: &Family, limit: impl Fn(&Series) -> Option<f64>) -> String {
    let states = ["p2p_ai_node_state", "p2p_ai_health_verdict"].contains(&family.name.as_str());
    let values: Vec<String> = family
        .series
        .iter()
        .filter_map(|series| {
            let labels: Vec<&str> = series.labels.values().map(String::as_str).collect();
            let labels = labels.join(" ");
            match &series.value {
                _ if family.kind == MetricKind::Info => Some(labels),
                Value::Number { .. } if labels.is_empty() => Some(formatted(family, number(&series.value)?)),
                Value::Number { value } if value.as_f64() == 0.0 => None,
                Value::Number { .. } if states => Some(labels),
                Value::Number { value } => {
                    let limit = limit(series).filter(|_| family.name == ENTRIES);
                    let of =
                        limit.map_or_else(String::new, |limit| format!(" of {}", formatted(family, limit)));
                    Some(format!("{labels} {}{of}", formatted(family, value.as_f64())))
                }
                Value::Histogram(histogram) => distribution(family, &labels, histogram),
            }
        })
        .collect();
    match (values.is_empty(), family.kind) {
        (true, MetricKind::Histogram) => "none yet".to_owned(),
        (true, _) => "0".to_owned(),
        (false, _) => values.join(", "),
    }
}

fn distribution(family: &Family, labels: &str, histogram: &Histogram) -> Option<String> {
    let at = |quantile| histogram.quantile(quantile).map(|value| formatted(family, value));
    let (median, p99) = at(0.5).zip(at(0.99))?;
    let labels = if labels.is_empty() { String::new() } else { format!("{labels} ") };
    if family.unit.is_none() {
        // A number of things has no estimate between its buckets.
        return Some(format!(
            "{labels}{} (mean {:.1})",
            histogram.count,
            histogram.sum / histogram.count as f64
        ));
    }
    Some(format!("{labels}{} (median {median}, p99 {p99})", histogram.count))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number { value } => Some(value.as_f64()),
        Value::Histogram(_) => None,
    }
}

fn formatted(family: &Family, value: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no metric is negative")]
    let whole = |value: f64| value.round() as u64;
    match family.unit {
        Some(Unit::Bytes) => output::bytes(whole(value)),
        Some(Unit::Seconds) if family.name == "process_start_time_seconds" => {
            engine::UnixMillis(whole(value * 1000.0)).to_string()
        }
        Some(Unit::Seconds) if value < 10.0 => output::micros(whole(value * 1e6)),
        Some(Unit::Seconds) => output::duration(whole(value * 1000.0)),
        None if value.fract() == 0.0 => whole(value).to_string(),
        None => format!("{value:.1}"),
    }
}

const GROUPS: [(Group, &str); 7] = [
    (Group::Node, "NODE"),
    (Group::Tasks, "TASKS ACCEPTED HERE"),
    (Group::Inference, "WORK OF THIS NODE'S MODELS"),
    (Group::Messages, "MESSAGES"),
    (Group::Network, "NETWORK"),
    (Group::Storage, "STORAGE"),
    (Group::Process, "PROCESS"),
];
const ENTRIES: &str = "p2p_ai_collection_entries";
const LIMITS: &str = "p2p_ai_collection_limit";

#[cfg(test)]
mod tests {
    use super::*;
    use api::metrics::{Bucket, Number};
    use std::collections::BTreeMap;

    fn family(name: &str, kind: MetricKind, unit: Option<Unit>, series: Vec<Series>) -> Family {
        Family { name: name.to_owned(), help: String::new(), kind, unit, group: Group::Node, series }
    }

    fn series(labels: &[(&str, &str)], value: Value) -> Series {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Series { labels: labels.collect(), value }
    }

    const fn whole(value: u64) -> Value {
        Value::Number { value: Number::Whole(value) }
    }

    #[test]
    fn a_metric_is_one_line_with_its_unit() {
        let bucket = |le, count| Bucket { le, count, exemplar: None };
        let histogram = Histogram {
            count: 4,
            sum: 0.01,
            buckets: vec![bucket(Some(0.001), 0), bucket(Some(0.005), 4), bucket(None, 4)],
        };
        let kinds = [("outcome", "completed"), ("type", "embedding")];
        let failed = [("outcome", "failed"), ("type", "embedding")];
        for (family, expected) in [
            (
                family(
                    "p2p_ai_link_bytes_total",
                    MetricKind::Counter,
                    Some(Unit::Bytes),
                    vec![series(&[], whole(1_500))],
                ),
                ("  link", "1.5 kB"),
            ),
            (
                family(
                    "p2p_ai_tasks_total",
                    MetricKind::Counter,
                    None,
                    vec![series(&kinds, whole(3)), series(&failed, whole(0))],
                ),
                ("  tasks", "completed embedding 3"),
            ),
            (
                family(
                    "p2p_ai_peer_faults_total",
                    MetricKind::Counter,
                    None,
                    vec![series(&failed, whole(0))],
                ),
                ("  peer faults", "0"),
            ),
            (
                family(
                    "p2p_ai_node_state",
                    MetricKind::Gauge,
                    None,
                    vec![series(&[("state", "active")], whole(1)), series(&[("state", "stopped")], whole(0))],
                ),
                ("  node state", "active"),
            ),
            (
                family(
                    "p2p_ai_task_duration_seconds",
                    MetricKind::Histogram,
                    Some(Unit::Seconds),
                    vec![series(&[("type", "embedding")], Value::Histogram(histogram))],
                ),
                ("  task duration", "embedding 4 (median 3.00 ms, p99 4.96 ms)"),
            ),
        ] {
            let shown = rows(&[&family]);
            assert_eq!(shown, [(expected.0.to_owned(), expected.1.to_owned())]);
        }
    }

    #[test]
    fn a_collection_is_shown_with_its_limit() {
        let results = [("collection", "results")];
        let entries = family(ENTRIES, MetricKind::Gauge, None, vec![series(&results, whole(5))]);
        let limits = family(LIMITS, MetricKind::Gauge, None, vec![series(&results, whole(100))]);
        assert_eq!(
            rows(&[&entries, &limits]),
            [("  collection entries".to_owned(), "results 5 of 100".to_owned())]
        );
        let labels = BTreeMap::new();
        let none = Series { labels, value: Value::Number { value: Number::Real(0.0) } };
        assert_eq!(value(&family("x", MetricKind::Gauge, None, vec![none]), |_| None), "0");
    }
}
