//! Quantises a published encoder to a small file: signed 8-bit weights, one f32 scale for each output channel.
//!
//! The output is one safetensors file with everything that is needed to run the model:
//! - each weight matrix as I8 `NAME`, with the scale of each of its rows as F32 `NAME.scale`;
//! - the outliers of a matrix as F32 `NAME.outliers`, with their rows and columns as U32 `NAME.places`; in `NAME` they
//!   are 0. One outlier would make the quantisation steps of all other weights in its row too coarse;
//! - biases and norms as F32;
//! - a classification head as F32;
//! - the source's `config.json`, `tokenizer.json` and other metadata files, byte for byte, as U8 tensors of those
//!   names. They are tensors, not header metadata, so that the header stays small and the hashes of the files stay
//!   comparable.
//!
//! The file does not depend on a machine: weights are packed for the instruction set when it is loaded.
//!
//! The invariants: the same source gives the same bytes, and the output file appears atomically.

use super::folder::{Folder, WEIGHTS};
use super::int8_layout::{outliers_name, places_name, quantize_rows, scales_name};
use super::metadata::ModelMetadata;
use super::metadata_file::MetadataError;
use super::safetensors::HEADER_BYTES_MAX;
use super::weights::{Weights, WeightsError};
use crate::home;
use crate::inference::encoder::config::EncoderConfig;
use crate::inference::encoder::parameters::{as_stored, prefix};
use crate::regular_file;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The result of [`quantize`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantizeReport {
    /// Size of the source's weights, in bytes.
    pub source_bytes: u64,
    /// SHA-256 of the source's weights, in hexadecimal.
    pub source_sha256: String,
    /// Size of the output, in bytes.
    pub output_bytes: u64,
    /// SHA-256 of the output, in hexadecimal.
    pub output_sha256: String,
    /// The source's tensors that the encoder does not need.
    pub left_out: Vec<String>,
}

/// Why a model could not be quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The output path has a file that is no earlier output.
    #[error("{} exists and is another file", .0.display())]
    Foreign(PathBuf),
    /// The output path is not a regular file.
    #[error("{} exists and is {what}, not a file", path.display())]
    NotAFile {
        /// The output path.
        path: PathBuf,
        /// The type of the existing entry.
        what: &'static str,
    },
    /// The source's metadata is invalid or not supported.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The source's weights cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The source's tokenizer is invalid or not supported.
    #[error("{file}: {reason}")]
    Tokenizer {
        /// The file.
        file: &'static str,
        /// The fault.
        reason: String,
    },
    /// The source's weights are too large.
    #[error("{path} has {found} bytes, at most {WEIGHTS_BYTES_MAX} are accepted", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// The source's weights do not match its configuration.
    #[error("{path}: {source}", path = path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: WeightsError,
    },
    /// The output cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl QuantizeError {
    /// Returns the error's stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Metadata(_) | Self::Tokenizer { .. } | Self::Weights { .. } => "model_unsupported",
            Self::Foreign(_) => "file_exists",
            Self::NotAFile { .. } | Self::Read { .. } => "path_unusable",
            Self::TooLarge { .. } => "model_too_large",
            Self::Write { .. } => "output_failed",
        }
    }
}

