//! How machine faults affect a node's clock, writes and jobs. Both executors use it, so that a seed means the same in
//! both.

use crate::inference;
use crate::node_set::NodeIndex;
use crate::random::{Purpose, Random};
use crate::scenario::{MachineFault, Range};
use core::time::Duration;
use engine::health::HostFacts;
use engine::{InferenceError, WriteError};

/// The write or job that is being decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    pub(crate) random: Random,
    pub(crate) node: NodeIndex,
    pub(crate) n: u32,
}

impl Draw {
    fn hits(self, per_million: u32, purpose: Purpose, fault: usize) -> bool {
        self.random.below(1_000_000, purpose, self.who(fault), self.n) < u64::from(per_million)
    }

    fn span(self, range: Range, purpose: Purpose, fault: usize) -> Duration {
        self.random.between(range.ends(), purpose, self.who(fault), self.n)
    }

    fn who(self, fault: usize) -> u64 {
        u64::from(self.node) | u64::try_from(fault).unwrap_or(u64::MAX) << 32
    }
}

/// Returns how many milliseconds a wall clock is ahead of the true time.
pub(crate) fn clock_ahead<'a>(faults: impl Iterator<Item = (usize, &'a MachineFault)>) -> i64 {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults set no clock")]
    let one = |(_, what): (usize, &MachineFault)| match what {
        MachineFault::ClockJump { millis } => *millis,
        _ => 0,
    };
    faults.map(one).fold(0, i64::saturating_add)
}

/// Returns what a node's host reports to a health check.
pub(crate) fn host_facts<'a>(faults: impl Iterator<Item = (usize, &'a MachineFault)>) -> HostFacts {
    let mut facts = inference::host_facts();
    for (_, what) in faults {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults change no such fact")]
        match what {
            MachineFault::DiskFull => {
                facts.disk.iter_mut().for_each(|disk| disk.bytes_free = 0);
            }
            MachineFault::MemoryUsed { per_million } => {
                let most = engine::Config::default().memory_bytes_max;
                facts.memory_bytes = most * u64::from(*per_million) / 1_000_000;
            }
            _ => {}
        }
    }
    facts
}

/// Returns the additional time of a write.
pub(crate) fn write_delay<'a>(
    faults: impl Iterator<Item = (usize, &'a MachineFault)>,
    draw: Draw,
) -> Duration {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults delay no write")]
    let one = |(fault, what): (usize, &MachineFault)| match what {
        MachineFault::DiskSlow { add } => draw.span(*add, Purpose::DiskFault, fault),
        _ => Duration::ZERO,
    };
    faults.map(one).sum()
}

/// Returns why a write fails; `None` if it does not.
pub(crate) fn write_error<'a>(
    mut faults: impl Iterator<Item = (usize, &'a MachineFault)>,
    draw: Draw,
) -> Option<WriteError> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults fail no write")]
    faults.find_map(|(fault, what)| match what {
        MachineFault::DiskError { per_million } => {
            draw.hits(*per_million, Purpose::DiskFault, fault).then_some(WriteError::Io)
        }
        MachineFault::DiskFull => Some(WriteError::Full),
        _ => None,
    })
}

/// Returns the additional time of a job.
pub(crate) fn job_delay<'a>(faults: impl Iterator<Item = (usize, &'a MachineFault)>, draw: Draw) -> Duration {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults delay no job")]
    let one = |(fault, what): (usize, &MachineFault)| match what {
        MachineFault::InferenceSlow { add } => draw.span(*add, Purpose::InferenceFault, fault),
        _ => Duration::ZERO,
    };
    faults.map(one).sum()
}

/// Returns why a job fails; `None` if it does not.
pub(crate) fn job_error<'a>(
    mut faults: impl Iterator<Item = (usize, &'a MachineFault)>,
    draw: Draw,
) -> Option<InferenceError> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the other faults fail no job")]
    faults.find_map(|(fault, what)| match what {
        MachineFault::InferenceCrash { per_million } => {
            draw.hits(*per_million, Purpose::InferenceFault, fault).then_some(InferenceError::Crashed)
        }
        MachineFault::InferenceError { per_million } => {
            let error = || InferenceError::ModelFailed("simulated".into());
            draw.hits(*per_million, Purpose::InferenceFault, fault).then(error)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(n: u32) -> Draw {
        Draw { random: Random::new(3), node: 1, n }
    }

    #[test]
    fn writes_fail_and_are_slow_by_their_share() {
        let failing = MachineFault::DiskError { per_million: 300_000 };
        let add = Range { from: Duration::from_secs(1), to: Duration::from_secs(2) };
        let slow = MachineFault::DiskSlow { add };
        let all = || [(4, &failing), (5, &slow)].into_iter();
        let failed = (0..300).filter(|&n| write_error(all(), draw(n)) == Some(WriteError::Io)).count();
        assert!((60..120).contains(&failed), "{failed}");
        assert!((0..50).all(|n| (add.from..=add.to).contains(&write_delay(all(), draw(n)))));
        assert_eq!(write_error([(0, &MachineFault::DiskFull)].into_iter(), draw(0)), Some(WriteError::Full));
        assert_eq!(write_error([(0, &slow)].into_iter(), draw(0)), None);
        assert_eq!(write_delay([(0, &failing)].into_iter(), draw(0)), Duration::ZERO);
    }

    #[test]
    fn jobs_fail_crash_and_are_slow_by_their_share() {
        let crashing = MachineFault::InferenceCrash { per_million: 500_000 };
        let failing = MachineFault::InferenceError { per_million: 1_000_000 };
        let add = Range { from: Duration::from_secs(1), to: Duration::from_secs(2) };
        let slow = MachineFault::InferenceSlow { add };
        let all = || [(0, &slow), (1, &crashing), (2, &failing)].into_iter();
        let crashed =
            (0..300).filter(|&n| job_error(all(), draw(n)) == Some(InferenceError::Crashed)).count();
        assert!((110..190).contains(&crashed), "{crashed}");
        assert!((0..50).all(|n| job_error(all(), draw(n)).is_some()));
        assert!((0..50).all(|n| (add.from..=add.to).contains(&job_delay(all(), draw(n)))));
        assert_eq!(job_error([(0, &slow)].into_iter(), draw(0)), None);
    }
}
