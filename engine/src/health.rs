//! A node's own health: can it read its configuration, write to its storage and sign, and does it have enough memory?
//!
//! A check begins at every interval and on request. It asks the host for facts and storage for a write, and ends when
//! both have answered or timed out. A component that does not answer in time fails. At most one check and one test
//! write are in progress at a time, however long they take.

use crate::error::WriteError;
use crate::ids::RequestId;
use crate::time::{Instant, micros};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// How well a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Healthy.
    Pass,
    /// Healthy, but close to a limit.
    Warn,
    /// Unhealthy.
    Fail,
}

/// A component that a check judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Whether the configuration can be read and used.
    Configuration,
    /// Whether the key signs in time.
    Crypto,
    /// Whether memory use is below its limit.
    Memory,
    /// Whether storage completes a write in time.
    Storage,
}

/// Why a component is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthReason {
    /// The configuration cannot be read or is no longer valid.
    ConfigUnreadable,
    /// The key did not sign within the timeout.
    CryptoTimeout,
    /// The node uses 80 % or more of its memory limit.
    MemoryThresholdExceeded,
    /// A write failed.
    StorageFailed,
    /// A write did not complete within the timeout.
    StorageTimeout,
    /// Stored records are damaged. They are never returned.
    RecordsDamaged,
}

/// What the driver measures on the host for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Whether the configuration can be read and used.
    pub config_readable: bool,
    /// How long the key took to sign, in microseconds.
    pub crypto_micros: u64,
    /// Memory that the node holds, its models' processes included, in bytes.
    pub memory_bytes: u64,
    /// Number of stored records found damaged recently.
    pub records_damaged: u64,
    /// The space on the disk of the stored records, if known.
    pub disk: Option<DiskSpace>,
}

/// The space on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpace {
    /// Bytes that the node may still use.
    pub bytes_free: u64,
    /// Bytes in use, and those that the node may still use.
    pub bytes_total: u64,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The worst verdict of all components.
    pub verdict: Verdict,
    /// The finding of each component.
    pub findings: Vec<Finding>,
    /// Memory in use, in bytes; `None` if the host did not answer in time.
    pub memory_bytes: Option<u64>,
    /// The memory limit, in bytes.
    pub memory_bytes_max: u64,
    /// The space on the disk of the stored records, if known.
    pub disk: Option<DiskSpace>,
    /// How long the check took, in microseconds.
    pub took_micros: u64,
}

/// The result of a check for one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The component.
    pub component: Component,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason, unless the verdict is PASS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<HealthReason>,
}

/// What the health check wants done, or has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A check begins: ask for host facts, and for a write unless an earlier one is still in progress.
    Begun {
        /// Whether to write.
        write: bool,
    },
    /// A check ended.
    Over {
        /// What it found.
        report: HealthReport,
        /// The requests that wait for it.
        waiters: Vec<RequestId>,
        /// The reasons, if they or the verdict differ from the last check.
        changed: Option<Vec<HealthReason>>,
    },
}

/// The health checks of one node.
#[derive(Debug)]
pub(crate) struct Health {
    interval: Duration,
    memory_bytes_max: u64,
    next_at: Option<Instant>,
    check: Option<Check>,
    /// Whether a write is in progress.
    writing: bool,
    last: Option<HealthReport>,
    actions: Vec<Action>,
}

/// A check in progress.
#[derive(Debug)]
struct Check {
    begun: Instant,
    host: Option<HostFacts>,
    storage: Option<Result<(), WriteError>>,
    waiters: Vec<RequestId>,
}

impl Health {
    /// Creates the checks of a node that has not been checked yet.
    pub(crate) fn new(interval: Duration, memory_bytes_max: u64) -> Self {
        let (next_at, check, writing, last) = (None, None, false, None);
        Self { interval, memory_bytes_max, next_at, check, writing, last, actions: Vec::new() }
    }

    /// Starts a check now, and one every interval from now on.
    pub(crate) fn handle_active(&mut self, now: Instant) {
        self.next_at = Some(now);
    }

    /// Stops checking, and returns the requests that still wait.
    pub(crate) fn handle_leave(&mut self) -> Vec<RequestId> {
        self.next_at = None;
        self.check.take().map(|check| check.waiters).unwrap_or_default()
    }

