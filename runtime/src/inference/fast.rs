//! An encoder on the crate `kernels`, which is what runs unless it was asked for otherwise.
//!
//! Layers are packed for the processor, and what they were packed from is let go. Tables that are in memory for good
//! are borrowed as they are; others are read and kept, in no more bits than the rest is computed with.

use super::config::Config;
use super::encoder::{EncodeError, Encoder, EncoderError, Room, TakeRows};
use super::parameters::{Form, LayerParameters, Linear, Parameters, Stored};
use super::quantize::quantize_rows;
use super::steps::Norm;
use super::weights::{Float, WeightsError};
use half::bf16;
use kernels::{
    Dense, EncoderWeights, ForwardError, Isa, LayerWeights, Matrix, MatrixError, Outlier, Sequence,
};
use std::borrow::Cow;
use std::sync::atomic::AtomicBool;
use std::thread;

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
        let layers = read_layers(parameters, config.layers)?;
        let layers = layers.iter().map(of_layer).collect::<Result<_, MatrixError>>()?;
        let weights = EncoderWeights {
            heads: config.heads,
            activation: config.activation,
            norm_epsilon: config.norm_epsilon,
            words,
            positions,
            types,
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

/// Reads and checks layers, on as many threads as there are cores.
fn read_layers<'a>(
    parameters: &Parameters<'_, 'a>,
    layers: usize,
) -> Result<Vec<LayerParameters<'a>>, WeightsError> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = layers.div_ceil(cores).max(1);
    let read = |first: usize| -> Result<Vec<_>, WeightsError> {
        (first..layers.min(first + share)).map(|layer| parameters.layer(layer)).collect()
    };
    let shares: Result<Vec<Vec<_>>, WeightsError> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..layers).step_by(share).map(|first| scope.spawn(move || read(first))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    Ok(shares?.into_iter().flatten().collect())
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
