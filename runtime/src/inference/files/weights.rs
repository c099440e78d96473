//! The tensors of a model, from one or several untrusted safetensors files.
//!
//! The invariant: a tensor that is returned has the requested shape, lies inside its file, and has only finite numbers
//! if they are floating-point. Files on disk are read one tensor, or a few rows, at a time, so that loading needs
//! little more memory than its result. A file that changes meanwhile is an error, not a crash.

use super::safetensors::{Entry, Header, HeaderError, LENGTH_BYTES};
use crate::regular_file;
use half::{bf16, f16};
use kernels::ReadRows;
use safetensors::Dtype;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The tensors of a model, by name.
#[derive(Debug)]
pub(crate) struct Weights<'a> {
    tensors: BTreeMap<String, (usize, Entry)>,
    files: Vec<Source<'a>>,
}

#[derive(Debug)]
enum Source<'a> {
    Disk(Arc<File>),
    Memory(&'a [u8]),
}

/// A floating-point matrix in a file on disk, whose rows are read on demand.
#[derive(Debug)]
pub(crate) struct RowsOnDisk {
    name: String,
    file: Arc<File>,
    start: u64,
    pub(crate) float: Float,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// Why a tensor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Two files hold a tensor of the same name.
    #[error("tensor {0} is in two files")]
    Duplicate(String),
    /// A tensor has another type than expected.
    #[error("tensor {name} holds {found}, expected {expected}")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
        /// The expected type.
        expected: String,
    },
    /// The file is not valid.
    #[error("not a valid safetensors file: {0}")]
    Header(#[from] HeaderError),
    /// A tensor is missing.
    #[error("tensor {0} is missing")]
    Missing(String),
    /// A tensor contains infinity or NaN.
    #[error("tensor {0} holds a number that is not finite")]
    NotFinite(String),
    /// A tensor of places refers to a place outside its matrix.
    #[error("tensor {0} names a place outside its matrix")]
    Outside(String),
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// A tensor has another shape than expected.
    #[error("tensor {name} has the shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The expected shape.
        expected: Vec<usize>,
    },
    /// The file is too large.
    #[error("{found} bytes, at most {FILE_BYTES_MAX} are accepted")]
    TooLarge {
        /// Its size.
        found: u64,
    },
}

impl<'a> Weights<'a> {
    /// Checks the header of `file`, without reading the tensors.
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, WeightsError> {
        let mut weights = Self { tensors: BTreeMap::new(), files: Vec::new() };
        weights.add(Header::parse(file, file.len() as u64)?, Source::Memory(file))?;
        Ok(weights)
    }

