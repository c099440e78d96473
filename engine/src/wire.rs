//! The messages between nodes, and their encoding.
//!
//! A frame is one kind byte and a postcard body. Decoding is total and bounded: any bytes give a message whose lists
//! and texts are within their limits, or an error. It never uses more memory than a small multiple of the frame. A
//! hello has the protocol version at a fixed position before its body, so nodes of any two versions can
//! detect the mismatch.

mod envelope;

pub(crate) use envelope::Head;
pub use envelope::{Envelope, Seal};

use crate::blobs::{BlobId, Hash, Piece, Pin};
use crate::error::{DecodeError, InferenceError};
use crate::event::{DropReason, PayloadKind, RefuseReason};
use crate::identity::PublicKey;
use crate::ids::{Fingerprint, MessageId, NodeId, TaskId};
use crate::model::ModelOffer;
use crate::node_name::NodeName;
use crate::observers::traces::{Found, IdPrefix};
use crate::task::{TaskInput, TaskOutput};
use crate::time::UnixMillis;
use crate::trace::TraceContext;
use core::net::SocketAddr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// Maximum size of a frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Maximum size of a frame before the peer's hello is accepted, in bytes.
pub const HELLO_BYTES_MAX: usize = 8 << 10;

/// The version of the protocol. Nodes of different versions refuse links with each other.
pub const PROTOCOL_VERSION: u16 = 4;

/// A message on one link.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Adverts of members, each signed by its member.
    Adverts(Vec<SignedAdvert>),
    /// Another running node uses the receiver's key, and connected to the sender from this address.
    Copied(SocketAddr),
    /// The sender shuts down.
    Goodbye,
    /// The first message on a link, in both directions.
    Hello(Box<Hello>),
    /// A heartbeat; the receiver answers with [`Message::Pong`].
    Ping(Beat),
    /// The answer to a ping, with its number.
    Pong(Beat),
    /// The sender refuses the link, for this reason.
    Refuse(RefuseReason),
    /// An end-to-end message, which may cross several links.
    Routed(Box<Envelope>),
    /// The sequence number of each member's newest advert that the sender has. Requests newer ones.
    Versions(Vec<(NodeId, u64)>),
    /// The sender accepted the receiver's hello. The link is up once both ends have sent this.
    Welcome,
}

/// How a node introduces itself on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's network.
    pub network: String,
    /// Identifies this start of the sender; differs after each restart.
    pub incarnation: u64,
    /// The sender's own advert.
    pub advert: SignedAdvert,
    /// The sender's wall-clock time. It is not relied on; a large difference is reported.
    pub sent_at: UnixMillis,
}

/// The contents of a heartbeat, at most 18 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The number of the ping on its link.
    pub number: u32,
    /// A digest of the members that the sender knows, and of the versions of their adverts.
    pub digest: u64,
    /// Number of tasks that the sender has to run.
    pub load: u16,
}

/// A member's statement about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// The key of the member, which signs the advert.
    pub key: PublicKey,
    /// Increases with each advert of the member, also across restarts.
    pub sequence: u64,
    /// Identifies this start of the member. It differs after each restart, and increases with the member's clock.
    pub incarnation: u64,
    /// The addresses at which the member accepts links.
    pub addresses: Vec<SocketAddr>,
    /// The member's name.
    pub name: NodeName,
    /// The product's version.
    pub version: String,
    /// Maximum number of links of the member.
    pub max_links: u16,
    /// Maximum number of inference jobs that the member runs at the same time.
    pub slots: u16,
    /// The models that the member offers or is about to load.
    pub models: Vec<ModelOffer>,
    /// The nodes that the member has links with, in ascending order.
    pub links: Vec<NodeId>,
    /// The static X25519 key of the member's end-to-end sessions.
    pub session_key: [u8; 32],
}

/// An encoded [`Advert`], with its member's signature over exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAdvert {
    /// The encoded advert.
    pub body: SharedBytes,
    /// The signature.
    pub signature: Signature,
}

