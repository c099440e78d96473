//! Another incarnation of a node says hello while the link to the one before is up: has it started anew, or do two
//! machines hold one key?
//!
//! Nothing is taken from the older link before that is known. It is asked for a sign of life, and the newer one waits: an
//! answer to a question that came after the hello proves that both live, and the one that started earlier is kept.
//! Where the older link goes down, or does not answer in time, the newer takes its place.

use super::{Action, LinkState, Peers};
use crate::event::{LinkDownReason, RefuseReason};
use crate::ids::LinkId;
use crate::rng::Rng;
use crate::time::Instant;
use core::time::Duration;

/// A link that waits for what is heard of an older one.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdentityConflict {
    newer: LinkId,
    older: LinkId,
    due: Instant,
}

impl Peers {
    /// Has a link whose hello was taken in wait until more is known of an older one.
    pub(super) fn open_conflict(&mut self, now: Instant, newer: LinkId, older: LinkId) {
        let Some(entry) = self.links.get_mut(&newer) else { return };
        entry.state = LinkState::InConflict;
        self.identity_conflicts.push(IdentityConflict { newer, older, due: now.after(PROBE_TIMEOUT) });
        self.actions.push(Action::Probe(older));
    }

    /// Tells whether an incarnation, of whom another link says hello, waits already.
    pub(super) fn is_in_conflict(&self, older: LinkId, incarnation: u64) -> bool {
        let waits = |conflict: &IdentityConflict| {
            let newer = self.links.get(&conflict.newer);
            conflict.older == older && newer.is_some_and(|newer| newer.is_in_conflict(incarnation))
        };
        self.identity_conflicts.iter().any(waits)
    }

    /// Takes note that the other end of a link answered the last question: it lives, and did so after each hello that
    /// made a question of it.
    pub(crate) fn handle_answer(&mut self, now: Instant, older: LinkId, rng: &mut Rng) {
        let (over, rest) =
            self.identity_conflicts.iter().copied().partition(|conflict| conflict.older == older);
        self.identity_conflicts = rest;
        for conflict in over {
            self.settle_copies(now, conflict, rng);
        }
    }

    /// Lets the one that waits for what is heard of a link take its place before it is gone, where both its ends are
    /// ready: so nobody sees the node go and come back.
    pub(super) fn hand_over(&mut self, now: Instant, older: LinkId, rng: &mut Rng) {
        let is_ready = |conflict: &&IdentityConflict| {
            let newer = self.links.get(&conflict.newer);
            conflict.older == older
                && newer.is_some_and(|entry| entry.welcome && entry.state == LinkState::InConflict)
        };
        let Some(newer) = self.identity_conflicts.iter().find(is_ready).map(|conflict| conflict.newer) else {
            return;
        };
        self.identity_conflicts.retain(|conflict| conflict.newer != newer);
        self.accept(now, newer, rng);
    }

    /// Decides between two that live.
    fn settle_copies(
        &mut self,
        now: Instant,
        IdentityConflict { newer, older, .. }: IdentityConflict,
        rng: &mut Rng,
    ) {
        let Some(first) = self.links.get(&older).map(|entry| (entry.incarnation, entry.remote)) else {
            return;
        };
        let Some(entry) = self.links.get_mut(&newer).filter(|entry| entry.state == LinkState::InConflict)
        else {
            return;
        };
        let (node, target) = (entry.node, entry.target);
        if first.0 < entry.incarnation {
            let (copy, at) = (entry.incarnation, entry.remote);
            self.incarnations.handle_copy(now, node, copy);
            self.address_book.handle_unneeded(now, node, target, rng);
            self.refuse(newer, RefuseReason::IdentityCopied);
            self.actions.push(Action::Copied(older, at));
        } else {
            entry.copy = Some(first.1);
            self.incarnations.handle_copy(now, node, first.0);
            self.refuse(older, RefuseReason::IdentityCopied);
            self.accept(now, newer, rng);
        }
    }

    /// Lets those take the older one's place of which that has gone or says nothing.
    pub(super) fn settle_conflicts(&mut self, now: Instant, rng: &mut Rng) {
        let is_over =
            |conflict: &IdentityConflict| conflict.due <= now || self.peer_of(conflict.older).is_none();
        let (over, rest) = self.identity_conflicts.iter().copied().partition(is_over);
        self.identity_conflicts = rest;
        for IdentityConflict { newer, .. } in over {
            let Some(entry) = self.links.get_mut(&newer).filter(|entry| entry.state == LinkState::InConflict)
            else {
                continue;
            };
            // By now there may be another one.
            let older = self.by_node.get(&entry.node).copied();
            entry.replaces = older.map(|older| (older, LinkDownReason::Restarted));
            self.accept(now, newer, rng);
        }
    }

    /// Returns when the first of those that wait has waited for long enough.
    pub(super) fn conflicts_due(&self) -> Option<Instant> {
        self.identity_conflicts.iter().map(|conflict| conflict.due).min()
    }
}

/// How long the older one has to answer: the time of several round trips, and less than anybody waits for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
