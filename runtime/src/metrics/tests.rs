//! The metrics as monitoring systems see them.

use super::*;
use api::metrics::{Family, MetricKind, Unit, Value};
use engine::observers::metrics::{Histogram, Metrics, MetricsView, Scale};
use engine::request::{OccupancyView, StatusView};
use engine::task::{TaskKind, TaskStatus};
use engine::trace::TraceContext;
use engine::{Instant, NodeId, TraceId, UnixMillis, testing};
use std::collections::BTreeSet;

fn view() -> MetricsView {
    let mut counted = Metrics::new(NodeId([7; 16]));
    counted.tasks.insert((TaskKind::Embedding, TaskStatus::Completed), 3);
    let mut durations = Histogram::new(Scale::Long);
    let traced = |sampled| TraceContext { id: TraceId([0xab; 16]), sampled };
    durations.observe_traced(2_000, traced(false), Instant::ZERO);
    durations.observe_traced(1_250_000, traced(true), Instant::from_micros(500_000));
    durations.observe_traced(5_000_000_000, traced(true), Instant::from_micros(500_000));
    counted.tasks_duration.insert(TaskKind::Embedding, durations);
    let status = StatusView {
        version: "1.2.3".to_owned(),
        uptime_millis: Some(1500),
        peers: 3,
        members: 5,
        tasks_queued: 4,
        tasks_running: 2,
        results: 1,
        timestamp: UnixMillis(1_700_000_001_000),
        ..testing::status()
    };
    MetricsView {
        counted,
        status,
        now: Instant::from_micros(1_000_000),
        attempts: std::collections::BTreeMap::new(),
        peers_slow: 1,
        collections: vec![OccupancyView { name: "results".to_owned(), current: 1, limit: 10 }],
    }
}

fn all() -> Vec<Family> {
    families(&view(), &HostFigures { cpu_micros: 1_500_000, ..HostFigures::default() }, &[])
}

/// Returns the sample with this name and these labels.
fn sample<'t>(text: &'t str, series: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing:\n{text}"))
}

#[test]
fn names_units_and_labels_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for Family { name, help, kind, unit, series, .. } in all() {
        assert!(names.insert(name.clone()), "{name} twice");
        assert!(name.starts_with("p2p_ai_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
        assert!(help.ends_with('.') && help.len() > 15 && !help.contains('\n'), "{name}: {help}");
        assert_eq!(name.ends_with("_total"), kind == MetricKind::Counter, "{name}");
        assert_eq!(name.ends_with("_info"), kind == MetricKind::Info, "{name}");
        let base = name.trim_end_matches("_total");
        let suffix = match unit {
            Some(Unit::Bytes) => "_bytes",
            Some(Unit::Seconds) => "_seconds",
            None => "",
        };
        assert!(base.ends_with(suffix), "{name}");
        assert!(unit.is_some() || !(base.ends_with("_bytes") || base.ends_with("_seconds")), "{name}");
        assert!(!series.is_empty(), "{name} has no series, so that absent() would find it missing");
        let labels: BTreeSet<_> = series.iter().map(|series| &series.labels).collect();
        assert_eq!(labels.len(), series.len(), "{name} has a series twice");
        for (label, value) in series.iter().flat_map(|series| &series.labels) {
            assert!(
                !value.is_empty() && label != "le" && !label.starts_with("__"),
                "{name}: {label}={value}"
            );
        }
        let histogram = |series: &api::metrics::Series| matches!(series.value, Value::Histogram(_));
        assert!(series.iter().all(|series| histogram(series) == (kind == MetricKind::Histogram)), "{name}");
    }
}

/// To update the table: `INSTA_UPDATE=always cargo test --workspace --lib page_of_metrics`.
#[test]
fn the_page_of_metrics_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observability.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- metrics: begin -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- metrics: end -->").unwrap();
    let row = |family: &Family| {
        let labels = family.series.first().map_or_else(String::new, |series| {
            let names: Vec<String> = series.labels.keys().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        });
        let kind = serde_json::to_value(family.kind).unwrap();
        format!("| `{}` | {} | {labels} | {} |\n", family.name, kind.as_str().unwrap(), family.help)
    };
    let rows: String = all().iter().map(row).collect();
    let head = "| metric | kind | labels | meaning |\n|---|---|---|---|\n";
    let current = format!("{before}<!-- metrics: begin -->\n{head}{rows}<!-- metrics: end -->{after}");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(path, &current).unwrap();
    }
    assert!(page == current, "INSTA_UPDATE=always cargo test --workspace --lib page_of_metrics");
}

