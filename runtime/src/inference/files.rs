//! The files of a model on disk: readers for each format, and what can be learned without loading the weights.
//!
//! The invariant: nothing that a file claims is trusted. Sizes are checked before memory is allocated, and a field that
//! would change the result and is not supported is an error.

pub(super) mod bpe;
pub(super) mod fingerprint;
pub(super) mod folder;
pub(super) mod inspect;
pub(super) mod int8_layout;
pub(super) mod json_fields;
pub(super) mod metadata;
pub(super) mod metadata_file;
pub mod quantize;
pub(super) mod safetensors;
mod sentence_transformers;
pub(super) mod tokenizer_config;
pub(super) mod tokenizer_json;
pub(super) mod weights;