/// The payload of an envelope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Payload {
    /// Acknowledges messages: they arrived, and the records that their sender relies on are durable.
    Ack(Vec<MessageId>),
    /// Assigns an attempt to the receiver.
    Assign(Assignment),
    /// Cancels this attempt, and all earlier attempts at its task.
    Cancel(Attempt),
    /// Declines an attempt: the worker's queue is full, or it does not have the model.
    Decline(Attempt),
    /// Answers [`Payload::Look`]: the file, if the sender has it.
    Held {
        /// The number of the query.
        query: u64,
        /// The file.
        blob: Option<BlobId>,
    },
    /// Returns an attempt, since the worker shuts down before it could finish.
    HandBack(Attempt),
    /// Asks whether the receiver has a file.
    Look {
        /// The number of the query, repeated in the answer.
        query: u64,
        /// The file.
        pin: Pin,
    },
    /// The outcome of an attempt.
    Outcome {
        /// The attempt.
        attempt: Attempt,
        /// The model that computed it.
        fingerprint: Fingerprint,
        /// Compute time, in microseconds.
        micros: u64,
        /// The output, or the error.
        result: Result<TaskOutput, InferenceError>,
    },
    /// The text that an attempt generated since the last report.
    Progress(ProgressChunk),
    /// A piece of a file, as requested. Neither this nor [`Payload::PieceWanted`] is acknowledged: a receiver that
    /// misses a piece requests it again.
    Piece {
        /// The file.
        root: Hash,
        /// The index of the piece.
        number: u32,
        /// The piece.
        piece: Piece,
    },
    /// Rejects the request for a piece.
    PieceRefused {
        /// The file.
        root: Hash,
        /// The index of the piece.
        number: u32,
        /// Whether the sender does not have the file. Otherwise it is too busy.
        gone: bool,
    },
    /// Requests a piece of a file.
    PieceWanted {
        /// The file.
        root: Hash,
        /// The index of the piece.
        number: u32,
    },
    /// Pings a node that need not be a peer; it answers with an acknowledgement. The bytes only add size.
    Probe(Bytes),
    /// Renews the leases of all attempts that the worker still has from the receiver.
    Renew(Vec<Attempt>),
    /// The worker has started this attempt.
    Started(Attempt),
    /// A relay could not forward the message.
    Undeliverable {
        /// The message.
        message: MessageId,
        /// The reason.
        reason: DropReason,
    },
    /// Asks a worker which of these attempts of the sender it still has. The answers are [`Payload::Here`] and
    /// [`Payload::Missing`].
    Check(Vec<Attempt>),
    /// The worker does not have these attempts, and will send no outcome for them.
    Missing(Vec<Attempt>),
    /// The worker still has these attempts, of those that it was asked about.
    Here(Vec<Attempt>),
    /// Answers [`Payload::TraceWanted`]. Neither of them is acknowledged.
    TraceFound {
        /// The number of the query.
        query: u64,
        /// The wall-clock time at which the query arrived, in microseconds since 1970-01-01 UTC.
        received_micros: u64,
        /// The wall-clock time of this answer.
        sent_micros: u64,
        /// The steps of the trace at the sender.
        found: Found,
    },
    /// Asks for the steps of a trace at the receiver.
    TraceWanted {
        /// The number of the query, repeated in the answer.
        query: u64,
        /// The id of the trace or of a task, or its beginning.
        id: IdPrefix,
    },
}

/// An attempt at a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    /// The task.
    pub task: TaskId,
    /// The number of the attempt, from 1.
    pub number: u32,
}

/// A piece of the text that an attempt generates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressChunk {
    /// The attempt.
    pub attempt: Attempt,
    /// Bytes of the text before this piece.
    pub offset: u32,
    /// The piece.
    pub text: String,
    /// Number of tokens that the attempt has generated so far.
    pub tokens: u32,
}

/// The assignment of a task to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The attempt.
    pub attempt: Attempt,
    /// The model's name.
    pub model: String,
    /// The model's fingerprint. A worker whose model of that name has another fingerprint declines.
    pub fingerprint: Fingerprint,
    /// The input of the task.
    pub input: TaskInput,
    /// Time until the deadline, in milliseconds. No clock of another machine is relied on.
    pub remaining_millis: u64,
    /// The trace of the task.
    pub trace: TraceContext,
    /// Whether the attempt must run in a job of its own, since the model crashed or failed with it before.
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
    /// [`DecodeError::Version`] for the hello of another protocol version, [`DecodeError::TooLarge`] if a limit is
    /// exceeded, [`DecodeError::Malformed`] for all other bytes that [`Message::encode`] does not produce.
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

    /// Tells whether the member would accept another link.
    pub fn has_room(&self) -> bool {
        self.links.len() < usize::from(self.max_links)
    }

    /// Reads only the id of the member and the sequence number.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes do not begin like an advert.
    pub fn peek(bytes: &[u8]) -> Result<(NodeId, u64), DecodeError> {
        let head = postcard::take_from_bytes::<(PublicKey, u64)>(bytes);
        head.map(|((key, sequence), _)| (key.node_id(), sequence)).map_err(|_| DecodeError::Malformed)
    }

    /// Decodes an advert and checks its limits. The caller checks its signature.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not an advert, or exceed a limit.
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
        // Links are in ascending order and unique, so that a lookup is a binary search and the encoding is canonical.
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
    /// [`DecodeError`] if the bytes are not a payload.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        whole(&bytes.0)
    }

    /// Returns the kind of the payload.
    pub const fn kind(&self) -> PayloadKind {
        match self {
            Self::Ack(_) => PayloadKind::Ack,
            Self::Assign(_) => PayloadKind::Assign,
            Self::Cancel(_) => PayloadKind::Cancel,
            Self::Decline(_) => PayloadKind::Decline,
            Self::Held { .. } => PayloadKind::Held,
            Self::HandBack(_) => PayloadKind::HandBack,
            Self::Look { .. } => PayloadKind::Look,
            Self::Outcome { .. } => PayloadKind::Outcome,
            Self::Progress(_) => PayloadKind::Progress,
            Self::Piece { .. } => PayloadKind::Piece,
            Self::PieceRefused { .. } => PayloadKind::PieceRefused,
            Self::PieceWanted { .. } => PayloadKind::PieceWanted,
            Self::Probe(_) => PayloadKind::Probe,
            Self::Renew(_) => PayloadKind::Renew,
            Self::Started(_) => PayloadKind::Started,
            Self::Undeliverable { .. } => PayloadKind::Undeliverable,
            Self::Check(_) => PayloadKind::Check,
            Self::Missing(_) => PayloadKind::Missing,
            Self::Here(_) => PayloadKind::Here,
            Self::TraceFound { .. } => PayloadKind::TraceFound,
            Self::TraceWanted { .. } => PayloadKind::TraceWanted,
        }
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

/// Bytes that are encoded as one block. Clones share them.
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

/// Bytes that are encoded as one block.
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

/// Reads a block of bytes, and converts it if it has the right form.
struct Whole<F>(F);

impl<'de, T, F: FnOnce(&[u8]) -> Option<T>> serde::de::Visitor<'de> for Whole<F> {
    type Value = T;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        (self.0)(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &"another length"))
    }

    // Human-readable formats have lists of numbers instead of bytes.
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut numbers: A) -> Result<T, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}

