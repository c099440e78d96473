//! The schedule and the rate limits of one interface.
//!
//! Each interface has its own schedule: a new one is announced on at once, while the others stay quiet. Each has its
//! own rate limit of received packets, so that a flood on one does not affect the others. Each sender on it has a lower
//! one, so that a flood from one leaves room for the others. No record is multicast more often than once a second on
//! one interface (RFC 6762, section 6), however often it is asked for.

use crate::input::{Family, Interface};
use crate::rate::Bucket;
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

/// One interface of the host.
#[derive(Debug)]
pub(super) struct InterfaceState {
    /// The host's addresses on it, best first.
    pub(super) own: Vec<IpAddr>,
    /// Whether it leads to containers of this host only.
    pub(super) bridge: bool,
    /// The addresses to announce on it, best first.
    pub(super) addresses: Vec<IpAddr>,
    /// The address families with multicast.
    families: Vec<Family>,
    /// The address families in which multicast is known not to work.
    mute: Vec<Family>,
    next_announcement: Option<Instant>,
    announced: u32,
    /// Whether the next announcement is more than a refresh, and goes to every family.
    news: bool,
    last_announcement: Option<Instant>,
    next_query: Option<Instant>,
    queries: u32,
    /// When to announce the service type, and when that was last done.
    next_enumeration: Option<Instant>,
    last_enumeration: Option<Instant>,
    bucket: Bucket,
    /// The rate limits by sender. Senders that were not heard recently are left out.
    senders: BTreeMap<IpAddr, Bucket>,
    /// The shared rate limit of senders that have none of their own.
    others: Bucket,
    /// This node's queries that it will receive itself, with the time when each was sent.
    echoes: Vec<(Instant, Vec<u8>)>,
}

/// How many other nodes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Population {
    /// None: the node continues to query, at growing intervals.
    Alone,
    /// Some. A query can list them, so that only the others answer.
    Few,
    /// So many that another query would cost more than it finds.
    Many,
}

/// The packets that are due on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The families to announce in.
    pub(super) announce: Vec<Family>,
    /// Whether to announce the service type.
    pub(super) enumerate: bool,
    /// Whether to query for nodes.
    pub(super) query: bool,
}

impl InterfaceState {
    /// Creates an inactive interface without addresses.
    pub(super) fn new() -> Self {
        Self {
            own: Vec::new(),
            bridge: false,
            addresses: Vec::new(),
            families: Vec::new(),
            mute: Vec::new(),
            next_announcement: None,
            announced: 0,
            news: true,
            last_announcement: None,
            next_query: None,
            queries: 0,
            next_enumeration: None,
            last_enumeration: None,
            bucket: Bucket::new(PACKETS_PER_SECOND, PACKETS_BURST),
            senders: BTreeMap::new(),
            others: sender_bucket(),
            echoes: Vec::new(),
        }
    }

    /// Adds one of the host's addresses on the interface.
    pub(super) fn add(&mut self, interface: &Interface) {
        self.own.push(interface.address);
        self.bridge |= interface.bridge;
        let family = Family::for_address(interface.address);
        let list = if interface.multicast { &mut self.families } else { &mut self.mute };
        if !list.contains(&family) {
            list.push(family);
        }
    }

    /// Takes over the schedule of the same interface before a change. Tells whether more nodes can be reached.
    pub(super) fn resume(&mut self, before: Self) -> bool {
        let same = self.families.iter().all(|family| before.families.contains(family));
        let (own, bridge, addresses) = (core::mem::take(&mut self.own), self.bridge, Vec::new());
        let (families, mute) = (core::mem::take(&mut self.families), core::mem::take(&mut self.mute));
        *self = Self { own, bridge, addresses, families, mute, ..before };
        !same
    }

    /// Tells whether multicast works.
    pub(super) fn takes_multicast(&self) -> bool {
        !self.families.is_empty()
    }

    /// Tells whether the interface never leaves this host.
    pub(super) fn is_loopback(&self) -> bool {
        self.own.iter().all(IpAddr::is_loopback)
    }

    /// Returns the families of the host's addresses on the interface. Those without multicast are included, as it may
    /// work again.
    pub(super) fn all_families(&self) -> Vec<Family> {
        let mut all = self.families.clone();
        all.extend(self.mute.iter().filter(|family| !self.families.contains(family)));
        all
    }

    /// Starts to announce and to query.
    pub(super) fn start(&mut self, now: Instant, rng: &mut Rng) {
        self.announced = 0;
        self.queries = 0;
        self.news = true;
        self.next_query = Some(now.after(rng.between(Duration::ZERO, FIRST_QUERY_JITTER)));
        self.next_announcement = Some(self.earliest(now, now.after(answer_delay(rng))));
    }

