//! Messages between nodes and their codec.
//!
//! A frame is one kind byte and a postcard body. Decoding is total and bounded: any bytes give a message whose
//! every list and text is within its limit, or an error, and never more memory than a small multiple of the frame.
//! A hello carries the protocol version in a fixed place before its body, so that nodes of any two versions can
//! tell each other apart.

mod envelope;

pub(crate) use envelope::Head;
pub use envelope::{Envelope, Seal};

use crate::blob::{BlobId, Hash, Piece, Pin};
use crate::error::{DecodeError, InferenceError};
use crate::event::{DropReason, RefuseReason};
use crate::identity::PublicKey;
use crate::ids::{Fingerprint, MessageId, NodeId, TaskId, TraceId};
use crate::model::ModelOffer;
use crate::task::{TaskInput, TaskOutput};
use crate::time::UnixMillis;
use core::net::SocketAddr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// The largest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The largest frame that a peer may send before its hello was taken, in bytes.
pub const HELLO_BYTES_MAX: usize = 8 << 10;

/// The version of the protocol; nodes of different versions refuse each other.
pub const PROTOCOL_VERSION: u16 = 2;

/// One message between two neighbours.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// What members say of themselves, each signed by its member.
    Adverts(Vec<SignedAdvert>),
    /// Another living node holds the receiver's key, and connected to the sender from this address.
    Copied(SocketAddr),
    /// The sender leaves.
    Goodbye,
    /// The first message on a link, from both ends.
    Hello(Box<Hello>),
    /// Asks for a sign of life.
    Ping(Beat),
    /// Answers a ping with its number.
    Pong(Beat),
    /// The sender closes the link, and why.
    Refuse(RefuseReason),
    /// Something on its way to a node that may be many links away.
    Routed(Box<Envelope>),
    /// The newest advert of each member that the sender holds; asks for newer ones.
    Versions(Vec<(NodeId, u64)>),
    /// The sender took the other end's hello: the link is up once both have said so.
    Welcome,
}

/// How a node introduces itself on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's network.
    pub network: String,
    /// Differs each time that the sender starts.
    pub incarnation: u64,
    /// The sender's own advert.
    pub advert: SignedAdvert,
    /// The sender's wall clock. Nothing rests on it; a great difference is reported.
    pub sent_at: UnixMillis,
}

/// What a heartbeat carries: at most 18 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Numbers the pings of one link.
    pub number: u32,
    /// A digest of the members that the sender sees, and of their adverts' versions.
    pub digest: u64,
    /// Tasks that the sender has to run.
    pub load: u16,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Whose advert this is, and the key that signs it.
    pub key: PublicKey,
    /// Grows with each advert of the member, across its restarts too.
    pub sequence: u64,
    /// Differs each time that the member starts, and grows as its clock does.
    pub incarnation: u64,
    /// Where the member takes connections.
    pub addresses: Vec<SocketAddr>,
    /// The product's version.
    pub version: String,
    /// The most links that the member keeps.
    pub max_links: u16,
    /// Jobs that the member runs at the same time.
    pub slots: u16,
    /// Models that the member runs, or is about to load.
    pub models: Vec<ModelOffer>,
    /// Nodes that the member has a link to, in ascending order.
    pub links: Vec<NodeId>,
    /// The static X25519 key of its end-to-end sessions.
    pub session_key: [u8; 32],
}

/// An encoded [`Advert`] with its member's signature over exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAdvert {
    /// The encoded advert.
    pub body: SharedBytes,
    /// The signature.
    pub signature: Signature,
}

