//! Metrics of a node, under the names that Prometheus knows them by.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The metrics of a node at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Wall-clock time of the node.
    pub timestamp: String,
    /// The metrics, ordered by group.
    pub families: Vec<Family>,
}

/// One metric: all series of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// Name, with unit and suffix, such as `p2p_ai_link_bytes_total`.
    pub name: String,
    /// What it counts or measures.
    pub help: String,
    /// Kind of the metric.
    #[serde(rename = "type")]
    pub kind: MetricKind,
    /// Unit; absent for a number of things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// What it is about.
    pub group: Group,
    /// One value for each set of labels.
    pub series: Vec<Series>,
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// It only grows, from 0 at the start of the node.
    Counter,
    /// It goes up and down.
    Gauge,
    /// The distribution of a value, in buckets that only grow.
    Histogram,
    /// Texts in labels; the value is always 1.
    Info,
}

/// Unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// What a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The node as a whole.
    Node,
    /// Tasks that the node accepted.
    Tasks,
    /// Work of the node's own models, for itself and for others.
    Inference,
    /// Messages between nodes.
    Messages,
    /// Links, peers and members.
    Network,
    /// The store and its disk.
    Storage,
    /// The process of the node.
    Process,
}

/// The value of a metric for one set of labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    #[serde(flatten)]
    pub value: Value,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A distribution.
    Histogram(Histogram),
    /// One number.
    Number {
        /// The number.
        value: Number,
    },
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// A measurement.
    Real(f64),
}

/// The distribution of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Number of values.
    pub count: u64,
    /// Sum of the values.
    pub sum: f64,
    /// Buckets in ascending order.
    pub buckets: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Upper bound, included; null for the last bucket, which has none.
    pub le: Option<f64>,
    /// Number of values up to the bound.
    pub count: u64,
    /// A recent value of the bucket, and its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exemplar: Option<Exemplar>,
}

/// A value and the trace that it is from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    /// The value.
    pub value: f64,
    /// Id of the trace.
    pub trace_id: String,
    /// When it was observed, in seconds since 1970.
    pub timestamp: f64,
}

impl Number {
    /// Returns the number; exact up to 2^53.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
    }
}

impl Histogram {
    /// Estimates a quantile, linearly within its bucket, as Prometheus does. Returns `None` without values, and the
    /// largest bound if the quantile lies above it.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = quantile * self.count as f64;
        let at = self.buckets.iter().position(|bucket| bucket.count as f64 >= rank)?;
        let before = at.checked_sub(1).and_then(|before| self.buckets.get(before));
        let (below, lower) = before.map_or((0, 0.0), |bucket| (bucket.count, bucket.le.unwrap_or_default()));
        let bucket = self.buckets.get(at)?;
        let inside = bucket.count.saturating_sub(below);
        match bucket.le {
            _ if self.count == 0 => None,
            None => Some(lower),
            Some(upper) if inside == 0 => Some(upper),
            Some(upper) => Some(lower + (upper - lower) * (rank - below as f64) / inside as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [u64; 3]) -> Histogram {
        let bucket = |le, count| Bucket { le, count, exemplar: None };
        let buckets = [Some(1.0), Some(2.0), None].into_iter().zip(counts);
        let buckets: Vec<Bucket> = buckets.map(|(le, count)| bucket(le, count)).collect();
        Histogram { count: counts[2], sum: 0.0, buckets }
    }

    #[test]
    fn quantiles_are_estimated_within_their_bucket() {
        assert_eq!(histogram([0, 0, 0]).quantile(0.5), None);
        assert_eq!(histogram([4, 4, 4]).quantile(0.5), Some(0.5));
        assert_eq!(histogram([2, 4, 4]).quantile(0.75), Some(1.5));
        assert_eq!(histogram([0, 0, 4]).quantile(0.5), Some(2.0), "above every bound");
    }

    #[test]
    fn a_series_is_a_number_or_a_distribution() {
        let series = |value| Series { labels: BTreeMap::new(), value };
        for one in [
            series(Value::Number { value: Number::Whole(3) }),
            series(Value::Number { value: Number::Real(0.5) }),
            series(Value::Histogram(histogram([1, 2, 3]))),
        ] {
            let text = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<Series>(&text).unwrap(), one, "{text}");
        }
    }
}
