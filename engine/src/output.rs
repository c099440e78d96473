//! What comes out of a node.

use crate::blob::BlobOrder;
use crate::event::Event;
use crate::ids::{DialId, Fingerprint, JobId, LinkId, NodeId, RequestId, WriteId};
use crate::input::Family;
use crate::record::Record;
use crate::request::Answer;
use crate::task::{Classification, EmbeddingInput, Generation, Reranking, TaskKind};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Something for the world around a node to do, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Do something with files.
    Blob(BlobOrder),
    /// Stop a job; it still ends with one [`crate::Input::InferenceDone`].
    Cancel {
        /// The job.
        job: JobId,
    },
    /// Connect; ends with one [`crate::Input::LinkUp`] or [`crate::Input::DialFailed`].
    Dial {
        /// Names the dial in its answer.
        dial: DialId,
        /// Where to.
        address: SocketAddr,
        /// Who must answer; `None` where anybody may.
        expect: Option<NodeId>,
    },
    /// Close a link once what was sent before is flushed; [`crate::Input::LinkDown`] follows.
    Disconnect {
        /// The link.
        link: LinkId,
    },
    /// Something that observers may want to know. Feeds nothing back.
    Event(Event),
    /// Find out how the node's process and its files are; ends with one [`crate::Input::Examined`].
    Examine,
    /// The node is STOPPED: flush and leave with this status.
    Exit {
        /// 0 where nothing was cut off, else 130.
        code: u8,
    },
    /// Run a piece of inference; ends with one [`crate::Input::InferenceDone`].
    Infer {
        /// Names the job in its answers.
        job: JobId,
        /// The model's name.
        model: String,
        /// Which model that must be.
        fingerprint: Fingerprint,
        /// The work.
        work: Work,
    },
    /// Send a packet to the discovery service's multicast group.
    Multicast {
        /// The interface to send it on.
        interface: u32,
        /// Whose group it goes to.
        family: Family,
        /// Its payload.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
    },
    /// Answer a user.
    Reply {
        /// The question.
        id: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// Send a frame. A link that has too much waiting closes for one of control, and gives any other back as
    /// [`crate::Input::Shed`].
    Send {
        /// The link.
        link: LinkId,
        /// The frame's payload, at most [`crate::wire::FRAME_BYTES_MAX`].
        #[serde(with = "crate::wire::octets")]
        frame: Vec<u8>,
        /// What goes first when the link is busy.
        priority: Priority,
    },
    /// Make records durable, together or not at all; ends with one [`crate::Input::WriteDone`]. Writes become
    /// durable in the order in which they were asked for.
    Write {
        /// Names the write in its answer.
        id: WriteId,
        /// The records.
        records: Vec<Record>,
    },
    /// Send a packet of the discovery service to one who asked and does not listen to its group.
    Unicast {
        /// The interface to send it on.
        interface: u32,
        /// Where it goes.
        to: SocketAddr,
        /// Its payload.
        #[serde(with = "crate::wire::octets")]
        bytes: Vec<u8>,
    },
}

/// What goes first when a link is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Pieces of files, and whatever is as large on its way through: goes when nothing else waits.
    Background,
    /// Heartbeats, membership, acknowledgements.
    Control,
    /// Task inputs and outputs.
    Bulk,
}

/// A piece of inference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Choose a label for each text.
    Classify {
        /// The texts, one per output.
        inputs: Vec<Classification>,
    },
    /// Make a vector of each input.
    Embed {
        /// The inputs, a list of them per output.
        inputs: Vec<Vec<EmbeddingInput>>,
    },
    /// Continue one prompt; reports progress.
    Generate(Box<Generation>),
    /// Say how well texts answer their query.
    Rerank {
        /// A query with its texts per output.
        inputs: Vec<Reranking>,
    },
}

impl Work {
    /// Returns the kind of task that this work serves.
    pub const fn kind(&self) -> TaskKind {
        match self {
            Self::Classify { .. } => TaskKind::Classification,
            Self::Embed { .. } => TaskKind::Embedding,
            Self::Generate(_) => TaskKind::Generation,
            Self::Rerank { .. } => TaskKind::Reranking,
        }
    }

    /// Returns how many outputs the work has.
    pub const fn len(&self) -> usize {
        match self {
            Self::Classify { inputs } => inputs.len(),
            Self::Embed { inputs } => inputs.len(),
            Self::Generate(_) => 1,
            Self::Rerank { inputs } => inputs.len(),
        }
    }

    /// Tells whether the work has no outputs.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many pieces of work there are: several per output where an output has several vectors.
    pub fn parts(&self) -> usize {
        match self {
            Self::Classify { .. } | Self::Generate(_) => self.len(),
            Self::Embed { inputs } => inputs.iter().map(Vec::len).sum(),
            Self::Rerank { inputs } => inputs.iter().map(|input| input.texts.len()).sum(),
        }
    }

    /// Returns the texts that the work is about; none for tokens.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Classify { inputs } => inputs.iter().map(|input| input.text.as_str()).collect(),
            Self::Embed { inputs } => inputs.iter().flatten().filter_map(EmbeddingInput::text).collect(),
            Self::Generate(generation) => generation.prompt.texts(),
            Self::Rerank { inputs } => inputs.iter().flat_map(Reranking::all).collect(),
        }
    }
}
