//! Handles frames from neighbours, and the messages in them.

use super::Node;
use crate::error::{DecodeError, PeerFault};
use crate::event::{DropReason, Event, LinkDownReason, PayloadKind, ReassignReason, RefuseReason};
use crate::ids::{LinkId, MessageId, NodeId};
use crate::mutants::{Mutant, shows};
use crate::observers::alerts::clock_differs;
use crate::observers::metrics::Direction;
use crate::output::Priority;
use crate::peers::Introduction;
use crate::router::{Acknowledged, Arrival};
use crate::tasks::{Computed, Verdict};
use crate::time::{UnixMillis, micros};
use crate::trace::TraceContext;
use crate::wire::{
    self, Advert, Attempt, Beat, Envelope, HELLO_BYTES_MAX, Head, Hello, Message, Payload, Seal,
};
use core::net::SocketAddr;

impl Node {
    /// Handles several frames of one link.
    pub(super) fn handle_frames(&mut self, link: LinkId, frames: Vec<Vec<u8>>) {
        for bytes in frames {
            let is_routed = wire::is_routed(&bytes);
            self.handle_frame(link, bytes);
            // Frames that change the link or the mesh affect those behind them. Routed messages do not.
            if !is_routed {
                self.settle();
            }
        }
    }

    pub(super) fn handle_frame(&mut self, link: LinkId, bytes: Vec<u8>) {
        let Some(entry) = self.peers.link_mut(link) else { return };
        entry.frames_in += 1;
        entry.bytes_in = entry.bytes_in.saturating_add(bytes.len() as u64);
        self.observers.metrics.handle_frame(Direction::Received, bytes.len());
        let peer = self.peers.peer_of(link);
        if let Some(peer) = peer.filter(|_| wire::is_routed(&bytes)) {
            self.heartbeat.handle_heard(self.clock.now, link);
            return self.handle_routed(link, peer, bytes);
        }
        self.handle_other_frame(link, peer, &bytes);
    }

