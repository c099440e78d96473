//! The tensors of a decoder in its files: one or several safetensors files, or a GGUF file.
//!
//! Rows are read on demand into reused buffers; a file is never in memory as a whole.

use super::DecoderError;
use super::gguf::{Gguf, Kind, Tensor};
use super::gguf_schema;
use crate::inference::encoder::Precision;
use crate::inference::files::safetensors::{Entry, Header, HeaderError};
use crate::regular_file;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device};
use kernels::decoder::Format;
use safetensors::Dtype;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The tensors of a model, by name.
#[derive(Debug, Default)]
pub(super) struct TensorSource {
    files: Vec<Opened>,
    tensors: BTreeMap<String, (usize, Tensor)>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    path: PathBuf,
    bytes: u64,
}

/// A matrix that is read row by row.
#[derive(Clone, Debug)]
pub(super) struct Rows<'a> {
    file: &'a Opened,
    tensor: &'a Tensor,
}

impl TensorSource {
    /// Opens a GGUF file, and checks that all of its metadata is supported.
    pub(super) fn from_gguf(path: &Path) -> Result<(Self, Gguf), DecoderError> {
        let opened = Opened::open(path)?;
        let reader = io::BufReader::new(&opened.file);
        let gguf = Gguf::read(reader, opened.bytes)
            .map_err(|source| DecoderError::Gguf { path: path.to_owned(), source })?;
        gguf_schema::check(&gguf).map_err(DecoderError::Config)?;
        let tensors = gguf.tensors.iter().map(|(name, tensor)| (name.clone(), (0, tensor.clone()))).collect();
        Ok((Self { files: vec![opened], tensors }, gguf))
    }

    /// Opens safetensors files.
    pub(super) fn from_safetensors(paths: &[PathBuf]) -> Result<Self, DecoderError> {
        let mut source = Self::default();
        for path in paths {
            let opened = Opened::open(path)?;
            let found = opened.safetensors()?;
            for (name, tensor) in found {
                if source.tensors.insert(name.clone(), (source.files.len(), tensor)).is_some() {
                    return Err(opened.damaged(&format!("tensor {name} occurs twice")));
                }
            }
            source.files.push(opened);
        }
        Ok(source)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns a matrix of this size.
    pub(super) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Rows<'_>, DecoderError> {
        let Some((file, tensor)) = self.tensors.get(name) else {
            return Err(DecoderError::Missing(name.to_owned()));
        };
        if (tensor.rows, tensor.columns) != (rows, columns) {
            return Err(DecoderError::Shape {
                name: name.to_owned(),
                found: (tensor.rows, tensor.columns),
                expected: (rows, columns),
            });
        }
        Ok(Rows { file: &self.files[*file], tensor })
    }

    /// Reads a vector of this length as f32, all finite.
    pub(super) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, DecoderError> {
        let rows = self.matrix(name, 1, len)?;
        let mut numbers = vec![0.0; len];
        rows.decode(0, &mut Vec::new(), &mut numbers)?;
        if numbers.iter().all(|number| number.is_finite()) {
            Ok(numbers)
        } else {
            Err(DecoderError::NotFinite(name.to_owned()))
        }
    }

    /// Returns a hash of the files' metadata, which changes when a file changes.
    pub(super) fn identity(&self) -> io::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        for Opened { file, path, .. } in &self.files {
            let metadata = file.metadata()?;
            hash.update(path.as_os_str().as_encoded_bytes());
            for number in [metadata.dev(), metadata.ino(), metadata.size()] {
                hash.update(number.to_le_bytes());
            }
            for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
                hash.update(number.to_le_bytes());
            }
        }
        Ok(hash.finalize().into())
    }
}

impl Opened {
    fn open(path: &Path) -> Result<Self, DecoderError> {
        let failed = |source| DecoderError::Io { path: path.to_owned(), source };
        let file = regular_file::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(Self { file, path: path.to_owned(), bytes })
    }

    fn damaged(&self, reason: &str) -> DecoderError {
        DecoderError::Damaged { path: self.path.clone(), reason: reason.to_owned() }
    }

    /// Reads the tensors of a safetensors file that have supported types.
    fn safetensors(&self) -> Result<Vec<(String, Tensor)>, DecoderError> {
        let failed = |source| DecoderError::Io { path: self.path.clone(), source };
        let damaged = |error: HeaderError| self.damaged(&error.to_string());
        let mut beginning = Vec::new();
        (&self.file).take(8).read_to_end(&mut beginning).map_err(failed)?;
        let end = Header::end(&beginning, self.bytes).map_err(damaged)?;
        (&self.file).take(end.saturating_sub(8)).read_to_end(&mut beginning).map_err(failed)?;
        let header = Header::parse(&beginning, self.bytes).map_err(damaged)?;
        let mut tensors = Vec::new();
        for (name, Entry { dtype, shape, start, bytes }) in header.tensors {
            #[allow(clippy::wildcard_enum_match_arm, reason = "the list of types grows")]
            let kind = match dtype {
                Dtype::F32 => Kind::from_number(0),
                Dtype::F16 => Kind::from_number(1),
                Dtype::BF16 => Kind::from_number(30),
                // Tables that some exporters add. A required tensor of another type is reported as missing.
                _ => None,
            };
            let Some(kind) = kind else { continue };
            let columns = shape.last().copied().unwrap_or(1);
            let rows = shape.iter().rev().skip(1).product();
            tensors.push((name, Tensor { kind, rows, columns, start, bytes }));
        }
        Ok(tensors)
    }
}

