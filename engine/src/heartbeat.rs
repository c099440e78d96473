//! Failure detection: peers are ALIVE, SLOW or DEAD.
//!
//! The two ends of a link take turns to ping each other, one ping every 10 s, and any frame is a sign of life. A ping
//! without a sign of life within 2 s makes the peer SLOW: it gets no new tasks and is pinged twice a second. After
//! another 2.25 s of silence it is DEAD. A peer that goes silent is therefore SLOW within 12.3 s and DEAD within
//! 14.5 s. A peer that is alive is declared DEAD only after six lost exchanges in a row.
//!
//! A peer with a long round trip gets more time: it is DEAD within 23 s.
//!
//! A node that was suspended judges no peer by that time, as what peers sent meanwhile is still unread. It pings again
//! first, like Lifeguard (Dadgar, Phillips and Currey, 2018, "local health awareness").

use crate::ids::LinkId;
use crate::mutants::{Mutant, shows};
use crate::rng::Rng;
use crate::time::{Instant, micros};
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The failure detector's verdict on a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Liveness {
    /// The peer answers.
    Alive,
    /// The peer left a heartbeat unanswered for 2 s. It gets no new tasks.
    Slow,
    /// The peer left further pings unanswered. Its link is closed.
    Dead,
}

/// What the detector wants done, or has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a ping with this number.
    Ping(LinkId, u32),
    /// The peer of the link is DEAD; the detector no longer watches the link.
    Dead(LinkId),
    /// The peer of the link is ALIVE again.
    Recovered(LinkId),
    /// The peer of the link is SLOW.
    Slow(LinkId),
}

/// The failure detector of all links of a node.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    links: BTreeMap<LinkId, Watch>,
    /// The earliest deadline of all links, so that earlier timeouts return at once.
    due: Option<Instant>,
    /// Whether `due` is out of date.
    changed: bool,
    actions: Vec<Action>,
}

/// The state of one link.
#[derive(Debug)]
struct Watch {
    liveness: Liveness,
    heard_at: Instant,
    /// When the oldest ping that no sign of life followed was sent.
    unanswered_since: Option<Instant>,
    /// Whether the link is suspected to be dead but not closed. Then 2 s of silence are enough.
    probed: bool,
    next_ping: Instant,
    last_ping: Option<(u32, Instant)>,
    next_number: u32,
    round_trip: Option<Duration>,
}

impl Heartbeat {
    /// Starts to watch a link.
    pub(crate) fn handle_up(&mut self, now: Instant, link: LinkId, rng: &mut Rng) {
        // The first ping comes early, to measure the round trip, and at a random time, to spread the pings.
        let next_ping = now.after(rng.between(FIRST_PING_DELAY, FIRST_PING_DELAY * 10));
        let watch = Watch {
            liveness: Liveness::Alive,
            heard_at: now,
            unanswered_since: None,
            probed: false,
            next_ping,
            last_ping: None,
            next_number: 0,
            round_trip: None,
        };
        self.links.insert(link, watch);
        self.changed = true;
    }

    /// Stops watching a link.
    pub(crate) fn handle_down(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.changed = true;
    }

    /// Handles a sign of life.
    pub(crate) fn handle_heard(&mut self, now: Instant, link: LinkId) {
        let Some(watch) = self.links.get_mut(&link) else { return };
        watch.heard_at = now;
        self.changed |= watch.unanswered_since.is_some() || watch.liveness == Liveness::Slow;
        watch.unanswered_since = None;
        watch.probed = false;
        if watch.liveness == Liveness::Slow {
            watch.liveness = Liveness::Alive;
            watch.next_ping = now.after(PING_INTERVAL + TURN_DELAY);
            self.actions.push(Action::Recovered(link));
        }
    }

    /// Handles a ping from the peer: the next ping is this end's turn.
    pub(crate) fn handle_pinged(&mut self, now: Instant, link: LinkId) {
        let Some(watch) = self.links.get_mut(&link) else { return };
        // Each end pings at least once, to measure the round trip.
        if watch.round_trip.is_some() && watch.unanswered_since.is_none() {
            watch.next_ping = now.after(PING_INTERVAL);
            self.changed = true;
        }
    }

