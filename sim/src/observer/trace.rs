//! The trace of a run: every input and output of every node, in order, as one hash.
//!
//! Two runs with the same hash did the same things at the same times. The hash is 64-bit XXH3 over the postcard
//! encoding of the records. Nobody tries to construct a collision, and an accidental one has probability 2^-64. It
//! hashes ten bytes in the time that SHA-256 needs for one, and large meshes exchange gigabytes.

use crate::invariant::Observation;
use crate::node_set::NodeIndex;
use core::fmt;
use engine::Instant;
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3Default;

/// A growing trace.
#[derive(Default)]
pub(crate) struct Trace {
    hash: Xxh3Default,
    buffer: Vec<u8>,
    pub(crate) inputs: u64,
    pub(crate) outputs: u64,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, outputs, .. } = self;
        f.debug_struct("Trace").field("inputs", inputs).field("outputs", outputs).finish_non_exhaustive()
    }
}

/// The summary of a complete trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TraceSummary {
    /// The hash, as 16 hexadecimal characters.
    pub hash: String,
    /// The number of inputs.
    pub inputs: u64,
    /// The number of outputs.
    pub outputs: u64,
}

impl Trace {
    /// Adds what happened to a node.
    pub(crate) fn push(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) {
        match observation {
            Observation::Input(input) => {
                self.inputs += 1;
                self.encode(&(now, node, 0_u8, input));
            }
            Observation::Output(output) => {
                self.outputs += 1;
                self.encode(&(now, node, 1_u8, output));
            }
            Observation::Durable(record) => self.encode(&(now, node, 2_u8, record)),
            Observation::Started => self.encode(&(now, node, 3_u8)),
            Observation::Stopped => self.encode(&(now, node, 4_u8)),
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Counts what happened to a node, without adding it.
    pub(crate) const fn count(&mut self, observation: Observation<'_>) {
        match observation {
            Observation::Input(_) => self.inputs += 1,
            Observation::Output(_) => self.outputs += 1,
            Observation::Durable(_) | Observation::Started | Observation::Stopped => {}
        }
    }

    pub(crate) fn finish(mut self) -> TraceSummary {
        self.flush();
        let hash = format!("{:016x}", self.hash.digest());
        TraceSummary { hash, inputs: self.inputs, outputs: self.outputs }
    }

    fn encode<T: Serialize>(&mut self, record: &T) {
        let buffer = core::mem::take(&mut self.buffer);
        // Encoding plain data of known lengths into a vector cannot fail.
        self.buffer = postcard::to_extend(record, buffer).expect("a record is plain data");
    }

    fn flush(&mut self) {
        self.hash.update(&self.buffer);
        self.buffer.clear();
    }
}

const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::recovered;
    use engine::{Input, Output, TaskId};

    #[test]
    fn order_time_node_and_content_all_count() {
        let hash = |records: &[(u64, NodeIndex, Input)]| {
            let mut trace = Trace::default();
            for (at, node, input) in records {
                trace.push(Instant::from_micros(*at), *node, Observation::Input(input));
            }
            trace.finish().hash
        };
        let (tick, port) = (Input::Tick, Input::Listening { port: 1 });
        let base = hash(&[(1, 0, tick.clone()), (1, 1, port.clone())]);
        assert_eq!(base, hash(&[(1, 0, tick.clone()), (1, 1, port.clone())]));
        assert_eq!(base.len(), 16);
        assert_ne!(base, hash(&[(1, 1, port.clone()), (1, 0, tick.clone())]));
        assert_ne!(base, hash(&[(2, 0, tick.clone()), (1, 1, port.clone())]));
        assert_ne!(base, hash(&[(1, 2, tick.clone()), (1, 1, port)]));
        assert_ne!(base, hash(&[(1, 0, tick), (1, 1, Input::Listening { port: 2 })]));
    }

    #[test]
    fn tagged_events_encode() {
        let mut trace = Trace::default();
        let event = Output::Event(recovered(TaskId([1; 16])));
        trace.push(Instant::ZERO, 0, Observation::Output(&event));
        assert_eq!(trace.finish().outputs, 1);
    }
}