/// Quantises the encoder in the folder `source` into the file `output`, which may be an earlier output. The folder has
/// `model.safetensors`, `config.json`, a `tokenizer.json` or `vocab.txt`, and optional metadata files.
///
/// # Errors
/// Returns [`QuantizeError`] if the source is not such a model, or on an I/O error. Then `output` is untouched.
pub fn quantize(source: &Path, output: &Path) -> Result<QuantizeReport, QuantizeError> {
    check_place(output)?;
    let folder = Folder::at(source);
    let read = |name: &str| folder.read(name);
    let (ModelMetadata { config, root, .. }, files) = ModelMetadata::read_with_files(&read)?;
    if !root.is_empty() {
        let reason =
            format!("the transformer is in {root:?}; only one in the model's own folder is quantised");
        return Err(MetadataError::File { file: "modules.json".to_owned(), reason }.into());
    }
    let tokenizer = folder.tokenizer(&root)?;
    let (file, content) = tokenizer.parts();
    tokenizer.check().map_err(|reason| QuantizeError::Tokenizer { file, reason })?;
    let weights_path = source.join(WEIGHTS);
    let bytes = read_weights(&weights_path)?;

    let in_weights = |source| QuantizeError::Weights { path: weights_path.clone(), source };
    let weights = Weights::parse(&bytes).map_err(in_weights)?;
    let (mut tensors, left_out) = quantized(&weights, &config).map_err(in_weights)?;
    tensors.extend(files.into_iter().map(|(name, content)| (name, Tensor::blob(content))));
    tensors.insert(file.to_owned(), Tensor::blob(content.to_vec()));

    if !may_replace(output).map_err(|source| QuantizeError::Write { path: output.to_owned(), source })? {
        return Err(QuantizeError::Foreign(output.to_owned()));
    }
    let file = serialize(&tensors);
    write_whole(output, &file).map_err(|source| QuantizeError::Write { path: output.to_owned(), source })?;
    Ok(QuantizeReport {
        source_bytes: bytes.len() as u64,
        source_sha256: sha256(&bytes),
        output_bytes: file.len() as u64,
        output_sha256: sha256(&file),
        left_out,
    })
}

/// A tensor to be written.
struct Tensor {
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn floats(numbers: &[f32]) -> Self {
        Self::matrix(numbers, &[numbers.len()])
    }

    fn matrix(numbers: &[f32], shape: &[usize]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { dtype: "F32", shape: shape.to_vec(), bytes }
    }

    fn places(places: &[[u32; 2]]) -> Self {
        let bytes = places.as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { dtype: "U32", shape: vec![places.len(), 2], bytes }
    }

    fn blob(bytes: Vec<u8>) -> Self {
        Self { dtype: "U8", shape: vec![bytes.len()], bytes }
    }
}

type Tensors = BTreeMap<String, Tensor>;

/// Quantises all tensors that the encoder needs; a head stays f32. Also returns the names of unneeded tensors.
fn quantized(weights: &Weights<'_>, config: &EncoderConfig) -> Result<(Tensors, Vec<String>), WeightsError> {
    let prefix = prefix(weights, config);
    let mut tensors = Tensors::new();
    let mut used = BTreeSet::new();
    for (name, shape) in config.matrices() {
        let source = format!("{prefix}{name}");
        let mut numbers = weights.floats(&source, &shape)?;
        used.insert(source);
        if !name.starts_with("embeddings.") {
            let (outliers, places) = take_outliers(&mut numbers, shape[1]);
            if !outliers.is_empty() {
                tensors.insert(outliers_name(&name), Tensor::floats(&outliers));
                tensors.insert(places_name(&name), Tensor::places(&places));
            }
        }
        let (bytes, scales) = quantize_rows(&numbers, shape[1]);
        tensors.insert(scales_name(&name), Tensor::floats(&scales));
        tensors.insert(name, Tensor { dtype: "I8", shape: shape.to_vec(), bytes });
    }
    for (name, length) in config.vectors() {
        let source = as_stored(weights, format!("{prefix}{name}"));
        tensors.insert(name, Tensor::floats(&weights.floats(&source, &[length])?));
        used.insert(source);
    }
    if let Some((name, shape)) = config.relative_bias() {
        let source = format!("{prefix}{name}");
        tensors.insert(name, Tensor::matrix(&weights.floats(&source, &shape)?, &shape));
        used.insert(source);
    }
    for (name, shape) in config.head() {
        tensors.insert(name.clone(), Tensor::matrix(&weights.floats(&name, &shape)?, &shape));
        used.insert(name);
    }
    let left_out = weights.names().filter(|name| !used.contains(*name)).map(str::to_owned).collect();
    Ok((tensors, left_out))
}