/// Encodes a list of bytes as one block, in the same form as one by one.
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

/// The kind byte of a frame. Its values are part of the protocol.
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

/// Tells whether a frame carries an [`Envelope`].
pub(crate) fn is_routed(frame: &[u8]) -> bool {
    frame.first() == Some(&(Kind::Routed as u8))
}

fn frame<T: Serialize>(kind: Kind, body: &T) -> Vec<u8> {
    // Serialising plain data into a vector cannot fail.
    postcard::to_extend(body, vec![kind as u8]).unwrap_or_default()
}

/// Decodes a body that must end with the value.
fn whole<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(DecodeError::Malformed),
    }
}

/// Returns the protocol version in a hello's frame, mutably; `None` for other frames.
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

/// The first bytes of a hello after its kind byte.
const MAGIC: [u8; 4] = *b"p2pa";
/// Maximum number of addresses in an advert.
const ADDRESSES_MAX: usize = 8;
/// Maximum size of an encoded advert, in bytes.
const ADVERT_BYTES_MAX: usize = 8 << 10;
/// A kind byte and a length.
const LENGTH_BYTES_MAX: usize = 6;
/// Maximum number of links in an advert: the greatest that a node may be configured to have.
const LINKS_MAX: usize = 256;
/// Maximum number of models in an advert.
const MODELS_MAX: usize = 16;
const MODEL_NAME_BYTES_MAX: usize = 96;
const NETWORK_BYTES_MAX: usize = 64;
/// A signature, and the lengths of both parts.
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
            trace: TraceContext { id: crate::ids::TraceId([4; 16]), sampled: true },
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
    fn the_kind_of_a_payload_is_read_from_its_encoding() {
        let (attempt, message) = (Attempt { task: TaskId([1; 16]), number: 1 }, MessageId([2; 16]));
        let (root, pin) = (Hash([3; 32]), Pin::Blake3(Hash([3; 32])));
        let text = String::new();
        for payload in [
            Payload::Ack(Vec::new()),
            Payload::Cancel(attempt),
            Payload::Decline(attempt),
            Payload::Held { query: 1, blob: None },
            Payload::HandBack(attempt),
            Payload::Look { query: 1, pin },
            Payload::Progress(ProgressChunk { attempt, offset: 0, text, tokens: 0 }),
            Payload::PieceRefused { root, number: 0, gone: true },
            Payload::PieceWanted { root, number: 0 },
            Payload::Probe(Bytes(Vec::new())),
            Payload::Renew(vec![attempt]),
            Payload::Started(attempt),
            Payload::Undeliverable { message, reason: DropReason::NoRoute },
            Payload::Check(Vec::new()),
            Payload::Missing(Vec::new()),
            Payload::Here(Vec::new()),
        ] {
            assert_eq!(PayloadKind::of(&payload.encode().0), payload.kind());
        }
        assert_eq!(PayloadKind::of(&[0xff]), PayloadKind::Unknown);
        assert_eq!(PayloadKind::of(&[]), PayloadKind::Unknown);
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
            name: NodeName::new("cedar").unwrap(),
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