    /// Handles a frame that is not a routed message of a peer. These are rate-limited per link, as each may cost much
    /// more than it costs its sender. Routed ones are limited by the capacity of the link.
    fn handle_other_frame(&mut self, link: LinkId, peer: Option<NodeId>, bytes: &[u8]) {
        let Some(entry) = self.peers.link_mut(link) else { return };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if !entry.frames.take(self.clock.now, 1) || !entry.bytes.take(self.clock.now, size) {
            return self.peers.handle_fault(self.clock.now, link, PeerFault::RateExceeded);
        }
        if peer.is_none() && bytes.len() > HELLO_BYTES_MAX {
            return self.peers.handle_fault(self.clock.now, link, PeerFault::FrameTooLarge);
        }
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(DecodeError::Version(_)) if peer.is_none() => {
                return self.peers.refuse(link, RefuseReason::OtherVersion);
            }
            Err(_) => return self.peers.handle_fault(self.clock.now, link, PeerFault::FrameMalformed),
        };
        match (peer, message) {
            (_, Message::Refuse(reason)) => {
                self.peers.handle_refused(self.clock.now, link, reason, &mut self.rng);
            }
            (None, Message::Hello(hello)) => self.handle_hello(link, *hello),
            (None, Message::Welcome) => self.peers.handle_welcome(self.clock.now, link, &mut self.rng),
            (None, _) => {
                // Frames from a closing link are ignored.
                if self.peers.is_new(link) {
                    self.peers.handle_fault(self.clock.now, link, PeerFault::HelloOutOfOrder);
                }
            }
            (Some(peer), message) => {
                if !(shows(Mutant::PongIsNoLife) && matches!(message, Message::Pong(_))) {
                    self.heartbeat.handle_heard(self.clock.now, link);
                }
                self.handle_message(link, peer, message);
            }
        }
    }

    pub(super) fn say_hello(&mut self, link: LinkId) {
        let hello = Hello {
            network: self.config.network.clone(),
            incarnation: self.incarnation,
            advert: self.membership.own_advert().clone(),
            sent_at: self.wall(),
        };
        self.send(link, &Message::Hello(Box::new(hello)), Priority::Control);
    }

    fn handle_hello(&mut self, link: LinkId, hello: Hello) {
        let Some(node) = self.peers.link_mut(link).map(|entry| entry.node) else { return };
        let advert = match Advert::decode(&hello.advert.body.0) {
            Ok(advert) if advert.key.node_id() == node => advert,
            Ok(_) => return self.peers.handle_fault(self.clock.now, link, PeerFault::AdvertForged),
            Err(_) => return self.peers.handle_fault(self.clock.now, link, PeerFault::FrameMalformed),
        };
        let introduction = Introduction {
            network: &hello.network,
            incarnation: hello.incarnation,
            version: &advert.version,
            addresses: &advert.addresses,
            links: advert.links.len(),
        };
        let membership = &self.membership;
        let spare = || membership.spare_neighbour();
        self.peers.handle_hello(self.clock.now, link, &introduction, hello.advert, spare, &mut self.rng);
        let ahead_millis = self.ahead_millis(hello.sent_at);
        if clock_differs(ahead_millis) && self.peers.has_accepted(link) {
            self.event(Event::ClockDiffers { peer: node, ahead_millis });
        }
    }

    /// Returns by how many milliseconds a time is ahead of this node's wall clock.
    fn ahead_millis(&self, time: UnixMillis) -> i64 {
        let millis = |time: UnixMillis| i64::try_from(time.0).unwrap_or(i64::MAX);
        millis(time).saturating_sub(millis(self.wall()))
    }

    pub(super) fn handle_link_up(&mut self, link: LinkId, peer: NodeId, address: SocketAddr, dialled: bool) {
        let Some(advert) = self.peers.take_advert(link) else { return };
        if self.membership.handle_peer_up(self.clock.now, peer, advert).is_err() {
            return self.peers.handle_fault(self.clock.now, link, PeerFault::AdvertForged);
        }
        self.crashed.remove(&peer);
        self.heartbeat.handle_up(self.clock.now, link, &mut self.rng);
        self.event(Event::LinkUp { link, peer, address, dialled });
        if self.membership.hops(peer).is_some() {
            self.reconcile(peer);
        }
    }

    fn handle_message(&mut self, link: LinkId, peer: NodeId, message: Message) {
        match message {
            Message::Adverts(adverts) => {
                let Some(entry) = self.peers.link_mut(link) else { return };
                let now = self.clock.now;
                let may_check = || entry.adverts.take(now, 1);
                if self.membership.handle_adverts(now, peer, adverts, may_check).is_err() {
                    self.peers.handle_fault(self.clock.now, link, PeerFault::AdvertForged);
                }
            }
            Message::Copied(address) => {
                // Report it once per link, however often the peer does.
                let told = self
                    .peers
                    .link_mut(link)
                    .map(|entry| core::mem::replace(&mut entry.duplicate_reported, true));
                if told == Some(false) {
                    self.event(Event::IdentityCopied { address: Some(address), fenced: false });
                }
            }
            Message::Goodbye if shows(Mutant::GoodbyeIgnored) => {}
            Message::Goodbye => self.peers.close(link, LinkDownReason::Goodbye),
            Message::Hello(_) | Message::Welcome => {
                self.peers.handle_fault(self.clock.now, link, PeerFault::HelloOutOfOrder)
            }
            Message::Ping(beat) => {
                self.heartbeat.handle_pinged(self.clock.now, link);
                self.handle_beat(peer, beat);
                let answer = self.beat(beat.number);
                self.send(link, &Message::Pong(answer), Priority::Control);
            }
            Message::Pong(beat) => {
                if self.heartbeat.handle_pong(self.clock.now, link, beat.number) {
                    self.peers.handle_answer(self.clock.now, link, &mut self.rng);
                }
                self.handle_beat(peer, beat);
            }
            // Handled before.
            Message::Refuse(_) => {}
            Message::Routed(envelope) => self.handle_envelope(peer, *envelope),
            Message::Versions(versions) => self.membership.handle_versions(self.clock.now, peer, &versions),
        }
    }

    fn handle_beat(&mut self, peer: NodeId, beat: Beat) {
        self.loads.insert(peer, beat.load);
        self.membership.handle_digest(self.clock.now, peer, beat.digest);
    }

    /// Forwards a message to another node unchanged, or handles one to this node.
    fn handle_routed(&mut self, link: LinkId, peer: NodeId, mut frame: Vec<u8>) {
        let Ok(mut head) = Head::from_frame(&frame) else {
            return self.peers.handle_fault(self.clock.now, link, PeerFault::FrameMalformed);
        };
        if head.destination != self.me
            && head.origin != self.me
            && head.ttl > 1
            && let Some((next, onward)) = self.way_to(head.destination)
        {
            head.ttl -= u8::from(!shows(Mutant::TtlNotSpent));
            head.hops = head.hops.saturating_add(1);
            head.write_counts(&mut frame);
            let Head { message, ttl, payload, trace, .. } = head;
            self.event(Event::MessageForwarded { message, next, ttl, payload, trace });
            let priority = priority_onward(&frame);
            return self.send_frame(onward, frame, priority);
        }
        match Envelope::decode_frame(&frame) {
            Ok(envelope) => self.handle_envelope(peer, envelope),
            Err(_) => self.peers.handle_fault(self.clock.now, link, PeerFault::FrameMalformed),
        }
    }

    /// Handles a message that was dropped because its link is congested.
    pub(super) fn handle_shed(&mut self, frame: &[u8]) {
        let Ok(envelope) = Envelope::decode_frame(frame) else { return };
        if envelope.origin == self.me {
            let (message, reason, trace) = (envelope.message, DropReason::Overload, envelope.trace);
            self.event(Event::MessageDropped { message, reason, trace });
            self.router.handle_undeliverable(self.clock.now, message, &mut self.rng);
        } else {
            self.drop_envelope(&envelope, DropReason::Overload);
        }
    }

    fn handle_envelope(&mut self, peer: NodeId, mut envelope: Envelope) {
        if envelope.origin == self.me {
            // The next link would vouch for it, so it is dropped. If it is genuine, it needs another path.
            let (message, reason, trace) = (envelope.message, DropReason::Returned, envelope.trace);
            self.event(Event::MessageDropped { message, reason, trace });
            return self.router.handle_undeliverable(self.clock.now, message, &mut self.rng);
        }
        if envelope.destination == self.me
            && let Err(reason) = self.open(peer, &mut envelope)
        {
            let (message, trace) = (envelope.message, envelope.trace);
            return self.event(Event::MessageDropped { message, reason, trace });
        }
        let (message, origin, trace) = (envelope.message, envelope.origin, envelope.trace);
        match self.router.handle_envelope(self.clock.now, self.me, envelope) {
            Arrival::Deliver(envelope) => self.deliver(envelope),
            Arrival::Duplicate { acknowledged } => {
                self.event(Event::MessageDuplicate { message, trace });
                if acknowledged {
                    self.acknowledge(message, origin, trace);
                }
            }
            Arrival::Forward(envelope) => self.forward(envelope),
            Arrival::TtlExceeded(envelope) => self.drop_envelope(&envelope, DropReason::TtlExceeded),
        }
    }

    /// Opens a message that neighbour `peer` delivered.
    fn open(&mut self, peer: NodeId, envelope: &mut Envelope) -> Result<(), DropReason> {
        if envelope.seal == Seal::None {
            // The link authenticates its other end. Other unsealed messages are unauthenticated, so they may only be
            // hints.
            let hint = || matches!(Payload::decode(&envelope.payload), Ok(Payload::Undeliverable { .. }));
            return if envelope.origin == peer || hint() { Ok(()) } else { Err(DropReason::Unauthentic) };
        }
        let Some(contact) = self.contact(envelope.origin) else { return Err(DropReason::Unauthentic) };
        let (message, trace) = (envelope.message, envelope.trace);
        let first = matches!(envelope.seal, Seal::First { .. });
        let opened = self.sessions.open(self.clock.now, &contact, envelope, &mut self.rng);
        let notice = Payload::Undeliverable { message, reason: DropReason::SessionLost };
        match opened {
            // If one of the two has just restarted, the other's advert may not have arrived yet.
            Err(DropReason::Unauthentic) if first => self.send_hint(contact.node, &notice, trace),
            Err(DropReason::SessionLost)
                if self.sessions.handle_lost(self.clock.now, &contact, &mut self.rng) =>
            {
                self.send_once(contact.node, &notice, trace);
            }
            Ok(()) | Err(_) => {}
        }
        opened
    }

    /// Returns the next hop to a member, and the link to it.
    fn way_to(&self, destination: NodeId) -> Option<(NodeId, LinkId)> {
        let next = self.membership.next_hop(destination, None)?;
        Some((next, self.peers.link_to(next)?))
    }

    fn forward(&mut self, envelope: Envelope) {
        let Some((next, link)) = self.way_to(envelope.destination) else {
            return self.drop_envelope(&envelope, DropReason::NoRoute);
        };
        let payload = match envelope.seal {
            Seal::None => PayloadKind::of(&envelope.payload.0),
            Seal::Answer { .. } | Seal::First { .. } | Seal::Session { .. } => PayloadKind::Sealed,
        };
        let (message, ttl, trace) = (envelope.message, envelope.ttl, envelope.trace);
        self.event(Event::MessageForwarded { message, next, ttl, payload, trace });
        let frame = envelope.encode_frame();
        let priority = priority_onward(&frame);
        self.send_frame(link, frame, priority);
    }

    fn drop_envelope(&mut self, envelope: &Envelope, reason: DropReason) {
        let (message, trace) = (envelope.message, envelope.trace);
        self.event(Event::MessageDropped { message, reason, trace });
        // A notice about a notice or an acknowledgement is useless. If the seal hides what it is about, its origin
        // ignores it.
        let about_notice = envelope.seal == Seal::None
            && matches!(
                Payload::decode(&envelope.payload),
                Ok(Payload::Ack(_) | Payload::Undeliverable { .. }) | Err(_)
            );
        if !about_notice {
            self.send_hint(envelope.origin, &Payload::Undeliverable { message, reason }, trace);
        }
    }

    fn acknowledge(&mut self, message: MessageId, origin: NodeId, trace: TraceContext) {
        self.router.handle_acknowledged(message);
        self.in_flight.acks.entry(origin).or_default().push((message, trace));
    }

    /// Sends the acknowledgements that have accumulated, batched by origin.
    pub(super) fn send_acks(&mut self) {
        for (origin, messages) in core::mem::take(&mut self.in_flight.acks) {
            for part in messages.chunks(ACKS_MAX) {
                let trace = TraceContext::common(part.iter().map(|(_, trace)| *trace));
                let messages = part.iter().map(|(message, _)| *message).collect();
                self.send_once(origin, &Payload::Ack(messages), trace);
            }
        }
    }

    fn handle_ack(&mut self, from: NodeId, message: MessageId) {
        self.handle_probed(from, message);
        let Some(Acknowledged { waiter, took, payload, trace }) =
            self.router.handle_ack(self.clock.now, from, message)
        else {
            return;
        };
        let elapsed_micros = micros(took);
        self.event(Event::MessageAcknowledged { message, destination: from, elapsed_micros, payload, trace });
        if let Some(waiter) = waiter {
            self.handle_pinged(waiter, Some(took));
        }
        self.deliveries.handle_acknowledged(message);
    }

    /// Handles a message that arrived for the first time.
    fn deliver(&mut self, envelope: Envelope) {
        let (message, origin, now) = (envelope.message, envelope.origin, self.clock.now);
        let trace = envelope.trace;
        self.observers.alerts.handle_time(origin, self.ahead_millis(envelope.sent_at));
        let payload = match Payload::decode(&envelope.payload) {
            Ok(Payload::Ack(messages)) => {
                for message in messages {
                    self.handle_ack(origin, message);
                }
                return;
            }
            Ok(Payload::Undeliverable { message, .. }) => {
                return self.router.handle_undeliverable(now, message, &mut self.rng);
            }
            Ok(payload) => payload,
            // The message is of a newer version. Without an acknowledgement its origin learns that it was not handled.
            Err(_) => return,
        };
        let (hops, kind) = (envelope.hops, payload.kind());
        self.event(Event::MessageDelivered { message, origin, hops, payload: kind, trace });
        match payload {
            Payload::Outcome { attempt, fingerprint, micros, result } => {
                // Acknowledged only once its effect is durable. Until then the worker keeps the outcome.
                let computed = Computed { fingerprint, micros, result };
                return self.handle_outcome(origin, attempt, computed, Some(message), trace);
            }
            // The outcome is already in transit, so the task need not run again.
            Payload::Assign(assignment)
                if self.deliveries.owes_output(origin, assignment.attempt.task, assignment.fingerprint)
                    && !shows(Mutant::OutcomeForgotten) =>
            {
                self.deliveries.handle_reachable(now, origin);
            }
            Payload::Assign(assignment) => self.worker.handle_assignment(now, origin, assignment),
            // Messages about files are not acknowledged.
            Payload::Held { .. }
            | Payload::Look { .. }
            | Payload::Piece { .. }
            | Payload::PieceRefused { .. }
            | Payload::PieceWanted { .. } => return self.handle_blob_payload(origin, payload),
            Payload::TraceFound { query, received_micros, sent_micros, found } => {
                let times = (received_micros, sent_micros);
                return self.handle_trace_found(origin, query, times, found);
            }
            Payload::TraceWanted { query, id } => return self.handle_trace_wanted(origin, query, id),
            Payload::Cancel(_) if shows(Mutant::CancelIgnored) => {}
            Payload::Cancel(attempt) => self.worker.handle_release(origin, attempt),
            Payload::Decline(attempt) => {
                self.tasks.handle_returned(origin, attempt, ReassignReason::Refused);
            }
            Payload::HandBack(attempt) => {
                self.tasks.handle_returned(origin, attempt, ReassignReason::HandedBack);
            }
            Payload::Progress(piece) => self.tasks.handle_progress(now, origin, piece),
            Payload::Check(attempts) => self.handle_check(origin, attempts, trace),
            Payload::Here(attempts) => self.handle_here(origin, attempts),
            Payload::Missing(attempts) => self.handle_missing(origin, attempts),
            Payload::Renew(attempts) => self.handle_all_here(origin, attempts),
            Payload::Started(attempt) => self.tasks.handle_renewed(now, origin, attempt, true),
            Payload::Ack(_) | Payload::Probe(_) | Payload::Undeliverable { .. } => {}
        }
        self.acknowledge(message, origin, trace);
    }

    /// Handles the outcome of an attempt. `message` carried it, if it came from another node.
    pub(super) fn handle_outcome(
        &mut self,
        from: NodeId,
        attempt: Attempt,
        computed: Computed,
        message: Option<MessageId>,
        trace: TraceContext,
    ) {
        let (now, wall) = (self.clock.now, self.wall());
        #[cfg(feature = "mutants")]
        self.accept_second_result(from, attempt, &computed);
        let verdict = self.tasks.handle_outcome(now, wall, from, attempt, computed);
        match verdict {
            Verdict::Ends => {
                let open = self.tasks.get_mut(attempt.task);
                let took = open.map(|open| {
                    open.acks.extend(message.map(|message| (message, from)));
                    now.since(open.assigned_at)
                });
                self.scheduler.handle_returned(attempt.task, from, took);
                if let Some(message) = message.filter(|_| shows(Mutant::OutcomeAcknowledgedEarly)) {
                    self.acknowledge(message, from, trace);
                }
            }
            Verdict::Nothing | Verdict::Retries => {
                // A retransmission while the first one is being written is acknowledged with it.
                if let Some(message) = message
                    && let Some(open) = self.tasks.get_mut(attempt.task).filter(|open| open.ends_by(from))
                {
                    if open.acks.len() < ACKS_HELD_MAX {
                        open.acks.push((message, from));
                    }
                    return;
                }
                if verdict == Verdict::Nothing {
                    self.event(Event::ResultDuplicate { task: attempt.task, from, trace });
                }
                if let Some(message) = message {
                    self.acknowledge(message, from, trace);
                }
            }
        }
    }

    /// Acknowledges the outcomes that are durable now.
    pub(super) fn acknowledge_all(&mut self, acks: Vec<(MessageId, NodeId)>, trace: TraceContext) {
        for (message, worker) in acks {
            self.acknowledge(message, worker, trace);
        }
    }
}

/// Returns the priority of a frame to forward. A frame as large as a sealed piece of a file gets the lowest.
fn priority_onward(frame: &[u8]) -> Priority {
    if frame.len() > LARGE_BYTES { Priority::Background } else { Priority::Bulk }
}

/// Larger frames must not delay others.
const LARGE_BYTES: usize = 64 << 10;
/// Maximum number of messages to acknowledge when one task's end is durable.
const ACKS_HELD_MAX: usize = 16;
/// Maximum number of acknowledgements in one message.
const ACKS_MAX: usize = 1_024;
