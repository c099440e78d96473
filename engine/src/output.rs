//! The outputs of a node.

use crate::blobs::BlobOrder;
use crate::event::Event;
use crate::ids::{DialId, Fingerprint, JobId, LinkId, NodeId, RequestId, WriteId};
use crate::input::Family;
use crate::observers::traces::TraceOrder;
use crate::record::Record;
use crate::request::Answer;
use crate::task::{Classification, EmbeddingInput, Generation, Reranking, TaskKind};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// An order to the driver. Orders are executed in sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Perform a file operation.
    Blob(BlobOrder),
    /// Stop a job; it still ends with one [`crate::Input::InferenceDone`].
    Cancel {
        /// The job.
        job: JobId,
    },
    /// Open a connection; ends with one [`crate::Input::LinkUp`] or [`crate::Input::DialFailed`].
    Dial {
        /// The handle of the dial, repeated in its result.
        dial: DialId,
        /// The address to dial.
        address: SocketAddr,
        /// The node that must answer; `None` for any.
        expect: Option<NodeId>,
    },
    /// Close a link after flushing earlier frames; [`crate::Input::LinkDown`] follows.
    Disconnect {
        /// The link.
        link: LinkId,
    },
    /// Report an event to observers. Feeds nothing back.
    Event(Event),
    /// Collect facts about the node's process and files; ends with one [`crate::Input::Examined`].
    Examine,
    /// The node is STOPPED: flush and exit with this status.
    Exit {
        /// 0 if no task was cut off, otherwise [`crate::lifecycle::CUT_OFF`].
        code: u8,
    },
    /// Run an inference job; ends with one [`crate::Input::InferenceDone`].
    Infer {
        /// The handle of the job, repeated in its results.
        job: JobId,
        /// The model's name.
        model: String,
        /// The fingerprint that the model must have.
        fingerprint: Fingerprint,
        /// The inputs of the job.
        work: InferenceJob,
    },
    /// Send a packet to the discovery service's multicast group.
    Multicast {
        /// The index of the interface to send it on.
        interface: u32,
        /// The address family of the group.
        family: Family,
        /// Its payload.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
    },
    /// Reply to a user.
    Reply {
        /// The request.
        id: RequestId,
        /// The reply.
        answer: Answer,
    },
    /// Send a frame. If the link's queue is full, a control frame closes the link, and any other frame comes back as
    /// [`crate::Input::Shed`].
    Send {
        /// The link.
        link: LinkId,
        /// The frame's payload, at most [`crate::wire::FRAME_BYTES_MAX`] bytes.
        #[serde(with = "crate::wire::octets")]
        frame: Vec<u8>,
        /// Its priority when the link is busy.
        priority: Priority,
    },
    /// Keep parts of traces, or find some.
    Traces(TraceOrder),
    /// Make records durable, all or none; ends with one [`crate::Input::WriteDone`]. Writes become durable in the order
    /// of these outputs.
    Write {
        /// Names the write in its answer.
        id: WriteId,
        /// The records.
        records: Vec<Record>,
    },
    /// Send a packet of the discovery service to a host that asked from outside the multicast group.
    Unicast {
        /// The index of the interface to send it on.
        interface: u32,
        /// The destination.
        to: SocketAddr,
        /// Its payload.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
    },
}

/// The priority of a frame when its link is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Pieces of files, and forwarded messages of that size. Sent when nothing else waits.
    Background,
    /// Heartbeats, membership, acknowledgements.
    Control,
    /// Task inputs and outputs.
    Bulk,
}

/// The inputs of an inference job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InferenceJob {
    /// Choose a label for each text.
    Classify {
        /// The texts, one per output.
        inputs: Vec<Classification>,
    },
    /// Compute the embeddings of the inputs.
    Embed {
        /// The inputs, one list per output.
        inputs: Vec<Vec<EmbeddingInput>>,
    },
    /// Continue one prompt, with progress reports.
    Generate(Box<Generation>),
    /// Score how well texts match a query.
    Rerank {
        /// A query with its texts, one per output.
        inputs: Vec<Reranking>,
    },
}

impl InferenceJob {
    /// Returns the kind of task that the job serves.
    pub const fn kind(&self) -> TaskKind {
        match self {
            Self::Classify { .. } => TaskKind::Classification,
            Self::Embed { .. } => TaskKind::Embedding,
            Self::Generate(_) => TaskKind::Generation,
            Self::Rerank { .. } => TaskKind::Reranking,
        }
    }

    /// Returns the number of outputs.
    pub const fn len(&self) -> usize {
        match self {
            Self::Classify { inputs } => inputs.len(),
            Self::Embed { inputs } => inputs.len(),
            Self::Generate(_) => 1,
            Self::Rerank { inputs } => inputs.len(),
        }
    }

    /// Tells whether the job has no outputs.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of vectors, scores or texts to compute: several per output where an output has several.
    pub fn parts(&self) -> usize {
        match self {
            Self::Classify { .. } | Self::Generate(_) => self.len(),
            Self::Embed { inputs } => inputs.iter().map(Vec::len).sum(),
            Self::Rerank { inputs } => inputs.iter().map(|input| input.texts.len()).sum(),
        }
    }

    /// Returns the texts of all inputs; inputs given as tokens are left out.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Classify { inputs } => inputs.iter().map(|input| input.text.as_str()).collect(),
            Self::Embed { inputs } => inputs.iter().flatten().filter_map(EmbeddingInput::text).collect(),
            Self::Generate(generation) => generation.prompt.texts(),
            Self::Rerank { inputs } => inputs.iter().flat_map(Reranking::all).collect(),
        }
    }
}
