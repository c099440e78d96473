//! Matrix products and what stands between them, fast on the processor at hand.
//!
//! An [`Encoder`] computes the hidden states of BERT-family models on CPUs: weights are packed once for the
//! instructions that were found when the program runs, sequences lie end to end without padding, and bias, activation,
//! residual and quantisation are done while a block of rows is in cache. [`Isa`] says what the processor can do; each
//! instruction set computes the same as plain Rust does, which tests check over random shapes.
//!
//! [`decoder`] generates text: weights stay quantised, and are packed into memory or a mapped file.
//!
//! This crate is the only place with `unsafe` in the workspace: whoever calls it brings the numbers.

mod aligned;
pub mod decoder;
mod encoder;
mod simd;
mod thread_team;

pub use encoder::{
    Dense, Encoder, EncoderError, EncoderTables, EncoderWeights, ForwardError, Hidden, LayerWeights, Matrix,
    MatrixError, Norm, Outlier, Precision, ReadRows, Sequence, TakeLayer, TokenEmbeddings, Workspace,
};
pub use simd::elements::Activation;
pub use simd::isa::Isa;
pub use thread_team::{TEAM_THREADS_MAX, ThreadTeam};
