//! Alert rules as a state machine: a condition that lasts raises an alert once, and clears it once it is gone as long.
//!
//! An observer. It reads events, health checks and two figures of the node, and feeds nothing back. A condition must
//! hold for the duration of its rule, so that a spike raises nothing. It is gone only when its figure is well past the
//! threshold, so that a figure that wavers around it does not raise one alert after another. Rules are evaluated at most
//! once a second, and only while a figure that matters has changed: a node that is well has no deadline here.
//!
//! Active alerts, the latest past ones and the thresholds are one stored record. An alert that is active when the node
//! stops is still active when it starts again, and is cleared then.

mod rule;
mod thresholds;
mod window;

pub use rule::{AlertRule, Severity};
pub use thresholds::{Threshold, ThresholdFault, Thresholds};

use crate::error::WriteError;
use crate::event::{Event, LinkDownReason};
use crate::health::{Component, HealthReport, Verdict};
use crate::ids::{NodeId, RequestId};
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::task::TaskStatus;
use crate::time::{Instant, UnixMillis};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use window::{Ends, RoundTrips, Window, p99};

/// An alert that was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its rule.
    pub rule: AlertRule,
    /// The value that raised it.
    pub value: u64,
    /// The threshold that the value crossed.
    pub threshold: u64,
    /// When it was raised.
    pub raised_at: UnixMillis,
    /// Its end, unless it is active.
    pub cleared: Option<Cleared>,
}

/// The end of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    /// When it was cleared.
    pub at: UnixMillis,
    /// The value then.
    pub value: u64,
}

/// What is stored about alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAlerts {
    /// The thresholds that the user has set.
    pub thresholds: Thresholds,
    /// The latest alerts, oldest first.
    pub alerts: Vec<Alert>,
}

/// The active alerts and the thresholds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertsView {
    /// The active alerts, oldest first, each with its present value.
    pub active: Vec<(Alert, u64)>,
    /// The thresholds that the user has set.
    pub thresholds: Thresholds,
}

/// A page of past and active alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertHistory {
    /// Number of alerts on all pages.
    pub total: u32,
    /// The page, newest first.
    pub alerts: Vec<Alert>,
}

/// The figures of the node that no event carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Number of nodes that it has a link with.
    pub(crate) peers: u64,
    /// Number of its models that cannot be used.
    pub(crate) models_unusable: u64,
}

/// The alerts of one node.
#[derive(Debug)]
pub(crate) struct Alerts {
    thresholds: Thresholds,
    /// The latest alerts, oldest first. At most one of each rule is active.
    alerts: VecDeque<Alert>,
    conditions: BTreeMap<AlertRule, Condition>,
    /// Whether the node is ACTIVE.
    runs: bool,
    /// Whether a figure that matters has changed since the last evaluation.
    changed: bool,
    evaluated_at: Option<Instant>,
    /// When to evaluate the rules next. It is kept, as it is asked for after every input.
    due: Option<Instant>,
    /// The figures of the last health check; empty before the first.
    health: BTreeMap<AlertRule, u64>,
    /// Whether a health check ended since the last evaluation.
    checked: bool,
    ends: Window<Ends>,
    round_trips: Window<RoundTrips>,
    /// How far the clock of a peer is ahead, in milliseconds, if it differs too much.
    clocks: BTreeMap<NodeId, i64>,
    /// The largest number of peers since the node became ACTIVE.
    peers_most: u64,
    saving: Saving,
}

/// A condition that holds, or an active alert whose condition is gone, but not long enough.
#[derive(Clone, Copy, Debug, Default)]
struct Condition {
    /// Since when, and the number of health checks that saw it.
    since: Option<(Instant, u32)>,
    /// The last value.
    value: u64,
}

/// The present value of a rule.
#[derive(Clone, Copy, Debug)]
struct Reading {
    value: u64,
    threshold: u64,
    /// Whether the value is past the threshold.
    is_bad: bool,
    /// Whether the value is so far on the good side of the threshold that an alert ends.
    is_well: bool,
}

/// What is being stored. One write is in progress at a time, so that an older state never replaces a newer one.
#[derive(Debug, Default)]
struct Saving {
    /// Whether something changed since the last write began.
    unsaved: bool,
    /// The thresholds of the write in progress, and the request that set them.
    writing: Option<Option<(RequestId, Thresholds)>>,
    /// The request whose thresholds are written next.
    next: Option<(RequestId, Thresholds)>,
    /// When to retry a failed write.
    retry_at: Option<Instant>,
}

