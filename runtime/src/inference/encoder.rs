//! Encoders of the BERT family: from text to embeddings, scores and labels.
//!
//! [`Encoder`] is the interface of a backend: token numbers in, a hidden state for each token out. The invariant: the
//! hidden states of a text do not depend on the rest of its batch, beyond rounding.

pub(super) mod architectures;
mod candle_backend;
mod candle_ops;
mod classifier_head;
pub(super) mod config;
pub(super) mod config_error;
mod kernel_backend;
pub(super) mod model;
pub(super) mod parameters;
pub(super) mod pooling;
pub(super) mod tokenizer;
pub(super) mod tokens;
pub(super) mod zero_shot;

use super::files::weights::WeightsError;
use kernels::Sequence;
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicBool;

/// A loaded encoder of the BERT family.
pub(super) trait Encoder: Send + Sync {
    /// Computes the last hidden states of all tokens, and passes those of each sequence to `take` in turn.
    ///
    /// Each sequence must have at least one token and at most as many as the model has positions. Tokens and types must
    /// be known to the model. Checks `stop` between layers.
    fn encode(
        &self,
        workspace: &mut Workspace,
        sequences: &[Sequence<'_>],
        stop: &AtomicBool,
        take: TakeRows<'_>,
    ) -> Result<(), EncodeError>;
}

/// Receives the hidden states of one sequence, a row for each token.
pub(super) type TakeRows<'t> = &'t mut dyn FnMut(&mut dyn Iterator<Item = &[f32]>);

/// The threads and buffers of a batch, kept for the next batch.
pub struct Workspace {
    pub(super) team: kernels::ThreadTeam,
    pub(super) buffers: kernels::Workspace,
}

impl Workspace {
    /// Makes a workspace with this many threads, including the caller.
    pub fn new(threads: usize) -> Self {
        Self { team: kernels::ThreadTeam::new(threads), buffers: kernels::Workspace::default() }
    }

    /// Makes a workspace with only the calling thread.
    pub fn alone() -> Self {
        Self { team: kernels::ThreadTeam::alone(), buffers: kernels::Workspace::default() }
    }
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").field("threads", &self.team.threads()).finish_non_exhaustive()
    }
}

/// The precision that a model computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The program's choice, the same on every processor.
    #[default]
    Auto,
    /// bf16 weights.
    Bf16,
    /// f32 throughout, as in PyTorch.
    F32,
    /// 8-bit weights and activations.
    Int8,
}

impl Precision {
    /// Returns the precision for the kernels.
    pub(super) fn for_kernels(self) -> kernels::Precision {
        match self {
            Self::Bf16 => kernels::Precision::Bf16,
            Self::F32 => kernels::Precision::F32,
            // Independent of the processor, so that a text has the same embedding on every node.
            Self::Auto | Self::Int8 => kernels::Precision::Int8,
        }
    }

    /// Returns the name of the precision for the fingerprint of a model.
    pub(crate) fn name(self) -> &'static str {
        match self.for_kernels() {
            kernels::Precision::Bf16 => "bf16",
            kernels::Precision::F32 => "f32",
            kernels::Precision::Int8 => "int8",
        }
    }
}

/// Why a batch was not computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The computation failed.
    #[error("{0}")]
    Failed(String),
    /// The batch was cancelled.
    #[error("the batch was cancelled")]
    Stopped,
}

/// Why an encoder could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The matrix library failed.
    #[error("the matrix library failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// The kernels reject a matrix.
    #[error(transparent)]
    Matrix(#[from] kernels::MatrixError),
    /// The parts do not fit each other.
    #[error(transparent)]
    Parts(#[from] kernels::EncoderError),
    /// The weights are invalid.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
