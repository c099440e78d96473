//! The announced nodes and their addresses.
//!
//! Any host on the network can announce any number of nodes that do not exist, and anything about those that do. So the
//! table is divided: few entries for each source of announcements, and half of all for nodes that third parties
//! announce. A node known to exist keeps its entry. Nodes that could not be dialled are evicted first and expire
//! sooner. A node's announcement from its own address has precedence over those of third parties. Two accounts of the
//! same standing are kept side by side until one proves true.

use super::Action;
use super::packet::{ADDRESSES_MAX, KNOWN_ANSWER_TTL_MIN, KNOWN_MAX};
use crate::ids::NodeId;
use crate::local_networks::is_link_local;
use crate::place::{Place, Standing};
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// The announcement of one node by one source.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// Best first.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) source: IpAddr,
    /// Its lifetime.
    pub(super) ttl: Duration,
    /// The number of the query that it may answer.
    pub(super) question: Option<u32>,
}

/// The announced nodes.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<NodeId, Entry>,
    /// Nodes that were known to exist once, the oldest first.
    former: VecDeque<NodeId>,
    /// No entry expires before this time. It saves a scan of the table on each input.
    next_expiry: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    first: Account,
    /// Another account of the same standing, or of lower standing if the first has failed.
    rival: Option<Account>,
    /// Whether the node is, or was, known to exist.
    known: bool,
    /// Whether a goodbye was received in the node's name.
    leaving: bool,
    expires: Instant,
}

/// A claim, and its history.
#[derive(Clone, Debug)]
struct Account {
    addresses: Vec<SocketAddr>,
    source: IpAddr,
    /// The number of queries that it answered, and the last of them.
    answers: u32,
    question: Option<u32>,
    heard_at: Instant,
    /// Whether a dial to it failed.
    failed: bool,
}

impl Table {
    /// Handles an announcement of a node. Returns the resulting actions.
    pub(super) fn hear(&mut self, now: Instant, node: NodeId, claim: &Claim, rng: &mut Rng) -> Vec<Action> {
        let account = Account {
            addresses: claim.addresses.clone(),
            source: claim.source,
            answers: u32::from(claim.question.is_some()),
            question: claim.question,
            heard_at: now,
            failed: false,
        };
        let mut actions = Vec::new();
        let Some(entry) = self.entries.get_mut(&node) else {
            let known = self.former.contains(&node);
            if self.make_room(account.standing(), account.source, known, rng, &mut actions) {
                let expires = now.after(claim.ttl);
                let entry = Entry { first: account, rival: None, known, leaving: false, expires };
                actions.push(Action::Found(node, entry.places()));
                self.entries.insert(node, entry);
                self.expect(expires);
            }
            return actions;
        };
        let before = entry.places();
        if !entry.hear(now, account) {
            return actions;
        }
        entry.leaving = false;
        entry.expires = now.after(claim.ttl);
        entry.shorten(now);
        let after = entry.places();
        // The order of addresses depends on the interface heard last, so a new order alone is no change.
        let is_new = |place: &Place| !before.iter().any(|old| old.address == place.address);
        let rose = |place: &Place| {
            before.iter().any(|old| old.address == place.address && old.standing < place.standing)
        };
        if after.len() != before.len() || after.iter().any(is_new) {
            actions.push(Action::Found(node, after));
        } else if after.iter().any(rose) {
            actions.push(Action::Confirmed(node, after));
        }
        let expires = entry.expires;
        self.expect(expires);
        actions
    }

    /// Handles a goodbye. It may be forged, and the node would object. So the entry stays for a grace period (RFC 6762,
    /// section 10.1).
    pub(super) fn handle_goodbye(&mut self, now: Instant, node: NodeId, source: IpAddr) {
        let Some(entry) = self.entries.get_mut(&node) else { return };
        if entry.first.is_by(source) || entry.first.standing() == Standing::Claimed {
            entry.leaving = true;
            entry.expires = entry.expires.min(now.after(GOODBYE_GRACE));
            let expires = entry.expires;
            self.expect(expires);
        }
    }

