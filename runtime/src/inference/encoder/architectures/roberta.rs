//! RoBERTa (Liu et al., 2019), and XLM-RoBERTa (Conneau et al., 2020) and CamemBERT (Martin et al., 2020), which differ
//! from it in their vocabularies alone.
//!
//! It is a BERT whose positions begin after the number of the padding token, with another classification head.

use super::{Architecture, Between, Fields, HeadNames, Names, activation, bert, epsilon, number};
use crate::inference::encoder::config_error::ConfigError;
use crate::inference::files::json_fields::{Object, check_neutral};

pub(crate) static CAMEMBERT: Architecture = Architecture {
    model_type: "camembert",
    fields,
    names: NAMES,
    classifier_class: "CamembertForSequenceClassification",
    other_classes: &[
        "CamembertForMaskedLM",
        "CamembertForMultipleChoice",
        "CamembertForQuestionAnswering",
        "CamembertForTokenClassification",
        "CamembertModel",
    ],
};
pub(crate) static ROBERTA: Architecture = Architecture {
    model_type: "roberta",
    fields,
    names: NAMES,
    classifier_class: "RobertaForSequenceClassification",
    other_classes: &[
        "RobertaForMaskedLM",
        "RobertaForMultipleChoice",
        "RobertaForQuestionAnswering",
        "RobertaForTokenClassification",
        "RobertaModel",
    ],
};
pub(crate) static XLM_ROBERTA: Architecture = Architecture {
    model_type: "xlm-roberta",
    fields,
    names: NAMES,
    classifier_class: "XLMRobertaForSequenceClassification",
    other_classes: &[
        "XLMRobertaForMaskedLM",
        "XLMRobertaForMultipleChoice",
        "XLMRobertaForQuestionAnswering",
        "XLMRobertaForTokenClassification",
        "XLMRobertaModel",
    ],
};

const NAMES: Names = Names {
    prefix: "roberta.",
    head: HeadNames { first: "classifier.dense", between: Between::Tanh, second: "classifier.out_proj" },
    ..bert::NAMES
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
        padding: Some(number(config, "pad_token_id", Some(1))?),
        buckets: None,
        token_types: Some(number(config, "type_vocab_size", Some(2))?),
        norm_epsilon: epsilon(config, "layer_norm_eps", 1e-12)?,
        activation: activation(config, "hidden_act")?,
    })
}