    /// Stops.
    pub(super) fn stop(&mut self) {
        self.next_announcement = None;
        self.next_enumeration = None;
        self.next_query = None;
    }

    /// Schedules an announcement soon, because of a query or a change.
    pub(super) fn announce_soon(&mut self, now: Instant, rng: &mut Rng) {
        let due = self.earliest(now, now.after(answer_delay(rng)));
        self.news = true;
        self.next_announcement = self.next_announcement.map(|next| next.min(due));
    }

    /// Schedules an announcement of the service type, because of a query for service types.
    pub(super) fn enumerate_soon(&mut self, now: Instant, rng: &mut Rng) {
        let wanted = now.after(answer_delay(rng));
        let due = self.last_enumeration.map_or(wanted, |last| last.after(ANSWER_INTERVAL).max(wanted));
        self.next_enumeration = Some(self.next_enumeration.map_or(due, |next| next.min(due)));
    }

    /// Cancels the announcement of the service type, because another host has just made it (RFC 6762, section 7.4).
    pub(super) fn handle_enumerated(&mut self) {
        self.next_enumeration = None;
    }

    /// Handles a query by another host that this node was about to send. Tells whether it was.
    pub(super) fn handle_same_query(&mut self, now: Instant, rng: &mut Rng) -> bool {
        let about_to = self.next_query.is_some_and(|next| next.since(now) < DUPLICATE_QUERY_WINDOW);
        // With two families on the interface, not all hosts may have received that query.
        let spares = about_to && self.families.len() == 1;
        if spares {
            self.queried(now, rng);
        }
        spares
    }

    /// Records a query that this node sends and will receive itself.
    pub(super) fn expect_echo(&mut self, now: Instant, families: &[Family], query: &[u8]) {
        self.echoes.retain(|(sent, _)| now.since(*sent) < ECHO_TIMEOUT);
        let audible = families.iter().filter(|family| self.families.contains(family));
        self.echoes.extend(audible.map(|_| (now, query.to_vec())));
        self.echoes.drain(..self.echoes.len().saturating_sub(ECHOES_MAX));
    }

    /// Tells whether a query is an echo of one that this node sent. Each comes back once. Another node on this host may
    /// send the same from the same address, and then a second one comes back.
    pub(super) fn is_echo(&mut self, now: Instant, from: SocketAddr, query: &[u8]) -> bool {
        let sent = |(sent, bytes): &(Instant, Vec<u8>)| now.since(*sent) < ECHO_TIMEOUT && bytes == query;
        let at = self.echoes.iter().position(sent).filter(|_| self.own.contains(&from.ip()));
        at.map(|at| self.echoes.remove(at)).is_some()
    }

    /// Returns the packets that are due, and schedules the next ones.
    pub(super) fn handle_timeout(&mut self, now: Instant, population: Population, rng: &mut Rng) -> Due {
        let mut due = Due { announce: Vec::new(), enumerate: false, query: false };
        if self.next_enumeration.is_some_and(|next| next <= now) {
            due.enumerate = true;
            self.next_enumeration = None;
            self.last_enumeration = Some(now);
        }
        if self.next_announcement.is_some_and(|next| next <= now) {
            due.announce = self.all_families();
            // Refreshes alternate between the families: each hears of the node before half of its lifetime is over.
            if !self.news && self.announced >= STARTUP_ANNOUNCEMENTS && due.announce.len() > 1 {
                let at = usize::try_from(self.announced).unwrap_or_default() % due.announce.len();
                due.announce = vec![due.announce[at]];
            }
            self.announced = self.announced.saturating_add(1);
            self.last_announcement = Some(now);
            self.news = false;
            let pause = if self.announced < STARTUP_ANNOUNCEMENTS {
                STARTUP_ANNOUNCEMENT_INTERVAL
            } else {
                REFRESH_INTERVAL
            };
            self.next_announcement = Some(now.after(rng.between(pause, pause + pause / 10)));
        }
        if self.next_query.is_some_and(|next| next <= now) {
            due.query = match population {
                Population::Alone => true,
                Population::Few => self.queries < STARTUP_QUERIES,
                Population::Many => self.queries == 0,
            };
            self.queried(now, rng);
            if population != Population::Alone && self.queries >= STARTUP_QUERIES {
                self.next_query = None;
            }
        }
        due
    }