    /// Handles the answer to a ping. Returns whether it answers the latest ping.
    pub(crate) fn handle_pong(&mut self, now: Instant, link: LinkId, number: u32) -> bool {
        let Some(watch) = self.links.get_mut(&link) else { return false };
        let Some((_, sent_at)) = watch.last_ping.take_if(|(sent, _)| *sent == number) else { return false };
        let sample = now.since(sent_at);
        // Smoothed as in TCP (RFC 6298, alpha 1/8).
        watch.round_trip = Some(watch.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
        self.changed = true;
        true
    }

    /// Pings a peer at once, with the short timeout. Another link to it was just refused in favour of this one, which
    /// may be dead but not closed.
    pub(crate) fn handle_probe(&mut self, now: Instant, link: LinkId) {
        if let Some(watch) = self.links.get_mut(&link) {
            watch.probed = true;
            watch.next_ping = now;
            self.changed = true;
        }
        self.handle_timeout(now);
    }

    /// Sends pings and changes verdicts that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|due| now > due.after(SUSPEND_THRESHOLD)) && !shows(Mutant::OwnPauseIgnored) {
            self.ask_again(now);
        }
        if core::mem::take(&mut self.changed) {
            self.due = self.earliest();
        }
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let mut dead = Vec::new();
        for (&link, watch) in &mut self.links {
            if let Some(since) = watch.unanswered_since {
                if now >= since.after(watch.ping_timeout()) {
                    dead.push(link);
                    continue;
                }
                if watch.liveness == Liveness::Alive && now >= since.after(SLOW_AFTER) {
                    watch.liveness = Liveness::Slow;
                    watch.next_ping = now;
                    self.actions.push(Action::Slow(link));
                }
            }
            if now >= watch.next_ping {
                let number = watch.next_number;
                watch.next_number = number.wrapping_add(1);
                watch.last_ping = Some((number, now));
                watch.unanswered_since.get_or_insert(now);
                let pause = if watch.liveness == Liveness::Slow {
                    PROBE_INTERVAL
                } else {
                    PING_INTERVAL + TURN_DELAY
                };
                watch.next_ping = now.after(pause);
                self.actions.push(Action::Ping(link, number));
            }
        }
        for link in dead {
            self.links.remove(&link);
            self.actions.push(Action::Dead(link));
        }
        self.due = self.earliest();
    }

    /// Restarts the timeout of all unanswered pings, and pings again.
    fn ask_again(&mut self, now: Instant) {
        for watch in self.links.values_mut() {
            if watch.unanswered_since.is_some() {
                watch.unanswered_since = Some(now);
                watch.next_ping = now;
            }
        }
        self.changed = true;
    }

    /// Returns the next deadline.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.changed { self.earliest() } else { self.due }
    }

    /// Returns what the detector wants done or has found, in order.
    pub(crate) fn poll_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    /// Returns the verdict on the peer of a link; DEAD if the link is not watched.
    pub(crate) fn liveness(&self, link: LinkId) -> Liveness {
        self.links.get(&link).map_or(Liveness::Dead, |watch| watch.liveness)
    }

    /// Returns the time since the last sign of life, and the smoothed round trip in microseconds.
    pub(crate) fn quality(&self, now: Instant, link: LinkId) -> (Duration, Option<u64>) {
        self.links
            .get(&link)
            .map_or((Duration::ZERO, None), |watch| (now.since(watch.heard_at), watch.round_trip.map(micros)))
    }

    fn earliest(&self) -> Option<Instant> {
        self.links.values().map(Watch::due).min()
    }
}

impl Watch {
    /// Returns the link's next deadline.
    fn due(&self) -> Instant {
        let ping_timeout = if self.liveness == Liveness::Alive { SLOW_AFTER } else { self.ping_timeout() };
        let verdict = self.unanswered_since.map(|since| since.after(ping_timeout));
        verdict.map_or(self.next_ping, |verdict| verdict.min(self.next_ping))
    }

