//! The network between the nodes: dials, connections that keep their order, and multicast packets.
//!
//! What a lossy network loses on a connection is retransmitted after 200 ms, 400 ms and so on (RFC 6298, with Linux's
//! smallest timeout), and everything behind it waits. The first two packets of a new connection are retransmitted
//! after a second.

use super::{EventQueue, Scheduled};
use crate::cluster;
use crate::faults::{LinkCondition, Stop};
use crate::node_set::NodeIndex;
use crate::random::Purpose;
use crate::scenario::Disturbance;
use core::mem;
use core::net::SocketAddr;
use core::time::Duration;
use engine::error::DialError;
use engine::time::micros;
use engine::wire::{FRAME_BYTES_MAX, Message};
use engine::{DialId, Input, LinkId, NodeId};
use std::rc::Rc;

/// A connection between two processes; side 0 dialled.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [End; 2],
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) node: NodeIndex,
    pub(super) incarnation: u32,
    pub(super) open: bool,
    /// When the last segment in flight to this end arrives.
    last_arrival: u64,
    /// The number of segments sent to this end.
    sent: u32,
    /// Whether a segment to this end was lost, so that nothing after it can be delivered.
    pub(super) broken: bool,
}

/// A unit of transfer on a connection.
#[derive(Debug)]
pub(super) enum Segment {
    /// The other end closed the connection in order.
    Close,
    Frame(Vec<u8>),
    /// The connection is established, for the side that was dialled.
    Open {
        remote: SocketAddr,
    },
    /// The other end does not know this connection.
    Reset,
}

/// A dial in progress.
#[derive(Debug)]
pub(super) struct Dial {
    node: NodeIndex,
    incarnation: u32,
    dial: DialId,
    address: SocketAddr,
    expect: Option<NodeId>,
    /// Whether it can get no answer and only waits for its timeout.
    unanswered: bool,
}

impl EventQueue {
    pub(super) fn latency(&mut self, from: NodeIndex, to: NodeIndex) -> Duration {
        let pair = u64::from(from) << 32 | u64::from(to);
        #[allow(clippy::cast_possible_truncation, reason = "the time only distinguishes draws")]
        let n = self.now as u32;
        let usual =
            self.cluster.random.between(self.scenario.network.latency.ends(), Purpose::Latency, pair, n);
        usual + self.lateness(from, to)
    }

    pub(super) fn dial(
        &mut self,
        node: NodeIndex,
        dial: DialId,
        address: SocketAddr,
        expect: Option<NodeId>,
    ) {
        let incarnation = self.hosts[node as usize].incarnation;
        // One round trip for the connection and one for the handshake.
        let trips = 4 * self.latency(node, node);
        let flights = [SYN_TIMEOUT, SYN_TIMEOUT, RETRANSMISSION_TIMEOUT, RETRANSMISSION_TIMEOUT];
        let resent: Duration = (0_u64..)
            .zip(flights)
            .map(|(flight, first)| {
                self.resending(first, DIAL_FLIGHT | flight << 32 | u64::from(node), dial.0).unwrap_or(first)
            })
            .sum();
        let unanswered = resent > DIAL_TIMEOUT || cluster::is_unreachable_address(address.ip());
        let resent = if unanswered { DIAL_TIMEOUT } else { resent };
        let dial = Dial { node, incarnation, dial, address, expect, unanswered };
        self.after((trips + resent).min(DIAL_TIMEOUT), Scheduled::Dialled(Box::new(dial)));
    }

