//! The text formats of metrics: Prometheus' own and OpenMetrics.

use api::metrics::{Exemplar, Family, Histogram, MetricKind, Number, Unit, Value};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar as NoExemplar;
use prometheus_client::registry::{self, Registry};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
}

impl Format {
    /// Returns the media type of the format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }

    /// Chooses the format that a client prefers, from its `Accept` headers. Prometheus' format is the default.
    pub fn accepted<'a>(headers: impl Iterator<Item = &'a str>) -> Self {
        let ranges: Vec<(&str, u32)> =
            headers.flat_map(|header| header.split(',')).filter_map(range).collect();
        let quality = |types: &[&str]| {
            // The most specific range that matches decides.
            types.iter().find_map(|name| {
                ranges.iter().filter(|(range, _)| range.eq_ignore_ascii_case(name)).map(|(_, q)| *q).max()
            })
        };
        let open_metrics = quality(&["application/openmetrics-text", "application/*"]).unwrap_or(0);
        let prometheus = quality(&["text/plain", "text/*", "*/*"]).unwrap_or(0);
        if open_metrics > prometheus { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// Parses a media range with its quality in thousandths. Other versions of OpenMetrics do not count.
fn range(text: &str) -> Option<(&str, u32)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next()?;
    let mut quality = 1000;
    for parameter in parts {
        match parameter.split_once('=') {
            Some((key, value)) if key.eq_ignore_ascii_case("q") => {
                let value: f64 = value.parse().ok()?;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
                let thousandths = (value.clamp(0.0, 1.0) * 1000.0) as u32;
                quality = thousandths;
            }
            Some((key, value)) if key.eq_ignore_ascii_case("version") && name.contains("openmetrics") => {
                if !["0.0.1", "1.0.0"].contains(&value) {
                    return None;
                }
            }
            Some(_) | None => {}
        }
    }
    Some((name, quality))
}

/// Writes metrics in a format.
pub fn render(families: Vec<Family>, format: Format) -> String {
    let exemplars = match format {
        Format::OpenMetrics => exemplars(&families),
        Format::Prometheus => BTreeMap::new(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::with_capacity(TEXT_BYTES);
    let written = match format {
        Format::OpenMetrics => text::encode(&mut text, &registry),
        Format::Prometheus => prometheus_text::encode(&mut text, &registry),
    };
    // Writing to a string cannot fail.
    debug_assert!(written.is_ok(), "{written:?}");
    if exemplars.is_empty() { text } else { insert(&text, &exemplars) }
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|family| encode(family, &mut encoder))
    }
}

fn encode(family: &Family, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let unit = family.unit.map(|unit| match unit {
        Unit::Bytes => registry::Unit::Bytes,
        Unit::Seconds => registry::Unit::Seconds,
    });
    // The encoder adds the suffixes again, each format in its own places.
    let (kind, suffix) = match family.kind {
        MetricKind::Counter => (MetricType::Counter, "_total"),
        MetricKind::Gauge => (MetricType::Gauge, ""),
        MetricKind::Histogram => (MetricType::Histogram, ""),
        MetricKind::Info => (MetricType::Info, "_info"),
    };
    let name = family.name.strip_suffix(suffix).unwrap_or(&family.name);
    let unit_name = unit.as_ref().map_or("", registry::Unit::as_str);
    let name = name.strip_suffix(unit_name).and_then(|name| name.strip_suffix('_')).unwrap_or(name);
    let mut metric = encoder.encode_descriptor(name, &family.help, unit.as_ref(), kind)?;
    for series in &family.series {
        let labels: Vec<(&str, &str)> =
            series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if family.kind == MetricKind::Info {
            metric.encode_info(&labels)?;
        } else if labels.is_empty() {
            encode_value(&series.value, family.kind, &mut metric)?;
        } else {
            encode_value(&series.value, family.kind, &mut metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_value(value: &Value, kind: MetricKind, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    const NONE: Option<&NoExemplar<NoLabelSet, f64>> = None;
    match (value, kind) {
        (Value::Histogram(Histogram { count, sum, buckets }), _) => {
            let mut below = 0;
            let single: Vec<(f64, u64)> = buckets
                .iter()
                .map(|bucket| {
                    let inside = bucket.count.saturating_sub(below);
                    below = bucket.count;
                    (bucket.le.unwrap_or(f64::INFINITY), inside)
                })
                .collect();
            metric.encode_histogram::<NoLabelSet>(*sum, *count, &single, None)
        }
        (Value::Number { value: Number::Whole(value) }, MetricKind::Counter) => {
            metric.encode_counter(value, NONE)
        }
        (Value::Number { value: Number::Real(value) }, MetricKind::Counter) => {
            metric.encode_counter(value, NONE)
        }
        (Value::Number { value: Number::Whole(value) }, _) => metric.encode_gauge(value),
        (Value::Number { value: Number::Real(value) }, _) => metric.encode_gauge(value),
    }
}

/// Returns the exemplars by the series that they belong to.
///
/// The encoder takes exemplars only from histograms of its own, so they are inserted behind it.
fn exemplars(families: &[Family]) -> BTreeMap<String, Exemplar> {
    let mut found = BTreeMap::new();
    for family in families {
        for series in &family.series {
            let Value::Histogram(histogram) = &series.value else { continue };
            let labels = series.labels.iter().fold(String::new(), |mut labels, (name, value)| {
                let _ = write!(labels, ",{name}=\"{value}\"");
                labels
            });
            for bucket in &histogram.buckets {
                let Some(exemplar) = &bucket.exemplar else { continue };
                let bound = bucket.le.map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
                found.insert(format!("{}_bucket{{le=\"{bound}\"{labels}}}", family.name), exemplar.clone());
            }
        }
    }
    found
}

fn insert(text: &str, exemplars: &BTreeMap<String, Exemplar>) -> String {
    let mut out = String::with_capacity(text.len() + exemplars.len() * EXEMPLAR_BYTES);
    for line in text.lines() {
        out.push_str(line);
        let series = line.rsplit_once(' ').map(|(series, _)| series);
        if let Some(Exemplar { value, trace_id, timestamp }) = series.and_then(|series| exemplars.get(series))
        {
            let _ = write!(out, " # {{trace_id=\"{trace_id}\"}} {value} {timestamp}");
        }
        out.push('\n');
    }
    out
}

/// Enough for the text of a node with many exemplars.
const TEXT_BYTES: usize = 64 << 10;
/// More than the text of one exemplar.
const EXEMPLAR_BYTES: usize = 96;
