//! The forward pass of a Llama: quantised weights in tiles of 16 rows, a bounded cache, persistent threads.
//!
//! A weight matrix is read once for each pass, and reading it is what a pass costs; so it lies in memory in the order
//! in which it is read, packed once into one arena. Nothing is allocated for a token.

mod arena;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cache;
mod format;
mod kernel;
mod lanes;
mod model;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pass;
mod shared;
mod steps;
mod tile;

pub use arena::Arena;
pub use cache::Cache;
pub use format::{Format, TILE_ROWS, encode_q8_0};
pub use kernel::{Kernel, names as kernel_names};
pub use model::{Layer, Llama, Matrix, PASS_TOKENS_MAX, Shape, ShapeError};
