//! Handles received packets: announcements of nodes, and queries that this node answers.

use super::gather::Heard;
use super::packet::{self, Announcement, ENUMERATION_TTL, KNOWN_ANSWER_TTL_MIN};
use super::parser::{self, Data, KIND_A, KIND_AAAA, KIND_PTR, KIND_SRV, KIND_TXT, Packet, Question};
use super::table::Claim;
use super::{Action, Destination, Discovery, LIFETIME};
use crate::ids::NodeId;
use crate::local_networks::is_link_local;
use crate::rng::Rng;
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use core::time::Duration;

impl Discovery {
    /// Handles a packet.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        interface: u32,
        from: SocketAddr,
        bytes: &[u8],
        rng: &mut Rng,
    ) {
        let Some(state) = self.interfaces.get_mut(&interface).filter(|_| self.active) else { return };
        // Address records come in packets that need not name the service.
        let awaited = || packet::is_answer(bytes) && self.gathering.awaits_addresses();
        if !packet::concerns(bytes, &self.host_label) && !awaited() {
            return;
        }
        if !state.admit(now, from.ip()) {
            self.packets_dropped = self.packets_dropped.saturating_add(1);
            return;
        }
        let Some(packet) = parser::read(bytes) else {
            self.packets_unusable = self.packets_unusable.saturating_add(1);
            return;
        };
        self.packets_heard = self.packets_heard.saturating_add(1);
        if packet.is_response {
            self.hear_answer(now, (interface, from), &packet, rng);
        } else if packet.questions.iter().any(|question| question.name.is_service())
            && state.is_echo(now, from, bytes)
        {
            // This node's own query.
        } else if from.port() != PORT {
            self.reply(now, (interface, from), &packet);
        } else {
            self.hear_questions(now, interface, &packet, rng);
        }
    }

    fn hear_answer(
        &mut self,
        now: Instant,
        (interface, from): (u32, SocketAddr),
        packet: &Packet,
        rng: &mut Rng,
    ) {
        let is_known = |node| self.table.contains(node);
        let heard = self.gathering.hear(now, (interface, from), packet, is_known, rng);
        if let [Heard::Announcement(Announcement { node, .. })] = &heard[..]
            && *node == self.me
        {
            self.packets_heard -= 1;
            self.packets_own = self.packets_own.saturating_add(1);
        }
        for heard in heard {
            match heard {
                Heard::Announcement(heard) if heard.node == self.me => {
                    self.object(now, interface, heard.ttl, rng);
                    if heard.network == self.network {
                        self.handle_own_announcement(now, &heard);
                    }
                }
                Heard::Announcement(heard) if heard.network == self.network => {
                    self.handle_announcement(now, (interface, from), &heard, rng);
                }
                Heard::Announcement(_) => {}
                Heard::Goodbye(node) if node == self.me => self.object(now, interface, Duration::ZERO, rng),
                Heard::Goodbye(node) => self.table.handle_goodbye(now, node, from.ip()),
                Heard::Mention(node, ttl) if node == self.me => self.object(now, interface, ttl, rng),
                Heard::Mention(node, ttl) => self.table.handle_mention(now, node, ttl, from.ip()),
            }
        }
        let is_enumeration = |record: &parser::Record| {
            let lasts = record.name.is_enumeration() && record.ttl >= ENUMERATION_TTL;
            lasts && matches!(&record.data, Data::Pointer(name) if name.is_service())
        };
        if let Some(state) =
            self.interfaces.get_mut(&interface).filter(|_| packet.records.iter().any(is_enumeration))
        {
            state.handle_enumerated();
        }
    }

    /// Announces this node at once if another host announced its departure (RFC 6762, section 6.6).
    fn object(&mut self, now: Instant, interface: u32, ttl: Duration, rng: &mut Rng) {
        if let Some(state) = self.interfaces.get_mut(&interface).filter(|_| ttl < KNOWN_ANSWER_TTL_MIN) {
            state.announce_soon(now, rng);
        }
    }

    /// Distinguishes the echo of this node's own announcement from that of another node with its key.
    fn handle_own_announcement(&mut self, now: Instant, heard: &Announcement) {
        let own = |at: &IpAddr| self.interfaces.values().any(|state| state.own.contains(at));
        let elsewhere = heard.addresses.iter().find(|&at| heard.port != self.port || !own(at));
        let lately = self.copied_at.is_some_and(|then| now.since(then) < COPY_REPORT_INTERVAL);
        if let Some(&address) = elsewhere.filter(|_| !lately) {
            self.copied_at = Some(now);
            self.actions.push(Action::Copied(SocketAddr::new(address, heard.port)));
        }
    }

    fn handle_announcement(
        &mut self,
        now: Instant,
        (interface, from): (u32, SocketAddr),
        heard: &Announcement,
        rng: &mut Rng,
    ) {
        self.lookups.remove(&heard.node);
        let heard_at = |&address: &IpAddr| socket_address(address, heard.port, interface);
        let lately = self.asked_at.is_some_and(|asked| now.since(asked) < ANSWER_TIMEOUT);
        let claim = Claim {
            addresses: heard.addresses.iter().map(heard_at).collect(),
            source: from.ip(),
            ttl: heard.ttl,
            question: lately.then_some(self.questions),
        };
        let actions = self.table.hear(now, heard.node, &claim, rng);
        self.actions.extend(actions);
    }

    fn hear_questions(&mut self, now: Instant, interface: u32, packet: &Packet, rng: &mut Rng) {
        let known = known_to_asker(packet);
        let Some(state) = self.interfaces.get_mut(&interface) else { return };
        let host = packet::host(self.me);
        for question in &packet.questions {
            if question.name.is_service() && question.asks_for(KIND_PTR) {
                // If this node knows all nodes that the query lists, it would learn nothing more by its own.
                if known.iter().all(|node| self.table.contains(*node)) && state.handle_same_query(now, rng) {
                    self.questions = self.questions.wrapping_add(1);
                    self.asked_at = Some(now);
                }
                if !known.contains(&self.me) {
                    state.announce_soon(now, rng);
                }
            } else if question.name.is_enumeration() && question.asks_for(KIND_PTR) {
                if !knows_enumeration(packet) {
                    state.enumerate_soon(now, rng);
                }
            } else if let Some(node) = question.name.instance() {
                self.lookups.remove(&node);
                if node == self.me && (question.asks_for(KIND_SRV) || question.asks_for(KIND_TXT)) {
                    state.announce_soon(now, rng);
                }
            } else if question.name == host && asks_for_any(question, &state.addresses) {
                state.announce_soon(now, rng);
            }
            self.gathering.handle_question(now, question, rng);
        }
    }

    /// Answers a query in the way of ordinary DNS, by unicast.
    fn reply(&mut self, now: Instant, (interface, from): (u32, SocketAddr), packet: &Packet) {
        let reply = self.announcement(interface, LIFETIME).and_then(|node| packet::reply(packet, &node));
        if let Some(bytes) = reply.filter(|_| self.replies.take(now, 1)) {
            self.packets.push((interface, Destination::Node(from), bytes));
        }
    }
}

