//! The encoder architectures that can run here, one file each, and what they have in common.
//!
//! All of them compute the same: token and position embeddings, then layers of self-attention and a two-step map with
//! an activation, each followed by a residual and a normalisation (Vaswani et al., 2017, as in BERT). They differ in what their
//! configuration calls its fields, in the names of their tensors, and in the head that classifies.

pub(super) mod bert;
pub(super) mod distilbert;

use super::config::ConfigError;
use super::files::json_fields::{self, FieldError, Object};
use kernels::Activation;

/// One architecture.
#[derive(Debug)]
pub(super) struct Architecture {
    /// What a `config.json` calls it under `model_type`.
    pub(super) model_type: &'static str,
    /// Reads the fields that only this architecture has.
    pub(super) fields: fn(&Object) -> Result<Fields, ConfigError>,
    /// What its tensors are called.
    pub(super) names: Names,
    /// The class of its models with a head that classifies, as a `config.json` names it under `architectures`.
    pub(super) classifier_class: &'static str,
}

/// The dimensions as a configuration gives them, in the order in which they are checked.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) vocabulary: Field,
    pub(super) hidden: Field,
    pub(super) intermediate: Field,
    pub(super) heads: Field,
    pub(super) layers: Field,
    pub(super) positions: Field,
    /// Not all architectures have types of tokens.
    pub(super) token_types: Option<Field>,
    pub(super) norm_epsilon: f64,
    pub(super) activation: Activation,
}

/// A number, and what the configuration calls it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: usize,
}

/// The names of an architecture's tensors, without `.weight` and `.bias`.
#[derive(Debug)]
pub(super) struct Names {
    /// What stands before the names of the encoder's tensors where the model has a head.
    pub(super) prefix: &'static str,
    pub(super) words: &'static str,
    pub(super) positions: &'static str,
    pub(super) token_types: Option<&'static str>,
    pub(super) embeddings_norm: &'static str,
    /// Followed by a dot and the number of the layer.
    pub(super) layer: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) attended: &'static str,
    pub(super) attended_norm: &'static str,
    pub(super) widen: &'static str,
    pub(super) narrow: &'static str,
    pub(super) narrowed_norm: &'static str,
    pub(super) head: HeadNames,
}

/// The head that classifies: two linear maps on the first token's hidden state, and what is between them.
#[derive(Debug)]
pub(super) struct HeadNames {
    /// The full name of the first map.
    pub(super) first: &'static str,
    pub(super) between: Between,
    /// The full name of the second map.
    pub(super) second: &'static str,
}

/// What is computed between the two maps of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Relu,
    Tanh,
}

/// Returns the architecture of this `model_type`.
pub(super) fn of(model_type: &str) -> Option<&'static Architecture> {
    ALL.iter().copied().find(|architecture| architecture.model_type == model_type)
}

/// Reads a number of a configuration, or takes a default where it is absent.
pub(super) fn number(
    config: &Object,
    name: &'static str,
    default: Option<usize>,
) -> Result<Field, ConfigError> {
    let value = json_fields::count(config, name)?.not_null(name, "a number")?;
    Ok(Field { name, value: value.or(default).ok_or(ConfigError::Missing(name))? })
}

/// Reads a number that goes by two names, as transformers takes either.
pub(super) fn number_of(
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
pub(super) fn epsilon(config: &Object, name: &'static str, default: f64) -> Result<f64, ConfigError> {
    let value = json_fields::number(config, name)?.not_null(name, "a number")?.unwrap_or(default);
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(FieldError::new(name, &value.into(), "expected a number from 0 to 1").into())
}

/// Reads which activation a model was trained with, exact GELU where it does not say.
pub(super) fn activation(config: &Object, name: &'static str) -> Result<Activation, ConfigError> {
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
pub(super) const ALL: [&Architecture; 2] = [&bert::BERT, &distilbert::DISTILBERT];
