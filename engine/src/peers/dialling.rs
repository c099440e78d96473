//! Chooses the nodes to dial, and bounds the dials in progress. The address book computes the backoff between dials.
//!
//! An entry of the address book that is a member is dialled while the node has too few links and the member has room.
//! An entry that is not a member is always dialled, as it may be in a partitioned part of the mesh. When the address
//! book has nothing to dial, members are added to it.
//!
//! The few concurrent dials are divided by trust. So made-up nodes at silent addresses delay each other, but not real
//! nodes.

use super::address_book::{Choice, Target};
use super::{Action, Link, LinkState, Member, Peers};
use crate::ids::{DialId, NodeId};
use crate::mutants::{Mutant, shows};
use crate::place::{Place, Standing};
use crate::rng::Rng;
use crate::time::Instant;
use core::time::Duration;

impl Peers {
    /// Returns the number of links that the node dials for. It is below the limit, which leaves room for nodes that
    /// dial this one.
    fn target(&self) -> usize {
        TARGET_LINKS.min(self.max_peers * 3 / 4).max(2).min(self.max_peers)
    }

    pub(super) fn dial<'a, M>(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        has_room: impl Fn(NodeId) -> Option<bool>,
        members: impl Fn() -> M,
    ) where
        M: Iterator<Item = Member<'a>>,
    {
        self.dial_due = None;
        loop {
            let open = self.links.values().filter(|link| link.state != LinkState::Closing).count()
                + self.dials.len();
            if self.dials.len() >= DIALS_MAX || open >= self.max_peers {
                return;
            }
            let busy = |target: Target, node: Option<NodeId>, standing: Standing| {
                let leads_there = |link: &Link| Some(link.node) == node || link.target == Some(target);
                // A dial to an address of lower standing does not block one to a better address.
                let dialled =
                    |(dialled, place): &(Target, Place)| *dialled == target && place.standing >= standing;
                self.dials.values().any(dialled)
                    || self.links.values().any(|link| link.state != LinkState::Closing && leads_there(link))
            };
            let below_target = open < self.target();
            let wanted = |target, node: Option<NodeId>, standing| {
                let worth = match node.and_then(&has_room) {
                    Some(has_room) => below_target && has_room,
                    // A node outside the mesh may be in a partitioned part of it.
                    None => true,
                };
                worth && !busy(target, node, standing)
            };
            match self.address_book.choose(now, rng, wanted, |place| self.has_slot(now, place)) {
                Ok(Choice { target, place, expect }) => {
                    let dial = DialId(self.next_dial);
                    self.next_dial += 1;
                    self.dials.insert(dial, (target, place));
                    if place.standing == Standing::Claimed {
                        self.claimed_due = now.after(CLAIMED_DIAL_INTERVAL);
                    }
                    self.actions.push(Action::Dial(dial, place.address, expect));
                }
                Err(next_due) => {
                    let unknown = |node: NodeId| node != self.me && !self.address_book.contains(node);
                    let useful = |member: &Member<'_>| {
                        unknown(member.node) && member.has_room && !member.addresses.is_empty()
                    };
                    let others: Vec<Member<'_>> =
                        if below_target { members().filter(useful).collect() } else { Vec::new() };
                    let Some(at) = rng.index(others.len()) else {
                        let claimed_due = Some(self.claimed_due).filter(|due| *due > now);
                        self.dial_due = [next_due, claimed_due].into_iter().flatten().min();
                        return;
                    };
                    self.address_book.add(now, others[at].node, others[at].addresses, rng);
                }
            }
        }
    }

    /// Tells whether a place may be dialled beside the dials in progress.
    fn has_slot(&self, now: Instant, place: &Place) -> bool {
        let dialled = || self.dials.values().map(|(_, dialled)| dialled);
        let count = |from: Standing, to: Standing| {
            dialled().filter(|dialled| dialled.standing >= from && dialled.standing <= to).count()
        };
        let same_source =
            |dialled: &Place| dialled.source == place.source && dialled.standing < Standing::Known;
        if shows(Mutant::ClaimsTrusted) {
            return true;
        }
        match place.standing {
            Standing::Claimed
                if now < self.claimed_due
                    || count(Standing::Claimed, Standing::Claimed) >= CLAIMED_DIALS_MAX =>
            {
                false
            }
            Standing::Claimed | Standing::Own => {
                count(Standing::Claimed, Standing::Own) < DIALS_MAX - 1 && !dialled().any(same_source)
            }
            Standing::Confirmed => !dialled().any(same_source),
            Standing::Known => count(Standing::Known, Standing::Known) < DIALS_MAX - 1,
        }
    }
}

