//! The dimensions of a BERT-family encoder, as its `config.json` states them.
//!
//! The invariant: a `Config` that exists has dimensions that fit together and that are small enough for products of
//! them not to overflow, and an arithmetic that the encoder here really does.

use serde::Deserialize;

/// The checked dimensions of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    pub(super) vocabulary: usize,
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
    pub(super) positions: usize,
    pub(super) token_types: usize,
    pub(super) norm_epsilon: f32,
}

/// Why a `config.json` does not describe an encoder that can run here.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The hidden size cannot be split over the heads.
    #[error("hidden_size {hidden} is not a multiple of num_attention_heads {heads}")]
    Heads {
        /// The hidden size.
        hidden: usize,
        /// The heads.
        heads: usize,
    },
    /// The text is not the JSON object that it should be.
    #[error("config.json is damaged: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A dimension is zero or absurdly large.
    #[error("{name} is {value}, expected 1 to {max}")]
    Range {
        /// The field.
        name: &'static str,
        /// What it says.
        value: usize,
        /// The largest accepted value.
        max: usize,
    },
    /// The model computes something else than the encoder here.
    #[error("{name} is {value:?}, only {supported:?} is supported")]
    Unsupported {
        /// The field.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it should say.
        supported: &'static str,
    },
}

impl Config {
    /// Reads and checks a `config.json`.
    pub(super) fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let raw: Raw = serde_json::from_slice(json)?;
        for (name, value, supported) in [
            ("model_type", &raw.model_type, "bert"),
            ("hidden_act", &raw.hidden_act, "gelu"),
            ("position_embedding_type", &raw.position_embedding_type, "absolute"),
        ] {
            if value != supported {
                return Err(ConfigError::Unsupported { name, value: value.clone(), supported });
            }
        }
        for (name, value, max) in [
            ("vocab_size", raw.vocab_size, 1 << 20),
            ("hidden_size", raw.hidden_size, 1 << 13),
            ("intermediate_size", raw.intermediate_size, 1 << 15),
            ("num_attention_heads", raw.num_attention_heads, 128),
            ("num_hidden_layers", raw.num_hidden_layers, 128),
            ("max_position_embeddings", raw.max_position_embeddings, 1 << 16),
            ("type_vocab_size", raw.type_vocab_size, 16),
        ] {
            if value == 0 || value > max {
                return Err(ConfigError::Range { name, value, max });
            }
        }
        if !raw.hidden_size.is_multiple_of(raw.num_attention_heads) {
            return Err(ConfigError::Heads { hidden: raw.hidden_size, heads: raw.num_attention_heads });
        }
        Ok(Self {
            vocabulary: raw.vocab_size,
            hidden: raw.hidden_size,
            intermediate: raw.intermediate_size,
            heads: raw.num_attention_heads,
            layers: raw.num_hidden_layers,
            positions: raw.max_position_embeddings,
            token_types: raw.type_vocab_size,
            norm_epsilon: raw.layer_norm_eps.clamp(0.0, 1.0),
        })
    }

    /// Lists the weight matrices, each row an output channel, with their shapes.
    pub(super) fn matrices(&self) -> Vec<(String, [usize; 2])> {
        let mut matrices = vec![
            ("embeddings.word_embeddings.weight".to_owned(), [self.vocabulary, self.hidden]),
            ("embeddings.position_embeddings.weight".to_owned(), [self.positions, self.hidden]),
            ("embeddings.token_type_embeddings.weight".to_owned(), [self.token_types, self.hidden]),
        ];
        for layer in 0..self.layers {
            for (name, rows, columns) in self.linears() {
                matrices.push((format!("encoder.layer.{layer}.{name}.weight"), [rows, columns]));
            }
        }
        matrices
    }

    /// Lists the biases and the norms' parameters, with their lengths.
    pub(super) fn vectors(&self) -> Vec<(String, usize)> {
        let mut vectors = Vec::new();
        let mut norm = |name: &str| {
            vectors.push((format!("{name}.weight"), self.hidden));
            vectors.push((format!("{name}.bias"), self.hidden));
        };
        norm("embeddings.LayerNorm");
        for layer in 0..self.layers {
            norm(&format!("encoder.layer.{layer}.attention.output.LayerNorm"));
            norm(&format!("encoder.layer.{layer}.output.LayerNorm"));
        }
        for layer in 0..self.layers {
            for (name, rows, _) in self.linears() {
                vectors.push((format!("encoder.layer.{layer}.{name}.bias"), rows));
            }
        }
        vectors
    }

    /// The linear maps of one layer: name, output channels, input channels.
    fn linears(&self) -> [(&'static str, usize, usize); 6] {
        [
            ("attention.self.query", self.hidden, self.hidden),
            ("attention.self.key", self.hidden, self.hidden),
            ("attention.self.value", self.hidden, self.hidden),
            ("attention.output.dense", self.hidden, self.hidden),
            ("intermediate.dense", self.intermediate, self.hidden),
            ("output.dense", self.hidden, self.intermediate),
        ]
    }
}

/// The fields of a `config.json` that matter here, as they are written.
#[derive(Deserialize)]
struct Raw {
    model_type: String,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "epsilon")]
    layer_norm_eps: f32,
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn absolute() -> String {
    "absolute".to_owned()
}

const fn two() -> usize {
    2
}

const fn epsilon() -> f32 {
    1e-12
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"model_type":"bert","vocab_size":9,"hidden_size":8,"intermediate_size":16,
        "num_attention_heads":2,"num_hidden_layers":1,"max_position_embeddings":32}"#;

    fn refusal(from: &str, to: &str) -> String {
        assert!(SMALL.contains(from), "{from}");
        Config::parse(SMALL.replacen(from, to, 1).as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn only_what_can_be_computed_is_accepted() {
        let config = Config::parse(SMALL.as_bytes()).unwrap();
        assert_eq!((config.matrices().len(), config.vectors().len()), (9, 12));
        assert_eq!(refusal(r#""bert""#, r#""t5""#), r#"model_type is "t5", only "bert" is supported"#);
        assert_eq!(refusal(r#"9,"#, r#"0,"#), "vocab_size is 0, expected 1 to 1048576");
        assert_eq!(
            refusal(r#"_size":8,"#, r#"_size":9999999,"#),
            "hidden_size is 9999999, expected 1 to 8192"
        );
        assert_eq!(
            refusal(r#"heads":2"#, r#"heads":3"#),
            "hidden_size 8 is not a multiple of num_attention_heads 3"
        );
        assert!(refusal(r#"9,"#, r#"-9,"#).starts_with("config.json is damaged: "));
        assert!(refusal(r#""vocab_size""#, r#""vocab""#).contains("missing field `vocab_size`"));
    }
}
