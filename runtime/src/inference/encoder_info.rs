//! Describes an encoder from its metadata files without loading weights, using the loader's own parsers.

use super::EMBEDDED_MODEL;
use super::encoder::Precision;
use super::encoder::model::metadata_in;
use super::encoder::pooling::Mode;
use super::files::inspect::read_metadata;
use super::files::metadata::ModelMetadata;
use super::files::weights::Weights;
use super::pool::ModelSpec;
use super::worker::PASS_TOKENS_MAX;
use std::collections::BTreeMap;
use std::path::Path;

/// The properties of an encoder that clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderInfo {
    /// The maximum number of tokens of a text; longer texts are truncated.
    pub tokens_max: usize,
    /// The maximum number of tokens of one forward pass.
    pub pass_tokens_max: usize,
    /// The type that it computes in, as Hugging Face's tools name it.
    pub number_type: &'static str,
    /// Its output for a text.
    pub output: EncoderOutput,
    /// The prompts that a text may be given, by name.
    pub prompts: BTreeMap<String, String>,
    /// Whether the worker itself prepends a prompt to each text, or leaves a prompt out of the pooling.
    pub has_own_prompt: bool,
}

/// The output of an encoder for a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderOutput {
    /// Scores for these labels.
    Scores(Vec<String>),
    /// An embedding with this pooling mode, as sentence-transformers names it: `cls`, `mean` and so on.
    Vector(String),
}

impl EncoderInfo {
    /// Reads the properties of a model. Returns `None` if it is not a valid encoder. Blocks while it reads a few small
    /// files.
    pub fn for_model(spec: &ModelSpec) -> Option<Self> {
        let source = spec.source.first()?;
        let metadata = if source.as_os_str() == EMBEDDED_MODEL {
            metadata_in(&Weights::parse(embedded_model::FILE).ok()?).ok()?
        } else {
            read_metadata(Path::new(source)).ok()?
        };
        let has_own_prompt = !metadata.prompt.is_empty() || !metadata.pooling.prompt;
        Some(Self {
            tokens_max: metadata.tokens_max,
            // A longer text is a pass of its own.
            pass_tokens_max: PASS_TOKENS_MAX.max(metadata.tokens_max),
            number_type: number_type(spec.precision),
            output: output(&metadata),
            prompts: metadata.prompts,
            has_own_prompt,
        })
    }
}

/// Returns the output of an encoder with these files.
pub(super) fn output(metadata: &ModelMetadata) -> EncoderOutput {
    match &metadata.config.classifier {
        Some(classifier) => EncoderOutput::Scores(classifier.labels.clone()),
        None => {
            let modes: Vec<&str> = metadata.pooling.modes.iter().map(|mode| Mode::name(*mode)).collect();
            EncoderOutput::Vector(modes.join("+"))
        }
    }
}

fn number_type(precision: Precision) -> &'static str {
    match precision.for_kernels() {
        kernels::Precision::Bf16 => "bfloat16",
        kernels::Precision::F32 => "float32",
        kernels::Precision::Int8 => "int8",
    }
}