/// What an envelope holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Payload {
    /// The messages arrived, and what their sender needs to hear of them is durable.
    Ack(Vec<MessageId>),
    /// Run this.
    Assign(Assignment),
    /// No longer run this, nor an earlier attempt at it.
    Cancel(Attempt),
    /// The worker has no room, or no such model.
    Decline(Attempt),
    /// Answers [`Payload::Look`] with its number: what the file is, where the sender has it.
    Held {
        /// The number.
        query: u64,
        /// The file.
        blob: Option<BlobId>,
    },
    /// The worker leaves before it could finish this.
    HandBack(Attempt),
    /// Asks whether the receiver has a file.
    Look {
        /// Comes back with the answer.
        query: u64,
        /// The file.
        pin: Pin,
    },
    /// What came of it.
    Outcome {
        /// Which attempt.
        attempt: Attempt,
        /// The model that computed it.
        fingerprint: Fingerprint,
        /// Time spent computing, in microseconds.
        micros: u64,
        /// The output, or why there is none.
        result: Result<TaskOutput, InferenceError>,
    },
    /// What an attempt has written meanwhile.
    Progress(Passage),
    /// A piece of a file that was asked for. Neither this nor what asks for it is acknowledged: whoever misses it asks
    /// again.
    Piece {
        /// The file.
        root: Hash,
        /// Which piece.
        number: u32,
        /// The piece.
        piece: Piece,
    },
    /// The sender does not give a piece.
    PieceRefused {
        /// The file.
        root: Hash,
        /// Which piece.
        number: u32,
        /// Whether it has not got the file; else it has too much to do.
        gone: bool,
    },
    /// Asks for a piece of a file.
    PieceWanted {
        /// The file.
        root: Hash,
        /// Which piece.
        number: u32,
    },
    /// Asks for a sign of life of a node that need not be a neighbour; answered with an acknowledgement. The bytes are
    /// there for their weight only.
    Probe(Bytes),
    /// All that the worker still has of the receiver's.
    Renew(Vec<Attempt>),
    /// The worker has begun this.
    Started(Attempt),
    /// A relay could not pass the message on.
    Undeliverable {
        /// The message.
        message: MessageId,
        /// Why.
        reason: DropReason,
    },
    /// Asks a worker which of these attempts of the sender's it still has; answered with [`Payload::Here`] and
    /// [`Payload::Missing`].
    Check(Vec<Attempt>),
    /// The worker has none of these, and will send no outcome of them.
    Missing(Vec<Attempt>),
    /// Of those that it was asked about, the worker still has these.
    Here(Vec<Attempt>),
}

/// One attempt at one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The task.
    pub task: TaskId,
    /// Counts from 1.
    pub number: u32,
}

/// A part of the text that an attempt writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Which attempt.
    pub attempt: Attempt,
    /// How many bytes of text come before it.
    pub offset: u32,
    /// The part.
    pub text: String,
    /// Tokens that the attempt has produced so far.
    pub tokens: u32,
}

/// A task as its worker gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which attempt.
    pub attempt: Attempt,
    /// The model's name.
    pub model: String,
    /// Which model that is: a worker that has another one under the name declines.
    pub fingerprint: Fingerprint,
    /// What to work on.
    pub input: TaskInput,
    /// Time left. No clock of another machine is relied upon.
    pub remaining_millis: u64,
    /// The work that it belongs to.
    pub trace: TraceId,
    /// Whether it runs in a job of its own: the model died or failed with it before.
    pub alone: bool,
}

impl Message {
    /// Encodes the message as a frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Adverts(adverts) => {
                let size = |advert: &SignedAdvert| advert.body.0.len() + SIGNED_BYTES_MAX;
                let mut bytes =
                    Vec::with_capacity(adverts.iter().map(size).sum::<usize>() + LENGTH_BYTES_MAX);
                bytes.push(Kind::Adverts as u8);
                postcard::to_extend(adverts, bytes).unwrap_or_default()
            }
            Self::Copied(address) => frame(Kind::Copied, address),
            Self::Goodbye => frame(Kind::Goodbye, &()),
            Self::Hello(hello) => {
                let mut bytes = vec![Kind::Hello as u8];
                bytes.extend_from_slice(&MAGIC);
                bytes.extend_from_slice(&PROTOCOL_VERSION.to_be_bytes());
                postcard::to_extend(hello, bytes).unwrap_or_default()
            }
            Self::Ping(beat) => frame(Kind::Ping, beat),
            Self::Pong(beat) => frame(Kind::Pong, beat),
            Self::Refuse(reason) => frame(Kind::Refuse, reason),
            Self::Routed(envelope) => envelope.encode_frame(),
            Self::Versions(versions) => frame(Kind::Versions, versions),
            Self::Welcome => frame(Kind::Welcome, &()),
        }
    }

    /// Decodes a frame.
    ///
    /// # Errors
    /// [`DecodeError::Version`] for the hello of another protocol version, [`DecodeError::TooLarge`] above a limit,
    /// [`DecodeError::Malformed`] for all else that [`Message::encode`] does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge);
        }
        let (&kind, body) = bytes.split_first().ok_or(DecodeError::Malformed)?;
        let message = match Kind::from_byte(kind).ok_or(DecodeError::Malformed)? {
            Kind::Adverts => Self::Adverts(whole(body)?),
            Kind::Copied => Self::Copied(whole(body)?),
            Kind::Goodbye => whole(body).map(|()| Self::Goodbye)?,
            Kind::Hello => Self::Hello(whole(versioned(body)?)?),
            Kind::Ping => Self::Ping(whole(body)?),
            Kind::Pong => Self::Pong(whole(body)?),
            Kind::Refuse => Self::Refuse(whole(body)?),
            Kind::Routed => Self::Routed(Box::new(Envelope::decode_frame(bytes)?)),
            Kind::Versions => Self::Versions(whole(body)?),
            Kind::Welcome => whole(body).map(|()| Self::Welcome)?,
        };
        if let Self::Hello(hello) = &message
            && hello.network.len() > NETWORK_BYTES_MAX
        {
            return Err(DecodeError::TooLarge);
        }
        Ok(message)
    }
}

