//! Failure detection: ALIVE, SLOW, DEAD, and back.
//!
//! A peer is pinged every ten seconds, and any frame from it is a sign of life. A ping that brings none within
//! three seconds makes the peer SLOW: it gets no new work and is probed every second. Ten more silent seconds make
//! it DEAD. A live peer is therefore noticed to be silent within 13 s and given up within 23 s, and a single lost
//! frame never does it.

use crate::ids::LinkId;
use crate::mutants::{Mutant, shows};
use crate::rng::Rng;
use crate::time::{Instant, micros};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the failure detector says of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It left a heartbeat unanswered for three seconds; it gets no new work.
    Slow,
    /// It left probes unanswered for ten more; its link is closed.
    Dead,
}

/// What the detector found out or wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Send a ping with this number.
    Ping(LinkId, u32),
    /// The peer behind the link is DEAD; the detector has forgotten it.
    Dead(LinkId),
    /// The peer behind the link is ALIVE again.
    Recovered(LinkId),
    /// The peer behind the link is SLOW.
    Slow(LinkId),
}

/// The failure detector of all links of a node.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    links: BTreeMap<LinkId, Watch>,
    facts: Vec<Fact>,
}

#[derive(Debug)]
struct Watch {
    liveness: Liveness,
    heard_at: Instant,
    /// When the oldest ping without a sign of life since was sent.
    unanswered_since: Option<Instant>,
    /// The link may be a dead one that nobody closed: silence of three seconds is enough.
    doubted: bool,
    next_ping: Instant,
    last_ping: Option<(u32, Instant)>,
    next_number: u32,
    round_trip: Option<Duration>,
}

impl Heartbeat {
    /// Begins to watch a link.
    pub(crate) fn handle_up(&mut self, now: Instant, link: LinkId, rng: &mut Rng) {
        // The first ping comes early, for its round trip; where it falls is random so that pings spread out.
        let next_ping = now.after(rng.between(FIRST_PING, FIRST_PING * 10));
        let watch = Watch {
            liveness: Liveness::Alive,
            heard_at: now,
            unanswered_since: None,
            doubted: false,
            next_ping,
            last_ping: None,
            next_number: 0,
            round_trip: None,
        };
        self.links.insert(link, watch);
    }

    /// No longer watches a link.
    pub(crate) fn handle_down(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// Takes note of a sign of life.
    pub(crate) fn handle_heard(&mut self, now: Instant, link: LinkId) {
        let Some(watch) = self.links.get_mut(&link) else { return };
        watch.heard_at = now;
        watch.unanswered_since = None;
        watch.doubted = false;
        if watch.liveness == Liveness::Slow {
            watch.liveness = Liveness::Alive;
            watch.next_ping = now.after(INTERVAL);
            self.facts.push(Fact::Recovered(link));
        }
    }

    /// Takes note of the answer to a ping.
    pub(crate) fn handle_pong(&mut self, now: Instant, link: LinkId, number: u32) {
        let Some(watch) = self.links.get_mut(&link) else { return };
        let Some((_, sent_at)) = watch.last_ping.take_if(|(sent, _)| *sent == number) else { return };
        let sample = now.since(sent_at);
        // Smoothed as TCP does (RFC 6298, alpha 1/8).
        watch.round_trip = Some(watch.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
    }

    /// Asks a peer for a sign of life at once, with little patience: another link to it was just turned down in
    /// favour of this one, which may be a dead one that nobody closed.
    pub(crate) fn handle_doubt(&mut self, now: Instant, link: LinkId) {
        if let Some(watch) = self.links.get_mut(&link) {
            watch.doubted = true;
            watch.next_ping = now;
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let mut dead = Vec::new();
        for (&link, watch) in &mut self.links {
            if let Some(since) = watch.unanswered_since {
                if now >= since.after(watch.patience()) {
                    dead.push(link);
                    continue;
                }
                if watch.liveness == Liveness::Alive && now >= since.after(SLOW_AFTER) {
                    watch.liveness = Liveness::Slow;
                    watch.next_ping = now;
                    self.facts.push(Fact::Slow(link));
                }
            }
            if now >= watch.next_ping {
                let number = watch.next_number;
                watch.next_number = number.wrapping_add(1);
                watch.last_ping = Some((number, now));
                watch.unanswered_since.get_or_insert(now);
                let pause = if watch.liveness == Liveness::Slow { PROBE_INTERVAL } else { INTERVAL };
                watch.next_ping = now.after(pause);
                self.facts.push(Fact::Ping(link, number));
            }
        }
        for link in dead {
            self.links.remove(&link);
            self.facts.push(Fact::Dead(link));
        }
    }

    /// Returns when something will be due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = |watch: &Watch| {
            let patience = if watch.liveness == Liveness::Alive { SLOW_AFTER } else { watch.patience() };
            let verdict = watch.unanswered_since.map(|since| since.after(patience));
            verdict.map_or(watch.next_ping, |verdict| verdict.min(watch.next_ping))
        };
        self.links.values().map(due).min()
    }

    /// Returns what was found out, in order.
    pub(crate) fn poll_facts(&mut self) -> Vec<Fact> {
        core::mem::take(&mut self.facts)
    }

    /// Returns what the detector says of a link; DEAD where it watches no such link.
    pub(crate) fn liveness(&self, link: LinkId) -> Liveness {
        self.links.get(&link).map_or(Liveness::Dead, |watch| watch.liveness)
    }

    /// Returns the time since the last sign of life, and the smoothed round trip in microseconds.
    pub(crate) fn quality(&self, now: Instant, link: LinkId) -> (Duration, Option<u64>) {
        self.links
            .get(&link)
            .map_or((Duration::ZERO, None), |watch| (now.since(watch.heard_at), watch.round_trip.map(micros)))
    }
}

impl Watch {
    /// Returns how long a ping may stay unanswered before the peer is DEAD.
    fn patience(&self) -> Duration {
        if shows(Mutant::DeadNeverDeclared) {
            return Duration::from_secs(86_400);
        }
        if self.doubted { SLOW_AFTER } else { SLOW_AFTER + DEAD_AFTER }
    }
}

/// How often a peer is pinged.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often a SLOW peer is pinged.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a ping may stay unanswered before its peer is SLOW.
const SLOW_AFTER: Duration = Duration::from_secs(3);
/// How long a peer may stay SLOW before it is DEAD.
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// The earliest first ping on a new link.
const FIRST_PING: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    /// Runs the detector until `end`, answering as `answers` says, and returns when each fact came, in seconds.
    fn run(end: u64, answers: impl Fn(u64) -> bool) -> Vec<(u64, Fact)> {
        let mut heartbeat = Heartbeat::default();
        heartbeat.handle_up(at(0), LINK, &mut Rng::new([0; 32]));
        let mut seen = Vec::new();
        while let Some(due) = heartbeat.poll_timeout().filter(|&due| due <= at(end * 1000)) {
            heartbeat.handle_timeout(due);
            let seconds = due.as_micros() / 1_000_000;
            for fact in heartbeat.poll_facts() {
                if matches!(fact, Fact::Ping(..)) && answers(seconds) {
                    heartbeat.handle_heard(due.after(Duration::from_millis(1)), LINK);
                }
                seen.push((seconds, fact));
            }
            seen.extend(heartbeat.poll_facts().into_iter().map(|fact| (seconds, fact)));
        }
        seen
    }