/// Boards and rules name metrics that exist, with labels and values that they have.
#[test]
fn boards_and_alert_rules_name_what_exists() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana/");
    let board = std::fs::read_to_string(format!("{folder}dashboard.json")).unwrap();
    let rules = std::fs::read_to_string(format!("{folder}alerts.yml")).unwrap();
    let mut expressions: Vec<String> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned)).collect();
    // Prometheus itself makes `up`.
    expressions.retain(|expression| !expression.starts_with("up{"));
    let rules = expressions.len();
    expressions_of(&serde_json::from_str(&board).unwrap(), &mut expressions);
    assert!(rules >= 9 && expressions.len() > rules + 40, "{rules}, {}", expressions.len());
    let families = all();
    for expression in &expressions {
        let mut found = selectors(expression).peekable();
        assert!(found.peek().is_some(), "no metric in {expression}");
        for (name, matchers) in found {
            let family = families.iter().find(|family| samples(family).contains(&name));
            let family = family.unwrap_or_else(|| panic!("{name} does not exist: {expression}"));
            for (label, value) in matchers {
                let has = |series: &api::metrics::Series| match value.as_str() {
                    "" => series.labels.contains_key(&label),
                    value => series.labels.get(&label).is_some_and(|is| is == value),
                };
                // Prometheus adds these two.
                let known = ["instance", "job"].contains(&label.as_str()) || family.series.iter().any(has);
                assert!(known, "{name} has no {label}={value:?}: {expression}");
            }
        }
    }
    assert_eq!(
        selectors("rate(p2p_ai_x_total{a=\"b\", c=~\"d|e\"}[5m]) > up{job=\"x\"}").collect::<Vec<_>>(),
        [(
            "p2p_ai_x_total".to_owned(),
            vec![("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]
        )]
    );
}

/// Returns the names of a metric's samples.
fn samples(family: &Family) -> Vec<String> {
    match family.kind {
        MetricKind::Histogram => {
            ["bucket", "sum", "count"].map(|part| format!("{}_{part}", family.name)).to_vec()
        }
        MetricKind::Counter | MetricKind::Gauge | MetricKind::Info => vec![family.name.clone()],
    }
}

/// Collects the expressions of a board.
fn expressions_of(value: &serde_json::Value, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        found.extend(
            value
                .as_str()
                .filter(|_| name == "expr")
                .filter(|text| !text.contains("sum(up{"))
                .map(str::to_owned),
        );
        expressions_of(value, found);
    }
    value.as_array().into_iter().flatten().for_each(|value| expressions_of(value, found));
}

