//! The encoder architectures that can run here, one file each, and what they have in common.
//!
//! All of them compute the same: token and position embeddings, then layers of self-attention and a two-step map with
//! an activation, each followed by a residual and a normalisation (Vaswani et al., 2017, as in BERT). They differ in what their
//! configuration calls its fields, in the names of their tensors, and in the head that classifies.

pub(super) mod bert;
pub(super) mod distilbert;

use super::config_error::ConfigError;
use crate::inference::files::json_fields::{self, FieldError, Object};
use kernels::Activation;

/// One architecture.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// What a `config.json` calls it under `model_type`.
    pub(super) model_type: &'static str,
    /// Reads the fields that only this architecture has.
    pub(crate) fields: fn(&Object) -> Result<Fields, ConfigError>,
    /// What its tensors are called.
    pub(crate) names: Names,
    /// The class of its models with a head that classifies, as a `config.json` names it under `architectures`.
    pub(crate) classifier_class: &'static str,
}

/// The dimensions as a configuration gives them, in the order in which they are checked.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) vocabulary: Field,
    pub(crate) hidden: Field,
    pub(crate) intermediate: Field,
    pub(crate) heads: Field,
    pub(crate) layers: Field,
    pub(crate) positions: Field,
    /// Not all architectures have types of tokens.
    pub(crate) token_types: Option<Field>,
    pub(crate) norm_epsilon: f64,
    pub(crate) activation: Activation,
}

/// A number, and what the configuration calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) value: usize,
}

/// The names of an architecture's tensors, without `.weight` and `.bias`.
#[derive(Debug)]
pub(crate) struct Names {
    /// What stands before the names of the encoder's tensors where the model has a head.
    pub(crate) prefix: &'static str,
    pub(crate) token_embeddings: &'static str,
    pub(crate) positions: &'static str,
    pub(crate) token_types: Option<&'static str>,
    pub(crate) embeddings_norm: &'static str,
    /// Followed by a dot and the number of the layer.
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

/// The head that classifies: two linear maps on the first token's hidden state, and what is between them.
#[derive(Debug)]
pub(crate) struct HeadNames {
    /// The full name of the first map.
    pub(crate) first: &'static str,
    pub(crate) between: Between,
    /// The full name of the second map.
    pub(crate) second: &'static str,
}

/// What is computed between the two maps of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    Relu,
    Tanh,
}

/// Returns the architecture of this `model_type`.
pub(crate) fn by_model_type(model_type: &str) -> Option<&'static Architecture> {
    ALL.iter().copied().find(|architecture| architecture.model_type == model_type)
}

/// Reads a number of a configuration, or takes a default where it is absent.
pub(crate) fn number(
    config: &Object,
    name: &'static str,
    default: Option<usize>,
) -> Result<Field, ConfigError> {
    let value = json_fields::count(config, name)?.not_null(name, "a number")?;
    Ok(Field { name, value: value.or(default).ok_or(ConfigError::Missing(name))? })
}

/// Reads a number that goes by two names, as transformers takes either.
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

/// Reads what is added to a variance before its root is taken.
pub(crate) fn epsilon(config: &Object, name: &'static str, default: f64) -> Result<f64, ConfigError> {
    let value = json_fields::number(config, name)?.not_null(name, "a number")?.unwrap_or(default);
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(FieldError::new(name, &value.into(), "expected a number from 0 to 1").into())
}

/// Reads which activation a model was trained with, exact GELU where it does not say.
pub(crate) fn activation(config: &Object, name: &'static str) -> Result<Activation, ConfigError> {
    let Some(value) = config.get(name) else { return Ok(Activation::Gelu) };
    let known = ACTIVATIONS.iter().find(|(known, _)| value.as_str() == Some(known));
    known.map(|(_, activation)| *activation).ok_or_else(|| {
        let names: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
        FieldError::new(name, value, &format!("only {} is supported", names.join(" or "))).into()
    })
}

/// What transformers calls the activations that can be computed here.
const ACTIVATIONS: [(&str, Activation); 6] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
];
/// All architectures.
pub(crate) const ALL: [&Architecture; 2] = [&bert::BERT, &distilbert::DISTILBERT];
