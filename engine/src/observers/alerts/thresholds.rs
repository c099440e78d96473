//! The thresholds that a user may set, with their ranges and defaults.

use super::rule::AlertRule;
use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A threshold that a user may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// The used share of the disk, in percent, above which it counts as nearly full.
    DiskWarning,
    /// How long every condition must last, in milliseconds. Without it each rule has its own duration.
    ForMs,
    /// The used share of the memory limit, in percent, above which memory is critical.
    MemoryCritical,
    /// The used share of the memory limit, in percent, above which memory is high.
    MemoryWarning,
    /// The 99th percentile of message round trips, in milliseconds, above which messages are late.
    MessageP99Ms,
    /// The number of peers below which a node has too few.
    PeerWarning,
    /// The share of failed tasks, in percent, above which too many fail.
    TaskFailure,
}

impl Threshold {
    /// All thresholds, by name.
    pub const ALL: [Self; 7] = [
        Self::DiskWarning,
        Self::ForMs,
        Self::MemoryCritical,
        Self::MemoryWarning,
        Self::MessageP99Ms,
        Self::PeerWarning,
        Self::TaskFailure,
    ];

    /// Returns the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DiskWarning => "disk_warning",
            Self::ForMs => "for_ms",
            Self::MemoryCritical => "memory_critical",
            Self::MemoryWarning => "memory_warning",
            Self::MessageP99Ms => "message_p99_ms",
            Self::PeerWarning => "peer_warning",
            Self::TaskFailure => "task_failure",
        }
    }

    /// Returns the values that it may have.
    pub const fn range(self) -> RangeInclusive<u64> {
        match self {
            Self::DiskWarning | Self::MemoryCritical | Self::MemoryWarning | Self::TaskFailure => 1..=100,
            Self::ForMs => 0..=3_600_000,
            Self::MessageP99Ms => 1..=60_000,
            Self::PeerWarning => 0..=256,
        }
    }

    /// Returns the value that applies unless it is set; `None` for [`Self::ForMs`].
    pub const fn default(self) -> Option<u64> {
        match self {
            Self::DiskWarning | Self::MemoryCritical => Some(95),
            Self::ForMs => None,
            Self::MemoryWarning => Some(85),
            Self::MessageP99Ms => Some(500),
            Self::PeerWarning => Some(2),
            Self::TaskFailure => Some(10),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The thresholds that a user has set. Defaults apply to the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds(BTreeMap<Threshold, u64>);

/// A value that a threshold may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdFault {
    /// The threshold.
    pub threshold: Threshold,
    /// The value.
    pub value: u64,
    /// The least value that it may have.
    pub least: u64,
    /// The largest value that it may have.
    pub most: u64,
}

impl fmt::Display for ThresholdFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threshold, value, least, most } = self;
        write!(f, "the threshold {threshold} is {value}; {least} to {most} are allowed")?;
        if *threshold == Threshold::MemoryCritical && *least > 1 {
            f.write_str(", above memory_warning")?;
        }
        if *threshold == Threshold::MemoryWarning && *most < 100 {
            f.write_str(", below memory_critical")?;
        }
        Ok(())
    }
}

impl Thresholds {
    /// Returns a copy in which the given thresholds are set.
    ///
    /// # Errors
    /// [`ThresholdFault`] if a value is outside its range, or the warning about memory would not come before the alert.
    pub fn with(&self, changes: &BTreeMap<Threshold, u64>) -> Result<Self, ThresholdFault> {
        for (&threshold, &value) in changes {
            let range = threshold.range();
            if !range.contains(&value) {
                return Err(ThresholdFault { threshold, value, least: *range.start(), most: *range.end() });
            }
        }
        let mut changed = self.clone();
        changed.0.extend(changes);
        let (warning, critical) =
            (changed.value(Threshold::MemoryWarning), changed.value(Threshold::MemoryCritical));
        if warning < critical {
            return Ok(changed);
        }
        // The one that the user gave is at fault.
        Err(if changes.contains_key(&Threshold::MemoryWarning) {
            let most = critical.saturating_sub(1);
            ThresholdFault { threshold: Threshold::MemoryWarning, value: warning, least: 1, most }
        } else {
            let least = warning.saturating_add(1);
            ThresholdFault { threshold: Threshold::MemoryCritical, value: critical, least, most: 100 }
        })
    }

    /// Returns the value that a user has set.
    pub fn set(&self, threshold: Threshold) -> Option<u64> {
        self.0.get(&threshold).copied()
    }

    /// Returns how long the condition of a rule must last.
    pub fn lasts(&self, rule: AlertRule) -> Duration {
        self.set(Threshold::ForMs).map_or_else(|| rule.lasts(), Duration::from_millis)
    }

    /// Returns the value that applies.
    pub(super) fn value(&self, threshold: Threshold) -> u64 {
        self.set(threshold).or_else(|| threshold.default()).unwrap_or_default()
    }

    /// Leaves out values that this version does not allow.
    pub(super) fn sanitized(mut self) -> Self {
        self.0.retain(|threshold, value| threshold.range().contains(value));
        if self.value(Threshold::MemoryWarning) >= self.value(Threshold::MemoryCritical) {
            self.0.remove(&Threshold::MemoryWarning);
            self.0.remove(&Threshold::MemoryCritical);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(thresholds: &Thresholds, changes: &[(Threshold, u64)]) -> Result<Thresholds, ThresholdFault> {
        thresholds.with(&changes.iter().copied().collect())
    }

    #[test]
    fn a_value_outside_its_range_changes_nothing_and_is_named() {
        let none = Thresholds::default();
        for threshold in Threshold::ALL {
            let most = *threshold.range().end();
            let fault = with(&none, &[(Threshold::PeerWarning, 3), (threshold, most + 1)]).unwrap_err();
            assert_eq!((fault.threshold, fault.value, fault.most), (threshold, most + 1, most));
            assert!(threshold.default().is_none_or(|value| threshold.range().contains(&value)));
        }
        let fault = with(&none, &[(Threshold::MemoryCritical, 101)]).unwrap_err();
        assert_eq!(fault.to_string(), "the threshold memory_critical is 101; 1 to 100 are allowed");
    }

    #[test]
    fn the_warning_about_memory_comes_before_the_alert() {
        let none = Thresholds::default();
        let fault = with(&none, &[(Threshold::MemoryCritical, 85)]).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the threshold memory_critical is 85; 86 to 100 are allowed, above memory_warning"
        );
        let fault = with(&none, &[(Threshold::MemoryWarning, 95)]).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the threshold memory_warning is 95; 1 to 94 are allowed, below memory_critical"
        );
        let both = with(&none, &[(Threshold::MemoryCritical, 60), (Threshold::MemoryWarning, 50)]).unwrap();
        assert_eq!((both.value(Threshold::MemoryWarning), both.set(Threshold::PeerWarning)), (50, None));
        let wrong = Thresholds(BTreeMap::from([(Threshold::MemoryWarning, 97), (Threshold::TaskFailure, 0)]));
        assert_eq!(wrong.sanitized(), none);
    }
}