    /// Lets a request wait for the current check, or for one that begins now. Returns `false` if too many wait already.
    pub(crate) fn handle_request(&mut self, now: Instant, request: RequestId) -> bool {
        self.begin(now);
        match &mut self.check {
            Some(check) if check.waiters.len() < WAITERS_MAX => {
                check.waiters.push(request);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Removes a request that no longer waits.
    pub(crate) fn forget(&mut self, request: RequestId) {
        if let Some(check) = &mut self.check {
            check.waiters.retain(|waiter| *waiter != request);
        }
    }

    /// Handles the facts of the host.
    pub(crate) fn handle_host(&mut self, host: HostFacts) {
        if let Some(check) = &mut self.check {
            check.host = Some(host);
        }
    }

    /// Handles the end of the write. A result after the timeout does not count.
    pub(crate) fn handle_written(&mut self, now: Instant, result: Result<(), WriteError>) {
        self.writing = false;
        if let Some(check) = &mut self.check
            && now <= check.begun.after(STORAGE_TIMEOUT)
        {
            check.storage = Some(result);
        }
    }

    /// Ends or begins a check if it is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.check.as_ref().is_some_and(|check| check.is_over(now))
            && let Some(check) = self.check.take()
        {
            self.end(now, check);
        }
        if self.next_at.is_some_and(|at| at <= now) {
            self.next_at = Some(now.after(self.interval));
            self.begin(now);
        }
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let check = self.check.as_ref().map(Check::deadline);
        check.into_iter().chain(self.next_at).min()
    }

    /// Returns what the checks want done or have found, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns the report of the last check.
    pub(crate) fn last(&self) -> Option<&HealthReport> {
        self.last.as_ref()
    }

    /// Returns the number of writes in progress, at most 1.
    pub(crate) fn writes(&self) -> usize {
        usize::from(self.writing)
    }

    /// Returns the number of requests that wait.
    pub(crate) fn waiters(&self) -> usize {
        self.check.as_ref().map_or(0, |check| check.waiters.len())
    }

    fn begin(&mut self, now: Instant) {
        if self.check.is_some() {
            return;
        }
        if let Some(at) = &mut self.next_at {
            *at = now.after(self.interval);
        }
        self.check = Some(Check { begun: now, host: None, storage: None, waiters: Vec::new() });
        self.actions.push(Action::Begun { write: !self.writing });
        self.writing = true;
    }

    fn end(&mut self, now: Instant, check: Check) {
        let report = check.report(now, self.memory_bytes_max);
        let reasons = |report: &HealthReport| -> Vec<HealthReason> {
            report.findings.iter().filter_map(|finding| finding.reason).collect()
        };
        let before =
            self.last.as_ref().map_or((Verdict::Pass, Vec::new()), |last| (last.verdict, reasons(last)));
        let after = (report.verdict, reasons(&report));
        let changed = (before != after).then_some(after.1);
        self.last = Some(report.clone());
        self.actions.push(Action::Over { report, waiters: check.waiters, changed });
    }
}

impl Check {
    fn deadline(&self) -> Instant {
        let (storage, host) = (self.begun.after(STORAGE_TIMEOUT), self.begun.after(HOST_TIMEOUT));
        match (self.storage, self.host) {
            (_, None) => host,
            (None, Some(_)) => storage,
            (Some(_), Some(_)) => self.begun,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.deadline() <= now
    }

    fn report(&self, now: Instant, memory_bytes_max: u64) -> HealthReport {
        let configuration = self.host.filter(|host| host.config_readable).is_none();
        let in_time = |host: &HostFacts| host.crypto_micros <= micros(CRYPTO_TIMEOUT);
        let crypto = self.host.filter(in_time).is_none();
        let memory = self.host.map(|host| host.memory_bytes);
        let is_damaged = self.host.is_some_and(|host| host.records_damaged > 0);
        let (storage_verdict, storage) = match self.storage {
            None => (Verdict::Fail, Some(HealthReason::StorageTimeout)),
            Some(Err(_)) => (Verdict::Fail, Some(HealthReason::StorageFailed)),
            Some(Ok(())) if is_damaged => (Verdict::Warn, Some(HealthReason::RecordsDamaged)),
            Some(Ok(())) => (Verdict::Pass, None),
        };
        let finding = |component, reason: Option<HealthReason>| {
            let verdict = if reason.is_some() { Verdict::Fail } else { Verdict::Pass };
            Finding { component, verdict, reason }
        };
        let memory_verdict = memory.map_or(Verdict::Pass, |used| judge_memory(used, memory_bytes_max));
        let exceeded = memory_verdict != Verdict::Pass;
        let findings = vec![
            finding(Component::Configuration, configuration.then_some(HealthReason::ConfigUnreadable)),
            finding(Component::Crypto, crypto.then_some(HealthReason::CryptoTimeout)),
            Finding {
                component: Component::Memory,
                verdict: memory_verdict,
                reason: exceeded.then_some(HealthReason::MemoryThresholdExceeded),
            },
            Finding { component: Component::Storage, verdict: storage_verdict, reason: storage },
        ];
        HealthReport {
            verdict: findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Pass),
            findings,
            memory_bytes: memory,
            memory_bytes_max,
            disk: self.host.and_then(|host| host.disk),
            took_micros: micros(now.since(self.begun)),
        }
    }
}

/// Judges memory use by its share of the limit: PASS below 80 %, FAIL above 85 %, WARN between.
pub fn judge_memory(used: u64, most: u64) -> Verdict {
    let (percent, most) = (u128::from(used) * 100, u128::from(most));
    if percent > most * u128::from(MEMORY_FAIL_PERCENT) {
        Verdict::Fail
    } else if percent >= most * u128::from(MEMORY_WARN_PERCENT) {
        Verdict::Warn
    } else {
        Verdict::Pass
    }
}

/// Returns the largest memory use, in bytes, that passes with a limit of `most` bytes.
pub const fn memory_bytes_well(most: u64) -> u64 {
    most.saturating_mul(MEMORY_WARN_PERCENT).saturating_sub(1) / 100
}

/// Returns the smallest limit, in bytes, with which a memory use of `used` bytes passes.
pub const fn memory_bytes_wanted(used: u64) -> u64 {
    used.saturating_mul(100) / MEMORY_WARN_PERCENT + 1
}

/// Timeout of the write.
const STORAGE_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest time that a signature may take.
const CRYPTO_TIMEOUT: Duration = Duration::from_millis(100);
/// Timeout of the host's answer.
const HOST_TIMEOUT: Duration = Duration::from_millis(1_000);
/// The share of the memory limit from which on memory use is WARN.
const MEMORY_WARN_PERCENT: u64 = 80;
/// The share of the memory limit above which memory use is FAIL.
const MEMORY_FAIL_PERCENT: u64 = 85;
/// Maximum number of requests that wait for one check.
pub(crate) const WAITERS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: HostFacts = HostFacts {
        config_readable: true,
        crypto_micros: 50,
        memory_bytes: 10,
        records_damaged: 0,
        disk: None,
    };

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn health() -> Health {
        let mut health = Health::new(Duration::from_secs(30), 100);
        health.handle_active(at(0));
        health
    }

    /// Runs the check that is due with these answers, and returns the report and what changed.
    fn check(
        health: &mut Health,
        begin: u64,
        host: Option<HostFacts>,
        storage: Option<Result<(), WriteError>>,
    ) -> (HealthReport, Option<Vec<HealthReason>>) {
        health.handle_timeout(at(begin));
        assert!(matches!(health.poll_actions()[..], [Action::Begun { .. }]));
        if let Some(host) = host {
            health.handle_host(host);
        }
        if let Some(storage) = storage {
            health.handle_written(at(begin), storage);
        }
        let over = health.poll_timeout().unwrap();
        health.handle_timeout(over);
        let actions = health.poll_actions();
        let [Action::Over { report, changed, .. }] = &actions[..] else { panic!("{actions:?}") };
        (report.clone(), changed.clone())
    }

    #[test]
    fn each_component_has_its_reason() {
        use HealthReason::{
            ConfigUnreadable, CryptoTimeout, MemoryThresholdExceeded, RecordsDamaged, StorageFailed,
            StorageTimeout,
        };
        let (well, ok) = (Some(WELL), Some(Ok(())));
        for (host, storage, verdict, reasons) in [
            (well, ok, Verdict::Pass, None),
            (
                Some(HostFacts { config_readable: false, ..WELL }),
                ok,
                Verdict::Fail,
                Some(vec![ConfigUnreadable]),
            ),
            (
                Some(HostFacts { crypto_micros: 100_001, ..WELL }),
                ok,
                Verdict::Fail,
                Some(vec![CryptoTimeout]),
            ),
            (Some(HostFacts { memory_bytes: 79, ..WELL }), ok, Verdict::Pass, None),
            (
                Some(HostFacts { memory_bytes: 80, ..WELL }),
                ok,
                Verdict::Warn,
                Some(vec![MemoryThresholdExceeded]),
            ),
            (
                Some(HostFacts { memory_bytes: 85, ..WELL }),
                ok,
                Verdict::Warn,
                Some(vec![MemoryThresholdExceeded]),
            ),
            (
                Some(HostFacts { memory_bytes: 86, ..WELL }),
                ok,
                Verdict::Fail,
                Some(vec![MemoryThresholdExceeded]),
            ),
            (Some(HostFacts { records_damaged: 1, ..WELL }), ok, Verdict::Warn, Some(vec![RecordsDamaged])),
            (
                Some(HostFacts { records_damaged: 1, ..WELL }),
                Some(Err(WriteError::Full)),
                Verdict::Fail,
                Some(vec![StorageFailed]),
            ),
            (well, None, Verdict::Fail, Some(vec![StorageTimeout])),
            (well, Some(Err(WriteError::Full)), Verdict::Fail, Some(vec![StorageFailed])),
            (None, None, Verdict::Fail, Some(vec![ConfigUnreadable, CryptoTimeout, StorageTimeout])),
        ] {
            let (report, changed) = check(&mut health(), 0, host, storage);
            assert_eq!((report.verdict, changed), (verdict, reasons), "{host:?} {storage:?}");
            assert!(report.took_micros <= 1_000_000);
        }
    }

    #[test]
    fn what_can_be_used_and_what_is_wanted_are_the_bounds_of_being_well() {
        for bytes in (1..1_000).chain([128 << 20, (512 << 20) + 1, 16_384 << 20]) {
            let well = memory_bytes_well(bytes);
            assert_eq!(judge_memory(well, bytes), Verdict::Pass, "{bytes}");
            assert_ne!(judge_memory(well + 1, bytes), Verdict::Pass, "{bytes}");
            let wanted = memory_bytes_wanted(bytes);
            assert_eq!(judge_memory(bytes, wanted), Verdict::Pass, "{bytes}");
            assert_ne!(judge_memory(bytes, wanted - 1), Verdict::Pass, "{bytes}");
        }
    }

    #[test]
    fn a_change_is_told_once_and_checks_come_every_interval() {
        let mut health = health();
        assert_eq!(check(&mut health, 0, Some(WELL), Some(Ok(()))).1, None);
        assert_eq!(health.poll_timeout(), Some(at(30_000)));
        let full = Some(Err(WriteError::Full));
        let failed = Some(vec![HealthReason::StorageFailed]);
        assert_eq!(check(&mut health, 30_000, Some(WELL), full).1, failed);
        assert_eq!(check(&mut health, 60_000, Some(WELL), full).1, None);
        assert_eq!(check(&mut health, 90_000, Some(WELL), Some(Ok(()))).1, Some(vec![]));
    }

    #[test]
    fn a_disk_that_never_answers_is_written_to_once() {
        let mut health = health();
        let first = check(&mut health, 0, Some(WELL), None).0;
        assert_eq!(first.took_micros, 500_000);
        health.handle_timeout(at(30_000));
        assert_eq!(health.poll_actions(), [Action::Begun { write: false }]);
        health.handle_written(at(30_001), Ok(()));
        health.handle_host(WELL);
        health.handle_timeout(at(30_001));
        assert!(
            matches!(&health.poll_actions()[..], [Action::Over { report, .. }] if report.verdict == Verdict::Pass)
        );
    }

    #[test]
    fn a_disk_that_answers_late_is_slow_even_if_the_world_is_slower() {
        let mut health = health();
        health.handle_timeout(at(0));
        health.handle_written(at(501), Ok(()));
        health.handle_timeout(at(700));
        health.handle_host(WELL);
        health.handle_timeout(at(700));
        assert!(matches!(
            &health.poll_actions()[..],
            [Action::Begun { .. }, Action::Over { changed: Some(reasons), .. }] if *reasons == [HealthReason::StorageTimeout]
        ));
    }

    #[test]
    fn who_asks_shares_a_check_and_delays_the_next() {
        let mut health = health();
        check(&mut health, 0, Some(WELL), Some(Ok(())));
        assert!(health.handle_request(at(10_000), RequestId(1)));
        assert!(health.handle_request(at(10_001), RequestId(2)));
        assert_eq!(health.poll_actions(), [Action::Begun { write: true }]);
        health.forget(RequestId(1));
        health.handle_host(WELL);
        health.handle_written(at(10_002), Ok(()));
        health.handle_timeout(at(10_002));
        assert!(
            matches!(&health.poll_actions()[..], [Action::Over { waiters, .. }] if *waiters == [RequestId(2)])
        );
        assert_eq!(health.poll_timeout(), Some(at(40_000)));
        health.handle_request(at(10_003), RequestId(3));
        assert_eq!(health.handle_leave(), [RequestId(3)]);
        assert_eq!(health.poll_timeout(), None);
    }
}
