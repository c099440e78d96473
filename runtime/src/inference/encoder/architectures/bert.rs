//! BERT (Devlin et al., 2019), and MiniLM (Wang et al., 2020), which is a small BERT.

use super::{Architecture, Between, Fields, HeadNames, Names, activation, epsilon, number};
use crate::inference::encoder::config_error::ConfigError;
use crate::inference::files::json_fields::{Neutral, Object, check_neutral};

pub(crate) static BERT: Architecture = Architecture {
    model_type: "bert",
    fields,
    names: NAMES,
    classifier_class: "BertForSequenceClassification",
    other_classes: &[
        "BertForMaskedLM",
        "BertForMultipleChoice",
        "BertForNextSentencePrediction",
        "BertForPreTraining",
        "BertForQuestionAnswering",
        "BertForTokenClassification",
        "BertModel",
    ],
};

/// The names of BERT's tensors.
pub(super) const NAMES: Names = Names {
    prefix: "bert.",
    token_embeddings: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    token_types: Some("embeddings.token_type_embeddings"),
    relative_bias: None,
    embeddings_norm: "embeddings.LayerNorm",
    layer: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_output_norm: "attention.output.LayerNorm",
    intermediate: "intermediate.dense",
    output: "output.dense",
    output_norm: "output.LayerNorm",
    head: HeadNames { first: "bert.pooler.dense", between: Between::Tanh, second: "classifier" },
};

pub(super) fn fields(config: &Object) -> Result<Fields, ConfigError> {
    let fields = fields_without_types(config)?;
    Ok(Fields { token_types: Some(number(config, "type_vocab_size", Some(2))?), ..fields })
}

/// Reads the fields that BERT's descendants have as well.
pub(super) fn fields_without_types(config: &Object) -> Result<Fields, ConfigError> {
    check_neutral(config, &NEUTRAL)?;
    Ok(Fields {
        vocabulary: number(config, "vocab_size", None)?,
        hidden: number(config, "hidden_size", None)?,
        intermediate: number(config, "intermediate_size", None)?,
        heads: number(config, "num_attention_heads", None)?,
        layers: number(config, "num_hidden_layers", None)?,
        positions: number(config, "max_position_embeddings", None)?,
        padding: None,
        buckets: None,
        token_types: None,
        norm_epsilon: epsilon(config, "layer_norm_eps", 1e-12)?,
        activation: activation(config, "hidden_act")?,
    })
}

/// Fields that would change the model.
const NEUTRAL: [(&str, Neutral); 3] = [
    ("add_cross_attention", Neutral::Nothing),
    ("is_decoder", Neutral::Nothing),
    ("position_embedding_type", Neutral::OneOf(&["absolute"])),
];