    /// Returns how long a ping may stay unanswered before the peer is DEAD.
    fn ping_timeout(&self) -> Duration {
        if shows(Mutant::DeadNeverDeclared) {
            return Duration::from_secs(86_400);
        }
        if self.probed {
            return SLOW_AFTER;
        }
        let usual = self.round_trip.unwrap_or_default() * 4;
        SLOW_AFTER + (DEAD_AFTER + usual).min(DEAD_AFTER_MAX)
    }
}

/// The interval at which one end of a link pings the other.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The extra delay of the end that pinged last.
const TURN_DELAY: Duration = Duration::from_millis(250);
/// The interval at which a SLOW peer is pinged.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// How long a ping may stay unanswered before the peer is SLOW.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// How long a peer may stay SLOW before it is DEAD.
const DEAD_AFTER: Duration = Duration::from_millis(2250);
/// Maximum of the same for a peer with a long round trip.
const DEAD_AFTER_MAX: Duration = Duration::from_secs(10);
/// How late a deadline may be handled before the node counts as having been suspended.
const SUSPEND_THRESHOLD: Duration = Duration::from_millis(500);
/// The earliest time of the first ping on a new link.
const FIRST_PING_DELAY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    /// Runs the detector until `end`. The peer answers when `answers` says so. Returns each fact with its time in
    /// seconds.
    fn run(end: u64, answers: impl Fn(u64) -> bool) -> Vec<(u64, Action)> {
        let mut heartbeat = Heartbeat::default();
        heartbeat.handle_up(at(0), LINK, &mut Rng::new([0; 32]));
        let mut seen = Vec::new();
        while let Some(due) = heartbeat.poll_timeout().filter(|&due| due <= at(end * 1000)) {
            heartbeat.handle_timeout(due);
            let seconds = due.as_micros() / 1_000_000;
            for action in heartbeat.poll_actions() {
                if matches!(action, Action::Ping(..)) && answers(seconds) {
                    heartbeat.handle_heard(due.after(Duration::from_millis(1)), LINK);
                }
                seen.push((seconds, action));
            }
            seen.extend(heartbeat.poll_actions().into_iter().map(|action| (seconds, action)));
        }
        seen
    }

    /// Runs a detector up to and including `end`, each deadline on time, and returns what it found.
    fn run_until(heartbeat: &mut Heartbeat, end: Instant) -> Vec<Action> {
        while let Some(due) = heartbeat.poll_timeout().filter(|&due| due <= end) {
            heartbeat.handle_timeout(due);
        }
        heartbeat.poll_actions()
    }

    #[test]
    fn an_answering_peer_that_never_takes_its_turn_is_pinged_a_little_less_than_every_ten_seconds() {
        assert_eq!(
            run(35, |_| true),
            vec![
                (0, Action::Ping(LINK, 0)),
                (10, Action::Ping(LINK, 1)),
                (20, Action::Ping(LINK, 2)),
                (31, Action::Ping(LINK, 3))
            ]
        );
    }

    #[test]
    fn a_silent_peer_is_slow_after_two_seconds_and_dead_after_five_probes() {
        let actions = run(60, |seconds| seconds < 5);
        let slow = actions.iter().find(|(_, action)| matches!(action, Action::Slow(_))).map(|(at, _)| *at);
        assert_eq!((slow, actions.last()), (Some(12), Some(&(14, Action::Dead(LINK)))));
        let silent = actions.iter().skip_while(|(at, _)| *at < 5);
        assert_eq!(silent.filter(|(_, action)| matches!(action, Action::Ping(..))).count(), 6);
    }

    #[test]
    fn a_slow_peer_that_answers_is_alive_again() {
        let actions = run(40, |seconds| !(5..14).contains(&seconds));
        let changes: Vec<_> =
            actions.iter().filter(|(_, action)| !matches!(action, Action::Ping(..))).collect();
        assert_eq!(changes, vec![&(12, Action::Slow(LINK)), &(14, Action::Recovered(LINK))]);
    }

    #[test]
    fn a_node_that_did_not_run_asks_again_before_it_judges() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.handle_up(at(0), LINK, &mut Rng::new([0; 32]));
        heartbeat.handle_timeout(at(1000));
        assert_eq!(heartbeat.poll_actions(), vec![Action::Ping(LINK, 0)]);
        // The verdict was due at 3 s. Neither an input that comes first nor the tick may pass it now.
        heartbeat.handle_up(at(9000), LinkId(2), &mut Rng::new([0; 32]));
        heartbeat.handle_timeout(at(9000));
        assert_eq!(heartbeat.poll_actions(), vec![Action::Ping(LINK, 1)]);
        assert!(!run_until(&mut heartbeat, at(10_999)).contains(&Action::Slow(LINK)));
        assert!(run_until(&mut heartbeat, at(11_000)).contains(&Action::Slow(LINK)));
    }

    #[test]
    fn a_doubted_link_has_two_seconds() {
        let mut heartbeat = Heartbeat::default();
        heartbeat.handle_up(at(0), LINK, &mut Rng::new([0; 32]));
        heartbeat.handle_probe(at(50), LINK);
        assert_eq!(heartbeat.poll_actions(), vec![Action::Ping(LINK, 0)]);
        assert_eq!(heartbeat.poll_timeout(), Some(at(2050)));
        heartbeat.handle_timeout(at(2050));
        assert_eq!(heartbeat.poll_actions(), vec![Action::Dead(LINK)]);
    }

    #[test]
    fn a_peer_known_to_be_slow_has_more_time_but_never_too_much() {
        // Milliseconds: the round trip, and how long a ping may stay unanswered.
        for (round_trip, ping_timeout) in [(1000, 8250), (60_000, 12_000)] {
            let mut heartbeat = Heartbeat::default();
            heartbeat.handle_up(at(0), LINK, &mut Rng::new([0; 32]));
            let watch = heartbeat.links.get_mut(&LINK).unwrap();
            watch.round_trip = Some(Duration::from_millis(round_trip));
            watch.next_ping = at(1000);
            heartbeat.handle_timeout(at(1000));
            assert!(!run_until(&mut heartbeat, at(1000 + ping_timeout - 1)).contains(&Action::Dead(LINK)));
            assert_eq!(run_until(&mut heartbeat, at(1000 + ping_timeout)), vec![Action::Dead(LINK)]);
        }
    }

    /// Two ends of a link, two milliseconds apart; returns the frames that each sent.
    fn conversation(end: u64) -> [u64; 2] {
        let mut rng = Rng::new([3; 32]);
        let mut ends = [Heartbeat::default(), Heartbeat::default()];
        ends.iter_mut().for_each(|end| end.handle_up(at(0), LINK, &mut rng));
        let mut sent = [0, 0];
        while let Some(due) =
            ends.iter().filter_map(Heartbeat::poll_timeout).min().filter(|&due| due <= at(end))
        {
            for one in 0..2 {
                ends[one].handle_timeout(due);
                for action in ends[one].poll_actions() {
                    let Action::Ping(link, number) = action else { panic!("{action:?}") };
                    sent.iter_mut().for_each(|sent| *sent += 1);
                    ends[1 - one].handle_heard(due, link);
                    ends[1 - one].handle_pinged(due.after(Duration::from_millis(2)), link);
                    ends[one].handle_heard(due, link);
                    ends[one].handle_pong(due.after(Duration::from_millis(4)), link, number);
                }
            }
        }
        sent
    }

    #[test]
    fn the_ends_take_turns_and_thirty_two_peers_cost_less_than_three_and_a_half_kilobytes_a_minute() {
        use crate::wire::{Beat, Message};
        let minutes = 60;
        let frames = conversation(minutes * 60_000);
        assert!(frames.iter().all(|frames| (355..=362).contains(frames)), "{frames:?}");
        let beat = Beat { number: 300, digest: u64::MAX, load: 300 };
        let bytes = Message::Ping(beat).encode().len() as u64;
        assert!(bytes <= 24, "{bytes}");
        let a_minute = 32 * bytes * frames[0] / minutes;
        assert!(a_minute < 3500, "{a_minute} bytes a minute");
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
