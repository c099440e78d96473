//! The forward pass of a decoder: quantised weights in tiles of 16 rows, a bounded key-value cache, persistent threads.
//!
//! A pass reads each weight matrix once, and its cost is that of reading memory. The weights therefore lie in one
//! arena, packed once in the order in which a pass reads them. Generating a token allocates nothing.

mod arena;
mod format;
mod forward;
mod k_quants;
mod kernel;
mod kv_cache;
mod layer_ops;
mod model;
mod shape;
mod shared;
mod tile;
mod weights;

pub use arena::Arena;
pub use format::{Format, TILE_ROWS, encode_q8_0};
pub use k_quants::{decode_q5_k, decode_q6_k};
pub use kernel::{Kernel, names as kernel_names};
pub use kv_cache::KvCache;
pub use model::Decoder;
pub use shape::{PASS_TOKENS_MAX, Shape, ShapeError};
pub use weights::{Biases, Layer, Matrix};
