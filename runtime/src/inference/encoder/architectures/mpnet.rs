//! MPNet (Song et al., 2020): a BERT without token types, whose attention has a bias by relative position, and whose
//! positions and classification head are RoBERTa's.

use super::{Architecture, Between, Field, Fields, HeadNames, Names, activation, bert, epsilon, number};
use crate::inference::encoder::config_error::ConfigError;
use crate::inference::files::json_fields::{Object, check_neutral};

pub(crate) static MPNET: Architecture = Architecture {
    model_type: "mpnet",
    fields,
    names: Names {
        prefix: "mpnet.",
        token_types: None,
        relative_bias: Some("encoder.relative_attention_bias"),
        query: "attention.attn.q",
        key: "attention.attn.k",
        value: "attention.attn.v",
        attention_output: "attention.attn.o",
        attention_output_norm: "attention.LayerNorm",
        head: HeadNames { first: "classifier.dense", between: Between::Tanh, second: "classifier.out_proj" },
        ..bert::NAMES
    },
    classifier_class: "MPNetForSequenceClassification",
    other_classes: &[
        "MPNetForMaskedLM",
        "MPNetForMultipleChoice",
        "MPNetForQuestionAnswering",
        "MPNetForTokenClassification",
        "MPNetModel",
    ],
};

fn fields(config: &Object) -> Result<Fields, ConfigError> {
    check_neutral(config, &bert::NEUTRAL)?;
    Ok(Fields {
        vocabulary: number(config, "vocab_size", None)?,
        hidden: number(config, "hidden_size", None)?,
        intermediate: number(config, "intermediate_size", None)?,
        heads: number(config, "num_attention_heads", None)?,
        layers: number(config, "num_hidden_layers", None)?,
        positions: number(config, "max_position_embeddings", None)?,
        // Fixed by the architecture, whatever its configuration says.
        padding: Some(Field { name: "pad_token_id", value: 1 }),
        buckets: Some(number(config, "relative_attention_num_buckets", Some(BUCKETS))?),
        token_types: None,
        norm_epsilon: epsilon(config, "layer_norm_eps", 1e-12)?,
        activation: activation(config, "hidden_act")?,
    })
}

/// The default number of buckets.
const BUCKETS: usize = 32;
