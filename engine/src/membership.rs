//! The members of the mesh and the links between them: link-state adverts, as in OSPF (RFC 2328) and IS-IS.
//!
//! Each member signs its own advert, which lists its links. Adverts spread by flooding; neighbours compare versions
//! when a link comes up or their digests differ. An edge counts if both ends advertise it, and a member is reachable
//! while a path of such edges leads to it. So a dead node vanishes everywhere as soon as its neighbours notice. No node
//! can advertise for another, and no other list has to track which nodes are alive.

mod advert_cache;
mod flooding;
mod graph;
mod model_names;
#[cfg(test)]
mod tests;

use crate::identity::Identity;
use crate::ids::{Fingerprint, NodeId};
use crate::model::ModelOffer;
use crate::mutants::{Mutant, shows};
use crate::occupancy::Occupancy;
use crate::time::Instant;
use crate::wire::{Advert, SignedAdvert};
use advert_cache::{Forged, VerifiedAdvert};
use core::time::Duration;
use flooding::{FLUSH_DELAY, Outbox};
use graph::Graph;
use model_names::ModelNames;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use advert_cache::AdvertCache;

/// A command to the parent or a report to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A name now refers to more than one model: the name and all its fingerprints.
    Ambiguous { model: String, fingerprints: Vec<Fingerprint> },
    /// Another running node signs adverts with this node's key. `fenced` tells whether this node yields to it.
    Copied { fenced: bool },
    /// Two running nodes sign adverts with one member's key. The one that started later is `copy`.
    Doubled { member: NodeId, copy: u64 },
    /// A member became reachable.
    Joined(NodeId),
    /// A member is no longer reachable.
    Left(NodeId),
}

/// A message to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transmit {
    /// Adverts that the neighbour may not have.
    Adverts(NodeId, Vec<SignedAdvert>),
    /// The versions held here, so that the neighbour sends newer ones.
    Versions(NodeId, Vec<(NodeId, u64)>),
}

/// The map of the mesh that one node holds.
#[derive(Debug)]
pub(crate) struct Membership {
    me: NodeId,
    identity: Identity,
    cache: AdvertCache,
    own: Advert,
    /// The advert as last signed.
    own_signed: Arc<VerifiedAdvert>,
    /// When to sign this node's advert again.
    own_due: Option<Instant>,
    own_signed_at: Instant,
    /// Another incarnation that signs with this node's key, and a sequence number. Only an incarnation that is alive
    /// can have signed above it.
    rival: Option<(u64, u64)>,
    /// Whether this node yields to that incarnation.
    fenced: bool,
    /// The interval after the last advert of this node. It grows while changes continue.
    own_pause: Duration,
    /// The adverts of all other members, reachable or not.
    adverts: BTreeMap<NodeId, Held>,
    /// The unreachable members, those unreachable longest first.
    unreachable: BTreeSet<(Instant, NodeId)>,
    /// The same members, and the paths to them.
    graph: Graph,
    /// When to search for paths again, if something has changed since the last search.
    routes_due: Option<Instant>,
    routes_found_at: Instant,
    /// A digest of the reachable members and their versions. Equal maps have equal digests.
    digest: u64,
    model_names: ModelNames,
    outbox: Outbox,
    actions: Vec<Action>,
}

#[derive(Debug)]
struct Held {
    verified: Arc<VerifiedAdvert>,
    /// The sequence number of the advert, for fast checks: most adverts that arrive are already known.
    sequence: u64,
    /// The incarnation that the present one replaced.
    former: Option<u64>,
    /// When the member became unreachable; `None` while a path leads to it.
    unreachable_since: Option<Instant>,
}

/// The result of checking an advert. Either it is its member's own, or it changes nothing.
enum Checked {
    /// It is newer than the one held, and signed by its member.
    Fresh(Arc<VerifiedAdvert>),
    /// It is not newer than the one held.
    Known { member: NodeId, sequence: u64, held: u64 },
    /// It is newer than the one held, but was not checked.
    Unchecked,
}