    /// Returns the next deadline.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.next_announcement, self.next_enumeration, self.next_query].into_iter().flatten().min()
    }

    /// Tells whether a packet of a sender is within the rate limits.
    pub(super) fn admit(&mut self, now: Instant, sender: IpAddr) -> bool {
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&sender) {
            self.senders.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = if self.senders.len() < SENDERS_MAX || self.senders.contains_key(&sender) {
            self.senders.entry(sender).or_insert_with(sender_bucket)
        } else {
            &mut self.others
        };
        bucket.take(now, 1) && self.bucket.take(now, 1)
    }

    fn queried(&mut self, now: Instant, rng: &mut Rng) {
        let pause = QUERY_BACKOFF_MIN * 3u32.saturating_pow(self.queries).min(QUERY_BACKOFF_FACTOR_MAX);
        self.queries = self.queries.saturating_add(1);
        self.next_query = Some(now.after(rng.between(pause, pause + pause / 10)));
    }

    fn earliest(&self, now: Instant, wanted: Instant) -> Instant {
        self.last_announcement.map_or(now, |last| last.after(ANSWER_INTERVAL)).max(wanted)
    }
}

/// Returns the delay of a shared answer: a random 20 to 120 ms, so that those of many nodes do not collide (RFC 6762,
/// section 6).
fn answer_delay(rng: &mut Rng) -> Duration {
    rng.between(ANSWER_DELAY_MIN, ANSWER_DELAY_MIN + ANSWER_JITTER)
}

fn sender_bucket() -> Bucket {
    Bucket::new(SENDER_PACKETS_PER_SECOND, SENDER_BURST)
}

const STARTUP_ANNOUNCEMENTS: u32 = 2;
const STARTUP_ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(1);
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
const FIRST_QUERY_JITTER: Duration = Duration::from_millis(20);
const QUERY_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Queries that every node sends. A node that knows no other one sends more, at growing intervals.
const STARTUP_QUERIES: u32 = 3;
/// The maximum interval between queries, as a multiple of the first.
const QUERY_BACKOFF_FACTOR_MAX: u32 = 60;
/// Another host's query replaces this node's own if that was due this soon (RFC 6762, section 7.3).
const DUPLICATE_QUERY_WINDOW: Duration = Duration::from_millis(120);
const ANSWER_DELAY_MIN: Duration = Duration::from_millis(20);
const ANSWER_JITTER: Duration = Duration::from_millis(100);
/// The minimum interval between two announcements on one interface.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);
/// Packets of this service read per second on one interface. Those above the limit are dropped unread.
const PACKETS_PER_SECOND: u64 = 200;
/// Packets in a burst: those of a few hundred nodes that start together.
const PACKETS_BURST: u64 = 2000;
/// The same for one sender. A reflector sends the packets of all nodes of another network, and so does a host with many
/// nodes.
const SENDER_PACKETS_PER_SECOND: u64 = 50;
const SENDER_BURST: u64 = 500;
/// Maximum number of senders with a rate limit of their own.
const SENDERS_MAX: usize = 256;
/// How long an echo may take.
const ECHO_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of expected echoes: more than one interface can have in flight.
const ECHOES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_lets_a_burst_through_and_then_the_rate() {
        let mut state = InterfaceState::new();
        let sender = |n: u32| IpAddr::from([10, 0, 0, u8::try_from(n % 10).unwrap()]);
        let admitted =
            |state: &mut InterfaceState, now| (0..10_000).filter(|&n| state.admit(now, sender(n))).count();
        assert_eq!(admitted(&mut state, Instant::ZERO), 2000);
        assert_eq!(admitted(&mut state, Instant::from_micros(500_000)), 100);
        assert_eq!(admitted(&mut state, Instant::from_micros(400_000)), 0);
        assert_eq!(admitted(&mut state, Instant::from_micros(u64::MAX)), 2000);
    }

    #[test]
    fn a_flood_from_one_sender_leaves_room_for_the_others() {
        let mut state = InterfaceState::new();
        let one = IpAddr::from([10, 0, 0, 1]);
        let mut admitted = (0, 0);
        for millis in 0..60_000 {
            let now = Instant::from_micros(millis * 1000);
            admitted.0 += usize::from(state.admit(now, one));
            // A new sender each time.
            let other = IpAddr::from(u32::try_from(millis).unwrap().to_be_bytes());
            admitted.1 += usize::from(millis % 100 == 0 && state.admit(now, other));
            assert!(state.senders.len() <= SENDERS_MAX);
        }
        assert_eq!(admitted, (500 + 60 * 50 - 1, 600));
    }

    #[test]
    fn refreshes_take_turns_where_there_are_two_families() {
        let mut rng = Rng::new([1; 32]);
        let mut state = InterfaceState::new();
        state.add(&Interface::new(1, "10.0.0.1".parse().unwrap()));
        state.add(&Interface::new(1, "fe80::1".parse().unwrap()));
        state.start(Instant::ZERO, &mut rng);
        let mut said = Vec::new();
        for _ in 0..5 {
            let now = state.next_announcement.unwrap();
            said.push(state.handle_timeout(now, Population::Few, &mut rng).announce);
        }
        let both = vec![Family::V4, Family::V6];
        assert_eq!(said, [both.clone(), both, vec![Family::V4], vec![Family::V6], vec![Family::V4]]);
    }
}