    pub(super) fn dialled(&mut self, dial: &Dial) {
        let &Dial { node, incarnation, dial: id, address, expect, unanswered } = dial;
        if !self.is_running(node, incarnation) {
            return;
        }
        let fail = |error| Input::DialFailed { dial: id, error };
        if unanswered {
            return self.handle(node, fail(DialError::Timeout));
        }
        let target = cluster::node_at(address.ip(), self.hosts.len())
            .filter(|&target| address.port() == cluster::PORT && self.cluster.can_reach(node, target));
        let Some(target) = target else { return self.handle(node, fail(DialError::Refused)) };
        let ways = [(node, target), (target, node)];
        let paused = self.hosts[target as usize].machine.is_suspended();
        if paused
            || ways.iter().any(|&(from, to)| self.faults.link_condition(from, to) != LinkCondition::Open)
        {
            let dial = Dial { node, incarnation, dial: id, address, expect, unanswered: true };
            return self.after(DIAL_TIMEOUT, Scheduled::Dialled(Box::new(dial)));
        }
        if self.hosts[target as usize].node.is_none() {
            return self.handle(node, fail(DialError::Refused));
        }
        if expect.is_some_and(|expected| expected != self.cluster.id(target)) {
            return self.handle(node, fail(DialError::Authentication));
        }
        let link = self.connect(node, target);
        let peer = self.cluster.key(target);
        self.handle(node, Input::LinkUp { link, peer, remote: address, dial: Some(id) });
    }

    fn connect(&mut self, from: NodeIndex, to: NodeIndex) -> LinkId {
        let end = |node: NodeIndex, incarnation, open| End {
            node,
            incarnation,
            open,
            last_arrival: 0,
            sent: 0,
            broken: false,
        };
        let number = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
        let host = &mut self.hosts[from as usize];
        let remote = SocketAddr::new(cluster::ip(from), FIRST_EPHEMERAL_PORT + host.dialled);
        host.dialled = (host.dialled + 1) % (u16::MAX - FIRST_EPHEMERAL_PORT);
        let link = link_of(number, 0);
        host.links.insert(link);
        let ends = [end(from, host.incarnation, true), end(to, self.hosts[to as usize].incarnation, false)];
        self.connections.push(Connection { ends });
        self.transmit(number, 1, Segment::Open { remote });
        link
    }

    pub(super) fn send(&mut self, node: NodeIndex, link: LinkId, frame: Vec<u8>) {
        let Some(frame) = self.filter_frame(node, frame) else { return };
        self.send_unfiltered(node, link, frame);
    }

    pub(super) fn send_unfiltered(&mut self, node: NodeIndex, link: LinkId, frame: Vec<u8>) {
        if let Some((connection, side)) = self.open_end(node, link) {
            self.transmit(connection, 1 - side, Segment::Frame(frame));
        }
    }

    pub(super) fn disconnect(&mut self, node: NodeIndex, link: LinkId) {
        if let Some((connection, side)) = self.open_end(node, link) {
            self.close_end(connection, side);
            self.transmit(connection, 1 - side, Segment::Close);
            let incarnation = self.hosts[node as usize].incarnation;
            self.after(Duration::ZERO, Scheduled::LinkDown { node, incarnation, link });
        }
    }

    /// Closes a link of a process that is gone.
    pub(super) fn abandon(&mut self, link: LinkId, how: Stop) {
        let (connection, side) = end_of(link);
        self.close_end(connection, side);
        match how {
            Stop::Kill => self.transmit(connection, 1 - side, Segment::Close),
            Stop::PowerLoss | Stop::TornWrite => {}
        }
    }

    pub(super) fn close_end(&mut self, connection: u32, side: u8) {
        let end = &mut self.connections[connection as usize].ends[usize::from(side)];
        end.open = false;
        let link = link_of(connection, side);
        self.hosts[end.node as usize].links.remove(&link);
    }

    /// Returns connection and side of a link that is up for its node; the engine may name any link.
    fn open_end(&self, node: NodeIndex, link: LinkId) -> Option<(u32, u8)> {
        let (connection, side) = end_of(link);
        let end = &self.connections.get(connection as usize)?.ends[usize::from(side)];
        (end.open && end.node == node).then_some((connection, side))
    }

