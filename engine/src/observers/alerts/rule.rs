//! The rules: what each watches, how bad it is, how long it must last, and how to say it.

use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A rule. Its name is the same in events, in the API and in scenario files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertRule {
    /// The clocks of this node and a peer differ by more than 30 s. The value is the largest difference in seconds.
    ClockDiffers,
    /// The disk of the stored records is nearly full. The value is its used share in percent.
    DiskUsed,
    /// A component other than memory fails its health check. The value is the number of such components.
    HealthFailed,
    /// The node is about to reach its memory limit. The value is the used share in percent.
    MemoryCritical,
    /// The node uses much of its memory limit. The value is the used share in percent.
    MemoryWarning,
    /// Messages are acknowledged late. The value is the 99th percentile of round trips in milliseconds.
    MessageP99,
    /// A model of this node cannot be used. The value is the number of such models.
    ModelUnusable,
    /// The node has few peers. The value is their number.
    PeerCount,
    /// Many tasks fail or time out. The value is their share in percent.
    TaskFailure,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Somebody should look soon.
    Warn,
    /// Somebody should act now.
    Alert,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warn => "WARN",
            Self::Alert => "ALERT",
        })
    }
}

impl AlertRule {
    /// All rules, by name.
    pub const ALL: [Self; 9] = [
        Self::ClockDiffers,
        Self::DiskUsed,
        Self::HealthFailed,
        Self::MemoryCritical,
        Self::MemoryWarning,
        Self::MessageP99,
        Self::ModelUnusable,
        Self::PeerCount,
        Self::TaskFailure,
    ];

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClockDiffers => "clock_differs",
            Self::DiskUsed => "disk_used",
            Self::HealthFailed => "health_failed",
            Self::MemoryCritical => "memory_critical",
            Self::MemoryWarning => "memory_warning",
            Self::MessageP99 => "message_p99",
            Self::ModelUnusable => "model_unusable",
            Self::PeerCount => "peer_count",
            Self::TaskFailure => "task_failure",
        }
    }

    /// Returns how urgent its alerts are.
    pub const fn severity(self) -> Severity {
        match self {
            Self::HealthFailed | Self::MemoryCritical => Severity::Alert,
            Self::ClockDiffers
            | Self::DiskUsed
            | Self::MemoryWarning
            | Self::MessageP99
            | Self::ModelUnusable
            | Self::PeerCount
            | Self::TaskFailure => Severity::Warn,
        }
    }

    /// Returns how long its condition must hold before an alert is raised, and must be gone before it is cleared.
    pub const fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            Self::ClockDiffers => 10,
            // Less than the interval of two health checks, which must agree.
            Self::DiskUsed | Self::HealthFailed | Self::MemoryCritical | Self::MemoryWarning => 20,
            // Longer than the window, so that one burst of slow messages raises nothing.
            Self::MessageP99 => 40,
            Self::PeerCount => 30,
            Self::ModelUnusable | Self::TaskFailure => 60,
        })
    }

    /// Tells whether its figure comes from health checks, so that a condition must be seen by two of them.
    pub(super) const fn is_sampled(self) -> bool {
        match self {
            Self::DiskUsed | Self::HealthFailed | Self::MemoryCritical | Self::MemoryWarning => true,
            Self::ClockDiffers
            | Self::MessageP99
            | Self::ModelUnusable
            | Self::PeerCount
            | Self::TaskFailure => false,
        }
    }

    /// Says the value in words.
    pub fn describe(self, value: u64) -> String {
        let s = if value == 1 { "" } else { "s" };
        match self {
            Self::ClockDiffers if value == 0 => "no clock of a peer differs".to_owned(),
            Self::ClockDiffers => format!("the clock of a peer differs by {value} s"),
            Self::DiskUsed => format!("the disk of the stored records is {value} % full"),
            Self::HealthFailed => format!("{value} component{s} failed the health check"),
            Self::MemoryCritical | Self::MemoryWarning => format!("memory is at {value} % of its limit"),
            Self::MessageP99 => format!("the 99th percentile of message round trips is {value} ms"),
            Self::ModelUnusable => format!("{value} model{s} cannot be used"),
            Self::PeerCount => format!("the node has {value} peer{s}"),
            Self::TaskFailure => format!("{value} % of the tasks of the last 5 minutes failed or timed out"),
        }
    }

    /// Says the value and the threshold that it crossed in words.
    pub fn describe_crossing(self, value: u64, threshold: u64) -> String {
        let said = self.describe(value);
        match self {
            Self::HealthFailed | Self::ModelUnusable => said,
            Self::PeerCount => format!("{said}, fewer than {threshold}"),
            Self::ClockDiffers => format!("{said}, more than {threshold} s"),
            Self::MessageP99 => format!("{said}, above {threshold} ms"),
            Self::DiskUsed | Self::MemoryCritical | Self::MemoryWarning | Self::TaskFailure => {
                format!("{said}, above {threshold} %")
            }
        }
    }
}

impl fmt::Display for AlertRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossing_is_a_sentence() {
        let said = |rule: AlertRule, value, threshold| rule.describe_crossing(value, threshold);
        assert_eq!(said(AlertRule::PeerCount, 1, 2), "the node has 1 peer, fewer than 2");
        assert_eq!(said(AlertRule::MemoryWarning, 91, 85), "memory is at 91 % of its limit, above 85 %");
        assert_eq!(said(AlertRule::ModelUnusable, 2, 0), "2 models cannot be used");
    }
}
