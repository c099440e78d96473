//! An encoder: token numbers to a hidden state for each token, whatever computes it.
//!
//! The invariant: a text's hidden states do not depend on what else is in its batch beyond rounding.

mod architectures;
mod candle_backend;
mod candle_ops;
mod classifier_head;
pub(super) mod config;
pub(super) mod config_error;
mod kernel_backend;
pub(super) mod model;
pub(super) mod parameters;
pub(super) mod pooling;
mod tokenizer;
pub(super) mod tokens;
pub(super) mod zero_shot;

use super::files::weights::WeightsError;
use kernels::Sequence;
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicBool;

/// An encoder of the BERT family, loaded.
pub(super) trait Encoder: Send + Sync {
    /// Computes the last hidden states of all tokens, and hands those of each sequence over in turn.
    ///
    /// Each sequence has at least one token and at most as many as there are positions, all of them of the vocabulary,
    /// and of types that the model has.
    /// `stop` is looked at between layers.
    fn encode(
        &self,
        workspace: &mut Workspace,
        sequences: &[Sequence<'_>],
        stop: &AtomicBool,
        take: TakeRows<'_>,
    ) -> Result<(), EncodeError>;
}

/// Takes the hidden states of one sequence, a row for each of its tokens.
pub(super) type TakeRows<'t> = &'t mut dyn FnMut(&mut dyn Iterator<Item = &[f32]>);

/// The threads that a batch is computed on, and the memory that they work in, which is kept for the next batch.
pub struct Workspace {
    pub(super) team: kernels::ThreadTeam,
    pub(super) buffers: kernels::Workspace,
}

impl Workspace {
    /// Makes room for so many threads, the caller's included.
    pub fn new(threads: usize) -> Self {
        Self { team: kernels::ThreadTeam::new(threads), buffers: kernels::Workspace::default() }
    }

    /// Makes room for the calling thread.
    pub fn alone() -> Self {
        Self { team: kernels::ThreadTeam::alone(), buffers: kernels::Workspace::default() }
    }
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").field("threads", &self.team.threads()).finish_non_exhaustive()
    }
}

/// How exactly a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// What the program chooses, the same on every processor.
    #[default]
    Auto,
    /// Weights of 16 bits.
    Bf16,
    /// As PyTorch does.
    F32,
    /// Weights and activations of 8 bits.
    Int8,
}

impl Precision {
    /// Returns what the kernels are to do.
    pub(super) fn for_kernels(self) -> kernels::Precision {
        match self {
            Self::Bf16 => kernels::Precision::Bf16,
            Self::F32 => kernels::Precision::F32,
            // Not by what this processor is fast at: a text has one vector wherever it is computed.
            Self::Auto | Self::Int8 => kernels::Precision::Int8,
        }
    }

    /// Names the arithmetic, for a model's fingerprint.
    pub(crate) fn name(self) -> &'static str {
        match self.for_kernels() {
            kernels::Precision::Bf16 => "bf16",
            kernels::Precision::F32 => "f32",
            kernels::Precision::Int8 => "int8",
        }
    }
}

/// Why there are no hidden states.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The computation failed.
    #[error("{0}")]
    Failed(String),
    /// Nobody wants them any more.
    #[error("nobody wants the result any more")]
    Stopped,
}

/// Why an encoder could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The matrix library refused; the file was right.
    #[error("the matrix library failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// The kernels refuse a matrix.
    #[error(transparent)]
    Matrix(#[from] kernels::MatrixError),
    /// The parts do not fit each other.
    #[error(transparent)]
    Parts(#[from] kernels::EncoderError),
    /// The file is wrong.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
