//! An encoder on the crate `kernels`, which is what runs unless it was asked for otherwise.
//!
//! The tables stay as they are in the model's file: borrowed where that is in memory for good, else read and kept.
//! Layers are packed for the processor, and what they were packed from is let go.

use super::config::Config;
use super::encoder::{EncodeError, Encoder, EncoderError, Room, TakeRows};
use super::parameters::{Form, LayerParameters, Linear, Parameters, Stored};
use super::steps::Norm;
use super::weights::{Float, WeightsError};
use kernels::{
    Activation, Dense, EncoderWeights, ForwardError, Isa, LayerWeights, Matrix, MatrixError, Outlier,
};
use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

/// A loaded encoder.
pub(super) struct Fast<'a> {
    encoder: kernels::Encoder<'a>,
}

impl<'a> Fast<'a> {
    /// Loads an encoder of these dimensions, to compute as exactly as is said.
    pub(super) fn load(
        parameters: &Parameters<'_, 'a>,
        config: &Config,
        precision: kernels::Precision,
    ) -> Result<Self, EncoderError> {
        let layers: Vec<LayerParameters<'a>> =
            (0..config.layers).map(|layer| parameters.layer(layer)).collect::<Result<_, WeightsError>>()?;
        let layers = layers.iter().map(of_layer).collect::<Result<_, MatrixError>>()?;
        let weights = EncoderWeights {
            heads: config.heads,
            activation: Activation::Gelu,
            norm_epsilon: config.norm_epsilon,
            words: table(parameters.words()?)?,
            positions: table(parameters.positions()?)?,
            types: parameters.token_types()?.map(table).transpose()?,
            norm: of_norm(&parameters.embeddings_norm()?),
            layers,
        };
        Ok(Self { encoder: kernels::Encoder::new(weights, precision, Isa::best())? })
    }
}

impl Encoder for Fast<'_> {
    fn encode(
        &self,
        room: &mut Room,
        sequences: &[&[u32]],
        stop: &AtomicBool,
        take: TakeRows<'_>,
    ) -> Result<(), EncodeError> {
        let sequences: Vec<kernels::Sequence<'_>> = sequences.iter().map(|&tokens| tokens.into()).collect();
        let hidden = self.encoder.forward(&mut room.team, &mut room.scratch, &sequences, stop);
        let hidden = hidden.map_err(|error| {
            if error == ForwardError::Stopped {
                EncodeError::Stopped
            } else {
                EncodeError::Failed(error.to_string())
            }
        })?;
        for sequence in 0..hidden.sequences() {
            take(&mut hidden.rows(sequence));
        }
        Ok(())
    }
}

fn of_layer<'p>(layer: &'p LayerParameters<'_>) -> Result<LayerWeights<'p>, MatrixError> {
    let dense = |linear: &'p Linear<'_>| {
        Ok(Dense { weight: matrix(&linear.weight, &linear.weight.bytes)?, bias: linear.bias.clone() })
    };
    Ok(LayerWeights {
        query: dense(&layer.query)?,
        key: dense(&layer.key)?,
        value: dense(&layer.value)?,
        attended: dense(&layer.attended)?,
        attended_norm: of_norm(&layer.attended_norm),
        widen: dense(&layer.widen)?,
        narrow: dense(&layer.narrow)?,
        narrowed_norm: of_norm(&layer.narrowed_norm),
    })
}

/// A table that is kept. One that was read is leaked: a worker's model goes when its process does.
fn table(mut stored: Stored<'_>) -> Result<Matrix<'_>, MatrixError> {
    let bytes: &[u8] = match std::mem::take(&mut stored.bytes) {
        Cow::Borrowed(bytes) => bytes,
        Cow::Owned(bytes) => bytes.leak(),
    };
    matrix(&stored, bytes)
}

fn matrix<'b>(stored: &Stored<'_>, bytes: &'b [u8]) -> Result<Matrix<'b>, MatrixError> {
    let Stored { rows, columns, .. } = *stored;
    match &stored.form {
        Form::Float(Float::Bf16) => Matrix::bf16(bytes, rows, columns),
        Form::Float(Float::F16) => Matrix::f16(bytes, rows, columns),
        Form::Float(Float::F32) => Matrix::f32(bytes, rows, columns),
        Form::Signed { scales, outliers } => {
            let outlier = |&([row, column], weight): &([usize; 2], f32)| Outlier { row, column, weight };
            let outliers = outliers.iter().map(outlier).collect();
            Matrix::int8(bytes, scales.clone(), outliers, rows, columns)
        }
    }
}

fn of_norm(norm: &Norm) -> kernels::Norm {
    kernels::Norm { weight: norm.weight.clone(), bias: norm.bias.clone() }
}