    /// Opens a file and checks its header.
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let mut weights = Self { tensors: BTreeMap::new(), files: Vec::new() };
        weights.open_another(path)?;
        Ok(weights)
    }

    /// Opens another file of the same model.
    pub(crate) fn open_another(&mut self, path: &Path) -> Result<(), WeightsError> {
        let file = regular_file::open(path)?;
        let found = file.metadata()?.len();
        if found > FILE_BYTES_MAX {
            return Err(WeightsError::TooLarge { found });
        }
        let mut first = vec![0; found.min(LENGTH_BYTES) as usize];
        file.read_exact_at(&mut first, 0)?;
        let mut beginning = vec![0; Header::end(&first, found)? as usize];
        file.read_exact_at(&mut beginning, 0)?;
        self.add(Header::parse(&beginning, found)?, Source::Disk(Arc::new(file)))
    }

    fn add(&mut self, header: Header, source: Source<'a>) -> Result<(), WeightsError> {
        let file = self.files.len();
        self.files.push(source);
        for (name, entry) in header.tensors {
            if self.tensors.insert(name.clone(), (file, entry)).is_some() {
                return Err(WeightsError::Duplicate(name));
            }
        }
        Ok(())
    }

    /// Returns the names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Tells whether a tensor of this name exists.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns the numbers of a floating-point tensor of exactly this shape, all finite.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let (float, bytes) = self.float_bytes(name, shape)?;
        Ok(float.widen(&bytes))
    }

    /// Returns the bytes of a floating-point tensor of exactly this shape, with all numbers finite.
    pub(crate) fn float_bytes(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<(Float, Cow<'a, [u8]>), WeightsError> {
        let entry = self.entry(name)?;
        let float =
            Float::from_dtype(entry.dtype).ok_or_else(|| wrong_dtype(name, entry, "F32, F16 or BF16"))?;
        let bytes = self.bytes(name, Some(shape))?;
        if float.all_finite(&bytes) {
            Ok((float, bytes))
        } else {
            Err(WeightsError::NotFinite(name.to_owned()))
        }
    }

    /// Returns a floating-point matrix of exactly this shape on disk, if it is on disk. Its numbers are not checked
    /// yet.
    pub(crate) fn rows_on_disk(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Option<RowsOnDisk>, WeightsError> {
        let (file, entry) = self.place(name, &[rows, columns])?;
        let (Some(float), Source::Disk(file)) = (Float::from_dtype(entry.dtype), file) else {
            return Ok(None);
        };
        let (name, file) = (name.to_owned(), Arc::clone(file));
        Ok(Some(RowsOnDisk { name, file, start: entry.start, float, rows, columns }))
    }

    /// Tells whether a tensor holds signed bytes, as [`super::quantize`] writes them.
    pub(crate) fn is_signed(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|(_, entry)| entry.dtype == Dtype::I8)
    }

    /// Returns the bytes of an I8 tensor of exactly this shape.
    pub(crate) fn signed(&self, name: &str, shape: &[usize]) -> Result<Cow<'a, [u8]>, WeightsError> {
        self.expect(name, Dtype::I8)?;
        self.bytes(name, Some(shape))
    }

    /// Returns the places (row and column) of a U32 tensor, all inside a matrix of this shape.
    pub(crate) fn places(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Vec<[usize; 2]>, WeightsError> {
        self.expect(name, Dtype::U32)?;
        let count = self.entry(name)?.shape.first().copied().unwrap_or(0);
        let bytes = self.bytes(name, Some(&[count, 2]))?;
        let numbers: Vec<usize> =
            bytes.as_chunks().0.iter().map(|&number| u32::from_le_bytes(number) as usize).collect();
        let places = numbers.as_chunks().0.to_vec();
        if places.iter().all(|&[row, column]| row < rows && column < columns) {
            Ok(places)
        } else {
            Err(WeightsError::Outside(name.to_owned()))
        }
    }

    /// Returns the bytes of a one-dimensional U8 tensor: a file inside the file.
    pub(crate) fn blob(&self, name: &str) -> Result<Cow<'a, [u8]>, WeightsError> {
        self.expect(name, Dtype::U8)?;
        self.bytes(name, None)
    }

    fn entry(&self, name: &str) -> Result<&Entry, WeightsError> {
        match self.tensors.get(name) {
            Some((_, entry)) => Ok(entry),
            None => Err(WeightsError::Missing(name.to_owned())),
        }
    }

    /// Finds the tensor of this name, and checks its shape.
    fn place(&self, name: &str, shape: &[usize]) -> Result<(&Source<'a>, &Entry), WeightsError> {
        let (file, entry) = self.tensors.get(name).ok_or_else(|| WeightsError::Missing(name.to_owned()))?;
        if entry.shape == shape {
            return Ok((&self.files[*file], entry));
        }
        Err(WeightsError::Shape {
            name: name.to_owned(),
            found: entry.shape.clone(),
            expected: shape.to_vec(),
        })
    }

    fn expect(&self, name: &str, dtype: Dtype) -> Result<(), WeightsError> {
        let entry = self.entry(name)?;
        if entry.dtype == dtype { Ok(()) } else { Err(wrong_dtype(name, entry, &format!("{dtype:?}"))) }
    }

    /// Returns the bytes of a tensor of this shape, or of one dimension.
    fn bytes(&self, name: &str, shape: Option<&[usize]>) -> Result<Cow<'a, [u8]>, WeightsError> {
        let as_blob = [self.entry(name)?.bytes as usize];
        let (file, entry) = self.place(name, shape.unwrap_or(&as_blob))?;
        match file {
            Source::Disk(file) => {
                let mut bytes = vec![0; entry.bytes as usize];
                file.read_exact_at(&mut bytes, entry.start)?;
                Ok(Cow::Owned(bytes))
            }
            Source::Memory(file) => {
                let start = entry.start as usize;
                Ok(Cow::Borrowed(&file[start..start + entry.bytes as usize]))
            }
        }
    }
}

impl RowsOnDisk {
    /// Reads all rows in order, several at a time.
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8])) -> Result<(), WeightsError> {
        let row_bytes = self.columns * self.float.bytes();
        let mut bytes = Vec::new();
        for first in (0..self.rows).step_by(ROWS_TOGETHER) {
            bytes.resize(row_bytes * ROWS_TOGETHER.min(self.rows - first), 0);
            self.read_at(first, &mut bytes)?;
            if !self.float.all_finite(&bytes) {
                return Err(WeightsError::NotFinite(self.name.clone()));
            }
            take(&bytes);
        }
        Ok(())
    }

    fn read_at(&self, row: usize, bytes: &mut [u8]) -> io::Result<()> {
        let offset = row * self.columns * self.float.bytes();
        self.file.read_exact_at(bytes, self.start + offset as u64)
    }
}

