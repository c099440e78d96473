//! RoBERTa (Liu et al., 2019), and XLM-RoBERTa (Conneau et al., 2020) and CamemBERT (Martin et al., 2020), which differ
//! from it in their vocabularies alone.
//!
//! It is a BERT whose positions begin after the number of the padding token, with another classification head.

use super::{Architecture, Between, Fields, HeadNames, Names, bert, number};
use crate::inference::encoder::config_error::ConfigError;
use crate::inference::files::json_fields::Object;

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
    Ok(Fields { padding: Some(number(config, "pad_token_id", Some(1))?), ..bert::fields(config)? })
}