impl Alerts {
    /// Creates the alerts of a node from what it stored before.
    pub(crate) fn new(saved: SavedAlerts) -> Self {
        let skipped = saved.alerts.len().saturating_sub(ALERTS_MAX);
        let conditions = AlertRule::ALL.into_iter().map(|rule| (rule, Condition::default())).collect();
        let mut alerts: VecDeque<Alert> = saved.alerts.into_iter().skip(skipped).collect();
        for at in 0..alerts.len() {
            let rule = alerts[at].rule;
            // At most one is active; the rest would never end.
            if alerts.range(at + 1..).any(|later| later.rule == rule) && alerts[at].cleared.is_none() {
                alerts[at].cleared = Some(Cleared { at: alerts[at].raised_at, value: alerts[at].value });
            }
        }
        Self {
            thresholds: saved.thresholds.sanitized(),
            alerts,
            conditions,
            runs: false,
            changed: false,
            evaluated_at: None,
            due: None,
            health: BTreeMap::new(),
            checked: false,
            ends: Window::new(ENDS_SLOT, ENDS_SLOTS_MAX),
            round_trips: Window::new(ROUND_TRIPS_SLOT, ROUND_TRIPS_SLOTS_MAX),
            clocks: BTreeMap::new(),
            peers_most: 0,
            saving: Saving::default(),
        }
    }

    /// Starts to evaluate the rules.
    pub(crate) fn handle_active(&mut self) {
        self.runs = true;
        // One that was active before the start may be over.
        self.note(self.alerts.iter().any(|alert| alert.cleared.is_none()));
    }

    /// Stops to evaluate the rules: the node shuts down, which is no news. Returns a request that still waits.
    pub(crate) fn handle_leave(&mut self) -> Option<RequestId> {
        self.runs = false;
        self.saving.next.take().map(|(request, _)| request)
    }

