//! The parameters of an encoder by role, independent of tensor names and storage types.
//!
//! The invariant: returned parameters have the dimensions of the configuration.

use super::architectures::HeadNames;
use super::config::{EncoderConfig, bias, weight};
use crate::inference::files::int8_layout::{outliers_name, places_name, scales_name};
use crate::inference::files::weights::{Float, RowsOnDisk, Weights, WeightsError};
use kernels::RELATIVE_BUCKETS;
use std::borrow::Cow;

/// The parameters of an encoder, still in their files.
pub(crate) struct Parameters<'w, 'a> {
    weights: &'w Weights<'a>,
    config: &'w EncoderConfig,
    prefix: &'static str,
}

/// A matrix in its storage type, row by row.
pub(crate) struct Stored<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) bytes: Cow<'a, [u8]>,
    pub(crate) form: Form,
}

/// The storage type of a matrix.
pub(crate) enum Form {
    Float(Float),
    /// Signed bytes, with the scale of each row, and outliers with their rows and columns.
    Signed {
        scales: Vec<f32>,
        outliers: Vec<([usize; 2], f32)>,
    },
}

/// A linear map with a row of weights for each output.
pub(crate) struct Linear<'a> {
    pub(crate) weight: Stored<'a>,
    pub(crate) bias: Vec<f32>,
}

/// The parameters of one layer.
pub(crate) struct LayerParameters<'a> {
    pub(crate) query: Linear<'a>,
    pub(crate) key: Linear<'a>,
    pub(crate) value: Linear<'a>,
    pub(crate) attention_output: Linear<'a>,
    pub(crate) attention_output_norm: Norm,
    pub(crate) intermediate: Linear<'a>,
    pub(crate) output: Linear<'a>,
    pub(crate) output_norm: Norm,
}

/// The parameters of a layer normalisation (Ba et al., 2016).
pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl<'w, 'a> Parameters<'w, 'a> {
    /// Makes parameters, and detects the prefix of the tensor names.
    pub(crate) fn new(weights: &'w Weights<'a>, config: &'w EncoderConfig) -> Self {
        Self { weights, config, prefix: prefix(weights, config) }
    }

    /// Returns the token embeddings.
    pub(crate) fn token_embeddings(&self) -> Result<Stored<'a>, WeightsError> {
        self.table(self.config.architecture.names.token_embeddings, self.config.vocabulary)
    }

    /// Returns the token embeddings on disk, if they are floating-point numbers in a file on disk.
    pub(crate) fn token_embeddings_on_disk(&self) -> Result<Option<RowsOnDisk>, WeightsError> {
        let name = self.table_name(self.config.architecture.names.token_embeddings);
        self.weights.rows_on_disk(&name, self.config.vocabulary, self.config.hidden)
    }

    /// Returns the position embeddings.
    pub(crate) fn positions(&self) -> Result<Stored<'a>, WeightsError> {
        self.table(self.config.architecture.names.positions, self.config.positions)
    }

    /// Returns the token type embeddings, if there are types.
    pub(crate) fn token_types(&self) -> Result<Option<Stored<'a>>, WeightsError> {
        let name = self.config.architecture.names.token_types;
        name.map(|name| self.table(name, self.config.token_types)).transpose()
    }

    /// Returns the biases of attention in the buckets of relative positions that are used, if there are any.
    pub(crate) fn relative_bias(&self) -> Result<Option<Vec<f32>>, WeightsError> {
        let Some((name, shape)) = self.config.relative_bias() else { return Ok(None) };
        let mut biases = self.weights.floats(&format!("{}{name}", self.prefix), &shape)?;
        biases.truncate(RELATIVE_BUCKETS * self.config.heads);
        Ok(Some(biases))
    }

    /// Returns the normalisation of the embeddings.
    pub(crate) fn embeddings_norm(&self) -> Result<Norm, WeightsError> {
        self.norm(self.config.architecture.names.embeddings_norm)
    }

    /// Returns the parameters of one layer.
    pub(crate) fn layer(&self, layer: usize) -> Result<LayerParameters<'a>, WeightsError> {
        let names = &self.config.architecture.names;
        let (hidden, intermediate) = (self.config.hidden, self.config.intermediate);
        let linear = |part, outputs, inputs| {
            let name = format!("{}{}", self.prefix, names.in_layer(layer, part));
            read_linear(self.weights, &name, outputs, inputs)
        };
        Ok(LayerParameters {
            query: linear(names.query, hidden, hidden)?,
            key: linear(names.key, hidden, hidden)?,
            value: linear(names.value, hidden, hidden)?,
            attention_output: linear(names.attention_output, hidden, hidden)?,
            attention_output_norm: self.norm(&names.in_layer(layer, names.attention_output_norm))?,
            intermediate: linear(names.intermediate, intermediate, hidden)?,
            output: linear(names.output, hidden, intermediate)?,
            output_norm: self.norm(&names.in_layer(layer, names.output_norm))?,
        })
    }

    /// Returns the two maps of a head with this many outputs.
    pub(crate) fn head(&self, outputs: usize) -> Result<(Linear<'a>, Linear<'a>), WeightsError> {
        let HeadNames { first, second, .. } = self.config.architecture.names.head;
        let hidden = self.config.hidden;
        let first = read_linear(self.weights, first, hidden, hidden)?;
        Ok((first, read_linear(self.weights, second, outputs, hidden)?))
    }

    fn table(&self, name: &str, rows: usize) -> Result<Stored<'a>, WeightsError> {
        read_matrix(self.weights, &self.table_name(name), rows, self.config.hidden)
    }

    fn table_name(&self, name: &str) -> String {
        weight(&format!("{}{name}", self.prefix))
    }

    fn norm(&self, name: &str) -> Result<Norm, WeightsError> {
        let name = format!("{}{name}", self.prefix);
        let vector =
            |name: String| self.weights.floats(&as_stored(self.weights, name), &[self.config.hidden]);
        Ok(Norm {
            weight: vector(weight(&name))?,
            bias: vector(bias(&name))?,
            epsilon: self.config.norm_epsilon,
        })
    }
}