/// Returns the metrics in an expression of Prometheus, each with its labels and their values; the value of a pattern is
/// left out.
fn selectors(expression: &str) -> impl Iterator<Item = (String, Vec<(String, String)>)> {
    fn is_name(c: char) -> bool {
        c.is_ascii_alphanumeric() || c == '_'
    }
    let starts = expression.match_indices(is_name).map(|(at, _)| at);
    let starts = starts.filter(move |at| !expression[..*at].ends_with(is_name));
    let starts =
        starts.filter(move |at| ["p2p_ai_", "process_"].iter().any(|of| expression[*at..].starts_with(of)));
    starts.map(move |at| {
        let rest = &expression[at..];
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let matchers = rest[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matcher = |text: &str| {
            let (label, value) = text.trim().split_once('=')?;
            let exact = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let exact = exact.filter(|value| !value.contains('$')).unwrap_or_default();
            Some((label.trim_end_matches('!').to_owned(), exact.to_owned()))
        };
        let matchers = matchers.map(|(inside, _)| inside.split(',').filter_map(matcher).collect());
        (rest[..end].to_owned(), matchers.unwrap_or_default())
    })
}

#[test]
fn both_formats_have_the_same_values_and_each_its_own_form() {
    let (plain, open) = (render(all(), Format::Prometheus), render(all(), Format::OpenMetrics));
    for text in [&plain, &open] {
        assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains('\r'));
        let samples: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_once("} ").map_or_else(|| line.split(' ').next().unwrap_or(line), |(name, _)| name)
            })
            .collect();
        let unique: BTreeSet<&str> = samples.iter().copied().collect();
        assert_eq!(unique.len(), samples.len(), "a series appears twice");
        assert_eq!(sample(text, r#"p2p_ai_tasks_total{outcome="completed",type="embedding"}"#), "3");
        assert_eq!(sample(text, r#"p2p_ai_tasks_total{outcome="failed",type="generation"}"#), "0");
        assert_eq!(sample(text, r#"p2p_ai_peers{state="alive"}"#), "2");
        assert_eq!(sample(text, r#"p2p_ai_node_state{state="active"}"#), "1");
        assert_eq!(sample(text, "process_cpu_seconds_total"), "1.5");
        assert_eq!(sample(text, r#"p2p_ai_build_info{version="1.2.3"}"#), "1");
        assert_eq!(sample(text, r#"p2p_ai_task_duration_seconds_count{type="embedding"}"#), "3");
    }
    let bucket = r#"p2p_ai_task_duration_seconds_bucket{type="embedding",le="0.0025"}"#;
    assert_eq!(sample(&plain, bucket), "1");
    assert!(plain.contains("# TYPE p2p_ai_tasks_total counter\n") && !plain.contains("# EOF"));
    assert!(open.contains("# TYPE p2p_ai_tasks counter\n") && open.ends_with("\n# EOF\n"));
    assert!(open.contains("# UNIT p2p_ai_task_duration_seconds seconds\n"));
    assert!(open.contains("# TYPE p2p_ai_build info\n"));
}

#[test]
fn an_exemplar_names_the_trace_and_the_time_of_a_value() {
    let open = render(all(), Format::OpenMetrics);
    let trace = "ab".repeat(16);
    let bucket = |bound| format!(r#"p2p_ai_task_duration_seconds_bucket{{le="{bound}",type="embedding"}}"#);
    assert_eq!(sample(&open, &bucket("2.5")), format!(r#"2 # {{trace_id="{trace}"}} 1.25 1700000000.5"#));
    assert_eq!(sample(&open, &bucket("+Inf")), format!(r#"3 # {{trace_id="{trace}"}} 5000 1700000000.5"#));
    assert_eq!(open.matches("trace_id").count(), 2);
    assert!(!render(all(), Format::Prometheus).contains("trace_id"));
}

#[test]
fn a_client_gets_the_format_that_it_prefers() {
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
        application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    for (accept, expected) in [
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/plain", Format::Prometheus),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Prometheus),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("Application/OpenMetrics-Text; version=1.0.0", Format::OpenMetrics),
        (prometheus, Format::OpenMetrics),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", Format::Prometheus),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.3", Format::Prometheus),
        ("application/openmetrics-text;q=0", Format::Prometheus),
        ("application/openmetrics-text;q=x", Format::Prometheus),
        (";;;,,q=,\u{fffd}", Format::Prometheus),
    ] {
        assert_eq!(Format::accepted([accept].into_iter()), expected, "{accept}");
    }
    let split = ["text/plain;q=0.1", "application/openmetrics-text"];
    assert_eq!(Format::accepted(split.into_iter()), Format::OpenMetrics, "headers may come apart");
}
