//! Alerts: the active ones, the past ones, their thresholds, and where they are sent.

use engine::observers::alerts::{self, AlertHistory, AlertRule, Severity, Threshold};
use engine::{NodeId, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The active alerts of a node, its thresholds, and where it sends alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// Active alerts, oldest first.
    pub active: Vec<Alert>,
    /// All thresholds, ordered by name.
    pub thresholds: Vec<ThresholdValue>,
    /// Receivers of alerts that the configuration names.
    pub sinks: Vec<AlertSink>,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Rule that raised the alert.
    pub rule: AlertRule,
    /// Urgency of the alert.
    pub severity: Severity,
    /// What happened, in words.
    pub message: String,
    /// Value that crossed the threshold, in the unit of the rule.
    pub value: u64,
    /// Threshold, in the same unit.
    pub threshold: u64,
    /// Time at which the alert was raised.
    pub raised_at: String,
    /// Present value; absent once the alert is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<u64>,
    /// Time at which the alert was cleared; absent while it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_at: Option<String>,
    /// Value with which the alert was cleared; absent while it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_value: Option<u64>,
}

/// A page of the latest alerts, active ones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertPage {
    /// Number of alerts that the node remembers.
    pub total: u32,
    /// Alerts of the page, newest first.
    pub alerts: Vec<Alert>,
}

/// All thresholds of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Thresholds, ordered by name.
    pub thresholds: Vec<ThresholdValue>,
}

/// A threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdValue {
    /// Name of the threshold.
    pub name: Threshold,
    /// Value that applies; absent if each rule has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// Whether a user set the value.
    pub set: bool,
    /// Least allowed value.
    pub least: u64,
    /// Largest allowed value.
    pub most: u64,
}

/// Thresholds to set. Those that are left out keep their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewThresholds {
    /// Used share of the disk above which it is nearly full, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_warning: Option<u64>,
    /// Duration for which every condition must last, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Used share of the memory limit above which memory is critical, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_critical: Option<u64>,
    /// Used share of the memory limit above which memory is high, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_warning: Option<u64>,
    /// 99th percentile of message round trips above which messages are late, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_p99_ms: Option<u64>,
    /// Number of peers below which the node has too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_warning: Option<u64>,
    /// Share of failed tasks above which too many fail, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_failure: Option<u64>,
    /// Whether the thresholds that are left out get their defaults back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// A receiver of alerts, and how deliveries to it went since the start of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertSink {
    /// Kind of the receiver.
    pub kind: AlertSinkKind,
    /// Receiver: scheme and host of a webhook, program of a command.
    pub target: String,
    /// Number of alerts that were delivered.
    pub delivered: u64,
    /// Number of alerts that the receiver did not take.
    pub failed: u64,
    /// Number of alerts that were dropped because the queue was full.
    pub dropped: u64,
    /// Number of alerts that wait for their delivery.
    pub waiting: u64,
    /// Error of the last failed try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Kind of a receiver of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSinkKind {
    /// A program that the node starts.
    Command,
    /// A URL that the node posts to.
    Webhook,
}

/// What a webhook and a command receive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertNotice {
    /// `alert_raised` or `alert_cleared`.
    pub event: String,
    /// Rule of the alert.
    pub rule: AlertRule,
    /// Urgency of the alert.
    pub severity: Severity,
    /// What happened, in words.
    pub message: String,
    /// Present value, in the unit of the rule.
    pub value: u64,
    /// Threshold, in the same unit.
    pub threshold: u64,
    /// Id of the node.
    pub node_id: String,
    /// Network of the node.
    pub network: String,
    /// Wall-clock time of the event.
    pub timestamp: String,
}