impl ReadRows for RowsOnDisk {
    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn read(&self, row: usize, room: &mut Vec<u8>, out: &mut [f32]) -> io::Result<()> {
        room.resize(self.columns * self.float.bytes(), 0);
        self.read_at(row, room)?;
        self.float.widen_to(room, out);
        Ok(())
    }
}

fn wrong_dtype(name: &str, entry: &Entry, expected: &str) -> WeightsError {
    WeightsError::Dtype {
        name: name.to_owned(),
        found: format!("{:?}", entry.dtype),
        expected: expected.to_owned(),
    }
}

/// A floating-point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    Bf16,
    F16,
    F32,
}

impl Float {
    fn from_dtype(dtype: Dtype) -> Option<Self> {
        let known = [(Dtype::BF16, Self::Bf16), (Dtype::F16, Self::F16), (Dtype::F32, Self::F32)];
        known.into_iter().find(|(known, _)| *known == dtype).map(|(_, float)| float)
    }

    /// Returns the size of a number in bytes.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// Converts little-endian numbers to f32, without requiring alignment.
    pub(crate) fn widen(self, bytes: &[u8]) -> Vec<f32> {
        let mut numbers = vec![0.0; bytes.len() / self.bytes()];
        self.widen_to(bytes, &mut numbers);
        numbers
    }

    /// Converts like [`Self::widen`], into a slice.
    fn widen_to(self, bytes: &[u8], out: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = number(*bytes);
            }
        }
        match self {
            Self::Bf16 => each(bytes, out, |pair| bf16::from_le_bytes(pair).to_f32()),
            Self::F16 => each(bytes, out, |pair| f16::from_le_bytes(pair).to_f32()),
            Self::F32 => each(bytes, out, f32::from_le_bytes),
        }
    }

    /// Tells whether all numbers are finite: none has all exponent bits set.
    fn all_finite(self, bytes: &[u8]) -> bool {
        let pairs = |exponent| {
            bytes.as_chunks().0.iter().all(|pair| u16::from_le_bytes(*pair) & exponent != exponent)
        };
        match self {
            Self::Bf16 => pairs(0x7f80),
            Self::F16 => pairs(0x7c00),
            Self::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .all(|number| u32::from_le_bytes(*number) & 0x7f80_0000 != 0x7f80_0000),
        }
    }
}

/// Rows of a matrix that are read at a time.
const ROWS_TOGETHER: usize = 256;

/// The maximum size of a file.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(data);
        file
    }

    fn said<T: std::fmt::Debug>(result: Result<T, WeightsError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_tensor_of_another_type_shape_or_name_is_refused() {
        let header = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[2,1],"data_offsets":[8,10]}}"#;
        let mut data = 1.5_f32.to_le_bytes().to_vec();
        data.extend_from_slice(&f32::NAN.to_le_bytes());
        data.extend_from_slice(b"{}");
        let bytes = file(header, &data);
        let weights = Weights::parse(&bytes).unwrap();
        assert_eq!(said(weights.floats("a", &[1, 2])), "tensor a holds a number that is not finite");
        assert_eq!(said(weights.floats("a", &[2])), "tensor a has the shape [1, 2], expected [2]");
        assert_eq!(said(weights.floats("b", &[2, 1])), "tensor b holds U8, expected F32, F16 or BF16");
        assert_eq!(said(weights.signed("a", &[1, 2])), "tensor a holds F32, expected I8");
        assert_eq!(said(weights.floats("c", &[2])), "tensor c is missing");
        assert_eq!(said(weights.blob("b")), "tensor b has the shape [2, 1], expected [2]");
    }

    #[test]
    fn numbers_of_16_bits_are_widened_and_files_are_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let header = r#"{"half":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#;
        let data = [f16::from_f32(1.5).to_le_bytes(), f16::from_f32(-0.25).to_le_bytes()].concat();
        std::fs::write(&one, file(header, &data)).unwrap();
        let header = r#"{"brain":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;
        let data = [bf16::from_f32(3.0).to_le_bytes(), bf16::INFINITY.to_le_bytes()].concat();
        std::fs::write(&two, file(header, &data)).unwrap();
        let mut weights = Weights::open(&one).unwrap();
        weights.open_another(&two).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["brain", "half"]);
        assert_eq!(weights.floats("half", &[2]).unwrap(), [1.5, -0.25]);
        assert_eq!(said(weights.floats("brain", &[2])), "tensor brain holds a number that is not finite");
        assert_eq!(said(weights.open_another(&two)), "tensor brain is in two files");

        // Truncated after it was opened: the missing part cannot be read, the rest can.
        std::fs::write(&two, &std::fs::read(&two).unwrap()[..20]).unwrap();
        assert!(matches!(weights.floats("brain", &[2]), Err(WeightsError::Read(_))));
        assert!(weights.floats("half", &[2]).is_ok());
    }
}