impl Stored<'_> {
    /// Returns all numbers as f32.
    pub(crate) fn widen(&self) -> Vec<f32> {
        match &self.form {
            Form::Float(float) => float.widen(&self.bytes),
            Form::Signed { scales, outliers } => {
                let rows = self.bytes.chunks_exact(self.columns).zip(scales);
                let scaled =
                    rows.flat_map(|(row, scale)| row.iter().map(move |value| signed(*value) * scale));
                let mut numbers: Vec<f32> = scaled.collect();
                for ([row, column], outlier) in outliers {
                    numbers[row * self.columns + column] = *outlier;
                }
                numbers
            }
        }
    }
}

fn signed(byte: u8) -> f32 {
    f32::from(byte.cast_signed())
}

/// Returns the prefix of the encoder's tensor names in these weights.
pub(crate) fn prefix(weights: &Weights<'_>, config: &EncoderConfig) -> &'static str {
    let names = &config.architecture.names;
    let bare = weights.contains(&weight(names.token_embeddings));
    if bare { "" } else { names.prefix }
}

/// Returns the name of a vector in the file: older files call the weight and bias of a norm gamma and beta.
pub(crate) fn as_stored(weights: &Weights<'_>, name: String) -> String {
    let older = match name.rsplit_once('.') {
        Some((norm, "weight")) => format!("{norm}.gamma"),
        Some((norm, "bias")) => format!("{norm}.beta"),
        _ => return name,
    };
    if weights.contains(&older) { older } else { name }
}

fn read_linear<'a>(
    weights: &Weights<'a>,
    name: &str,
    outputs: usize,
    inputs: usize,
) -> Result<Linear<'a>, WeightsError> {
    Ok(Linear {
        weight: read_matrix(weights, &weight(name), outputs, inputs)?,
        bias: weights.floats(&bias(name), &[outputs])?,
    })
}

fn read_matrix<'a>(
    weights: &Weights<'a>,
    name: &str,
    rows: usize,
    columns: usize,
) -> Result<Stored<'a>, WeightsError> {
    if !weights.is_signed(name) {
        let (float, bytes) = weights.float_bytes(name, &[rows, columns])?;
        return Ok(Stored { rows, columns, bytes, form: Form::Float(float) });
    }
    let bytes = weights.signed(name, &[rows, columns])?;
    let scales = weights.floats(&scales_name(name), &[rows])?;
    let mut outliers = Vec::new();
    if weights.contains(&outliers_name(name)) {
        let places = weights.places(&places_name(name), rows, columns)?;
        let numbers = weights.floats(&outliers_name(name), &[places.len()])?;
        outliers = places.into_iter().zip(numbers).collect();
    }
    Ok(Stored { rows, columns, bytes, form: Form::Signed { scales, outliers } })
}
