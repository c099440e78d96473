//! Decoders, which generate text: Llama and the architectures that differ little from it.
//!
//! A model is a published folder (`config.json`, `tokenizer.json`, safetensors) or a GGUF file. Everything in it is
//! validated before memory is allocated for it. The crate `kernels` does the arithmetic; candle converts weight formats
//! that the kernels do not support.

mod architectures;
mod chat;
mod chunked_prefill;
mod config;
mod detokenizer;
mod end_tokens;
mod generator;
mod gguf;
mod gguf_schema;
mod inspect;
mod jinja;
mod json_fields;
mod packing;
mod pre_tokenizer;
mod sampler;
mod tensor_source;
mod tokenizer_config;
mod vocabulary;

pub use generator::{BeginError, Generator, Session, Step};
pub use gguf::GgufError;
pub(super) use inspect::details;
pub use inspect::inspect;

use super::encoder::Precision;
use std::io;
use std::path::{Path, PathBuf};

/// The options for loading a decoder.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of compute threads.
    pub threads: usize,
    /// With [`Precision::Int8`] floating-point weights are rounded to 8 bits. Otherwise weights keep the format of
    /// their file, if the kernels support it.
    pub precision: Precision,
    /// The maximum number of positions of a text, if the model supports more.
    pub context_max: usize,
    /// The cache folder for packed weights.
    pub packed_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads, precision: Precision::default(), context_max: CONTEXT_MAX, packed_folder: None }
    }
}

/// Why a decoder cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// Candle cannot convert some weights.
    #[error("its numbers cannot be read: {0}")]
    Candle(String),
    /// Its configuration is invalid or not supported.
    #[error("its configuration: {0}")]
    Config(String),
    /// A file is damaged.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The GGUF file is invalid or not supported.
    #[error("{path}: {source}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: GgufError,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is not enough memory.
    #[error("{bytes} bytes for the weights cannot be allocated: {source}")]
    Memory {
        /// The bytes that are needed.
        bytes: usize,
        /// Why.
        source: io::Error,
    },
    /// A tensor is missing.
    #[error("tensor {0} is missing")]
    Missing(String),
    /// A number is infinite or NaN.
    #[error("{0} holds a number that is not finite: the model is damaged")]
    NotFinite(String),
    /// The size of a tensor does not match the configuration.
    #[error("tensor {name} has {found:?} rows and columns, its configuration says {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its rows and columns.
        found: (usize, usize),
        /// The expected rows and columns.
        expected: (usize, usize),
    },
    /// Its tokenizer is invalid or not supported.
    #[error("its tokenizer: {0}")]
    Tokenizer(String),
    /// Its weights do not fit each other.
    #[error(transparent)]
    Weights(#[from] kernels::decoder::ShapeError),
}

/// Tells whether a path is a decoder: a GGUF file, or a folder with such a configuration. A folder in the layout of
/// sentence-transformers is an embedding model or a reranker, whatever its architecture.
pub fn is_decoder(path: &Path) -> bool {
    if path.is_file() {
        return is_gguf(path) || path.extension().is_some_and(|extension| extension == "gguf");
    }
    let folder = super::files::folder::Folder::at(path);
    let Ok(Some(json)) = folder.read("config.json") else { return false };
    config::is_decoder(&json) && !folder.has("modules.json")
}

/// Returns the names of the supported decoders, as in `architectures` and `model_type` of their `config.json`.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    architectures::Architecture::all_names()
}

/// Tells whether a file begins like a GGUF file with at least one tensor.
pub fn is_gguf(path: &Path) -> bool {
    let mut beginning = [0; 16];
    let read =
        crate::regular_file::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut beginning));
    read.is_ok() && beginning.starts_with(b"GGUF") && beginning[8..] != [0; 8]
}

/// Returns the cache folder for packed weights.
pub fn packed_folder() -> Option<PathBuf> {
    cache_folder().map(|cache| cache.join("packed"))
}

/// Returns the cache folder of this program, inside the user's cache folder.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    cache.is_absolute().then(|| cache.join("p2p-ai-agents"))
}

/// The default maximum of positions: each takes memory in the key-value cache.
const CONTEXT_MAX: usize = 4096;
