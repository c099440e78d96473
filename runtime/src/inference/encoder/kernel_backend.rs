//! The encoder backend on the crate `kernels`, which workers use.
//!
//! Layers are packed for the processor one by one, and the source of each is freed. Tables that stay in memory are
//! borrowed. The token embeddings of a file on disk, often half of a model, are quantised while they are read. Those of a
//! large vocabulary, and all in a higher precision, stay on disk, and a row is read when a text has its token.

use super::config::EncoderConfig;
use super::parameters::{Form, LayerParameters, Linear, Norm, Parameters, Stored};
use super::{EncodeError, Encoder, EncoderError, TakeRows, Workspace};
use crate::inference::files::int8_layout::quantize_rows;
use crate::inference::files::weights::{Float, RowsOnDisk};
use kernels::{
    Dense, EncoderTables, ForwardError, Isa, LayerWeights, Matrix, MatrixError, Outlier, Sequence, TakeLayer,
    TokenEmbeddings,
};
use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

/// A loaded encoder.
pub(super) struct KernelBackend<'a> {
    encoder: kernels::Encoder<'a>,
}

impl<'a> KernelBackend<'a> {
    /// Loads an encoder in a precision.
    pub(super) fn load(
        parameters: &Parameters<'_, 'a>,
        config: &EncoderConfig,
        precision: kernels::Precision,
    ) -> Result<Self, EncoderError> {
        Self::load_for(parameters, config, precision, Isa::best())
    }

    fn load_for(
        parameters: &Parameters<'_, 'a>,
        config: &EncoderConfig,
        precision: kernels::Precision,
        isa: Isa,
    ) -> Result<Self, EncoderError> {
        let token_embeddings = match parameters.token_embeddings_on_disk()? {
            Some(rows) => token_embeddings(rows, precision)?,
            None => table(parameters.token_embeddings()?)?.into(),
        };
        let positions = table(parameters.positions()?)?;
        let types = parameters.token_types()?.map(table).transpose()?;
        let tables = EncoderTables {
            heads: config.heads,
            activation: config.activation,
            norm_epsilon: config.norm_epsilon,
            token_embeddings,
            positions,
            padding: config.padding,
            types,
            relative_bias: parameters.relative_bias()?,
            norm: norm(&parameters.embeddings_norm()?),
            intermediate: config.intermediate,
        };
        let read = |index, take: TakeLayer<'_>| -> Result<(), EncoderError> {
            let layer = parameters.layer(index)?;
            Ok(take(&of_layer(&layer)?)?)
        };
        let encoder = kernels::Encoder::load(tables, precision, isa, config.layers, read)?;
        Ok(Self { encoder })
    }
}

impl Encoder for KernelBackend<'_> {
    fn encode(
        &self,
        workspace: &mut Workspace,
        sequences: &[Sequence<'_>],
        stop: &AtomicBool,
        take: TakeRows<'_>,
    ) -> Result<(), EncodeError> {
        let hidden = self.encoder.forward(&mut workspace.team, &mut workspace.buffers, sequences, stop);
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
        attention_output: dense(&layer.attention_output)?,
        attention_output_norm: norm(&layer.attention_output_norm),
        intermediate: dense(&layer.intermediate)?,
        output: dense(&layer.output)?,
        output_norm: norm(&layer.output_norm),
    })
}

/// Makes the token embeddings of a file on disk.
fn token_embeddings(
    rows: RowsOnDisk,
    precision: kernels::Precision,
) -> Result<TokenEmbeddings<'static>, EncoderError> {
    let (count, columns) = (rows.rows, rows.columns);
    match precision {
        kernels::Precision::Int8 if count * columns * rows.float.bytes() <= QUANTIZED_BYTES_MAX => {
            let (mut output, mut scales) = (Vec::with_capacity(count * columns), Vec::with_capacity(count));
            rows.each(|bytes| {
                let (values, more) = quantize_rows(&rows.float.widen(bytes), columns);
                output.extend(values);
                scales.extend(more);
            })?;
            Ok(Matrix::int8(output.leak(), scales, Vec::new(), count, columns)?.into())
        }
        kernels::Precision::Bf16 | kernels::Precision::F32 | kernels::Precision::Int8 => {
            // Reads the whole table once, so that a number that is not finite is found now.
            rows.each(|_| ())?;
            Ok(TokenEmbeddings::Read(Box::new(rows)))
        }
    }
}

/// Makes a table that is kept. Owned memory is leaked, because the model lives as long as the worker process.
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

fn norm(norm: &Norm) -> kernels::Norm {
    kernels::Norm { weight: norm.weight.clone(), bias: norm.bias.clone() }
}

/// The largest table that is quantised into memory. Vocabularies of 250,000 tokens are larger, and most of their rows are
/// for languages that a node never sees.
const QUANTIZED_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::cosine;
    use crate::inference::encoder::model::metadata_in;
    use crate::inference::encoder::pooling::Pooling;
    use crate::inference::files::weights::Weights;

    /// Nodes with different processors compute embeddings that are compared with each other.
    #[test]
    fn a_text_has_nearly_one_vector_on_every_instruction_set() {
        let weights = Weights::parse(embedded_model::FILE).unwrap();
        let description = metadata_in(&weights).unwrap();
        let config = &description.config;
        let parameters = Parameters::new(&weights, config);
        // "machines on one network find each other and share small pieces of work", in this model's tokens.
        let tokens = [101, 6681, 2006, 2028, 2897, 2424, 2169, 2060, 1998, 3745, 2235, 4109, 1997, 2147, 102];
        let vector = |isa| {
            let encoder =
                KernelBackend::load_for(&parameters, config, kernels::Precision::Int8, isa).unwrap();
            let mut vector = Vec::new();
            let sequences = [Sequence::from(tokens.as_slice())];
            let stop = AtomicBool::new(false);
            let take: TakeRows<'_> = &mut |rows| vector = Pooling::mean().pool(rows, config.hidden, 0);
            encoder.encode(&mut Workspace::alone(), &sequences, &stop, take).unwrap();
            vector
        };
        let plain = vector(Isa::portable());
        for isa in Isa::available() {
            let near = cosine(&plain, &vector(isa));
            // Rounding between two quantisation steps may differ, which costs as much as 8 bits cost against 32.
            assert!(near >= 0.998, "{isa}: {near}");
        }
    }
}