impl Membership {
    /// Creates the map of a node that knows only itself. `own.sequence` must exceed that of all earlier starts.
    pub(crate) fn new(now: Instant, identity: Identity, own: Advert) -> Self {
        let cache = AdvertCache::default();
        let own_signed = cache.sign(&identity, own.clone());
        let me = own_signed.member;
        let mut model_names = ModelNames::default();
        model_names.add(&own.models);
        Self {
            me,
            identity,
            cache,
            digest: mix(me, own.sequence),
            own,
            own_signed,
            own_due: None,
            own_signed_at: now,
            rival: None,
            fenced: false,
            own_pause: OWN_ADVERT_INTERVAL_MIN,
            adverts: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            graph: Graph::default(),
            routes_due: None,
            routes_found_at: now,
            model_names,
            outbox: Outbox::default(),
            actions: Vec::new(),
        }
    }

    /// Shares an advert cache with other nodes of this process.
    pub(crate) fn share_adverts(&mut self, cache: AdvertCache) {
        self.cache = cache;
    }

    /// Returns this node's own signed advert.
    pub(crate) fn own_advert(&self) -> &SignedAdvert {
        &self.own_signed.signed
    }

    /// Returns this node's own advert.
    pub(crate) fn own(&self) -> &Advert {
        &self.own
    }

    /// Returns this node's own advert to change in place. The change is signed and flooded soon.
    pub(crate) fn own_mut(&mut self, now: Instant) -> &mut Advert {
        self.touch_own(now);
        &mut self.own
    }

    /// Adds a neighbour, with the advert from its hello.
    ///
    /// # Errors
    /// [`Forged`] if the advert is not the neighbour's own. Then nothing has changed.
    pub(crate) fn handle_peer_up(
        &mut self,
        now: Instant,
        peer: NodeId,
        advert: SignedAdvert,
    ) -> Result<(), Forged> {
        let checked = self.check(&advert, &mut || true)?;
        let member = match &checked {
            Checked::Fresh(verified) => verified.member,
            Checked::Known { member, .. } => *member,
            Checked::Unchecked => return Err(Forged),
        };
        if member != peer {
            return Err(Forged);
        }
        if let Err(at) = self.own.links.binary_search(&peer) {
            self.own.links.insert(at, peer);
        }
        self.touch_own(now);
        self.routes_due = Some(now);
        if let Checked::Fresh(verified) = checked {
            self.accept(now, verified, peer);
        }
        self.outbox.add(now, peer);
        Ok(())
    }

    /// Removes a neighbour.
    pub(crate) fn handle_peer_down(&mut self, now: Instant, peer: NodeId) {
        self.outbox.remove(peer);
        if let Ok(at) = self.own.links.binary_search(&peer) {
            self.own.links.remove(at);
            self.touch_own(now);
            self.routes_due = Some(now);
        }
    }

    /// Handles adverts from a neighbour. `may_check` limits the rate: it is asked before each new advert. A skipped
    /// advert is fetched again when versions are compared.
    ///
    /// # Errors
    /// [`Forged`] if one is not signed by its member. Those before it have been accepted.
    pub(crate) fn handle_adverts(
        &mut self,
        now: Instant,
        from: NodeId,
        adverts: Vec<SignedAdvert>,
        mut may_check: impl FnMut() -> bool,
    ) -> Result<(), Forged> {
        for signed in adverts {
            match self.check(&signed, &mut may_check)? {
                Checked::Unchecked => {}
                Checked::Fresh(verified) if verified.member == self.me => {
                    self.handle_rival(now, verified.advert.incarnation, verified.advert.sequence);
                }
                Checked::Fresh(verified) => self.accept(now, verified, from),
                Checked::Known { member, sequence, held } if member != self.me => {
                    if held > sequence {
                        self.outbox.tell(now, from, member);
                    } else {
                        self.outbox.handle_informed(from, member);
                    }
                }
                Checked::Known { sequence, .. } => self.handle_own(now, sequence, &signed)?,
            }
        }
        Ok(())
    }

