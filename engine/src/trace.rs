//! The context of a trace: what connects the steps of a task across nodes.
//!
//! It travels with each message about the task. The ids of spans do not travel: they are hashes, so every node computes
//! the same ones. The terms are those of W3C Trace Context, <https://www.w3.org/TR/trace-context/>.

mod parent;

pub use parent::{TraceParent, traceparent};

use crate::ids::{MessageId, NodeId, TaskId, TraceId};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The trace that a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TraceContext {
    /// The id of the trace.
    pub id: TraceId,
    /// Whether the steps of the trace are kept.
    pub sampled: bool,
}

impl TraceContext {
    /// The context of a message that belongs to no task, or to tasks of several traces.
    pub const NONE: Self = Self { id: TraceId([0; 16]), sampled: false };

    /// Tells whether there is no trace.
    pub fn is_none(self) -> bool {
        self.id == Self::NONE.id
    }

    /// Returns the trace that all of the given steps belong to; [`Self::NONE`] if they belong to several, or none is
    /// given.
    pub fn common(traces: impl IntoIterator<Item = Self>) -> Self {
        let mut traces = traces.into_iter();
        let Some(first) = traces.next() else { return Self::NONE };
        if traces.all(|trace| trace.id == first.id) { first } else { Self::NONE }
    }
}

/// Returns whether a trace that begins here is kept. `millionths` is the share of traces that are. The choice depends on
/// the id alone, so that all nodes with the same share make the same choice.
pub fn is_sampled(trace: TraceId, millionths: u32) -> bool {
    let [.., a, b, c, d] = trace.0;
    let random = u64::from(u32::from_be_bytes([a, b, c, d]));
    (random * 1_000_000) >> 32 < u64::from(millionths)
}

/// What a client's trace context adds to the trace of its task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The client's span that the task belongs to; `None` if the client gave none.
    pub parent: Option<SpanId>,
    /// Whether the steps of the trace are kept.
    pub sampled: bool,
    /// The `tracestate` of the client; empty if it gave none.
    pub state: String,
}

/// The id of a span, unique within its trace. Printed as 16 hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

impl SpanId {
    /// Returns the span of a task, from its acceptance to its end.
    pub fn of_task(trace: TraceId, task: TaskId) -> Self {
        Self::hash(&[&trace.0, b"task", &task.0])
    }

    /// Returns the span of an attempt at a task. `number` is the number of the attempt.
    pub fn of_attempt(trace: TraceId, task: TaskId, number: u32) -> Self {
        Self::of_step(trace, task, number, "attempt")
    }

    /// Returns the span of a step of an attempt, such as its computation.
    pub fn of_step(trace: TraceId, task: TaskId, number: u32, step: &str) -> Self {
        Self::hash(&[&trace.0, step.as_bytes(), &task.0, &number.to_be_bytes()])
    }

    /// Returns the span of a message, from its origin to its destination.
    pub const fn of_message(message: MessageId) -> Self {
        // The last half of the id is random.
        let [_, _, _, _, _, _, _, _, id @ ..] = message.0;
        Self(id)
    }

    /// Returns the span of a message on a link, or of its end, at this node.
    pub fn of_hop(message: Self, node: NodeId) -> Self {
        Self::hash(&[&message.0, b"hop", &node.0])
    }

    fn hash(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        let mut id = [0; 8];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(id)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not the id of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIdError;

impl fmt::Display for SpanIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected 16 lower-case hexadecimal characters")
    }
}

impl core::error::Error for SpanIdError {}

impl FromStr for SpanId {
    type Err = SpanIdError;

    fn from_str(text: &str) -> Result<Self, SpanIdError> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(is_hex) {
            return Err(SpanIdError);
        }
        u64::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| SpanIdError)
    }
}

// Human-readable formats get the text, the wire and the disk get the 8 bytes.
impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for SpanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            <[u8; 8]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_trace_of_several_is_none() {
        let one = TraceContext { id: TraceId([1; 16]), sampled: true };
        let two = TraceContext { id: TraceId([2; 16]), sampled: true };
        assert_eq!(TraceContext::common([one, one]), one);
        assert_eq!(TraceContext::common([one, two]), TraceContext::NONE);
        assert_eq!(TraceContext::common([one, TraceContext::NONE]), TraceContext::NONE);
        assert!(TraceContext::common([]).is_none() && !one.is_none());
    }

    #[test]
    fn a_share_of_the_traces_is_kept() {
        let kept = |millionths| {
            let trace = |n: u32| {
                TraceId(
                    [[0; 12].as_slice(), &n.wrapping_mul(0x9e37_79b1).to_be_bytes()]
                        .concat()
                        .try_into()
                        .unwrap(),
                )
            };
            (0..10_000).filter(|n| is_sampled(trace(*n), millionths)).count()
        };
        assert_eq!((kept(0), kept(1_000_000)), (0, 10_000));
        assert!((2_400..2_600).contains(&kept(250_000)), "{}", kept(250_000));
    }

    #[test]
    fn span_ids_differ_by_what_they_are_of_and_come_back_from_text() {
        let (trace, task) = (TraceId([1; 16]), TaskId([2; 16]));
        let ids = [
            SpanId::of_task(trace, task),
            SpanId::of_task(trace, TaskId([3; 16])),
            SpanId::of_attempt(trace, task, 1),
            SpanId::of_attempt(trace, task, 2),
            SpanId::of_step(trace, task, 1, "compute"),
        ];
        let all: std::collections::BTreeSet<SpanId> = ids.into_iter().collect();
        assert_eq!(all.len(), ids.len());
        assert_eq!(ids[0].to_string().parse(), Ok(ids[0]));
        for text in ["", "0123456789ABCDEF", "0123456789abcde", "+123456789abcdef"] {
            assert_eq!(text.parse::<SpanId>(), Err(SpanIdError), "{text:?}");
        }
    }
}