    fn transmit(&mut self, connection: u32, side: u8, segment: Segment) {
        let (from, to) = self.ends(connection, side);
        if self.faults.link_condition(from, to) == LinkCondition::Cut {
            self.observer.mark("frame_cut");
            self.connections[connection as usize].ends[usize::from(side)].broken = true;
            return;
        }
        if matches!(segment, Segment::Frame(_)) && self.is_disturbed(from, to, Disturbance::Corrupt) {
            return self.reset(connection);
        }
        let end = &mut self.connections[connection as usize].ends[usize::from(side)];
        let number = end.sent;
        end.sent = number.wrapping_add(1);
        let way = u64::from(connection) << 1 | u64::from(side);
        if self.is_lost_heartbeat(&segment, way, number) {
            return;
        }
        let Some(resent) = self.resending(RETRANSMISSION_TIMEOUT, way, u64::from(number)) else {
            self.connections[connection as usize].ends[usize::from(side)].broken = true;
            return;
        };
        let latency = micros(self.latency(from, to) + resent);
        let end = &mut self.connections[connection as usize].ends[usize::from(side)];
        end.last_arrival = end.last_arrival.max(self.now + latency);
        let at = end.last_arrival;
        self.next.push(at, Scheduled::Arrival { connection, side, segment });
    }

    /// Returns the delay of retransmissions until something gets through a lossy network; `None` if TCP gives up.
    fn resending(&self, first: Duration, who: u64, number: u64) -> Option<Duration> {
        let Some(loss) = self.scenario.network.loss else { return Some(Duration::ZERO) };
        let (mut pause, mut total) = (first, Duration::ZERO);
        for attempt in 0..TRANSMISSIONS_MAX {
            let of_attempt =
                number.wrapping_mul(u64::from(TRANSMISSIONS_MAX)).wrapping_add(u64::from(attempt));
            if !self.is_lost(loss.per_million, who, of_attempt) {
                return Some(total);
            }
            total += pause;
            pause = (pause * 2).min(RETRANSMISSION_TIMEOUT_MAX);
        }
        None
    }

    /// Returns whether this is a heartbeat that is lost and not retransmitted.
    fn is_lost_heartbeat(&self, segment: &Segment, way: u64, number: u32) -> bool {
        let Some(loss) = self.scenario.network.loss.filter(|loss| !loss.retransmission) else { return false };
        let Segment::Frame(bytes) = segment else { return false };
        bytes.len() <= HEARTBEAT_BYTES_MAX
            && matches!(Message::decode(bytes), Ok(Message::Ping(_) | Message::Pong(_)))
            && self.is_lost(loss.per_million, HEARTBEAT | way, u64::from(number))
    }

    fn is_lost(&self, per_million: u32, who: u64, number: u64) -> bool {
        #[allow(clippy::cast_possible_truncation, reason = "the number only distinguishes draws")]
        let n = number as u32;
        self.cluster.random.below(1_000_000, Purpose::Loss, who, n) < u64::from(per_million)
    }

    /// Returns the node opposite a side of a connection, and the node at that side.
    fn ends(&self, connection: u32, side: u8) -> (NodeIndex, NodeIndex) {
        let ends = &self.connections[connection as usize].ends;
        (ends[usize::from(1 - side)].node, ends[usize::from(side)].node)
    }

    pub(super) fn arrive(&mut self, connection: u32, side: u8, segment: Segment) {
        let (from, to) = self.ends(connection, side);
        match self.faults.link_condition(from, to) {
            LinkCondition::Cut => {
                self.connections[connection as usize].ends[usize::from(side)].broken = true;
                return;
            }
            LinkCondition::Open => {}
            LinkCondition::Stalled => {
                self.observer.mark("frame_stalled");
                return self.stalled.push((from, to, Scheduled::Arrival { connection, side, segment }));
            }
        }
        let end = &self.connections[connection as usize].ends[usize::from(side)];
        let (link, broken, open) = (link_of(connection, side), end.broken, end.open);
        let lives = self.is_running(to, end.incarnation);
        match segment {
            Segment::Reset if open => self.down(connection, side),
            Segment::Close if open && !broken => self.down(connection, side),
            Segment::Close | Segment::Reset => {}
            Segment::Frame(bytes) if open && lives => {
                if !broken {
                    self.frame(to, link, bytes);
                }
            }
            Segment::Open { remote } if lives && !broken => {
                self.connections[connection as usize].ends[usize::from(side)].open = true;
                self.hosts[to as usize].links.insert(link);
                let peer = self.cluster.key(from);
                self.handle(to, Input::LinkUp { link, peer, remote, dial: None });
            }
            Segment::Frame(_) | Segment::Open { .. } => self.transmit(connection, 1 - side, Segment::Reset),
        }
    }

