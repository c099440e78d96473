//! What a model is by its small files alone: known without loading it, and by the same reading that loads it.

use super::EMBEDDED_MODEL;
use super::encoder::Precision;
use super::encoder::model::single;
use super::encoder::pooling::Mode;
use super::files::inspect::describe;
use super::files::weights::Weights;
use super::pool::ModelSpec;
use super::worker::PASS_TOKENS_MAX;
use std::path::Path;

/// An encoder, from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderInfo {
    /// The most tokens of a text; the rest is cut off.
    pub tokens_max: usize,
    /// The most tokens of one pass through it.
    pub pass_tokens_max: usize,
    /// How its numbers are written while it computes, as Hugging Face's tools call that.
    pub number_type: &'static str,
    /// What it makes of a text.
    pub output: EncoderOutput,
}

/// What a model makes of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderOutput {
    /// A score for each of these labels.
    Scores(Vec<String>),
    /// A vector, by this pooling of the tokens' vectors, as sentence-transformers names it: `cls`, `mean` and so on.
    Vector(String),
}

impl EncoderInfo {
    /// Outlines a model; `None` where it is no encoder, or its files make no sense. Blocks for as long as it takes to
    /// read a few small files.
    pub fn for_model(spec: &ModelSpec) -> Option<Self> {
        let source = spec.source.first()?;
        let description = if source.as_os_str() == EMBEDDED_MODEL {
            single(&Weights::parse(embedded_model::FILE).ok()?).ok()?
        } else {
            describe(Path::new(source)).ok()?
        };
        let output = match description.config.classifier {
            Some(classifier) => EncoderOutput::Scores(classifier.labels),
            None => {
                let modes: Vec<&str> =
                    description.pooling.modes.iter().map(|mode| Mode::name(*mode)).collect();
                EncoderOutput::Vector(modes.join("+"))
            }
        };
        Some(Self {
            tokens_max: description.tokens_max,
            // A longer text goes alone.
            pass_tokens_max: PASS_TOKENS_MAX.max(description.tokens_max),
            number_type: number_type(spec.precision),
            output,
        })
    }
}

fn number_type(precision: Precision) -> &'static str {
    match precision.for_kernels() {
        kernels::Precision::Bf16 => "bfloat16",
        kernels::Precision::F32 => "float32",
        kernels::Precision::Int8 => "int8",
    }
}
