//! The supported encoder architectures, one file for each family, and what they share.
//!
//! All of them compute the same: token and position embeddings, then layers of self-attention and a feed-forward
//! network, each followed by a residual connection and a normalisation (Vaswani et al., 2017, as in BERT). They differ
//! in the names of configuration fields and tensors, and in the classification head.

pub(super) mod bert;
pub(super) mod distilbert;
pub(super) mod mpnet;
pub(super) mod roberta;

use super::config_error::ConfigError;
use crate::inference::files::json_fields::{self, FieldError, Object};
use kernels::Activation;

/// One architecture.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// Its `model_type` in `config.json`.
    pub(super) model_type: &'static str,
    /// Reads the fields that only this architecture has.
    pub(crate) fields: fn(&Object) -> Result<Fields, ConfigError>,
    /// The names of its tensors.
    pub(crate) names: Names,
    /// The class of its models with a classification head, in the field `architectures` of `config.json`.
    pub(crate) classifier_class: &'static str,
    /// Its other classes. A model of one of these is an encoder whose head, if it has one, is ignored.
    pub(crate) other_classes: &'static [&'static str],
}

/// The dimensions in a configuration, in the order in which they are checked.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) vocabulary: Field,
    pub(crate) hidden: Field,
    pub(crate) intermediate: Field,
    pub(crate) heads: Field,
    pub(crate) layers: Field,
    pub(crate) positions: Field,
    /// The padding token, if the position after its number is the first one of a text.
    pub(crate) padding: Option<Field>,
    /// The buckets of relative positions, if attention has a bias by them.
    pub(crate) buckets: Option<Field>,
    /// `None` if the architecture has no token types.
    pub(crate) token_types: Option<Field>,
    pub(crate) norm_epsilon: f64,
    pub(crate) activation: Activation,
}

/// A number, and the name of its field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) value: usize,
}

/// The names of an architecture's tensors, without `.weight` and `.bias`.
#[derive(Debug)]
pub(crate) struct Names {
    /// The prefix of the encoder's tensor names if the model has a head.
    pub(crate) prefix: &'static str,
    pub(crate) token_embeddings: &'static str,
    pub(crate) positions: &'static str,
    pub(crate) token_types: Option<&'static str>,
    /// A row for each bucket of relative positions, with a bias for each head.
    pub(crate) relative_bias: Option<&'static str>,
    pub(crate) embeddings_norm: &'static str,
    /// The prefix of a layer, followed by a dot and the layer number.
    pub(crate) layer: &'static str,
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
    pub(crate) attention_output: &'static str,
    pub(crate) attention_output_norm: &'static str,
    pub(crate) intermediate: &'static str,
    pub(crate) output: &'static str,
    pub(crate) output_norm: &'static str,
    pub(crate) head: HeadNames,
}

/// The classification head: two linear maps on the hidden state of the first token, and the activation between them.
#[derive(Debug)]
pub(crate) struct HeadNames {
    /// The full name of the first map.
    pub(crate) first: &'static str,
    pub(crate) between: Between,
    /// The full name of the second map.
    pub(crate) second: &'static str,
}

/// The activation between the two maps of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    Relu,
    Tanh,
}

impl Architecture {
    /// Returns the names of its models in `architectures` and `model_type` of `config.json`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.model_type, self.classifier_class].into_iter().chain(self.other_classes.iter().copied())
    }
}

/// Returns the architecture of this `model_type`.
pub(crate) fn by_model_type(model_type: &str) -> Option<&'static Architecture> {
    ALL.iter().copied().find(|architecture| architecture.model_type == model_type)
}

/// Reads a number of a configuration, or returns the default if it is absent.
pub(crate) fn number(
    config: &Object,
    name: &'static str,
    default: Option<usize>,
) -> Result<Field, ConfigError> {
    let value = json_fields::count(config, name)?.not_null(name, "a number")?;
    Ok(Field { name, value: value.or(default).ok_or(ConfigError::Missing(name))? })
}

/// Reads a number that has two names; transformers accepts either.
pub(crate) fn number_of(
    config: &Object,
    name: &'static str,
    other: &'static str,
) -> Result<Field, ConfigError> {
    if !config.contains_key(other) {
        return number(config, name, None);
    }
    let field = number(config, other, None)?;
    match number(config, name, Some(field.value))? {
        own if own.value == field.value => Ok(own),
        own => {
            let expected = format!("but {other} is {}", field.value);
            Err(FieldError::new(name, &own.value.into(), &expected).into())
        }
    }
}

/// Reads the epsilon of layer normalisation.
pub(crate) fn epsilon(config: &Object, name: &'static str, default: f64) -> Result<f64, ConfigError> {
    let value = json_fields::number(config, name)?.not_null(name, "a number")?.unwrap_or(default);
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(FieldError::new(name, &value.into(), "expected a number from 0 to 1").into())
}

/// Reads the activation; the default is exact GELU.
pub(crate) fn activation(config: &Object, name: &'static str) -> Result<Activation, ConfigError> {
    let Some(value) = config.get(name) else { return Ok(Activation::Gelu) };
    let known = ACTIVATIONS.iter().find(|(known, _)| value.as_str() == Some(known));
    known.map(|(_, activation)| *activation).ok_or_else(|| {
        let names: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
        FieldError::new(name, value, &format!("only {} is supported", names.join(" or "))).into()
    })
}

/// The supported activations by their names in transformers.
const ACTIVATIONS: [(&str, Activation); 6] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
];
/// All architectures.
pub(crate) const ALL: [&Architecture; 6] = [
    &bert::BERT,
    &roberta::CAMEMBERT,
    &distilbert::DISTILBERT,
    &mpnet::MPNET,
    &roberta::ROBERTA,
    &roberta::XLM_ROBERTA,
];
