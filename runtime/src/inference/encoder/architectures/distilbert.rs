//! DistilBERT (Sanh et al., 2019): a BERT without token types and pooler, with other field and tensor names.

use super::{Architecture, Between, Fields, HeadNames, Names, activation, number, number_of};
use crate::inference::encoder::config_error::ConfigError;
use crate::inference::files::json_fields::Object;

pub(crate) static DISTILBERT: Architecture = Architecture {
    model_type: "distilbert",
    fields,
    names: Names {
        prefix: "distilbert.",
        token_embeddings: "embeddings.word_embeddings",
        positions: "embeddings.position_embeddings",
        token_types: None,
        relative_bias: None,
        embeddings_norm: "embeddings.LayerNorm",
        layer: "transformer.layer",
        query: "attention.q_lin",
        key: "attention.k_lin",
        value: "attention.v_lin",
        attention_output: "attention.out_lin",
        attention_output_norm: "sa_layer_norm",
        intermediate: "ffn.lin1",
        output: "ffn.lin2",
        output_norm: "output_layer_norm",
        head: HeadNames { first: "pre_classifier", between: Between::Relu, second: "classifier" },
    },
    classifier_class: "DistilBertForSequenceClassification",
    other_classes: &[
        "DistilBertForMaskedLM",
        "DistilBertForMultipleChoice",
        "DistilBertForQuestionAnswering",
        "DistilBertForTokenClassification",
        "DistilBertModel",
    ],
};

fn fields(config: &Object) -> Result<Fields, ConfigError> {
    Ok(Fields {
        vocabulary: number(config, "vocab_size", None)?,
        hidden: number_of(config, "dim", "hidden_size")?,
        intermediate: number(config, "hidden_dim", None)?,
        heads: number_of(config, "n_heads", "num_attention_heads")?,
        layers: number_of(config, "n_layers", "num_hidden_layers")?,
        positions: number(config, "max_position_embeddings", None)?,
        padding: None,
        buckets: None,
        token_types: None,
        // Fixed by the architecture, not in its configuration.
        norm_epsilon: 1e-12,
        activation: activation(config, "activation")?,
    })
}