impl NewThresholds {
    /// Returns the given thresholds.
    pub fn changes(&self) -> BTreeMap<Threshold, u64> {
        let Self { disk_warning, for_ms, memory_critical, memory_warning, .. } = *self;
        let Self { message_p99_ms, peer_warning, task_failure, .. } = *self;
        let all = [
            (Threshold::DiskWarning, disk_warning),
            (Threshold::ForMs, for_ms),
            (Threshold::MemoryCritical, memory_critical),
            (Threshold::MemoryWarning, memory_warning),
            (Threshold::MessageP99Ms, message_p99_ms),
            (Threshold::PeerWarning, peer_warning),
            (Threshold::TaskFailure, task_failure),
        ];
        all.into_iter().filter_map(|(threshold, value)| Some((threshold, value?))).collect()
    }
}

impl From<&alerts::Thresholds> for Thresholds {
    fn from(set: &alerts::Thresholds) -> Self {
        let thresholds = Threshold::ALL.map(|name| ThresholdValue {
            name,
            value: set.set(name).or_else(|| name.default()),
            set: set.set(name).is_some(),
            least: *name.range().start(),
            most: *name.range().end(),
        });
        Self { thresholds: thresholds.into() }
    }
}

impl From<alerts::Alert> for Alert {
    fn from(alert: alerts::Alert) -> Self {
        let alerts::Alert { rule, value, threshold, raised_at, cleared } = alert;
        Self {
            rule,
            severity: rule.severity(),
            message: rule.describe_crossing(value, threshold),
            value,
            threshold,
            raised_at: raised_at.to_string(),
            present: None,
            cleared_at: cleared.map(|cleared| cleared.at.to_string()),
            cleared_value: cleared.map(|cleared| cleared.value),
        }
    }
}

impl From<AlertHistory> for AlertPage {
    fn from(history: AlertHistory) -> Self {
        Self { total: history.total, alerts: history.alerts.into_iter().map(Alert::from).collect() }
    }
}

impl Alerts {
    /// Returns the alerts in a view of a node, and its receivers of alerts.
    pub fn new(view: alerts::AlertsView, sinks: Vec<AlertSink>) -> Self {
        let active = view.active.into_iter().map(|(alert, present)| {
            let crossing = alert.rule.describe_crossing(present, alert.threshold);
            Alert { present: Some(present), message: crossing, ..Alert::from(alert) }
        });
        let Thresholds { thresholds } = Thresholds::from(&view.thresholds);
        Self { active: active.collect(), thresholds, sinks }
    }
}

impl AlertNotice {
    /// Returns the notice of an event, or `None` if the event is about no alert.
    pub fn new(event: &engine::Event, node: NodeId, network: &str, now: UnixMillis) -> Option<Self> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other events are not about alerts")]
        let (name, rule, severity, value, threshold, message) = match *event {
            engine::Event::AlertRaised { rule, severity, value, threshold } => {
                let message = rule.describe_crossing(value, threshold);
                ("alert_raised", rule, severity, value, threshold, message)
            }
            engine::Event::AlertCleared { rule, severity, value, threshold } => {
                ("alert_cleared", rule, severity, value, threshold, rule.describe(value))
            }
            _ => return None,
        };
        let (event, timestamp) = (name.to_owned(), now.to_string());
        let (node_id, network) = (node.to_string(), network.to_owned());
        Some(Self { event, rule, severity, message, value, threshold, node_id, network, timestamp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_thresholds_have_one_name_everywhere() {
        for rule in AlertRule::ALL {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
        }
        assert!(AlertRule::ALL.is_sorted());
        let all = NewThresholds {
            disk_warning: Some(1),
            for_ms: Some(1),
            memory_critical: Some(1),
            memory_warning: Some(1),
            message_p99_ms: Some(1),
            peer_warning: Some(1),
            task_failure: Some(1),
            reset: false,
        };
        assert_eq!(all.changes().into_keys().collect::<Vec<_>>(), Threshold::ALL);
        let fields = serde_json::to_value(all).unwrap();
        for threshold in Threshold::ALL {
            assert_eq!(serde_json::to_value(threshold).unwrap(), threshold.name());
            assert_eq!(fields[threshold.name()], 1, "{threshold}");
        }
        assert!(serde_json::from_str::<NewThresholds>(r#"{"peer_warning": 2, "peers": 1}"#).is_err());
    }
}
