//! Models behind the inference port: a worker process per model, started from the node's own program, so that a model
//! that crashes or hangs takes a worker with it and never the node.

mod child;
mod config;
#[cfg(feature = "embedded-model")]
mod embedded;
mod encoder;
mod model;
mod process;
mod protocol;
pub mod quantize;
mod queue;
mod steps;
mod tokens;
mod weights;
mod worker;

pub use config::ConfigError;
pub use encoder::EncoderError;
pub use model::{LoadError, Model, TOKENS_MAX};
pub use process::{ProcessInference, WORKER_COMMAND, WorkerOptions};
pub use weights::{HEADER_BYTES_MAX, WeightsError};
pub use worker::worker_main;

/// The name of the model that is compiled into the program; its kind is embedding.
#[cfg(feature = "embedded-model")]
pub const EMBEDDED_MODEL: &str = "all-MiniLM-L6-v2";