impl Advert {
    /// Encodes the advert, to be signed.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }

    /// Tells whether the member would take one more link.
    pub fn has_room(&self) -> bool {
        self.links.len() < usize::from(self.max_links)
    }

    /// Reads whose advert it is and its sequence number, and no more.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes do not begin like an advert.
    pub fn peek(bytes: &[u8]) -> Result<(NodeId, u64), DecodeError> {
        let head = postcard::take_from_bytes::<(PublicKey, u64)>(bytes);
        head.map(|((key, sequence), _)| (key.node_id(), sequence)).map_err(|_| DecodeError::Malformed)
    }

    /// Decodes an advert and checks its limits; its signature is the caller's to check.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are not an advert or a part of it is over its limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > ADVERT_BYTES_MAX {
            return Err(DecodeError::TooLarge);
        }
        let advert: Self = whole(bytes)?;
        let bounded = advert.addresses.len() <= ADDRESSES_MAX
            && advert.links.len() <= LINKS_MAX
            && advert.version.len() <= VERSION_BYTES_MAX
            && advert.models.len() <= MODELS_MAX
            && advert.models.iter().all(|model| model.name.len() <= MODEL_NAME_BYTES_MAX);
        if !bounded {
            return Err(DecodeError::TooLarge);
        }
        // Ascending and without repeats, so that a lookup is a binary search and a list has one form only.
        let ordered = advert.links.windows(2).all(|pair| pair[0] < pair[1]);
        if ordered { Ok(advert) } else { Err(DecodeError::Malformed) }
    }
}

impl Payload {
    /// Encodes the payload.
    pub fn encode(&self) -> Bytes {
        Bytes(postcard::to_extend(self, Vec::new()).unwrap_or_default())
    }

    /// Decodes a payload.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are not one.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        whole(&bytes.0)
    }
}

/// An Ed25519 signature (RFC 8032).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_bytes(Whole(|bytes: &[u8]| bytes.try_into().ok()))?;
        Ok(Self(bytes))
    }
}

/// Bytes that are copied whole by the codec, and whose clones share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedBytes(pub Arc<[u8]>);

impl Serialize for SharedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for SharedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Whole(|bytes: &[u8]| Some(bytes.into()))).map(Self)
    }
}

/// Bytes that are copied whole by the codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Whole(|bytes: &[u8]| Some(bytes.to_vec()))).map(Self)
    }
}

/// Takes bytes as a whole, and makes something of them where they are of the right form.
struct Whole<F>(F);

impl<'de, T, F: FnOnce(&[u8]) -> Option<T>> serde::de::Visitor<'de> for Whole<F> {
    type Value = T;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        (self.0)(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &"another length"))
    }

    // Formats for people know no bytes, but lists of numbers.
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut numbers: A) -> Result<T, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}

/// Has the codec copy a list of bytes whole, in the same form as one by one.
pub(crate) mod octets {
    use super::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Bytes::deserialize(deserializer).map(|bytes| bytes.0)
    }
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Hello = 0,
    Refuse = 1,
    Goodbye = 2,
    Ping = 3,
    Pong = 4,
    Adverts = 5,
    Versions = 6,
    Routed = 7,
    Welcome = 8,
    Copied = 9,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Hello,
            1 => Self::Refuse,
            2 => Self::Goodbye,
            3 => Self::Ping,
            4 => Self::Pong,
            5 => Self::Adverts,
            6 => Self::Versions,
            7 => Self::Routed,
            8 => Self::Welcome,
            9 => Self::Copied,
            _ => return None,
        })
    }
}

/// Tells whether a frame is one that carries an [`Envelope`].
pub(crate) fn is_routed(frame: &[u8]) -> bool {
    frame.first() == Some(&(Kind::Routed as u8))
}

fn frame<T: Serialize>(kind: Kind, body: &T) -> Vec<u8> {
    // Plain data into a vector: nothing here can fail.
    postcard::to_extend(body, vec![kind as u8]).unwrap_or_default()
}

/// Decodes a body that must end where the value does.
fn whole<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(DecodeError::Malformed),
    }
}

/// Returns where the hello in a frame says which version of the protocol it is of; `None` where it is no hello.
pub fn hello_version(frame: &mut [u8]) -> Option<&mut [u8; 2]> {
    let (&mut kind, body) = frame.split_first_mut()?;
    let (magic, rest) = body.split_first_chunk_mut::<4>()?;
    if kind != Kind::Hello as u8 || *magic != MAGIC {
        return None;
    }
    rest.first_chunk_mut()
}