    /// Queues for a neighbour the adverts that are newer here than the versions it holds.
    pub(crate) fn handle_versions(&mut self, now: Instant, from: NodeId, versions: &[(NodeId, u64)]) {
        let theirs: BTreeMap<NodeId, u64> = versions.iter().copied().take(MEMBERS_MAX).collect();
        let is_newer =
            |member: NodeId, sequence: u64| theirs.get(&member).is_none_or(|&have| have < sequence);
        let newer: Vec<NodeId> = self
            .reachable()
            .filter(|(member, advert)| is_newer(*member, advert.sequence))
            .map(|(member, _)| member)
            .collect();
        for member in newer {
            self.outbox.tell(now, from, member);
        }
    }

    /// Handles the digest of a neighbour's map. If it differs, versions are compared.
    pub(crate) fn handle_digest(&mut self, now: Instant, from: NodeId, digest: u64) {
        if digest != self.digest {
            self.outbox.ask(now, from);
        }
    }

    /// Signs this node's advert and searches for paths, if due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.own_due.is_some_and(|due| due <= now) {
            self.own_due = None;
            let calm = now.since(self.own_signed_at) > OWN_ADVERT_INTERVAL_MAX;
            self.own_pause = if calm {
                OWN_ADVERT_INTERVAL_MIN
            } else {
                (self.own_pause * 2).min(OWN_ADVERT_INTERVAL_MAX)
            };
            self.own.sequence = self.own.sequence.saturating_add(1);
            self.change_digest(
                mix(self.me, self.own_signed.advert.sequence) ^ mix(self.me, self.own.sequence),
            );
            let before =
                core::mem::replace(&mut self.own_signed, self.cache.sign(&self.identity, self.own.clone()));
            let now_signed = Arc::clone(&self.own_signed);
            self.recount_models(&before.advert.models, &now_signed.advert.models);
            self.own_signed_at = now;
            self.outbox.spread(now, self.me, None);
        }
        if self.routes_due.is_some_and(|due| due <= now) {
            self.routes_due = None;
            self.routes_found_at = now;
            self.refresh_routes(now);
        }
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.own_due, self.outbox.poll_timeout(), self.routes_due].into_iter().flatten().min()
    }

    /// Returns the messages to neighbours that are due.
    pub(crate) fn poll_transmits(&mut self, now: Instant) -> Vec<Transmit> {
        let mut transmits = Vec::new();
        for parcel in self.outbox.poll_parcels(now) {
            let neighbour = parcel.neighbour;
            if parcel.ask {
                let versions = self.reachable().map(|(member, advert)| (member, advert.sequence)).collect();
                transmits.push(Transmit::Versions(neighbour, versions));
            }
            let (mut batch, mut bytes) = (Vec::new(), 0);
            for member in parcel.members {
                let held = self.adverts.get(&member).map(|held| &held.verified);
                let Some(verified) = held.or_else(|| (member == self.me).then_some(&self.own_signed)) else {
                    continue;
                };
                bytes += verified.signed.body.0.len() + 80;
                batch.push(verified.signed.clone());
                if bytes > BATCH_BYTES {
                    transmits.push(Transmit::Adverts(neighbour, core::mem::take(&mut batch)));
                    bytes = 0;
                }
            }
            if !batch.is_empty() {
                transmits.push(Transmit::Adverts(neighbour, batch));
            }
        }
        transmits
    }

    /// Returns the queued actions, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns the digest of this node's map.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns the next hop of a shortest path to `destination`. If possible, the path does not begin with `avoid`.
    pub(crate) fn next_hop(&self, destination: NodeId, avoid: Option<NodeId>) -> Option<NodeId> {
        let (next, _) = self.graph.path(destination)?;
        let other = avoid
            .filter(|avoid| *avoid == next)
            .and_then(|avoid| self.graph.path_avoiding(&self.own.links, destination, avoid));
        Some(other.unwrap_or(next))
    }

    /// Returns the shortest path to a member, with the member last. Also returns up to `count` other paths, shortest
    /// first, that begin with other neighbours.
    pub(crate) fn paths(&self, member: NodeId, count: usize) -> Option<(Vec<NodeId>, Vec<Vec<NodeId>>)> {
        if member == self.me {
            return Some((Vec::new(), Vec::new()));
        }
        let path = self.graph.walk(&self.own.links, member)?;
        let others = self.own.links.iter().filter(|neighbour| Some(*neighbour) != path.first());
        let mut others: Vec<_> =
            others.filter_map(|&neighbour| self.graph.walk(&[neighbour], member)).collect();
        others.sort_by_key(Vec::len);
        others.truncate(count);
        Some((path, others))
    }

    /// Returns the advert of a member, reachable or not.
    pub(crate) fn advert(&self, member: NodeId) -> Option<&Advert> {
        self.adverts.get(&member).map(|held| &held.verified.advert)
    }

    /// Returns the advert of a reachable member.
    pub(crate) fn reachable_member(&self, member: NodeId) -> Option<&Advert> {
        let held = self.adverts.get(&member).filter(|held| held.unreachable_since.is_none());
        held.map(|held| &held.verified.advert)
    }

    /// Returns the number of links to a reachable member.
    pub(crate) fn hops(&self, member: NodeId) -> Option<u32> {
        if member == self.me { Some(0) } else { self.graph.path(member).map(|(_, links)| links) }
    }

    /// Returns the adverts of this node and of all reachable members.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = (NodeId, &Advert)> {
        let others = self.adverts.iter().filter(|(_, held)| held.unreachable_since.is_none());
        core::iter::once((self.me, &self.own))
            .chain(others.map(|(&member, held)| (member, &held.verified.advert)))
    }

    /// Returns the adverts of members that were reachable recently and may well return.
    pub(crate) fn lately_reachable(&self, now: Instant) -> impl Iterator<Item = &Advert> {
        let lately = self
            .unreachable
            .iter()
            .rev()
            .take_while(move |(since, _)| now.since(*since) < RECENTLY_REACHABLE);
        lately.filter_map(|(_, member)| Some(&self.adverts.get(member)?.verified.advert))
    }

    /// Returns the adverts of the unreachable members that are held, with the time at which they became so, latest first.
    pub(crate) fn former(&self) -> impl Iterator<Item = (Instant, NodeId, &Advert)> {
        let unreachable = self.unreachable.iter().rev();
        unreachable.filter_map(|(since, member)| Some((*since, *member, self.advert(*member)?)))
    }

    /// Returns a neighbour whose link may be closed: it has other links, and another path to it remains.
    pub(crate) fn spare_neighbour(&self) -> Option<NodeId> {
        let spare = |&&peer: &&NodeId| {
            let links = self.adverts.get(&peer)?.verified.advert.links.len();
            let rest = self.graph.path_avoiding(&self.own.links, peer, peer);
            (links >= SPARE_LINKS_MIN && rest.is_some()).then_some((links, peer))
        };
        self.own.links.iter().filter_map(|peer| spare(&peer)).max().map(|(_, peer)| peer)
    }

    /// Returns how full each collection is.
    pub(crate) fn occupancy(&self) -> [Occupancy; 5] {
        [
            Occupancy::new("membership.adverts", self.adverts.len(), MEMBERS_MAX),
            Occupancy::new("membership.models", self.model_names.len(), model_names::MODELS_MAX),
            Occupancy::new("membership.unreachable", self.unreachable.len(), UNREACHABLE_MAX),
            Occupancy::new("membership.outbox", self.outbox.neighbours(), self.own.links.len()),
            Occupancy::new("membership.news", self.outbox.news(), MEMBERS_MAX + 1),
        ]
    }

    /// Checks an advert as far as needed. One that is not newer than the one held changes nothing, so its signature is
    /// not checked.
    fn check(&self, signed: &SignedAdvert, may_check: &mut impl FnMut() -> bool) -> Result<Checked, Forged> {
        let (member, sequence) = Advert::peek(&signed.body.0).map_err(|_| Forged)?;
        let held = self.adverts.get(&member).map(|held| held.sequence);
        let held = if member == self.me { Some(self.own.sequence) } else { held };
        let old_counts = shows(Mutant::OlderAdvertAccepted) && member != self.me;
        if let Some(held) = held.filter(|held| *held >= sequence && !(old_counts && *held > sequence)) {
            return Ok(Checked::Known { member, sequence, held });
        }
        if !may_check() {
            return Ok(Checked::Unchecked);
        }
        self.cache.check(signed).map(Checked::Fresh)
    }

    /// Handles an advert of this node that is not newer than its own.
    fn handle_own(&mut self, now: Instant, sequence: u64, signed: &SignedAdvert) -> Result<(), Forged> {
        if sequence == self.own.sequence && signed.body != self.own_signed.signed.body {
            let verified = self.cache.check(signed)?;
            self.handle_rival(now, verified.advert.incarnation, sequence);
        }
        Ok(())
    }

    /// Replaces the advert held for a member by a newer one.
    fn accept(&mut self, now: Instant, verified: Arc<VerifiedAdvert>, from: NodeId) {
        let (member, sequence) = (verified.member, verified.advert.sequence);
        let members = u32::try_from(self.adverts.len()).unwrap_or(u32::MAX);
        let links_changed = if let Some(held) = self.adverts.get_mut(&member) {
            let before = core::mem::replace(&mut held.verified, Arc::clone(&verified));
            held.sequence = sequence;
            let (was, is) = (before.advert.incarnation, verified.advert.incarnation);
            if was != is {
                // If the other incarnation is alive too, this makes it sign a newer advert.
                self.outbox.tell(now, member, member);
                if held.former.replace(was) == Some(is) {
                    // It has signed above the one that replaced it, so it is no earlier incarnation.
                    self.actions.push(Action::Doubled { member, copy: was.max(is) });
                }
            }
            // The adverts of unreachable members are held but not flooded, so that strangers cannot fill the maps.
            if held.unreachable_since.is_none() {
                self.change_digest(mix(member, before.advert.sequence) ^ mix(member, sequence));
                self.outbox.spread(now, member, Some(from));
                self.recount_models(&before.advert.models, &verified.advert.models);
            }
            before.links != verified.links
        } else if self.make_room() {
            self.unreachable.insert((now, member));
            let held = Held {
                verified: Arc::clone(&verified),
                sequence,
                former: None,
                unreachable_since: Some(now),
            };
            self.adverts.insert(member, held);
            true
        } else {
            return;
        };
        if links_changed {
            self.graph.insert(member, &verified.links);
        }
        if links_changed && !shows(Mutant::LinksIgnored) {
            // A search takes time in proportion to the number of members, and so does the interval between searches.
            let earliest = self.routes_found_at.after(SEARCH_INTERVAL_PER_MEMBER.saturating_mul(members));
            self.routes_due.get_or_insert_with(|| earliest.max(now.after(FLUSH_DELAY)));
        }
    }

    fn change_digest(&mut self, change: u64) {
        if !shows(Mutant::DigestNotRecomputed) {
            self.digest ^= change;
        }
    }

    /// Makes room for one more advert. Reachable members are never evicted.
    fn make_room(&mut self) -> bool {
        if self.adverts.len() >= MEMBERS_MAX || self.unreachable.len() >= UNREACHABLE_MAX {
            let Some(&(_, oldest)) = self.unreachable.first() else { return false };
            self.forget(oldest);
        }
        true
    }

    fn forget(&mut self, member: NodeId) {
        self.graph.remove(member);
        let since = self.adverts.remove(&member).and_then(|held| held.unreachable_since);
        since.map(|since| self.unreachable.remove(&(since, member)));
    }

    /// Makes this node's next advert supersede one of its key that it did not send. That one may be from before a
    /// restart with the clock set back (RFC 2328, section 13.4), so the sequence number leaps far ahead. An advert
    /// signed above the leap comes from another running node with the same key. Of these two, the one that started
    /// earlier by their clocks stays, and the other falls silent: both decide alike.
    fn handle_rival(&mut self, now: Instant, incarnation: u64, sequence: u64) {
        if self.fenced {
            return;
        }
        match self.rival {
            Some((rival, above)) if rival == incarnation && sequence > above => {
                self.fenced = incarnation < self.own.incarnation;
                self.actions.push(Action::Copied { fenced: self.fenced });
                if !self.fenced {
                    self.own.sequence = sequence;
                    self.touch_own(now);
                }
            }
            Some(_) | None => {
                let leap = sequence.saturating_add(SEQUENCE_LEAP);
                self.rival = Some((incarnation, leap));
                self.own.sequence = leap;
                self.touch_own(now);
            }
        }
    }

    /// Replaces a member's models in the counts. Reports names that now stand for a second model.
    fn recount_models(&mut self, before: &[ModelOffer], after: &[ModelOffer]) {
        if before == after {
            return;
        }
        self.model_names.remove(before);
        let ambiguous = self.model_names.add(after).into_iter();
        self.actions.extend(ambiguous.map(|(model, fingerprints)| Action::Ambiguous { model, fingerprints }));
    }

    fn touch_own(&mut self, now: Instant) {
        // The first change is signed at once, later ones together and at growing intervals.
        let earliest = self.own_signed_at.after(self.own_pause);
        self.own_due.get_or_insert_with(|| earliest.max(now.after(OWN_ADVERT_DELAY)));
    }

    fn refresh_routes(&mut self, now: Instant) {
        // This node knows its own links. It need not wait until the other ends advertise them.
        let (joined, left) = self.graph.refresh(&self.own.links);
        for member in left {
            if let Some(held) = self.adverts.get_mut(&member) {
                held.unreachable_since = Some(now);
                self.unreachable.insert((now, member));
                let (sequence, verified) = (held.sequence, Arc::clone(&held.verified));
                self.change_digest(mix(member, sequence));
                self.model_names.remove(&verified.advert.models);
            }
            self.actions.push(Action::Left(member));
        }
        for member in joined {
            if let Some(held) = self.adverts.get_mut(&member) {
                let since = held.unreachable_since.take();
                since.map(|since| self.unreachable.remove(&(since, member)));
                let (sequence, verified) = (held.sequence, Arc::clone(&held.verified));
                self.change_digest(mix(member, sequence));
                self.recount_models(&[], &verified.advert.models);
            }
            self.actions.push(Action::Joined(member));
            // These changes have been batched already.
            self.outbox.spread_now(now, member);
        }
        while let Some(&(_, member)) =
            self.unreachable.first().filter(|(since, _)| now.since(*since) > UNREACHABLE_RETENTION)
        {
            self.forget(member);
        }
    }
}

