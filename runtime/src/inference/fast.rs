//! An encoder on the crate `kernels`, which is what runs unless it was asked for otherwise.
//!
//! Layers are packed for the processor one by one, and what each was packed from is let go. Tables that are in memory for good
//! are borrowed as they are; others are read and kept, in no more bits than the rest is computed with.

use super::config::Config;
use super::encoder::{EncodeError, Encoder, EncoderError, Room, TakeRows};
use super::parameters::{Form, LayerParameters, Linear, Parameters, Stored};
use super::quantize::quantize_rows;
use super::steps::Norm;
use super::weights::Float;
use half::bf16;
use kernels::{
    Dense, EncoderTables, ForwardError, Isa, LayerWeights, Matrix, MatrixError, Outlier, Sequence, TakeLayer,
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
        // Tables first: what they are made of is gone before the layers come.
        let table = |stored| table(stored, precision);
        let (words, positions) = (table(parameters.words()?)?, table(parameters.positions()?)?);
        let types = parameters.token_types()?.map(table).transpose()?;
        let tables = EncoderTables {
            heads: config.heads,
            activation: config.activation,
            norm_epsilon: config.norm_epsilon,
            words,
            positions,
            types,
            norm: of_norm(&parameters.embeddings_norm()?),
            intermediate: config.intermediate,
        };
        let read = |index, take: TakeLayer<'_>| -> Result<(), EncoderError> {
            let layer = parameters.layer(index)?;
            Ok(take(&of_layer(&layer)?)?)
        };
        let encoder = kernels::Encoder::load(tables, precision, Isa::best(), config.layers, read)?;
        Ok(Self { encoder })
    }
}

impl Encoder for Fast<'_> {
    fn encode(
        &self,
        room: &mut Room,
        sequences: &[Sequence<'_>],
        stop: &AtomicBool,
        take: TakeRows<'_>,
    ) -> Result<(), EncodeError> {
        let hidden = self.encoder.forward(&mut room.team, &mut room.scratch, sequences, stop);
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
fn table(mut stored: Stored<'_>, precision: kernels::Precision) -> Result<Matrix<'_>, MatrixError> {
    let bytes: &[u8] = match std::mem::take(&mut stored.bytes) {
        Cow::Borrowed(bytes) => bytes,
        Cow::Owned(bytes) => {
            let (narrow, form) = narrowed(bytes, stored.columns, stored.form, precision);
            stored.form = form;
            narrow.leak()
        }
    };
    matrix(&stored, bytes)
}

/// Takes floating-point numbers to as many bits as a precision has, a few rows at a time.
fn narrowed(bytes: Vec<u8>, columns: usize, form: Form, precision: kernels::Precision) -> (Vec<u8>, Form) {
    let Form::Float(float) = form else { return (bytes, form) };
    let wide = float == Float::F32;
    let rows = bytes.chunks(columns * float.bytes() * ROWS_NARROWED);
    match precision {
        kernels::Precision::Int8 => {
            let (mut narrow, mut scales) = (Vec::new(), Vec::new());
            for rows in rows {
                let (values, more) = quantize_rows(&float.widen(rows), columns);
                narrow.extend(values);
                scales.extend(more);
            }
            (narrow, Form::Signed { scales, outliers: Vec::new() })
        }
        kernels::Precision::Bf16 if wide => {
            let halves =
                rows.flat_map(|rows| float.widen(rows)).map(|number| bf16::from_f32(number).to_le_bytes());
            (halves.flatten().collect(), Form::Float(Float::Bf16))
        }
        kernels::Precision::Bf16 | kernels::Precision::F32 => (bytes, form),
    }
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

/// Rows of a table that are narrowed together.
const ROWS_NARROWED: usize = 256;