    /// Handles the mere mention of a node's name, with its lifetime.
    pub(super) fn handle_mention(&mut self, now: Instant, node: NodeId, ttl: Duration, source: IpAddr) {
        let Some(entry) = self.entries.get_mut(&node) else { return };
        if entry.first.is_by(source) || entry.first.standing() == Standing::Claimed {
            entry.leaving = false;
            entry.expires = entry.expires.max(now.after(ttl));
            entry.shorten(now);
        }
    }

    /// Marks a node as known to exist.
    pub(super) fn handle_known(&mut self, node: NodeId) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.known = true;
        }
    }

    /// Removes a node that is gone. Returns the resulting action, if it was in the table.
    pub(super) fn handle_gone(&mut self, node: NodeId) -> Option<Action> {
        self.former.retain(|former| *former != node);
        if self.former.len() >= FORMER_MAX {
            self.former.pop_front();
        }
        self.former.push_back(node);
        let entry = self.entries.remove(&node)?;
        Some(if entry.leaving { Action::Left(node) } else { Action::Expired(node) })
    }

    /// Records a failed dial to an address of a node.
    pub(super) fn handle_unreached(&mut self, now: Instant, node: NodeId, address: SocketAddr) {
        let Some(entry) = self.entries.get_mut(&node) else { return };
        for account in core::iter::once(&mut entry.first).chain(&mut entry.rival) {
            account.failed |= account.addresses.contains(&address);
        }
        entry.shorten(now);
        let expires = entry.expires;
        self.expect(expires);
    }

    /// Removes the expired entries.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Action> {
        if self.next_expiry.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        self.entries.retain(|&node, entry| {
            if entry.expires > now {
                return true;
            }
            actions.push(if entry.leaving { Action::Left(node) } else { Action::Expired(node) });
            false
        });
        self.next_expiry = self.entries.values().map(|entry| entry.expires).min();
        actions
    }

    /// Returns when the next entry may expire.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_expiry
    }

    /// Returns the nodes to list in a query, with the remaining lifetime of each. If so many are announced that most
    /// cannot exist, only those known to exist are listed.
    pub(super) fn known(&self, now: Instant) -> Vec<(NodeId, Duration)> {
        let left = |(&node, entry): (&NodeId, &Entry)| (node, entry.expires.since(now));
        self.believed().map(left).filter(|(_, left)| *left >= KNOWN_ANSWER_TTL_MIN).take(KNOWN_MAX).collect()
    }

    /// Returns the number of nodes that seem to exist.
    pub(super) fn population(&self) -> usize {
        self.believed().count()
    }

    /// Returns the nodes that seem to exist, those known to exist first.
    fn believed(&self) -> impl Iterator<Item = (&NodeId, &Entry)> {
        let flooded = self.is_flooded();
        let stays = |known: bool| {
            self.entries.iter().filter(move |(_, entry)| entry.known == known && !entry.leaving)
        };
        stays(true).chain(stays(false).filter(move |_| !flooded))
    }

    /// Tells whether there are so many unproven nodes that most of them hardly exist: in total, from third parties, or
    /// from one source.
    fn is_flooded(&self) -> bool {
        let unproven = || self.entries.values().filter(|entry| !entry.known).map(|entry| &entry.first);
        let mut by_source: BTreeMap<IpAddr, usize> = BTreeMap::new();
        unproven().for_each(|account| *by_source.entry(account.source).or_default() += 1);
        by_source.values().any(|count| *count > KNOWN_MAX)
            || unproven().filter(|account| account.standing() == Standing::Claimed).count() > KNOWN_MAX
            || unproven().count() > CREDIBLE_MAX
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.entries.contains_key(&node)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the number of nodes known to have existed.
    pub(super) fn former(&self) -> usize {
        self.former.len()
    }

    /// Returns the node that is announced at an address.
    pub(super) fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        let is_at = |entry: &Entry| entry.places().iter().any(|place| place.address == address);
        self.entries.iter().find(|(_, entry)| is_at(entry)).map(|(&node, _)| node)
    }

    fn expect(&mut self, expires: Instant) {
        self.next_expiry = Some(self.next_expiry.map_or(expires, |next| next.min(expires)));
    }

    /// Makes room for a node that a source announces. Tells whether there is room.
    fn make_room(
        &mut self,
        standing: Standing,
        source: IpAddr,
        known: bool,
        rng: &mut Rng,
        actions: &mut Vec<Action>,
    ) -> bool {
        let unproven = |worst: Standing| {
            let entries = self.entries.iter().filter(|(_, entry)| !entry.known);
            entries.filter(move |(_, entry)| entry.first.standing() <= worst)
        };
        let claimed = || unproven(Standing::Claimed);
        let of_source = || {
            unproven(Standing::Own)
                .filter(|(_, entry)| entry.first.source == source && entry.first.standing() == standing)
        };
        let failed = |entry: &(&NodeId, &Entry)| entry.1.first.failed;
        let full = self.entries.len() >= ENTRIES_MAX;
        let mut options: Vec<NodeId> = Vec::new();
        if !known && of_source().count() >= SOURCE_ENTRIES_MAX {
            options.extend(of_source().filter(failed).map(|(node, _)| node));
        } else if !known && standing == Standing::Claimed && (full || claimed().count() >= CLAIMED_MAX) {
            options.extend(claimed().filter(failed).map(|(node, _)| node));
            if options.is_empty() {
                options.extend(claimed().map(|(node, _)| node));
            }
        } else if full {
            options.extend(claimed().map(|(node, _)| node));
            if options.is_empty() {
                options.extend(unproven(Standing::Own).filter(failed).map(|(node, _)| node));
            }
            if options.is_empty() {
                options.extend(unproven(Standing::Own).map(|(node, _)| node));
            }
        } else {
            return true;
        }
        let Some(at) = rng.index(options.len()) else { return false };
        self.entries.remove(&options[at]);
        actions.push(Action::Expired(options[at]));
        true
    }
}

