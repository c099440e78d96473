//! Forward passes of transformer encoders and decoders on CPUs, with the fastest instructions that the processor has.
//!
//! # The idea
//! Weights are packed once, in the order in which a pass reads them, and for the instruction set found at run time.
//! After that a pass allocates nothing: it works in a [`Workspace`] or a [`KvCache`](decoder::KvCache) that is kept for
//! the next pass, on the threads of a [`ThreadTeam`] that already run.
//!
//! - [`Encoder`] computes the hidden states of BERT-family models. Sequences lie end to end, without padding. Bias,
//!   activation, residual and quantisation are applied while a block of rows is in cache.
//! - [`decoder`] generates text with decoders like Llama. Weights stay quantised, and are packed into memory or
//!   into a memory-mapped file.
//!
//! # Invariants
//! - **One arithmetic.** Every kernel computes what plain Rust computes. Integers agree to the bit, floating-point
//!   numbers up to rounding: additions may happen in another order, and a product and a sum may be fused. Tests hold
//!   each instruction set of the processor at hand, and the portable one, against textbook formulas over random shapes.
//! - **No batch effects.** A result does not depend on what else is in the batch, on the number of threads, or on how a
//!   prompt is divided into passes, beyond rounding.
//! - **Only instructions that exist.** CPU features are detected in one place, `simd/cpu.rs`. A value of a type that
//!   stands for an instruction set exists only on a processor that has it.
//! - **Validated once.** Weights whose dimensions do not fit each other are an error when a model is made. A token
//!   or position outside the model is an error before anything is computed.
//! - **`unsafe` stays here.** No other crate of the workspace has any. Each `unsafe` block says why it is sound;
//!   callers bring numbers, never pointers.
//!
//! # Where to start reading
//! | file | content |
//! |---|---|
//! | `encoder.rs`, `decoder/model.rs` | the two models, top down: start here |
//! | `simd.rs` | what an instruction set is: the two traits, and why there are two |
//! | `simd/cpu.rs`, `simd/isa.rs` | CPU detection; running one generic function with each instruction set |
//! | `encoder/tile.rs`, `decoder/tile.rs` | the innermost products, where nearly all time goes |
//! | `encoder/linear.rs` | how encoder weights are packed, and the product with its epilogue |
//! | `decoder/format.rs` | how quantised rows lie in a GGUF file, and how 16 rows lie in a tile |
//! | `decoder/forward.rs` | one pass, phase by phase, on several threads |
//! | `thread_team.rs` | threads that share the items of a phase and spin before they sleep |
//!
//! Tokenizers, model files and sampling are not here: the crate `runtime` has them.

mod aligned;
pub mod decoder;
mod encoder;
mod simd;
mod thread_team;

pub use encoder::{
    Dense, Encoder, EncoderError, EncoderTables, EncoderWeights, ForwardError, Hidden, LayerWeights, Matrix,
    MatrixError, Norm, Outlier, Precision, RELATIVE_BUCKETS, ReadRows, Sequence, TakeLayer, TokenEmbeddings,
    Workspace, relative_bucket,
};
pub use simd::cpu::cpu_features;
pub use simd::elements::Activation;
pub use simd::isa::Isa;
pub use thread_team::{TEAM_THREADS_MAX, ThreadTeam};