/// Removes the outliers of each row. Returns them with their rows and columns.
fn take_outliers(numbers: &mut [f32], columns: usize) -> (Vec<f32>, Vec<[u32; 2]>) {
    let mut outliers = Vec::new();
    let mut places = Vec::new();
    for (row, weights) in (0..).zip(numbers.chunks_exact_mut(columns)) {
        let mean_square = weights.iter().map(|weight| weight * weight).sum::<f32>() / columns as f32;
        let largest_kept = OUTLIER_RATIO * mean_square.sqrt();
        for (column, weight) in (0..).zip(weights) {
            if weight.abs() > largest_kept {
                outliers.push(std::mem::take(weight));
                places.push([row, column]);
            }
        }
    }
    (outliers, places)
}

/// Serialises tensors as a safetensors file, in a fixed order: U32, F32, I8, U8, so that all are aligned.
fn serialize(tensors: &Tensors) -> Vec<u8> {
    let mut ordered: Vec<(&String, &Tensor)> = tensors.iter().collect();
    let wide_first = |dtype| match dtype {
        "U32" => 0,
        "F32" => 1,
        _ => 2,
    };
    ordered.sort_by_key(|&(name, tensor)| (wide_first(tensor.dtype), tensor.dtype, name));
    let mut header = format!("{{\"__metadata__\":{{\"format\":\"{FORMAT}\"}}");
    let mut end = 0;
    for (name, Tensor { dtype, shape, bytes }) in &ordered {
        let start = end;
        end += bytes.len();
        header.push_str(&format!(
            ",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
        ));
    }
    header.push('}');
    while !(header.len() + size_of::<u64>()).is_multiple_of(DATA_ALIGNMENT_BYTES) {
        header.push(' ');
    }
    let mut file = Vec::with_capacity(size_of::<u64>() + header.len() + end);
    file.extend_from_slice(&(header.len() as u64).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    for (_, tensor) in ordered {
        file.extend_from_slice(&tensor.bytes);
    }
    file
}

/// Reads the source's weights, up to the size limit whatever the metadata says.
fn read_weights(path: &Path) -> Result<Vec<u8>, QuantizeError> {
    let failed = |source| QuantizeError::Read { path: path.to_owned(), source };
    let file = regular_file::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    if found > WEIGHTS_BYTES_MAX {
        return Err(QuantizeError::TooLarge { path: path.to_owned(), found });
    }
    let mut bytes = Vec::new();
    file.take(WEIGHTS_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Rejects an output path that is not a regular file.
fn check_place(path: &Path) -> Result<(), QuantizeError> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() { "a folder" } else { "a pipe or a device" };
    Err(QuantizeError::NotAFile { path: path.to_owned(), what })
}

/// Tells whether a path does not exist, or is an earlier output.
fn may_replace(path: &Path) -> io::Result<bool> {
    let mut file = match regular_file::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file?,
    };
    let mut length = [0; 8];
    if file.read_exact(&mut length).is_err() {
        return Ok(false);
    }
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length).min(HEADER_BYTES_MAX)).read_to_end(&mut header)?;
    Ok(header.windows(FORMAT.len()).any(|window| window == FORMAT.as_bytes()))
}

/// Writes a temporary file and renames it, so that no reader sees a partial file.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (partial, mut file) = home::create_draft(path, 0o666)?;
    let written = (|| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A weight is an outlier if it is this many times larger than the root mean square of its row.
const OUTLIER_RATIO: f32 = 16.0;
/// The name of this format in the file's metadata.
const FORMAT: &str = "p2p-ai-agents s8 1";
/// The alignment of the tensors in the file: a cache line.
const DATA_ALIGNMENT_BYTES: usize = 64;
/// The maximum size of the source's weights.
const WEIGHTS_BYTES_MAX: u64 = 4 << 30;