impl Entry {
    /// Handles another account of the node. Tells whether it counts.
    fn hear(&mut self, now: Instant, account: Account) -> bool {
        let first = &mut self.first;
        let doubtful = first.failed || now.since(first.heard_at) >= STALE_AFTER;
        if account.standing() >= first.standing() && first.is_continued_by(&account) {
            first.refresh(account);
            return true;
        }
        if account.standing() > first.standing() {
            *first = account;
            self.rival = None;
            return true;
        }
        if account.standing() < first.standing() && !doubtful {
            return false;
        }
        match &mut self.rival {
            Some(rival) if rival.is_continued_by(&account) => rival.refresh(account),
            Some(rival)
                if rival.answers > account.answers
                    && !rival.failed
                    && now.since(rival.heard_at) < STALE_AFTER =>
            {
                return false;
            }
            rival => *rival = Some(account),
        }
        if let Some(rival) = self.rival.as_mut().filter(|rival| doubtful && !rival.failed) {
            core::mem::swap(&mut self.first, rival);
        }
        true
    }

    /// Shortens the lifetime of a node that could not be reached.
    fn shorten(&mut self, now: Instant) {
        if self.first.failed && !self.known {
            self.expires = self.expires.min(now.after(UNREACHED_LIFETIME));
        }
    }

    /// Returns the places where the node can be dialled.
    fn places(&self) -> Vec<Place> {
        let mut places = self.first.places();
        for place in self.rival.iter().flat_map(Account::places) {
            if !places.iter().any(|known| known.address == place.address) {
                places.push(place);
            }
        }
        places
    }
}

impl Account {
    fn standing(&self) -> Standing {
        let from_there = self.addresses.iter().any(|address| address.ip() == self.source);
        if from_there { Standing::Own } else { Standing::Claimed }
    }