    /// Handles an event of the node.
    pub(crate) fn handle_event(&mut self, now: Instant, event: &Event) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "most events concern no rule")]
        match *event {
            Event::ClockDiffers { peer, ahead_millis }
                if self.clocks.len() < CLOCKS_MAX || self.clocks.contains_key(&peer) =>
            {
                self.clocks.insert(peer, ahead_millis);
                self.note(true);
            }
            Event::ClockSet { by_millis } if !self.clocks.is_empty() => {
                self.clocks.values_mut().for_each(|ahead| *ahead = ahead.saturating_sub(by_millis));
                self.clocks.retain(|_, ahead| clock_differs(*ahead));
                self.note(true);
            }
            Event::LinkUp { .. } => self.note(self.watches_peers()),
            Event::LinkDown { peer, reason, .. } => {
                let is_gone = reason != LinkDownReason::Duplicate;
                let forgotten = is_gone && self.clocks.remove(&peer).is_some();
                self.note(forgotten || self.watches_peers());
            }
            Event::MessageAcknowledged { elapsed_micros, .. } => self.handle_round_trip(now, elapsed_micros),
            Event::ModelChanged { .. } => self.note(true),
            Event::TaskFinished { status, .. } => self.handle_end(now, status),
            _ => {}
        }
    }

    /// Handles the end of a health check.
    pub(crate) fn handle_health(&mut self, report: &HealthReport) {
        if let Some(used) = report.memory_bytes {
            let percent = percent(used, report.memory_bytes_max);
            self.health.insert(AlertRule::MemoryCritical, percent);
            self.health.insert(AlertRule::MemoryWarning, percent);
        }
        if let Some(disk) = report.disk {
            let used = disk.bytes_total.saturating_sub(disk.bytes_free);
            self.health.insert(AlertRule::DiskUsed, percent(used, disk.bytes_total));
        }
        let failed = report
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Fail && finding.component != Component::Memory);
        self.health.insert(AlertRule::HealthFailed, count(failed.count()));
        self.checked = true;
        self.note(true);
    }

    fn handle_round_trip(&mut self, now: Instant, took: u64) {
        let is_slow = took > self.thresholds.value(Threshold::MessageP99Ms).saturating_mul(1_000);
        let slot = self.round_trips.present(now);
        slot.add(took);
        slot.slow = slot.slow.saturating_add(u32::from(is_slow));
        self.note(is_slow || self.is_pending(AlertRule::MessageP99));
    }

    /// Handles a message of a node whose clock may differ: `ahead` tells by how many milliseconds at least.
    pub(crate) fn handle_time(&mut self, origin: NodeId, ahead: i64) {
        // A message may have waited on its way, so it can only show that the clock is right.
        if !self.clocks.is_empty() && !clock_differs(ahead) && self.clocks.remove(&origin).is_some() {
            self.note(true);
        }
    }

    /// Returns when to evaluate the rules next, or to retry a write.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let evaluation = self.due.filter(|_| self.runs);
        evaluation.into_iter().chain(self.saving.retry_at).min()
    }

    /// Tells whether the rules are to be evaluated now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.runs && self.due.is_some_and(|at| at <= now)
    }

    /// Evaluates all rules, and returns the alerts that are raised or cleared now.
    pub(crate) fn evaluate(&mut self, now: Instant, wall: UnixMillis, figures: Figures) -> Vec<Event> {
        (self.changed, self.evaluated_at) = (false, Some(now));
        let checked = core::mem::take(&mut self.checked);
        self.peers_most = self.peers_most.max(figures.peers);
        self.ends.advance(now);
        self.round_trips.advance(now);
        let mut events = Vec::new();
        for rule in AlertRule::ALL {
            let Some(reading) = self.reading(rule, figures) else { continue };
            events.extend(self.step(now, wall, rule, reading, checked));
        }
        self.due = self.next_evaluation();
        events
    }

    /// Returns the active alerts, oldest first.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.cleared.is_none())
    }

    /// Returns the active alerts and the thresholds.
    pub(crate) fn view(&self) -> AlertsView {
        let value = |alert: &Alert| match self.conditions.get(&alert.rule) {
            Some(condition) if self.evaluated_at.is_some() => condition.value,
            Some(_) | None => alert.value,
        };
        let active = self.active().map(|alert| (*alert, value(alert))).collect();
        AlertsView { active, thresholds: self.thresholds.clone() }
    }

    /// Returns a page of the latest alerts, newest first.
    pub(crate) fn history(&self, limit: u32, offset: u32) -> AlertHistory {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let page = self.alerts.iter().rev().skip(size(offset)).take(size(limit)).copied();
        AlertHistory { total: u32::try_from(self.alerts.len()).unwrap_or(u32::MAX), alerts: page.collect() }
    }

    /// Sets thresholds for a request. They apply once they are stored. Returns `false` if another request waits already.
    ///
    /// # Errors
    /// [`ThresholdFault`] if a value is not allowed; nothing is changed then.
    pub(crate) fn handle_set(
        &mut self,
        request: RequestId,
        changes: &BTreeMap<Threshold, u64>,
        reset: bool,
    ) -> Result<bool, ThresholdFault> {
        let present = if reset { Thresholds::default() } else { self.thresholds.clone() };
        let changed = present.with(changes)?;
        // A request that builds on thresholds that are not in force yet would undo them.
        if self.saving.next.is_some() || matches!(self.saving.writing, Some(Some(_))) {
            return Ok(false);
        }
        self.saving.next = Some((request, changed));
        Ok(true)
    }

    /// Returns the state to write, if it changed and no write is in progress. [`Self::handle_saved`] follows.
    pub(crate) fn poll_save(&mut self, now: Instant) -> Option<SavedAlerts> {
        let saving = &mut self.saving;
        let due = saving.unsaved && saving.retry_at.is_none_or(|at| at <= now);
        if saving.writing.is_some() || !due && saving.next.is_none() {
            return None;
        }
        (saving.unsaved, saving.retry_at) = (false, None);
        let next = saving.next.take();
        let thresholds = next.as_ref().map_or_else(|| self.thresholds.clone(), |(_, set)| set.clone());
        saving.writing = Some(next);
        Some(SavedAlerts { thresholds, alerts: self.alerts.iter().copied().collect() })
    }

    /// Handles the end of the write. Returns the request that set thresholds with it, and those in force now.
    pub(crate) fn handle_saved(
        &mut self,
        now: Instant,
        result: Result<(), WriteError>,
    ) -> Option<(RequestId, Result<Thresholds, WriteError>)> {
        let set = self.saving.writing.take()?;
        if result.is_err() {
            self.saving.unsaved = true;
            self.saving.retry_at = Some(now.after(SAVE_BACKOFF));
        }
        let (request, thresholds) = set?;
        let outcome = result.map(|()| {
            self.thresholds = thresholds;
            self.note(true);
            self.thresholds.clone()
        });
        Some((request, outcome))
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 4] {
        let slots = |slots: u64| usize::try_from(slots).unwrap_or(usize::MAX);
        [
            Occupancy::new("alerts.history", self.alerts.len(), ALERTS_MAX),
            Occupancy::new("alerts.clocks", self.clocks.len(), CLOCKS_MAX),
            Occupancy::new("alerts.ends", self.ends.len(), slots(ENDS_SLOTS_MAX)),
            Occupancy::new("alerts.round_trips", self.round_trips.len(), slots(ROUND_TRIPS_SLOTS_MAX)),
        ]
    }

    fn handle_end(&mut self, now: Instant, status: TaskStatus) {
        let ends = self.ends.present(now);
        match status {
            TaskStatus::Completed => ends.completed = ends.completed.saturating_add(1),
            TaskStatus::Failed | TaskStatus::Timeout => ends.failed = ends.failed.saturating_add(1),
            TaskStatus::Cancelled | TaskStatus::Queued | TaskStatus::Running => return,
        }
        let failed = self.ends.iter().any(|ends| ends.failed > 0);
        self.note(failed || self.is_pending(AlertRule::TaskFailure));
    }

    /// Has the rules evaluated soon, if a figure that matters has changed.
    fn note(&mut self, matters: bool) {
        if matters && !self.changed {
            self.changed = true;
            self.due = self.next_evaluation();
        }
    }

    /// Tells whether an alert of the rule is active, or about to be.
    fn is_pending(&self, rule: AlertRule) -> bool {
        self.conditions.get(&rule).is_some_and(|condition| condition.since.is_some())
            || self.active().any(|alert| alert.rule == rule)
    }

    /// Tells whether the number of peers matters.
    fn watches_peers(&self) -> bool {
        self.thresholds.value(Threshold::PeerWarning) > 0
    }

    fn next_evaluation(&self) -> Option<Instant> {
        let soon = |at: Instant| at.after(EVALUATION_INTERVAL);
        let changed = self.changed.then(|| self.evaluated_at.map_or(Instant::ZERO, soon));
        let pending = self.conditions.iter().filter(|(rule, _)| !rule.is_sampled());
        let pending = pending.filter_map(|(rule, condition)| {
            condition.since.map(|(since, _)| since.after(self.thresholds.lasts(*rule)))
        });
        // When old figures pass, the share of the bad ones changes.
        let matters = self.ends.iter().any(|ends| ends.failed > 0) || self.is_pending(AlertRule::TaskFailure);
        let ends = self.ends.passes_at().filter(|_| matters);
        let matters =
            self.round_trips.iter().any(|slot| slot.slow > 0) || self.is_pending(AlertRule::MessageP99);
        let round_trips = self.round_trips.passes_at().filter(|_| matters);
        let later = pending.chain(ends).chain(round_trips).min();
        // At most once a second, however many figures pass.
        let later = later.map(|at| at.max(self.evaluated_at.map_or(Instant::ZERO, soon)));
        changed.into_iter().chain(later).min()
    }

    /// Returns the value of a rule and what it means; `None` if it is not known yet.
    fn reading(&self, rule: AlertRule, figures: Figures) -> Option<Reading> {
        let above = |value: u64, threshold: u64, well_below: u64| Reading {
            value,
            threshold,
            is_bad: value > threshold,
            is_well: value <= well_below,
        };
        let health = || self.health.get(&rule).copied();
        let set = |threshold| self.thresholds.value(threshold);
        Some(match rule {
            AlertRule::ClockDiffers => {
                let most = self.clocks.values().map(|ahead| ahead.unsigned_abs()).max();
                above(most.unwrap_or_default().div_ceil(1_000), CLOCK_SECONDS_MAX, CLOCK_SECONDS_MAX)
            }
            AlertRule::DiskUsed => {
                let threshold = set(Threshold::DiskWarning);
                above(health()?, threshold, threshold.saturating_sub(2))
            }
            AlertRule::HealthFailed => above(health()?, 0, 0),
            AlertRule::MemoryCritical | AlertRule::MemoryWarning => {
                let is_critical = rule == AlertRule::MemoryCritical;
                let threshold =
                    set(if is_critical { Threshold::MemoryCritical } else { Threshold::MemoryWarning });
                above(health()?, threshold, threshold.saturating_sub(5))
            }
            AlertRule::MessageP99 => {
                let threshold = set(Threshold::MessageP99Ms);
                let value = p99(self.round_trips.iter(), ROUND_TRIPS_MIN).unwrap_or_default();
                above(value.div_ceil(1_000), threshold, threshold * 4 / 5)
            }
            AlertRule::ModelUnusable => above(figures.models_unusable, 0, 0),
            AlertRule::PeerCount => self.peer_reading(figures.peers),
            AlertRule::TaskFailure => {
                let total = |of: fn(&Ends) -> u32| self.ends.iter().map(|ends| u64::from(of(ends))).sum();
                let (failed, completed): (u64, u64) =
                    (total(|ends| ends.failed), total(|ends| ends.completed));
                let all = failed + completed;
                let value = if all >= ENDS_MIN { percent(failed, all) } else { 0 };
                let threshold = set(Threshold::TaskFailure);
                above(value, threshold, threshold / 2)
            }
        })
    }

    /// Judges the number of peers. The default threshold asks for no more peers than the node has had: a node that is
    /// alone, or one of two, is so on purpose. A threshold that the user has set counts as it is.
    fn peer_reading(&self, peers: u64) -> Reading {
        let threshold = self.thresholds.value(Threshold::PeerWarning);
        let threshold = match self.thresholds.set(Threshold::PeerWarning) {
            Some(set) => set,
            None => threshold.min(self.peers_most),
        };
        let is_bad = peers < threshold;
        Reading { value: peers, threshold, is_bad, is_well: !is_bad }
    }

    /// Moves a rule to its next state. Returns the event if an alert is raised or cleared.
    fn step(
        &mut self,
        now: Instant,
        wall: UnixMillis,
        rule: AlertRule,
        reading: Reading,
        checked: bool,
    ) -> Option<Event> {
        let Reading { value, threshold, .. } = reading;
        let active = self.alerts.iter().rposition(|alert| alert.rule == rule && alert.cleared.is_none());
        let lasts = self.thresholds.lasts(rule);
        let condition = self.conditions.entry(rule).or_default();
        condition.value = value;
        let turns = if active.is_some() { reading.is_well } else { reading.is_bad };
        if !turns {
            condition.since = None;
            return None;
        }
        let (since, checks) = condition.since.get_or_insert((now, 0));
        *checks = checks.saturating_add(u32::from(checked));
        let checks_min = if rule.is_sampled() && !lasts.is_zero() { CHECKS_MIN } else { 0 };
        if now.since(*since) < lasts || *checks < checks_min {
            return None;
        }
        condition.since = None;
        self.saving.unsaved = true;
        let severity = rule.severity();
        if let Some(at) = active {
            let alert = &mut self.alerts[at];
            alert.cleared = Some(Cleared { at: wall, value });
            return Some(Event::AlertCleared { rule, severity, value, threshold: alert.threshold });
        }
        if shows(Mutant::AlertRaisedAgain) {
            return Some(Event::AlertRaised { rule, severity, value, threshold });
        }
        self.alerts.push_back(Alert { rule, value, threshold, raised_at: wall, cleared: None });
        while self.alerts.len() > ALERTS_MAX {
            // An active alert stays, as it must be cleared. There is at most one of each rule.
            let oldest = self.alerts.iter().position(|alert| alert.cleared.is_some()).unwrap_or_default();
            self.alerts.remove(oldest);
        }
        Some(Event::AlertRaised { rule, severity, value, threshold })
    }
}