    fn frame(&mut self, to: NodeIndex, link: LinkId, mut bytes: Vec<u8>) {
        if let Some(filter) = &mut self.hosts[to as usize].filter {
            filter.filter_incoming(&mut bytes);
        }
        if bytes.len() > FRAME_BYTES_MAX {
            self.handle(to, Input::FrameTooLarge { link });
        } else {
            self.handle(to, Input::Frame { link, bytes });
        }
    }

    fn down(&mut self, connection: u32, side: u8) {
        let end = &self.connections[connection as usize].ends[usize::from(side)];
        let (node, incarnation) = (end.node, end.incarnation);
        self.close_end(connection, side);
        if self.is_running(node, incarnation) {
            self.handle(node, Input::LinkDown { link: link_of(connection, side) });
        }
    }

    pub(super) fn multicast(&mut self, from: NodeIndex, bytes: Rc<[u8]>) {
        for to in 0..self.scenario.nodes {
            let reached = self.cluster.can_reach(from, to)
                && self.faults.link_condition(from, to) != LinkCondition::Cut;
            let lost = self.scenario.network.loss.is_some_and(|loss| {
                let pair = PACKET | u64::from(from) << 32 | u64::from(to);
                self.is_lost(loss.per_million, pair, self.now)
            });
            if reached && self.scenario.network.multicast && !lost {
                let latency = self.latency(from, to);
                self.pass(from, to, latency, Rc::clone(&bytes));
            }
        }
    }

    pub(super) fn datagram(&mut self, from: NodeIndex, to: NodeIndex, bytes: Rc<[u8]>) {
        match self.faults.link_condition(from, to) {
            LinkCondition::Cut => {}
            LinkCondition::Open => {
                let from = SocketAddr::new(cluster::ip(from), cluster::MULTICAST_PORT);
                self.handle(
                    to,
                    Input::Datagram { interface: cluster::INTERFACE, from, bytes: bytes.to_vec() },
                );
            }
            LinkCondition::Stalled => self.stalled.push((from, to, Scheduled::Datagram { from, to, bytes })),
        }
    }

    /// Releases the stalled traffic, in order.
    pub(super) fn release(&mut self) {
        for (from, to, scheduled) in mem::take(&mut self.stalled) {
            match self.faults.link_condition(from, to) {
                LinkCondition::Stalled => self.stalled.push((from, to, scheduled)),
                LinkCondition::Cut | LinkCondition::Open => self.next.push(self.now, scheduled),
            }
        }
    }
}

pub(super) const fn link_of(connection: u32, side: u8) -> LinkId {
    LinkId((connection as u64) << 1 | side as u64)
}

pub(super) fn end_of(link: LinkId) -> (u32, u8) {
    (u32::try_from(link.0 >> 1).unwrap_or(u32::MAX), u8::from(link.0 & 1 == 1))
}

/// The timeout of a dial.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// TCP's first retransmission timeout, and the longest one.
const RETRANSMISSION_TIMEOUT: Duration = Duration::from_millis(200);
const RETRANSMISSION_TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// TCP's retransmission timeout for a new connection.
const SYN_TIMEOUT: Duration = Duration::from_secs(1);

/// How many times TCP sends a segment before it gives up.
const TRANSMISSIONS_MAX: u32 = 16;

/// The largest heartbeat frame, in bytes.
const HEARTBEAT_BYTES_MAX: usize = 24;

/// The kinds of loss, each with its own draws.
const DIAL_FLIGHT: u64 = 1 << 62;
const HEARTBEAT: u64 = 2 << 62;
const PACKET: u64 = 3 << 62;

const FIRST_EPHEMERAL_PORT: u16 = 49_152;
