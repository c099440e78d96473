//! Flooding: the adverts that each neighbour is yet to be sent, and the version comparisons that are due.
//!
//! Most changes go to almost all neighbours, so each is kept once, with the neighbours that need not be told. In
//! addition, each neighbour has a list of its own. Both are batched for a short time.

use crate::ids::NodeId;
use crate::time::Instant;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The outbox of one node.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    neighbours: BTreeMap<NodeId, Neighbour>,
    /// Members whose adverts are for all neighbours except these.
    news: BTreeMap<NodeId, Vec<NodeId>>,
    flush_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Neighbour {
    /// Members whose adverts are for this neighbour only.
    pending: BTreeSet<NodeId>,
    /// Its digest differed: versions are compared at the next flush.
    differs: bool,
    /// When versions were last compared.
    compared: Option<Instant>,
}

/// The messages for one neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) neighbour: NodeId,
    /// Whether to send it the versions held here, so that it answers with newer adverts.
    pub(super) ask: bool,
    /// The members whose adverts it may not have, in ascending order.
    pub(super) members: Vec<NodeId>,
}

impl Outbox {
    /// Adds a neighbour, whose versions are compared.
    pub(super) fn add(&mut self, now: Instant, neighbour: NodeId) {
        self.neighbours.entry(neighbour).or_default().compared = None;
        // The comparison brings it everything that was queued before.
        self.ask(now, neighbour);
    }

    /// Removes a neighbour.
    pub(super) fn remove(&mut self, neighbour: NodeId) {
        self.neighbours.remove(&neighbour);
    }

    /// Queues a member's advert for all neighbours except its source.
    pub(super) fn spread(&mut self, now: Instant, member: NodeId, from: Option<NodeId>) {
        let informed = self.news.entry(member).or_default();
        informed.clear();
        informed.extend(from);
        if let Some(neighbour) = from.and_then(|from| self.neighbours.get_mut(&from)) {
            neighbour.pending.remove(&member);
        }
        self.flush_soon(now);
    }

    /// Queues a member's advert for all neighbours, to send at once. It is no news to those that lead to the member.
    pub(super) fn spread_now(&mut self, now: Instant, member: NodeId) {
        self.news.entry(member).or_default().clear();
        self.flush_at = Some(now);
    }

    /// Queues a member's advert for one neighbour.
    pub(super) fn tell(&mut self, now: Instant, neighbour: NodeId, member: NodeId) {
        if let Some(entry) = self.neighbours.get_mut(&neighbour) {
            entry.pending.insert(member);
            self.flush_soon(now);
        }
    }

    /// Records that a neighbour already has a member's advert.
    pub(super) fn handle_informed(&mut self, neighbour: NodeId, member: NodeId) {
        if let Some(informed) = self.news.get_mut(&member).filter(|informed| !informed.contains(&neighbour)) {
            informed.push(neighbour);
        }
        if let Some(entry) = self.neighbours.get_mut(&neighbour) {
            entry.pending.remove(&member);
        }
    }

    /// Compares versions with a neighbour, unless that was done recently.
    pub(super) fn ask(&mut self, now: Instant, neighbour: NodeId) {
        let Some(entry) = self.neighbours.get_mut(&neighbour) else { return };
        if entry.compared.is_none_or(|then| now.since(then) >= COMPARE_INTERVAL) {
            entry.differs = true;
            self.flush_soon(now);
        }
    }

    /// Returns the number of neighbours.
    pub(super) fn neighbours(&self) -> usize {
        self.neighbours.len()
    }

    /// Returns the number of members whose adverts are queued for all neighbours.
    pub(super) fn news(&self) -> usize {
        self.news.len()
    }

    /// Returns the time of the next flush.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Returns the messages to send, if the flush is due.
    pub(super) fn poll_parcels(&mut self, now: Instant) -> Vec<Parcel> {
        if self.flush_at.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.flush_at = None;
        let news = core::mem::take(&mut self.news);
        let mut parcels = Vec::new();
        for (&neighbour, entry) in &mut self.neighbours {
            let ask = core::mem::take(&mut entry.differs);
            if ask {
                entry.compared = Some(now);
            }
            let wanted = |(&member, informed): (&NodeId, &Vec<NodeId>)| {
                (member != neighbour && !informed.contains(&neighbour)).then_some(member)
            };
            let mut members: Vec<NodeId> = news.iter().filter_map(wanted).collect();
            let pending = core::mem::take(&mut entry.pending);
            if !pending.is_empty() {
                members.extend(pending);
                members.sort_unstable();
                members.dedup();
            }
            if ask || !members.is_empty() {
                parcels.push(Parcel { neighbour, ask, members });
            }
        }
        parcels
    }

    fn flush_soon(&mut self, now: Instant) {
        self.flush_at.get_or_insert_with(|| now.after(FLUSH_DELAY));
    }
}

/// How long changes are batched before they are sent.
pub(super) const FLUSH_DELAY: Duration = Duration::from_millis(10);
/// The minimum interval between two comparisons with one neighbour.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 16]);
    const B: NodeId = NodeId([2; 16]);
    const MEMBER: NodeId = NodeId([3; 16]);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    /// Creates an outbox with two neighbours that were asked at time 0, and nothing queued.
    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.add(at(0), B);
        outbox.add(at(0), A);
        let asked = |neighbour| Parcel { neighbour, ask: true, members: Vec::new() };
        assert_eq!(outbox.poll_parcels(at(9)), vec![]);
        assert_eq!(outbox.poll_parcels(at(10)), vec![asked(A), asked(B)]);
        outbox
    }

    fn told(neighbour: NodeId, members: &[NodeId]) -> Parcel {
        Parcel { neighbour, ask: false, members: members.to_vec() }
    }

    #[test]
    fn news_goes_to_all_who_may_not_have_it() {
        let mut outbox = outbox();
        outbox.spread(at(20), MEMBER, Some(A));
        outbox.spread(at(21), A, None);
        assert_eq!(outbox.poll_timeout(), Some(at(30)));
        assert_eq!(outbox.poll_parcels(at(30)), vec![told(B, &[A, MEMBER])]);
        outbox.spread(at(40), MEMBER, None);
        outbox.handle_informed(B, MEMBER);
        outbox.tell(at(40), A, B);
        outbox.tell(at(40), A, MEMBER);
        assert_eq!(outbox.poll_parcels(at(50)), vec![told(A, &[B, MEMBER])]);
        assert_eq!(outbox.poll_timeout(), None);
    }

    #[test]
    fn a_newer_advert_is_news_to_those_who_had_the_older() {
        let mut outbox = outbox();
        outbox.spread(at(20), MEMBER, Some(A));
        outbox.spread(at(20), MEMBER, Some(B));
        assert_eq!(outbox.poll_parcels(at(30)), vec![told(A, &[MEMBER])]);
    }

    #[test]
    fn a_neighbour_is_asked_at_most_once_a_second() {
        let mut outbox = outbox();
        outbox.ask(at(900), A);
        assert_eq!(outbox.poll_timeout(), None);
        outbox.ask(at(1_010), A);
        assert_eq!(outbox.poll_parcels(at(1_020)), vec![Parcel { neighbour: A, ask: true, members: vec![] }]);
        outbox.remove(A);
        outbox.ask(at(9_000), A);
        outbox.tell(at(9_000), A, MEMBER);
        assert_eq!(outbox.poll_timeout(), None);
    }
}
