//! End-to-end messages, which may cross several links, and their encoding.
//!
//! The fields that a relay reads and changes come first, at fixed positions. A relay forwards the received frame and
//! only changes the two bytes of its counters. It still checks that the whole frame is well-formed, so malformed
//! messages get no further than one link.

use super::{Bytes, Kind, is_routed, whole};
use crate::error::DecodeError;
use crate::event::PayloadKind;
use crate::ids::{MessageId, NodeId};
use crate::time::UnixMillis;
use crate::trace::TraceContext;
use serde::{Deserialize, Serialize};

/// An end-to-end message between two nodes that need not be peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Number of links that it may still cross.
    pub ttl: u8,
    /// Number of links that it has crossed.
    pub hops: u8,
    /// Its id, which a retry keeps.
    pub message: MessageId,
    /// The node that sent it.
    pub origin: NodeId,
    /// The node that it is addressed to.
    pub destination: NodeId,
    /// The trace of the task that it belongs to.
    pub trace: TraceContext,
    /// The time at which it was sent.
    pub sent_at: UnixMillis,
    /// How the payload is sealed. The seal also covers all fields except `ttl` and `hops`.
    pub seal: Seal,
    /// An encoded [`super::Payload`], opaque to relays.
    pub payload: Bytes,
}

/// How a payload is sealed against relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Seal {
    /// In a session, with the answer to the handshake, as the initiator may not have received it yet.
    Answer {
        /// The session's id.
        session: u64,
        /// The second message of the handshake.
        handshake: Bytes,
        /// The message's number in its direction.
        nonce: u64,
    },
    /// To the destination's static key, as there is no session yet.
    First {
        /// The first message of the handshake.
        handshake: Bytes,
        /// The message's number among those sealed under this handshake.
        nonce: u64,
    },
    /// Not sealed: the origin is at the other end of the link, or the message is only a hint.
    None,
    /// In a session that both ends know.
    Session {
        /// The session's id.
        session: u64,
        /// The message's number in its direction.
        nonce: u64,
    },
}

/// The fields of an [`Envelope`]'s frame that a relay reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) ttl: u8,
    pub(crate) hops: u8,
    pub(crate) message: MessageId,
    pub(crate) origin: NodeId,
    pub(crate) destination: NodeId,
    pub(crate) trace: TraceContext,
    pub(crate) payload: PayloadKind,
}

/// The fields after the head.
#[derive(Deserialize)]
struct Rest<'frame> {
    trace: TraceContext,
    sent_at: UnixMillis,
    #[serde(borrow)]
    seal: SealView<'frame>,
    payload: &'frame [u8],
}

/// A [`Seal`] that borrows from the frame.
#[derive(Deserialize)]
enum SealView<'frame> {
    Answer { session: u64, handshake: &'frame [u8], nonce: u64 },
    First { handshake: &'frame [u8], nonce: u64 },
    None,
    Session { session: u64, nonce: u64 },
}

impl Envelope {
    /// Encodes the envelope as a frame.
    pub(crate) fn encode_frame(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEAD_BYTES + self.payload.0.len() + REST_BYTES);
        frame.extend_from_slice(&[Kind::Routed as u8, self.ttl, self.hops]);
        for id in [self.message.0, self.origin.0, self.destination.0, self.trace.id.0] {
            frame.extend_from_slice(&id);
        }
        // Serialising plain data into a vector cannot fail.
        let rest = (self.trace.sampled, self.sent_at, &self.seal, &self.payload);
        postcard::to_extend(&rest, frame).unwrap_or_default()
    }

    /// Decodes a frame.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if the frame does not carry an envelope.
    pub(crate) fn decode_frame(frame: &[u8]) -> Result<Self, DecodeError> {
        let (head, rest) = parts(frame)?;
        let seal = match rest.seal {
            SealView::Answer { session, handshake, nonce } => {
                Seal::Answer { session, handshake: Bytes(handshake.to_vec()), nonce }
            }
            SealView::First { handshake, nonce } => {
                Seal::First { handshake: Bytes(handshake.to_vec()), nonce }
            }
            SealView::None => Seal::None,
            SealView::Session { session, nonce } => Seal::Session { session, nonce },
        };
        Ok(Self {
            ttl: head.ttl,
            hops: head.hops,
            message: head.message,
            origin: head.origin,
            destination: head.destination,
            trace: rest.trace,
            sent_at: rest.sent_at,
            seal,
            payload: Bytes(rest.payload.to_vec()),
        })
    }
}

impl Head {
    /// Reads the head of a frame, and checks that the rest is well-formed.
    ///
    /// # Errors
    /// The same as [`Envelope::decode_frame`].
    pub(crate) fn from_frame(frame: &[u8]) -> Result<Self, DecodeError> {
        parts(frame).map(|(head, _)| head)
    }

    /// Writes the two counters back into the frame that this head was read from.
    pub(crate) fn write_counts(&self, frame: &mut [u8]) {
        if let Some([_, ttl, hops]) = frame.first_chunk_mut() {
            (*ttl, *hops) = (self.ttl, self.hops);
        }
    }
}

fn parts(frame: &[u8]) -> Result<(Head, Rest<'_>), DecodeError> {
    if !is_routed(frame) {
        return Err(DecodeError::Malformed);
    }
    let (counts, ids) = frame.split_first_chunk::<3>().ok_or(DecodeError::Malformed)?;
    let (message, ids) = ids.split_first_chunk().ok_or(DecodeError::Malformed)?;
    let (origin, ids) = ids.split_first_chunk().ok_or(DecodeError::Malformed)?;
    let (destination, rest) = ids.split_first_chunk().ok_or(DecodeError::Malformed)?;
    let [_, ttl, hops] = *counts;
    let (message, origin) = (MessageId(*message), NodeId(*origin));
    let rest: Rest<'_> = whole(rest)?;
    let payload = match rest.seal {
        SealView::None => PayloadKind::of(rest.payload),
        SealView::Answer { .. } | SealView::First { .. } | SealView::Session { .. } => PayloadKind::Sealed,
    };
    let destination = NodeId(*destination);
    let head = Head { ttl, hops, message, origin, destination, trace: rest.trace, payload };
    Ok((head, rest))
}

/// The kind byte, the two counters, and the ids up to the trace.
const HEAD_BYTES: usize = 3 + 4 * 16;
/// The size of the rest of most envelopes, without the payload.
const REST_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TraceId;

    #[test]
    fn a_relay_changes_two_bytes_and_no_more() {
        let envelope = Envelope {
            ttl: 9,
            hops: 1,
            message: MessageId([1; 16]),
            origin: NodeId([2; 16]),
            destination: NodeId([3; 16]),
            trace: TraceContext { id: TraceId([4; 16]), sampled: true },
            sent_at: UnixMillis(5),
            seal: Seal::Answer { session: 6, handshake: Bytes(vec![7; 48]), nonce: 8 },
            payload: Bytes(vec![9; 300]),
        };
        let mut frame = envelope.encode_frame();
        let mut head = Head::from_frame(&frame).unwrap();
        head.ttl -= 1;
        head.hops += 1;
        head.write_counts(&mut frame);
        assert_eq!(Envelope::decode_frame(&frame), Ok(Envelope { ttl: 8, hops: 2, ..envelope }));
        for cut in 0..frame.len() {
            assert_eq!(Head::from_frame(&frame[..cut]), Err(DecodeError::Malformed), "{cut}");
        }
        frame.push(0);
        assert_eq!(Head::from_frame(&frame), Err(DecodeError::Malformed));
    }
}
