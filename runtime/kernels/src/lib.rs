//! Matrix products and what stands between them, fast on the processor at hand.
//!
//! An [`Encoder`] computes the hidden states of BERT-family models on CPUs: weights are packed once for the
//! instructions that were found when the program runs, sequences lie end to end without padding, and bias, activation,
//! residual and quantisation are done while a block of rows is in cache. [`Isa`] says what the processor can do; each
//! instruction set computes the same as plain Rust does, which tests check over random shapes.
//!
//! [`llama`] generates text: weights stay quantised, and are packed into memory or a mapped file.
//!
//! This crate is the only place with `unsafe` in the workspace: whoever calls it brings the numbers.

mod aligned;
mod attention;
mod elements;
mod encoder;
mod format;
mod isa;
mod linear;
pub mod llama;
mod matrix;
mod simd;
mod team;
mod tile;
mod vectors;

pub use elements::Activation;
pub use encoder::{
    Dense, Encoder, EncoderError, EncoderTables, EncoderWeights, ForwardError, Hidden, LayerWeights, Norm,
    ReadRows, Scratch, Sequence, TakeLayer, Words,
};
pub use isa::Isa;
pub use linear::Precision;
pub use matrix::{Matrix, MatrixError, Outlier};
pub use team::{MEMBERS_MAX, Team};