    /// Tells whether a source is the one of this account, or the node itself at another of its addresses.
    fn is_by(&self, source: IpAddr) -> bool {
        self.source == source || self.lists(source)
    }

    fn lists(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|listed| listed.ip() == address)
    }

    /// Tells whether another account is from the same node: from the same source, or from another of its addresses.
    /// Such an account lists this one's source, so nobody else can take it over. A link-local source is listed on its
    /// own interface only.
    fn is_continued_by(&self, other: &Self) -> bool {
        self.source == other.source
            || other.lists(self.source)
            || (is_link_local(self.source) && self.lists(other.source))
    }

    fn refresh(&mut self, new: Self) {
        let merged = merge(&self.addresses, &new.addresses);
        let same =
            merged.len() == self.addresses.len() && merged.iter().all(|at| self.addresses.contains(at));
        if !same {
            self.addresses = merged;
            self.failed = false;
        }
        if new.question.is_some() && new.question != self.question {
            self.question = new.question;
            self.answers = self.answers.saturating_add(1);
        }
        if is_link_local(self.source) {
            self.source = new.source;
        }
        // The address that certainly belongs to the node comes first.
        let source = self.source;
        self.addresses.sort_by_key(|address| address.ip() != source);
        self.heard_at = new.heard_at;
    }

    fn places(&self) -> Vec<Place> {
        let mut standing = self.standing();
        if matches!(standing, Standing::Own) && self.answers >= CONFIRMING_ANSWERS {
            standing = Standing::Confirmed;
        }
        let place = |&address: &SocketAddr| Place { address, standing, source: self.source };
        self.addresses.iter().map(place).collect()
    }
}

/// Merges a node's announcements on several interfaces. Each lists all routable addresses, and those that are valid on
/// its interface only.
fn merge(before: &[SocketAddr], heard: &[SocketAddr]) -> Vec<SocketAddr> {
    let loopback_only = heard.iter().all(|address| address.ip().is_loopback());
    let routable = if loopback_only { before } else { heard };
    let is_routable = |address: &&SocketAddr| !address.ip().is_loopback() && !is_link_local(address.ip());
    let mut merged: Vec<SocketAddr> = routable.iter().filter(is_routable).copied().collect();
    let port = heard.first().map(SocketAddr::port);
    let mut local: Vec<SocketAddr> =
        before.iter().chain(heard).filter(|at| !is_routable(at)).copied().collect();
    local.retain(|address| Some(address.port()) == port);
    local.sort_by_key(|address| (address.ip().is_loopback(), *address));
    local.dedup();
    merged.retain(|address| Some(address.port()) == port);
    merged.extend(local);
    merged.truncate(ADDRESSES_MAX);
    merged
}

/// Maximum number of nodes.
pub(super) const ENTRIES_MAX: usize = 1024;
/// Maximum number of nodes that only third parties announce.
const CLAIMED_MAX: usize = ENTRIES_MAX / 2;
/// The number of nodes that may plausibly start together.
const CREDIBLE_MAX: usize = ENTRIES_MAX / 4;
/// Maximum number of nodes that one source may announce, besides those known to exist.
const SOURCE_ENTRIES_MAX: usize = 64;
/// Maximum number of nodes remembered as having existed.
pub(super) const FORMER_MAX: usize = 256;
/// The number of queries that a node must answer to be confirmed.
const CONFIRMING_ANSWERS: u32 = 2;
/// How long an entry stays after a goodbye: twice the time that a node needs to object.
const GOODBYE_GRACE: Duration = Duration::from_secs(2);
/// A node that is silent for this long has missed two refreshes, and third parties are believed about it.
const STALE_AFTER: Duration = Duration::from_secs(150);
/// The lifetime of a node that could not be reached: slightly longer than the refresh interval.
const UNREACHED_LIFETIME: Duration = Duration::from_secs(90);