/// Tells whether a clock is so far ahead or behind that it is reported.
pub(crate) fn clock_differs(ahead_millis: i64) -> bool {
    ahead_millis.unsigned_abs() > CLOCK_SECONDS_MAX * 1_000
}

/// Returns a share in percent, rounded up so that a share above a whole number of percent is seen to be above it.
fn percent(part: u64, whole: u64) -> u64 {
    let percent = (u128::from(part) * 100).div_ceil(u128::from(whole.max(1)));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Maximum number of alerts to keep. Beyond it, the oldest past one is dropped.
pub const ALERTS_MAX: usize = 256;
/// Maximum number of peers whose clocks differ to remember: as many as a node can have.
const CLOCKS_MAX: usize = 256;
/// A larger difference between two clocks, in seconds, is too large.
const CLOCK_SECONDS_MAX: u64 = 30;
/// The shortest time between two evaluations.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(1);
/// Number of health checks that must agree.
const CHECKS_MIN: u32 = 2;
const ENDS_SLOT: Duration = Duration::from_secs(30);
const ENDS_SLOTS_MAX: u64 = 10;
/// With fewer ended tasks in the window, the share of failures means nothing.
const ENDS_MIN: u64 = 20;
const ROUND_TRIPS_SLOT: Duration = Duration::from_secs(5);
const ROUND_TRIPS_SLOTS_MAX: u64 = 6;
/// With fewer acknowledgements in the window, the percentile means nothing.
const ROUND_TRIPS_MIN: u64 = 20;
/// The backoff after a failed write.
const SAVE_BACKOFF: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
