//! Models behind the inference port: a worker process per model, started from the node's own program, so that a model
//! that crashes or hangs takes a worker with it and never the node.

mod config;
mod encoder;
mod model;
pub mod quantize;
mod steps;
mod tokens;
mod weights;

pub use config::ConfigError;
pub use encoder::EncoderError;
pub use model::{LoadError, Model, TOKENS_MAX};
pub use weights::{HEADER_BYTES_MAX, WeightsError};

