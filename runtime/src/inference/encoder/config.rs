//! The configuration of an encoder, read from its `config.json`: dimensions, activation, labels.
//!
//! The invariant: an `EncoderConfig` that exists has dimensions that fit each other, whose products do not overflow,
//! and an arithmetic that the backends implement.

use super::architectures::{self, Architecture, Field, Fields, Names};
use super::config_error::{ConfigError, LABEL_BYTES_MAX, LABELS_MAX};
use crate::inference::files::json_fields::{self, FieldError, Neutral, Object};
use kernels::{Activation, RELATIVE_BUCKETS};
use std::collections::BTreeMap;

/// The checked dimensions of an encoder, and its head.
#[derive(Clone, Debug)]
pub(crate) struct EncoderConfig {
    pub(crate) architecture: &'static Architecture,
    pub(crate) vocabulary: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    /// The rows of the table of position embeddings.
    pub(crate) positions: usize,
    /// The padding token, if the position after its number is the first one of a text.
    pub(crate) padding: Option<u32>,
    /// The rows of the table of relative positions; 0 if the architecture has none.
    pub(crate) buckets: usize,
    /// 0 if the architecture has no token types.
    pub(crate) token_types: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) activation: Activation,
    /// The classification head, if the model has one.
    pub(crate) classifier: Option<Classifier>,
}

/// The outputs of a classification head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Classifier {
    /// The name of each output.
    pub(crate) labels: Vec<String>,
    pub(crate) scores: Scores,
    /// The activation of the single output for a pair of texts.
    pub(crate) ranking: Scores,
}

/// The activation of a head's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scores {
    /// The sigmoid of each output: labels are independent.
    Independent,
    /// The softmax of all outputs: labels are exclusive.
    OneOfAll,
    /// The outputs as they are.
    Plain,
}

impl Scores {
    /// Applies the activation to a head's outputs.
    pub(crate) fn apply(self, logits: &[f32]) -> Vec<f32> {
        match self {
            Self::Independent => logits.iter().map(|logit| (1.0 + (-logit).exp()).recip()).collect(),
            Self::OneOfAll => softmax(logits),
            Self::Plain => logits.to_vec(),
        }
    }

    /// Parses the class name of a PyTorch activation.
    ///
    /// # Errors
    /// Returns an error if the activation is not supported.
    pub(crate) fn parse(name: &str, class: &str) -> Result<Self, FieldError> {
        let known = |known: &&(&str, Self)| {
            class.strip_prefix("torch.nn.").is_some_and(|class| {
                class == known.0
                    || class
                        .strip_prefix("modules.")
                        .is_some_and(|class| class.split_once('.').is_some_and(|(_, class)| class == known.0))
            })
        };
        ACTIVATIONS.iter().find(known).map(|(_, scores)| *scores).ok_or_else(|| {
            FieldError::new(name, &class.into(), "only torch.nn.Identity and torch.nn.Sigmoid are supported")
        })
    }
}