/// Returns the nodes that the querier knows for at least [`KNOWN_ANSWER_TTL_MIN`]. They need not be announced to it
/// (RFC 6762, section 7.1).
fn known_to_asker(packet: &Packet) -> Vec<NodeId> {
    let fresh =
        packet.records.iter().filter(|record| record.ttl >= KNOWN_ANSWER_TTL_MIN && record.name.is_service());
    let nodes = fresh.filter_map(|record| match &record.data {
        Data::Pointer(instance) => instance.instance(),
        Data::Address(_) | Data::Server { .. } | Data::Text(_) => None,
    });
    nodes.collect()
}

fn knows_enumeration(packet: &Packet) -> bool {
    packet.records.iter().any(|record| {
        record.name.is_enumeration()
            && record.ttl >= ENUMERATION_TTL / 2
            && matches!(&record.data, Data::Pointer(name) if name.is_service())
    })
}

/// Tells whether a query about a host asks for any of its addresses.
fn asks_for_any(question: &Question, addresses: &[IpAddr]) -> bool {
    addresses.iter().any(|address| question.asks_for(if address.is_ipv4() { KIND_A } else { KIND_AAAA }))
}

/// Adds the interface to a link-local address, which is meaningless without it.
pub(super) fn socket_address(address: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if is_link_local(address) => SocketAddrV6::new(v6, port, 0, interface).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(address, port),
    }
}

/// The source port of mDNS queries.
const PORT: u16 = 5353;
/// The minimum interval between reports of a duplicate of this node.
const COPY_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How long after a query an announcement may be an answer to it. A node that has just spoken waits for a second.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_200);