/// Hashes an id and a version to 64 bits (the finaliser of SplitMix64, Steele et al. 2014).
fn mix(member: NodeId, sequence: u64) -> u64 {
    let (high, low) = member.0.split_at(8);
    let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
    let mut value = word(high) ^ word(low).rotate_left(32) ^ sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// More adverts than a node signs during one incarnation, except for the most active.
const SEQUENCE_LEAP: u64 = 1 << 20;
/// Maximum number of members, reachable or not. On overflow those unreachable longest are evicted; then new ones are
/// ignored.
const MEMBERS_MAX: usize = 16_384;
/// Maximum number of unreachable members. On overflow those unreachable longest are evicted.
const UNREACHABLE_MAX: usize = 4_096;
/// The approximate size of a batch of adverts in one frame.
const BATCH_BYTES: usize = 32 << 10;
/// Links that a neighbour must have before one of them may be closed to make room.
const SPARE_LINKS_MIN: usize = 3;
/// The interval between two searches for paths, per member held.
const SEARCH_INTERVAL_PER_MEMBER: Duration = Duration::from_micros(50);
/// How long a change of this node's advert waits to be batched with others.
const OWN_ADVERT_DELAY: Duration = Duration::from_millis(5);
/// The minimum interval after an advert of this node.
const OWN_ADVERT_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// The maximum interval between two adverts of this node while changes continue. After a longer pause the interval
/// starts at its minimum again.
const OWN_ADVERT_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// How long an unreachable member is kept, in case it or a relay on the path to it restarts.
const RECENTLY_REACHABLE: Duration = Duration::from_secs(60);
/// How long the advert of an unreachable member is held, so that an old copy of it is recognised as old.
const UNREACHABLE_RETENTION: Duration = Duration::from_secs(600);
