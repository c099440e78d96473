//! MPNet (Song et al., 2020): a BERT without token types, whose attention has a bias by relative position, and whose
//! positions and classification head are RoBERTa's.

use super::{Architecture, Between, Field, Fields, HeadNames, Names, bert, number};
use crate::inference::encoder::config_error::ConfigError;
use crate::inference::files::json_fields::Object;

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
    Ok(Fields {
        // Fixed by the architecture, whatever its configuration says.
        padding: Some(Field { name: "pad_token_id", value: 1 }),
        buckets: Some(number(config, "relative_attention_num_buckets", Some(BUCKETS))?),
        ..bert::fields_without_types(config)?
    })
}

/// The default number of buckets.
const BUCKETS: usize = 32;
