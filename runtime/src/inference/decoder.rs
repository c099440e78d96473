//! Models of the Llama family: from their files to a generator of text.
//!
//! A model is a folder as it is published (`config.json`, `tokenizer.json`, safetensors) or a GGUF file. Everything in
//! it is checked before memory is taken for it. The arithmetic is that of the crate `kernels`; candle reads the
//! formats for which that has no counterpart.

mod architectures;
mod chat;
mod chunked_prefill;
mod detokenizer;
mod end_tokens;
mod generator;
mod gguf;
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
pub use inspect::inspect;

use super::encoder::Precision;
use std::io;
use std::path::{Path, PathBuf};

/// How to load a Llama.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads to compute on.
    pub threads: usize,
    /// With [`Precision::Int8`] plain numbers are rounded to 8 bits; else weights stay as they are in their file, but
    /// for formats that nothing computes with.
    pub precision: Precision,
    /// Positions that a text may have, where the model has more.
    pub context_max: usize,
    /// Where packed weights are kept for the next time.
    pub packed_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads, precision: Precision::default(), context_max: CONTEXT_MAX, packed_folder: None }
    }
}

/// Why a Llama cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// Candle does not read some of its numbers.
    #[error("its numbers cannot be read: {0}")]
    Candle(String),
    /// Its configuration describes nothing that can run here.
    #[error("its configuration: {0}")]
    Config(String),
    /// A file is damaged.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// It is no sound GGUF file.
    #[error("{path}: {source}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
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
    /// There is not so much memory.
    #[error("{bytes} bytes for the weights are not to be had: {source}")]
    Memory {
        /// How much.
        bytes: usize,
        /// Why.
        source: io::Error,
    },
    /// A tensor is not there.
    #[error("tensor {0} is missing")]
    Missing(String),
    /// A number is infinite, or none.
    #[error("{0} holds a number that is not finite: the model is damaged")]
    NotFinite(String),
    /// A tensor has another size than the configuration says.
    #[error("tensor {name} has {found:?} rows and columns, its configuration says {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// What it has.
        found: (usize, usize),
        /// What it should have.
        expected: (usize, usize),
    },
    /// Its tokenizer is of no use.
    #[error("its tokenizer: {0}")]
    Tokenizer(String),
    /// Its parts do not fit each other.
    #[error(transparent)]
    Weights(#[from] kernels::decoder::ShapeError),
}

/// Tells whether a path looks like a model of this family: a GGUF file, or a folder whose configuration says so.
pub fn is_llama(path: &Path) -> bool {
    if path.is_file() {
        return is_gguf(path) || path.extension().is_some_and(|extension| extension == "gguf");
    }
    let Ok(Some(json)) = super::files::folder::Folder::at(path).read("config.json") else { return false };
    architectures::llama::is_llama(&json)
}

/// Tells whether a file begins as a GGUF file does that has a tensor.
pub fn is_gguf(path: &Path) -> bool {
    let mut beginning = [0; 16];
    let read =
        crate::regular_file::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut beginning));
    read.is_ok() && beginning.starts_with(b"GGUF") && beginning[8..] != [0; 8]
}

/// Where packed weights are kept.
pub fn packed_folder() -> Option<PathBuf> {
    cache_folder().map(|cache| cache.join("packed"))
}

/// Where this program keeps what saves it work: with what other programs keep for that.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    cache.is_absolute().then(|| cache.join("p2p-ai-agents"))
}

/// Positions of a text, unless more are asked for: keys and values of each take memory.
const CONTEXT_MAX: usize = 4096;