impl Rows<'_> {
    /// Returns the format that its rows are packed in.
    pub(super) fn format(&self, precision: Precision) -> Format {
        match self.own_format() {
            Some(plain) if !plain.is_quantised() => {
                let whole = self.tensor.columns.is_multiple_of(32);
                if precision == Precision::Int8 && whole { Format::Q8_0 } else { plain }
            }
            Some(quantised) => quantised,
            // The most precise block format.
            None => Format::Q8_0,
        }
    }

    /// Returns its format, if the kernels support it.
    fn own_format(&self) -> Option<Format> {
        match self.tensor.kind.dtype {
            GgmlDType::F32 => Some(Format::F32),
            GgmlDType::F16 => Some(Format::F16),
            GgmlDType::BF16 => Some(Format::Bf16),
            GgmlDType::Q4_0 => Some(Format::Q4_0),
            GgmlDType::Q8_0 => Some(Format::Q8_0),
            GgmlDType::Q4K => Some(Format::Q4K),
            GgmlDType::Q4_1
            | GgmlDType::Q5_0
            | GgmlDType::Q5_1
            | GgmlDType::Q8_1
            | GgmlDType::Q2K
            | GgmlDType::Q3K
            | GgmlDType::Q5K
            | GgmlDType::Q6K
            | GgmlDType::Q8K => None,
        }
    }

    /// Reads rows in the format for packing.
    pub(super) fn read(
        &self,
        rows: Range<usize>,
        format: Format,
        room: &mut ReadBuffers,
        out: &mut Vec<u8>,
    ) -> Result<(), DecoderError> {
        let columns = self.tensor.columns;
        let bytes = format.row_bytes(columns).unwrap_or(0);
        out.resize(rows.len() * bytes, 0);
        if self.own_format() == Some(format) {
            self.raw(rows.start, out)?;
        } else {
            let raw_bytes = self.row_bytes();
            room.raw.resize(rows.len() * raw_bytes, 0);
            room.numbers.resize(columns, 0.0);
            self.raw(rows.start, &mut room.raw)?;
            for (raw, out) in room.raw.chunks_exact(raw_bytes).zip(out.chunks_exact_mut(bytes)) {
                self.decode_raw(raw, &mut room.numbers)?;
                kernels::decoder::encode_q8_0(&room.numbers, out);
            }
        }
        match rows.zip(out.chunks_exact(bytes)).find(|(_, row)| !format.is_finite(row)) {
            None => Ok(()),
            Some((row, _)) => {
                Err(DecoderError::NotFinite(format!("{} (row {row})", self.file.path.display())))
            }
        }
    }

    /// Reads a row as f32. `raw` is a reused buffer.
    pub(super) fn decode(
        &self,
        row: usize,
        raw: &mut Vec<u8>,
        numbers: &mut [f32],
    ) -> Result<(), DecoderError> {
        raw.resize(self.row_bytes(), 0);
        self.raw(row, raw)?;
        self.decode_raw(raw, numbers)
    }

    fn decode_raw(&self, raw: &[u8], numbers: &mut [f32]) -> Result<(), DecoderError> {
        let dtype = self.tensor.kind.dtype;
        match self.own_format() {
            Some(format) => format.decode(raw, numbers),
            None if dtype == GgmlDType::Q5K => kernels::decoder::decode_q5_k(raw, numbers),
            None if dtype == GgmlDType::Q6K => kernels::decoder::decode_q6_k(raw, numbers),
            None => {
                let read = dequantise(raw, dtype, numbers);
                return read.map_err(|error| DecoderError::Candle(error.to_string()));
            }
        }
        Ok(())
    }

    /// Reads raw rows from this one on.
    fn raw(&self, row: usize, bytes: &mut [u8]) -> Result<(), DecoderError> {
        let start = self.tensor.start + row as u64 * self.row_bytes() as u64;
        let read = self.file.file.read_exact_at(bytes, start);
        read.map_err(|source| DecoderError::Io { path: self.file.path.clone(), source })
    }

    /// Returns the size of a row in the file.
    fn row_bytes(&self) -> usize {
        self.tensor.kind.row_bytes(self.tensor.columns).unwrap_or(0)
    }
}

/// Buffers that are reused between reads.
#[derive(Default)]
pub(super) struct ReadBuffers {
    raw: Vec<u8>,
    numbers: Vec<f32>,
}

/// Converts weights in a format that the kernels cannot read to f32, with candle.
fn dequantise(raw: &[u8], dtype: GgmlDType, numbers: &mut [f32]) -> candle_core::Result<()> {
    let storage = QStorage::from_data(Cow::Borrowed(raw), &Device::Cpu, dtype)?;
    let tensor = QTensor::new(storage, numbers.len())?.dequantize(&Device::Cpu)?;
    numbers.copy_from_slice(&tensor.to_dtype(DType::F32)?.to_vec1::<f32>()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn k_quants_decode_to_the_numbers_of_candle(
            q5 in prop::collection::vec(any::<u8>(), 176 * 2),
            q6 in prop::collection::vec(any::<u8>(), 210 * 2),
        ) {
            let (mut own, mut candle) = (vec![0.0; 512], vec![0.0; 512]);
            let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            // A factor that is not finite gives NaN, whose bits may differ.
            let finite = |factor: &[u8]| factor[1] & 0x7c != 0x7c;
            prop_assume!(q5.chunks_exact(176).all(|block| finite(block) && finite(&block[2..])));
            prop_assume!(q6.chunks_exact(210).all(|block| finite(&block[208..])));
            kernels::decoder::decode_q5_k(&q5, &mut own);
            dequantise(&q5, GgmlDType::Q5K, &mut candle).unwrap();
            prop_assert_eq!(bits(&own), bits(&candle));
            kernels::decoder::decode_q6_k(&q6, &mut own);
            dequantise(&q6, GgmlDType::Q6K, &mut candle).unwrap();
            prop_assert_eq!(bits(&own), bits(&candle));
        }
    }
}
