//! BERT (Devlin et al., 2019), and MiniLM (Wang et al., 2020), which is a small BERT.

use super::{Architecture, Between, Fields, HeadNames, Names, activation, number, only};
use crate::inference::config::ConfigError;
use serde_json::{Map, Value};

pub(in crate::inference) static BERT: Architecture = Architecture {
    model_type: "bert",
    fields,
    names: Names {
        prefix: "bert.",
        words: "embeddings.word_embeddings",
        positions: "embeddings.position_embeddings",
        token_types: Some("embeddings.token_type_embeddings"),
        embeddings_norm: "embeddings.LayerNorm",
        layer: "encoder.layer",
        query: "attention.self.query",
        key: "attention.self.key",
        value: "attention.self.value",
        attended: "attention.output.dense",
        attended_norm: "attention.output.LayerNorm",
        widen: "intermediate.dense",
        narrow: "output.dense",
        narrowed_norm: "output.LayerNorm",
        head: HeadNames { first: "bert.pooler.dense", between: Between::Tanh, second: "classifier" },
    },
    classifier_class: "BertForSequenceClassification",
};

fn fields(config: &Map<String, Value>) -> Result<Fields, ConfigError> {
    only(config, "position_embedding_type", "absolute")?;
    Ok(Fields {
        vocabulary: number(config, "vocab_size", None)?,
        hidden: number(config, "hidden_size", None)?,
        intermediate: number(config, "intermediate_size", None)?,
        heads: number(config, "num_attention_heads", None)?,
        layers: number(config, "num_hidden_layers", None)?,
        positions: number(config, "max_position_embeddings", None)?,
        token_types: Some(number(config, "type_vocab_size", Some(2))?),
        norm_epsilon: config.get("layer_norm_eps").and_then(Value::as_f64).unwrap_or(1e-12),
        activation: activation(config, "hidden_act")?,
    })
}
