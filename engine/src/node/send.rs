//! Sends frames to neighbours, and sealed messages to any member.

use super::Node;
use crate::ids::{LinkId, MessageId, NodeId, TraceId};
use crate::observers::metrics::Direction;
use crate::output::{Output, Priority};
use crate::router::TTL;
use crate::session::Contact;
use crate::trace::TraceContext;
use crate::wire::{Beat, Bytes, Envelope, Message, Payload, Seal};

impl Node {
    pub(super) fn send(&mut self, link: LinkId, message: &Message, priority: Priority) {
        self.send_frame(link, message.encode(), priority);
    }

    pub(super) fn send_frame(&mut self, link: LinkId, frame: Vec<u8>, priority: Priority) {
        if let Some(entry) = self.peers.link_mut(link) {
            entry.frames_out += 1;
            entry.bytes_out = entry.bytes_out.saturating_add(frame.len() as u64);
            self.observers.metrics.handle_frame(Direction::Sent, frame.len());
            self.outputs.push_back(Output::Send { link, frame, priority });
        }
    }

    /// Sends a payload reliably, end to end: it is acknowledged, and retransmitted until then. Returns its message id.
    pub(super) fn send_payload(
        &mut self,
        destination: NodeId,
        payload: &Payload,
        trace: TraceContext,
    ) -> MessageId {
        let envelope = self.envelope(destination, payload.encode(), trace);
        let message = envelope.message;
        self.router.send(self.clock.now, envelope, None);
        message
    }

    /// Sends a payload without retransmission. Returns its message id.
    pub(super) fn send_once(
        &mut self,
        destination: NodeId,
        payload: &Payload,
        trace: TraceContext,
    ) -> MessageId {
        let envelope = self.envelope(destination, payload.encode(), trace);
        let message = envelope.message;
        if let Some(next) = self.membership.next_hop(destination, None) {
            self.hand_over(next, envelope, Priority::Control);
        }
        message
    }

    /// Sends a payload without retransmission, at the lowest priority.
    pub(super) fn send_in_background(&mut self, destination: NodeId, payload: &Payload) {
        let envelope = self.envelope(destination, payload.encode(), TraceContext::NONE);
        if let Some(next) = self.membership.next_hop(destination, None) {
            self.hand_over(next, envelope, Priority::Background);
        }
    }

    /// Sends an unsealed payload. It is only a hint: nobody waits for it or relies on it.
    pub(super) fn send_hint(&mut self, destination: NodeId, payload: &Payload, trace: TraceContext) {
        let envelope = self.envelope(destination, payload.encode(), trace);
        let next = self.membership.next_hop(destination, None);
        if let Some(link) = next.and_then(|next| self.peers.link_to(next)) {
            self.send_frame(link, envelope.encode_frame(), Priority::Control);
        }
    }

    /// Sends an envelope of this node over a neighbour. It is sealed unless the neighbour is its destination.
    pub(super) fn hand_over(&mut self, next: NodeId, mut envelope: Envelope, priority: Priority) {
        let Some(link) = self.peers.link_to(next) else { return };
        if next != envelope.destination {
            let Some(contact) = self.contact(envelope.destination) else { return };
            if self.sessions.seal(self.clock.now, &contact, &mut envelope, &mut self.rng).is_err() {
                return;
            }
        }
        self.send_frame(link, envelope.encode_frame(), priority);
    }

    /// Returns a member's session key and incarnation.
    pub(super) fn contact(&self, node: NodeId) -> Option<Contact> {
        let advert = self.membership.advert(node)?;
        Some(Contact { node, incarnation: advert.incarnation, key: advert.session_key })
    }

    pub(super) fn envelope(&mut self, destination: NodeId, payload: Bytes, trace: TraceContext) -> Envelope {
        Envelope {
            ttl: TTL,
            hops: 0,
            message: self.new_message_id(),
            origin: self.me,
            destination,
            trace,
            sent_at: self.wall(),
            seal: Seal::None,
            payload,
        }
    }

    /// Creates a message id: a UUID that begins with the time (RFC 9562, version 7). Ids created one after the other
    /// lie close together in every map.
    pub(super) fn new_message_id(&mut self) -> MessageId {
        let mut id = self.rng.id();
        id[..6].copy_from_slice(&self.wall().0.to_be_bytes()[2..]);
        id[6] = id[6] & 0x0f | 0x70;
        id[8] = id[8] & 0x3f | 0x80;
        MessageId(id)
    }

    pub(super) fn beat(&self, number: u32) -> Beat {
        Beat { number, digest: self.membership.digest(), load: self.own_load() }
    }

    /// Returns the number of tasks that this node has to run.
    pub(super) fn own_load(&self) -> u16 {
        u16::try_from(self.worker.len()).unwrap_or(u16::MAX)
    }

    pub(super) fn new_trace(&mut self) -> TraceId {
        TraceId(self.rng.id())
    }
}
