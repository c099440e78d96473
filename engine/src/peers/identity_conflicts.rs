//! Resolves identity conflicts: a second incarnation of a node says hello while the link to the first is up.
//!
//! Either the node has restarted, or two machines use one key. The older link is probed, and the newer one waits. An
//! answer to a probe sent after the hello proves that both are alive; then the one that started earlier is kept. If the
//! older link goes down, or the probe times out, the newer link replaces it.

use super::{Action, LinkState, Peers};
use crate::event::{LinkDownReason, RefuseReason};
use crate::ids::LinkId;
use crate::rng::Rng;
use crate::time::Instant;
use core::time::Duration;

/// A newer link that waits for the probe of an older one.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdentityConflict {
    newer: LinkId,
    older: LinkId,
    due: Instant,
}

impl Peers {
    /// Starts an identity conflict: probes the older link and lets the newer one wait.
    pub(super) fn open_conflict(&mut self, now: Instant, newer: LinkId, older: LinkId) {
        let Some(entry) = self.links.get_mut(&newer) else { return };
        entry.state = LinkState::InConflict;
        self.identity_conflicts.push(IdentityConflict { newer, older, due: now.after(PROBE_TIMEOUT) });
        self.actions.push(Action::Probe(older));
    }

    /// Tells whether another link with this incarnation already waits.
    pub(super) fn is_in_conflict(&self, older: LinkId, incarnation: u64) -> bool {
        let waits = |conflict: &IdentityConflict| {
            let newer = self.links.get(&conflict.newer);
            conflict.older == older && newer.is_some_and(|newer| newer.is_in_conflict(incarnation))
        };
        self.identity_conflicts.iter().any(waits)
    }

    /// Handles a probe reply on the older link: the old incarnation is alive, so its conflicts are duplicate keys, not
    /// restarts.
    pub(crate) fn handle_answer(&mut self, now: Instant, older: LinkId, rng: &mut Rng) {
        let (over, rest) =
            self.identity_conflicts.iter().copied().partition(|conflict| conflict.older == older);
        self.identity_conflicts = rest;
        for conflict in over {
            self.keep_earlier(now, conflict, rng);
        }
    }

    /// Lets a waiting link take over before the older one is removed, if both its ends are ready. So no one sees the
    /// node leave and return.
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

    /// Keeps the incarnation that started earlier, if both are alive.
    fn keep_earlier(
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
            let (duplicate, at) = (entry.incarnation, entry.remote);
            self.incarnations.handle_duplicate(now, node, duplicate);
            self.address_book.handle_unneeded(now, node, target, rng);
            self.refuse(newer, RefuseReason::IdentityCopied);
            self.actions.push(Action::Copied(older, at));
        } else {
            entry.duplicate = Some(first.1);
            self.incarnations.handle_duplicate(now, node, first.0);
            self.refuse(older, RefuseReason::IdentityCopied);
            self.accept(now, newer, rng);
        }
    }

    /// Lets waiting links take over where the older one is down or its probe has timed out.
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
            // Another link may have taken its place by now.
            let older = self.by_node.get(&entry.node).copied();
            entry.replaces = older.map(|older| (older, LinkDownReason::Restarted));
            self.accept(now, newer, rng);
        }
    }

    /// Returns the deadline of the first probe.
    pub(super) fn conflicts_due(&self) -> Option<Instant> {
        self.identity_conflicts.iter().map(|conflict| conflict.due).min()
    }
}

/// How long a probe may take: several round trips, but less than any timeout of a user.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