fn versioned(body: &[u8]) -> Result<&[u8], DecodeError> {
    let rest = body.strip_prefix(&MAGIC).ok_or(DecodeError::Malformed)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(DecodeError::Malformed)?;
    match u16::from_be_bytes(*version) {
        PROTOCOL_VERSION => Ok(rest),
        other => Err(DecodeError::Version(u8::try_from(other).unwrap_or(u8::MAX))),
    }
}

const MAGIC: [u8; 4] = *b"p2pa";
const ADDRESSES_MAX: usize = 8;
const ADVERT_BYTES_MAX: usize = 8 << 10;
/// A kind and a length.
const LENGTH_BYTES_MAX: usize = 6;
const LINKS_MAX: usize = 256;
const MODELS_MAX: usize = 16;
const MODEL_NAME_BYTES_MAX: usize = 96;
const NETWORK_BYTES_MAX: usize = 64;
/// A signature and the lengths of both parts.
const SIGNED_BYTES_MAX: usize = 70;
const VERSION_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Message {
        Message::Hello(Box::new(Hello {
            network: "local".to_owned(),
            incarnation: 7,
            advert: SignedAdvert { body: SharedBytes([1, 2, 3].into()), signature: Signature([4; 64]) },
            sent_at: UnixMillis(6),
        }))
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let beat = Beat { number: u32::MAX, digest: u64::MAX, load: u16::MAX };
        let envelope = Envelope {
            ttl: 10,
            hops: 0,
            message: MessageId([1; 16]),
            origin: NodeId([2; 16]),
            destination: NodeId([3; 16]),
            trace: TraceId([4; 16]),
            sent_at: UnixMillis(5),
            seal: Seal::Answer { session: 7, handshake: Bytes(vec![8; 48]), nonce: 9 },
            payload: Payload::Ack(vec![MessageId([6; 16])]).encode(),
        };
        for message in [
            hello(),
            Message::Copied(([10, 0, 0, 9], 9000).into()),
            Message::Goodbye,
            Message::Welcome,
            Message::Ping(beat),
            Message::Pong(beat),
            Message::Refuse(RefuseReason::Full),
            Message::Routed(Box::new(envelope)),
            Message::Versions(vec![(NodeId([9; 16]), 10)]),
            Message::Adverts(Vec::new()),
        ] {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn a_heartbeat_fits_into_24_bytes() {
        let beat = Beat { number: u32::MAX, digest: u64::MAX, load: u16::MAX };
        assert!(Message::Ping(beat).encode().len() <= 24);
    }

    #[test]
    fn another_version_is_told_apart_whatever_follows() {
        assert_eq!(hello_version(&mut Message::Goodbye.encode()), None);
        let mut bytes = hello().encode();
        *hello_version(&mut bytes).unwrap() = [0, 9];
        assert_eq!(Message::decode(&bytes), Err(DecodeError::Version(9)));
        bytes.truncate(8);
        bytes.push(0xff);
        assert_eq!(Message::decode(&bytes), Err(DecodeError::Version(9)));
    }

    #[test]
    fn an_advert_has_one_form_and_limits() {
        let key = crate::Identity::from_secret(&[1; 32]).public_key();
        let mut advert = Advert {
            key,
            sequence: 1,
            incarnation: 1,
            addresses: Vec::new(),
            version: "1".to_owned(),
            max_links: 32,
            slots: 4,
            models: Vec::new(),
            links: vec![NodeId([1; 16]), NodeId([2; 16])],
            session_key: [4; 32],
        };
        assert_eq!(Advert::decode(&advert.encode()), Ok(advert.clone()));
        assert_eq!(Advert::peek(&advert.encode()), Ok((key.node_id(), 1)));
        advert.links.reverse();
        assert_eq!(Advert::decode(&advert.encode()), Err(DecodeError::Malformed));
        advert.links.clear();
        advert.version = "1".repeat(33);
        assert_eq!(Advert::decode(&advert.encode()), Err(DecodeError::TooLarge));
    }

    proptest! {
        #[test]
        fn decoding_is_total_and_what_decodes_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Advert::decode(&bytes);
            let _ = Payload::decode(&Bytes(bytes.clone()));
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
            }
        }

        #[test]
        fn every_truncation_of_a_hello_is_refused(cut in 0usize..100) {
            let bytes = hello().encode();
            prop_assume!(cut < bytes.len());
            prop_assert!(Message::decode(&bytes[..cut]).is_err());
        }
    }
}