    #[test]
    fn an_answering_peer_is_pinged_every_ten_seconds_and_nothing_else() {
        assert_eq!(
            run(35, |_| true),
            vec![
                (0, Fact::Ping(LINK, 0)),
                (10, Fact::Ping(LINK, 1)),
                (20, Fact::Ping(LINK, 2)),
                (30, Fact::Ping(LINK, 3))
            ]
        );
    }

    #[test]
    fn a_silent_peer_is_slow_after_three_seconds_and_dead_after_ten_more() {
        let facts = run(60, |seconds| seconds < 5);
        let slow = facts.iter().find(|(_, fact)| matches!(fact, Fact::Slow(_))).map(|(at, _)| *at);
        assert_eq!((slow, facts.last()), (Some(13), Some(&(23, Fact::Dead(LINK)))));
        assert_eq!(facts.iter().filter(|(_, fact)| matches!(fact, Fact::Ping(..))).count(), 12);
    }

    #[test]
    fn a_slow_peer_that_answers_is_alive_again() {
        let facts = run(40, |seconds| !(5..17).contains(&seconds));
        let changes: Vec<_> = facts.iter().filter(|(_, fact)| !matches!(fact, Fact::Ping(..))).collect();
        assert_eq!(changes, vec![&(13, Fact::Slow(LINK)), &(17, Fact::Recovered(LINK))]);
    }

    #[test]
    fn a_doubted_link_has_three_seconds() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.handle_up(at(0), LINK, &mut Rng::new([0; 32]));
        heartbeat.handle_doubt(at(50), LINK);
        assert_eq!(heartbeat.poll_facts(), vec![Fact::Ping(LINK, 0)]);
        assert_eq!(heartbeat.poll_timeout(), Some(at(3050)));
        heartbeat.handle_timeout(at(3050));
        assert_eq!(heartbeat.poll_facts(), vec![Fact::Dead(LINK)]);
    }

    #[test]
    fn a_pong_gives_the_round_trip() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.handle_up(at(0), LINK, &mut Rng::new([0; 32]));
        heartbeat.handle_timeout(at(1000));
        heartbeat.handle_pong(at(1008), LINK, 7);
        assert_eq!(heartbeat.quality(at(1008), LINK).1, None);
        heartbeat.handle_pong(at(1008), LINK, 0);
        assert_eq!(heartbeat.quality(at(1008), LINK).1, Some(8000));
    }
}
