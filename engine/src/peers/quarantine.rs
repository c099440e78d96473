//! Quarantine: bans peers that violated the protocol, for longer with each violation, and forgives them in time.
//!
//! The handshake of a link has authenticated the peer, so no node is banned for another's violation. Slowness is no
//! violation: a late hello, a truncated stream or a peer that does not read may be the network's fault, and a corrupt
//! file the disk's.

use crate::error::PeerFault;
use crate::ids::NodeId;
use crate::time::{Instant, micros};
use core::time::Duration;
use std::collections::BTreeMap;

/// The peers that violated the protocol recently.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    offenders: BTreeMap<NodeId, Offender>,
}

#[derive(Clone, Copy, Debug)]
struct Offender {
    /// Violations that are not forgiven yet.
    offences: u32,
    last: Instant,
}

impl Quarantine {
    /// Records a violation. Returns the end of the ban, if the fault warrants one.
    pub(super) fn handle_fault(&mut self, now: Instant, node: NodeId, fault: PeerFault) -> Option<Instant> {
        if !is_offence(fault) {
            return None;
        }
        self.make_room(now, node);
        let entry = self.offenders.entry(node).or_insert(Offender { offences: 0, last: now });
        *entry = Offender { offences: entry.unforgiven(now).saturating_add(1), last: now };
        Some(entry.until())
    }

    /// Returns the end of a node's ban, if it is banned now.
    pub(super) fn holds(&self, now: Instant, node: NodeId) -> Option<Instant> {
        self.offenders.get(&node).map(Offender::until).filter(|until| now < *until)
    }

    /// Returns the number of offenders.
    pub(super) fn len(&self) -> usize {
        self.offenders.len()
    }

    /// Makes room for one more offender. Forgiven ones are evicted first, then the one whose ban ends first.
    fn make_room(&mut self, now: Instant, node: NodeId) {
        if self.offenders.len() < OFFENDERS_MAX || self.offenders.contains_key(&node) {
            return;
        }
        self.offenders.retain(|_, offender| offender.unforgiven(now) > 0);
        if self.offenders.len() >= OFFENDERS_MAX {
            let soonest = self.offenders.iter().min_by_key(|(_, offender)| offender.until());
            let soonest = soonest.map(|(&node, _)| node);
            soonest.map(|node| self.offenders.remove(&node));
        }
    }
}

impl Offender {
    fn until(&self) -> Instant {
        let pause = BAN_MIN.saturating_mul(1 << self.offences.saturating_sub(1).min(16));
        self.last.after(pause.min(BAN_MAX))
    }

    /// Returns the number of violations that count now. Each interval without one forgives one.
    fn unforgiven(&self, now: Instant) -> u32 {
        let spells = micros(now.since(self.last)) / micros(FORGIVENESS_INTERVAL);
        self.offences.saturating_sub(u32::try_from(spells).unwrap_or(u32::MAX))
    }
}

fn is_offence(fault: PeerFault) -> bool {
    match fault {
        PeerFault::AdvertForged
        | PeerFault::FrameMalformed
        | PeerFault::FrameTooLarge
        | PeerFault::HelloOutOfOrder
        | PeerFault::RateExceeded => true,
        PeerFault::FrameTruncated | PeerFault::HelloLate | PeerFault::NotReading | PeerFault::PieceForged => {
            false
        }
    }
}

/// Maximum number of offenders to remember.
pub(super) const OFFENDERS_MAX: usize = 1_024;
/// The ban after the first violation. Each further one doubles it.
const BAN_MIN: Duration = Duration::from_secs(5);
const BAN_MAX: Duration = Duration::from_secs(600);
/// How long a node must comply until one violation is forgiven.
const FORGIVENESS_INTERVAL: Duration = Duration::from_secs(900);

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId([1; 16]);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn each_offence_doubles_the_pause_and_good_conduct_is_rewarded() {
        let mut quarantine = Quarantine::default();
        let mut offend = |at_seconds| {
            let until = quarantine.handle_fault(at(at_seconds), NODE, PeerFault::AdvertForged);
            until.unwrap().since(at(at_seconds)).as_secs()
        };
        assert_eq!([offend(0), offend(5), offend(15), offend(35)], [5, 10, 20, 40]);
        assert_eq!(offend(35 + 899), 80);
        assert_eq!(offend(934 + 900), 80, "one was forgiven");
        assert_eq!(offend(1834 + 9_000), 5, "all were");
        assert_eq!((0..20).map(|_| offend(20_000)).max(), Some(600));
    }

    #[test]
    fn an_offender_is_held_until_its_time_is_over() {
        let mut quarantine = Quarantine::default();
        quarantine.handle_fault(at(10), NODE, PeerFault::FrameMalformed);
        assert_eq!(quarantine.holds(at(14), NODE), Some(at(15)));
        assert_eq!(quarantine.holds(at(15), NODE), None);
        assert_eq!(quarantine.holds(at(14), NodeId([2; 16])), None);
    }

    #[test]
    fn slowness_is_no_offence() {
        let mut quarantine = Quarantine::default();
        for fault in [PeerFault::FrameTruncated, PeerFault::HelloLate, PeerFault::NotReading] {
            assert_eq!(quarantine.handle_fault(at(0), NODE, fault), None);
        }
        assert_eq!(quarantine.len(), 0);
    }

    #[test]
    fn many_offenders_do_not_free_the_worst() {
        let mut quarantine = Quarantine::default();
        for _ in 0..8 {
            quarantine.handle_fault(at(0), NODE, PeerFault::RateExceeded);
        }
        for number in 0..3_000u64 {
            let mut id = [9; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            quarantine.handle_fault(at(1), NodeId(id), PeerFault::RateExceeded);
        }
        assert_eq!(quarantine.len(), OFFENDERS_MAX);
        assert_eq!(quarantine.holds(at(599), NODE), Some(at(600)));
    }
}