/// Maximum number of concurrent dials.
pub(super) const DIALS_MAX: usize = 4;
/// Maximum number of concurrent dials to addresses that a third party announced.
const CLAIMED_DIALS_MAX: usize = 2;
/// The minimum interval between two of these. It keeps a few packets from making all nodes of a network flood a third
/// party.
const CLAIMED_DIAL_INTERVAL: Duration = Duration::from_millis(100);
/// The number of links that a node dials for. It accepts more, up to `max_peers`.
const TARGET_LINKS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DialError;
    use core::net::{IpAddr, SocketAddr};

    fn id(n: u16) -> NodeId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    fn place(host: u8, standing: Standing, source: u8) -> Place {
        let address = SocketAddr::from(([10, 0, 0, host], 9000));
        Place { address, standing, source: IpAddr::from([10, 0, 0, source]) }
    }

    fn peers(bootstrap: &[SocketAddr]) -> Peers {
        let mut peers = Peers::new(id(0), "local".to_owned(), 32, bootstrap);
        peers.handle_active();
        peers
    }

    /// Returns the dials that start now.
    fn dialled(peers: &mut Peers, now: Instant, rng: &mut Rng) -> Vec<(DialId, SocketAddr)> {
        peers.handle_timeout(now, rng, |_| None, core::iter::empty);
        let dials = peers.poll_actions().into_iter().filter_map(|action| {
            if let Action::Dial(dial, address, _) = action { Some((dial, address)) } else { None }
        });
        dials.collect()
    }

    const LATER: Instant = Instant::from_micros(60_000);

    #[test]
    fn made_up_nodes_hold_up_nobody_who_announces_itself() {
        let mut rng = Rng::new([1; 32]);
        let mut peers = peers(&[]);
        for n in 1..=900 {
            let source = u8::try_from(n % 3).unwrap();
            peers.handle_found(Instant::ZERO, id(n), &[place(200, Standing::Claimed, source)], &mut rng);
        }
        assert_eq!(dialled(&mut peers, LATER, &mut rng).len(), 1);
        assert_eq!(dialled(&mut peers, LATER.after(CLAIMED_DIAL_INTERVAL), &mut rng).len(), 1);
        let later = LATER.after(CLAIMED_DIAL_INTERVAL * 2);
        assert_eq!(dialled(&mut peers, later, &mut rng), [], "one of each source, and two at most");
        peers.handle_found(Instant::ZERO, id(1000), &[place(11, Standing::Own, 11)], &mut rng);
        let [(_, address)] = dialled(&mut peers, later, &mut rng)[..] else { panic!() };
        assert_eq!(address, place(11, Standing::Own, 11).address);
        // Even if they announce themselves, the last slot is for nodes that answered twice.
        for n in 1001..=1200 {
            let host = u8::try_from(n - 1000).unwrap();
            peers.handle_found(Instant::ZERO, id(n), &[place(host, Standing::Own, host)], &mut rng);
        }
        assert_eq!(dialled(&mut peers, later, &mut rng), []);
        peers.handle_found(Instant::ZERO, id(2000), &[place(250, Standing::Confirmed, 250)], &mut rng);
        let [(_, address)] = dialled(&mut peers, later, &mut rng)[..] else { panic!() };
        assert_eq!(address, place(250, Standing::Confirmed, 250).address);
    }

    #[test]
    fn nobody_is_besieged_because_somebody_says_that_nodes_are_there() {
        let mut rng = Rng::new([1; 32]);
        let mut peers = peers(&[]);
        for n in 1..=64 {
            peers.handle_found(Instant::ZERO, id(n), &[place(200, Standing::Claimed, 66)], &mut rng);
        }
        let (mut dials, mut now) = (0, LATER);
        while now < LATER.after(Duration::from_secs(2)) {
            for (dial, _) in dialled(&mut peers, now, &mut rng) {
                dials += 1;
                peers.handle_dial_failed(now, dial, DialError::Refused, &mut rng);
            }
            now = peers.poll_timeout().unwrap().max(now.after(Duration::from_millis(1)));
        }
        assert!((15..=20).contains(&dials), "{dials} dials in 2 s");
    }

    #[test]
    fn silent_bootstrap_addresses_leave_a_dial_to_whom_is_found() {
        let mut rng = Rng::new([1; 32]);
        let bootstrap: Vec<SocketAddr> =
            (1..20).map(|host| SocketAddr::from(([10, 1, 0, host], 9))).collect();
        let mut peers = peers(&bootstrap);
        assert_eq!(dialled(&mut peers, LATER, &mut rng).len(), DIALS_MAX - 1);
        peers.handle_found(Instant::ZERO, id(1), &[place(1, Standing::Own, 1)], &mut rng);
        assert_eq!(dialled(&mut peers, LATER, &mut rng).len(), 1);
    }

    #[test]
    fn a_better_address_is_dialled_beside_a_worse_one() {
        let mut rng = Rng::new([1; 32]);
        let mut peers = peers(&[]);
        let (wrong, right) = (place(200, Standing::Claimed, 66), place(1, Standing::Own, 1));
        peers.handle_found(Instant::ZERO, id(1), &[wrong], &mut rng);
        let first = dialled(&mut peers, LATER, &mut rng);
        assert_eq!(first.iter().map(|dial| dial.1).collect::<Vec<_>>(), [wrong.address]);
        peers.handle_found(LATER, id(1), &[right], &mut rng);
        let second = dialled(&mut peers, LATER.after(Duration::from_millis(60)), &mut rng);
        assert_eq!(second.iter().map(|dial| dial.1).collect::<Vec<_>>(), [right.address]);
        // A claim resets no backoff.
        let mut now = LATER.after(Duration::from_secs(5));
        for dial in [first[0].0, second[0].0] {
            peers.handle_dial_failed(now, dial, DialError::Timeout, &mut rng);
        }
        peers.handle_found(now, id(1), &[right, wrong], &mut rng);
        assert_eq!(dialled(&mut peers, now, &mut rng), []);
        now = now.after(Duration::from_secs(5));
        let third = dialled(&mut peers, now, &mut rng);
        assert_eq!(third.iter().map(|dial| dial.1).collect::<Vec<_>>(), [wrong.address, right.address]);
    }
}