/// Returns the softmax of numbers.
pub(crate) fn softmax(numbers: &[f32]) -> Vec<f32> {
    let largest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = numbers.iter().map(|number| (number - largest).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

impl EncoderConfig {
    /// Reads and checks a `config.json`.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let fields: Object = serde_json::from_slice(json)?;
        let architecture = architecture(&fields)?;
        json_fields::check_neutral(&fields, &NEUTRAL)?;
        let read = (architecture.fields)(&fields)?;
        check(&read)?;
        let (hidden, heads) = (read.hidden.value, read.heads.value);
        if !hidden.is_multiple_of(heads) {
            return Err(ConfigError::Heads { hidden, heads });
        }
        Ok(Self {
            architecture,
            vocabulary: read.vocabulary.value,
            hidden,
            intermediate: read.intermediate.value,
            heads,
            layers: read.layers.value,
            positions: read.positions.value,
            padding: read.padding.map(|field| field.value as u32),
            buckets: read.buckets.map_or(0, |field| field.value),
            token_types: read.token_types.map_or(0, |field| field.value),
            norm_epsilon: read.norm_epsilon as f32,
            activation: read.activation,
            classifier: classifier(&fields, architecture)?,
        })
    }

    /// Returns the maximum number of tokens of a text.
    pub(crate) fn tokens_max(&self) -> usize {
        self.positions - self.padding.map_or(0, |padding| padding as usize + 1)
    }

    /// Lists the encoder's weight matrices with their shapes; rows are output channels.
    pub(crate) fn matrices(&self) -> Vec<(String, [usize; 2])> {
        let names = &self.architecture.names;
        let mut matrices = vec![
            (weight(names.token_embeddings), [self.vocabulary, self.hidden]),
            (weight(names.positions), [self.positions, self.hidden]),
        ];
        matrices.extend(names.token_types.map(|name| (weight(name), [self.token_types, self.hidden])));
        for layer in 0..self.layers {
            for (name, rows, columns) in self.linears() {
                matrices.push((weight(&names.in_layer(layer, name)), [rows, columns]));
            }
        }
        matrices
    }

    /// Lists the encoder's biases and the norms' parameters, with their lengths.
    pub(crate) fn vectors(&self) -> Vec<(String, usize)> {
        let names = &self.architecture.names;
        let mut vectors = Vec::new();
        let mut norm = |name: &str| {
            vectors.push((weight(name), self.hidden));
            vectors.push((bias(name), self.hidden));
        };
        norm(names.embeddings_norm);
        for layer in 0..self.layers {
            norm(&names.in_layer(layer, names.attention_output_norm));
            norm(&names.in_layer(layer, names.output_norm));
        }
        for layer in 0..self.layers {
            for (name, rows, _) in self.linears() {
                vectors.push((bias(&names.in_layer(layer, name)), rows));
            }
        }
        vectors
    }

    /// Returns the name and the shape of the table of relative positions, if there is one.
    pub(crate) fn relative_bias(&self) -> Option<(String, [usize; 2])> {
        let name = self.architecture.names.relative_bias?;
        Some((weight(name), [self.buckets, self.heads]))
    }

    /// Lists the tensors of the classification head, if there is one, with their full names and shapes.
    pub(crate) fn head(&self) -> Vec<(String, Vec<usize>)> {
        let Some(classifier) = &self.classifier else { return Vec::new() };
        let names = &self.architecture.names.head;
        let (hidden, outputs) = (self.hidden, classifier.labels.len());
        vec![
            (weight(names.first), vec![hidden, hidden]),
            (bias(names.first), vec![hidden]),
            (weight(names.second), vec![outputs, hidden]),
            (bias(names.second), vec![outputs]),
        ]
    }

    /// The linear maps of one layer: name, output channels, input channels.
    fn linears(&self) -> [(&'static str, usize, usize); 6] {
        let names = &self.architecture.names;
        [
            (names.query, self.hidden, self.hidden),
            (names.key, self.hidden, self.hidden),
            (names.value, self.hidden, self.hidden),
            (names.attention_output, self.hidden, self.hidden),
            (names.intermediate, self.intermediate, self.hidden),
            (names.output, self.hidden, self.intermediate),
        ]
    }
}

impl Names {
    /// Returns the name of a part of a layer.
    pub(crate) fn in_layer(&self, layer: usize, part: &str) -> String {
        format!("{}.{layer}.{part}", self.layer)
    }
}

/// Returns the name of a map's or norm's weight.
pub(crate) fn weight(name: &str) -> String {
    format!("{name}.weight")
}

/// Returns the name of a map's or norm's bias.
pub(crate) fn bias(name: &str) -> String {
    format!("{name}.bias")
}

fn architecture(config: &Object) -> Result<&'static Architecture, ConfigError> {
    let model_type = config.get("model_type").ok_or(ConfigError::Missing("model_type"))?;
    model_type.as_str().and_then(architectures::by_model_type).ok_or_else(|| {
        let known: Vec<&str> = architectures::ALL.iter().map(|known| known.model_type).collect();
        let supported = format!("supported are {}", known.join(", "));
        FieldError::new("model_type", model_type, &supported).into()
    })
}

fn check(fields: &Fields) -> Result<(), ConfigError> {
    let limits = [
        (Some(fields.vocabulary), VOCABULARY_MAX),
        (Some(fields.hidden), 1 << 13),
        (Some(fields.intermediate), 1 << 15),
        (Some(fields.heads), 128),
        (Some(fields.layers), 128),
        (Some(fields.positions), 1 << 16),
        (fields.token_types, 16),
        (fields.buckets, 1024),
    ];
    for (field, max) in limits {
        let Some(Field { name, value }) = field else { continue };
        if value == 0 || value > max {
            return Err(ConfigError::Range { name, value, max });
        }
    }
    // The architecture uses this many, whatever its configuration says.
    if let Some(Field { name, value }) = fields.buckets.filter(|field| field.value < RELATIVE_BUCKETS) {
        let expected = format!("expected {RELATIVE_BUCKETS} or more");
        return Err(FieldError::new(name, &value.into(), &expected).into());
    }
    // At least one position follows that of the padding token.
    match fields.padding {
        Some(padding) if padding.value + 2 > fields.positions.value => {
            let Field { name, value } = fields.positions;
            let expected =
                format!("expected at least 2 more than {}, which is {}", padding.name, padding.value);
            Err(FieldError::new(name, &value.into(), &expected).into())
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads the classification head, if the model's class has one.
fn classifier(config: &Object, architecture: &Architecture) -> Result<Option<Classifier>, ConfigError> {
    let classes = json_fields::texts(config, "architectures")?.or(Vec::new());
    if classes.first() != Some(&architecture.classifier_class) {
        return Ok(None);
    }
    let labels = labels(config)?;
    let scores = match json_fields::text(config, PROBLEM)?.value() {
        Some("regression") => Scores::Plain,
        Some("multi_label_classification") => Scores::Independent,
        Some("single_label_classification") | None if labels.len() > 1 => Scores::OneOfAll,
        // A softmax over one output would always be one.
        Some("single_label_classification") | None => Scores::Independent,
        Some(other) => {
            let expected = "expected regression, or single_label or multi_label_classification";
            return Err(FieldError::new(PROBLEM, &other.into(), expected).into());
        }
    };
    Ok(Some(Classifier { labels, scores, ranking: ranking(config)? }))
}

/// Reads the activation of a cross-encoder's output, as sentence-transformers does. The default is the sigmoid.
fn ranking(config: &Object) -> Result<Scores, ConfigError> {
    let newer = json_fields::object(config, "sentence_transformers")?.value();
    if let Some(newer) = newer.filter(|newer| newer.contains_key(ACTIVATION)) {
        let class = json_fields::text(newer, ACTIVATION)?.value();
        return Ok(class.map_or(Ok(Scores::Independent), |class| Scores::parse(ACTIVATION, class))?);
    }
    let class = json_fields::text(config, OLDER_ACTIVATION)?.value();
    Ok(class.map_or(Ok(Scores::Independent), |class| Scores::parse(OLDER_ACTIVATION, class))?)
}

fn labels(config: &Object) -> Result<Vec<String>, ConfigError> {
    let Some(names) = json_fields::object(config, "id2label")?.value() else {
        let count = json_fields::count(config, "num_labels")?.or(2);
        if !(1..=LABELS_MAX).contains(&count) {
            return Err(ConfigError::Labels);
        }
        return Ok((0..count).map(|label| format!("LABEL_{label}")).collect());
    };
    let mut numbered = BTreeMap::new();
    for (number, name) in names {
        let number: usize = number.parse().map_err(|_| ConfigError::Labels)?;
        let name = name.as_str().filter(|name| name.len() <= LABEL_BYTES_MAX).ok_or(ConfigError::Labels)?;
        numbered.insert(number, name.to_owned());
    }
    let complete = numbered.keys().copied().eq(0..names.len());
    if complete && (1..=LABELS_MAX).contains(&names.len()) {
        Ok(numbered.into_values().collect())
    } else {
        Err(ConfigError::Labels)
    }
}

/// Fields that would change a model of any architecture.
const NEUTRAL: [(&str, Neutral); 5] = [
    ("auto_map", Neutral::Nothing),
    ("compression_config", Neutral::Nothing),
    ("is_encoder_decoder", Neutral::Nothing),
    ("pruned_heads", Neutral::Nothing),
    ("quantization_config", Neutral::Nothing),
];
/// The field with the kind of classification.
const PROBLEM: &str = "problem_type";
/// The field with the activation of a cross-encoder's output.
pub(crate) const ACTIVATION: &str = "activation_fn";
/// The same before version 4.
const OLDER_ACTIVATION: &str = "sbert_ce_default_activation_function";
const ACTIVATIONS: [(&str, Scores); 2] = [("Identity", Scores::Plain), ("Sigmoid", Scores::Independent)];
/// The maximum size of a configuration file.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// The maximum size of a `tokenizer.json`; published ones of encoders have 0.5 to 17 MB.
pub(crate) const TOKENIZER_BYTES_MAX: u64 = 32 << 20;
/// The maximum size of a vocabulary.
pub(crate) const VOCABULARY_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"model_type":"bert","vocab_size":9,"hidden_size":8,"intermediate_size":16,
        "num_attention_heads":2,"num_hidden_layers":1,"max_position_embeddings":32}"#;
    const DISTILLED: &str = r#"{"model_type":"distilbert","vocab_size":9,"dim":8,"hidden_dim":16,"n_heads":2,
        "n_layers":1,"max_position_embeddings":32,"architectures":["DistilBertForSequenceClassification"],
        "id2label":{"1":"good","0":"bad"}}"#;

    fn told(json: &str) -> String {
        match EncoderConfig::parse(json.as_bytes()) {
            Ok(config) => format!(
                "{}, {} matrices, {} vectors, {:?}",
                config.architecture.model_type,
                config.matrices().len(),
                config.vectors().len(),
                config.classifier
            ),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn scores_are_what_the_configuration_says() {
        let logits = [0.0, 1.0_f32.ln(), 2.0_f32.ln()];
        let close = |one: Vec<f32>, other: [f32; 3]| {
            one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-6)
        };
        assert!(close(Scores::OneOfAll.apply(&logits), [0.25, 0.25, 0.5]));
        assert!(close(Scores::Independent.apply(&logits), [0.5, 0.5, 2.0 / 3.0]));
        assert_eq!(Scores::Plain.apply(&logits), logits);
        assert_eq!(softmax(&[-1e30, 1e30]), [0.0, 1.0]);
    }

    #[test]
    fn only_what_can_be_computed_is_accepted() {
        let changes = [
            (SMALL, "", ""),
            (DISTILLED, "", ""),
            (SMALL, r#""bert""#, r#""t5""#),
            (SMALL, r#""bert""#, "7"),
            (SMALL, r#""model_type""#, r#""model""#),
            (SMALL, r#""vocab_size":9"#, r#""vocab_size":0"#),
            (SMALL, r#""vocab_size":9"#, r#""vocab_size":-9"#),
            (SMALL, r#""vocab_size":9"#, r#""vocab_size":9.5"#),
            (SMALL, r#""vocab_size":9"#, r#""vocab_size":1e99"#),
            (
                SMALL,
                r#""vocab_size":9"#,
                r#""vocab_size":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"#,
            ),
            (SMALL, r#""vocab_size""#, r#""vocab""#),
            (SMALL, r#""hidden_size":8"#, r#""hidden_size":9999999"#),
            (SMALL, r#"heads":2"#, r#"heads":3"#),
            (SMALL, r#"{"#, r#"{"hidden_act":"relu","#),
            (SMALL, r#"{"#, r#"{"hidden_act":"silu","#),
            (SMALL, r#"{"#, r#"{"hidden_act":null,"#),
            (SMALL, r#"{"#, r#"{"position_embedding_type":"relative_key","#),
            (
                SMALL,
                r#"{"#,
                r#"{"position_embedding_type":null,"is_decoder":null,"pruned_heads":{},"auto_map":null,"#,
            ),
            (SMALL, r#"{"#, r#"{"is_decoder":true,"#),
            (SMALL, r#"{"#, r#"{"pruned_heads":{"0":[1]},"#),
            (SMALL, r#"{"#, r#"{"quantization_config":{"load_in_8bit":true},"#),
            (SMALL, r#"{"#, r#"{"layer_norm_eps":"x","#),
            (SMALL, r#"{"#, r#"{"layer_norm_eps":null,"#),
            (SMALL, r#"{"#, r#"{"layer_norm_eps":-1,"#),
            (SMALL, r#"{"#, r#"{"layer_norm_eps":0,"#),
            (SMALL, r#"{"#, r#"{"type_vocab_size":"2","#),
            (SMALL, r#"{"#, r#"{"type_vocab_size":null,"#),
            (SMALL, r#"{"#, r#"{"architectures":"BertModel","#),
            (SMALL, r#"{"#, r#"{"architectures":null,"#),
            (DISTILLED, r#""dim":8"#, r#""hidden_size":8"#),
            (DISTILLED, r#""dim":8"#, r#""dim":8,"hidden_size":16"#),
            (DISTILLED, r#"{"model"#, r#"{"problem_type":"ranking","model"#),
            (DISTILLED, r#"{"model"#, r#"{"problem_type":7,"model"#),
            (DISTILLED, r#"{"1":"good","0":"bad"}"#, r#"null,"num_labels":"3""#),
            (
                DISTILLED,
                r#"{"1":"good","0":"bad"}"#,
                r#"{"0":"score"},"sentence_transformers":{"activation_fn":"torch.nn.modules.linear.Identity"}"#,
            ),
            (
                DISTILLED,
                r#"{"1":"good","0":"bad"}"#,
                r#"{"0":"score"},"sbert_ce_default_activation_function":"torch.nn.modules.activation.Sigmoid""#,
            ),
            (
                DISTILLED,
                r#"{"1":"good","0":"bad"}"#,
                r#"{"0":"score"},"sbert_ce_default_activation_function":"torch.nn.Tanh""#,
            ),
            (
                DISTILLED,
                r#"{"1":"good","0":"bad"}"#,
                r#"{"0":"score"},"sentence_transformers":{"activation_fn":7}"#,
            ),
            (SMALL, r#"{"#, "["),
            (SMALL, r#"32}"#, "32"),
            (DISTILLED, r#"{"#, r#"{"activation":"relu","#),
            (DISTILLED, r#"{"#, r#"{"activation":["gelu"],"#),
            (DISTILLED, r#""dim":8"#, r#""dim":7"#),
            (DISTILLED, r#""id2label":{"1":"good","0":"bad"}"#, r#""num_labels":3"#),
            (DISTILLED, r#""id2label":{"1":"good","0":"bad"}"#, r#""num_labels":99999999"#),
            (DISTILLED, r#"{"1":"good","0":"bad"}"#, r#"{"0":"score"}"#),
            (DISTILLED, r#"{"1":"good","0":"bad"}"#, r#"{"2":"good","0":"bad"}"#),
            (DISTILLED, r#"{"1":"good","0":"bad"}"#, r#"{"1":"good","0":7}"#),
            (DISTILLED, r#"{"1":"good","0":"bad"}"#, "{}"),
            (DISTILLED, r#"{"model"#, r#"{"problem_type":"multi_label_classification","model"#),
            (DISTILLED, r#"{"model"#, r#"{"problem_type":"regression","model"#),
        ];
        let told: Vec<String> = changes
            .iter()
            .map(|(json, from, to)| format!("{to}: {}", told(&json.replacen(from, to, 1))))
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
