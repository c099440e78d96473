//! Models behind the inference port: a worker process for each model, started from the node's own program. A model that
//! crashes or hangs takes its worker with it, never the node.
//!
//! `pool` starts, supervises and limits the workers on the node's side; `worker` is the process itself. `files` reads
//! and checks model files. `encoder` and [`decoder`] are the two families of models.

pub mod decoder;
mod details;
mod encoder;
mod encoder_info;
mod files;
mod pool;
mod worker;

pub use details::ModelDetails;
pub use encoder::config_error::ConfigError;
pub use encoder::model::{Backend, LoadError, Model, SINGLE_FILE_TOKENS_MAX};
pub use encoder::tokens::Pair;
pub(crate) use encoder::zero_shot::cosine;
pub use encoder::{EncodeError, EncoderError, Precision, Workspace};
pub use encoder_info::{EncoderInfo, EncoderOutput};
pub(crate) use files::fingerprint::hashes_folder;
pub use files::fingerprint::{FileHashes, FingerprintError, ModelFile};
pub use files::folder::FolderError;
pub use files::inspect::{EMBEDDING_KINDS, inspect};
pub use files::json_fields::FieldError;
pub use files::metadata_file::MetadataError;
pub use files::quantize;
pub use files::safetensors::{HEADER_BYTES_MAX, HeaderError};
pub use files::weights::WeightsError;
pub(crate) use pool::WorkerProfile;
pub use pool::limits::{CpuShare, bound_own_memory, memory_of_workers};
pub use pool::supervisor::ProcessInference;
pub use pool::worker_options::{WORKER_COMMAND, WorkerOptions};
pub use pool::{MODELS_MAX, ModelSpec, WorkerPool, WorkerPoolHandle, WorkerPoolOptions};
pub use worker::worker_main;

pub use kernels::Sequence;

/// Returns the names of the supported encoders in `architectures` and `model_type` of their `config.json`.
pub(crate) fn encoders() -> impl Iterator<Item = &'static str> {
    encoder::architectures::ALL.into_iter().flat_map(|architecture| architecture.names())
}

/// The name of the embedding model that is compiled into the program.
pub const EMBEDDED_MODEL: &str = "all-MiniLM-L6-v2";

/// The name of the embedded model on the hub, under which clients know it.
pub const EMBEDDED_MODEL_ON_HUB: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Returns the fingerprint of the embedded model in a precision.
pub fn embedded_fingerprint(precision: &str) -> engine::Fingerprint {
    let file = ("model.safetensors", engine::blobs::Hash(embedded_model::FILE_HASH));
    files::fingerprint::fingerprint([file].into_iter(), precision)
}

/// The size of the embedded model.
pub const EMBEDDED_MODEL_BYTES: u64 = embedded_model::FILE_BYTES;
