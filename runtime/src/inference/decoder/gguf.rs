//! The header of a GGUF file, validated: its metadata and the places of its tensors.
//!
//! The invariants: memory use is bounded by a small multiple of the file's real contents, whatever the header claims.
//! The tensors of an accepted file have known types and no zero dimension, are aligned, lie inside the file, and do not
//! overlap. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use candle_core::quantized::GgmlDType;
use std::collections::BTreeMap;
use std::io::{self, Read};

/// The metadata of a file, and its tensors by name.
#[derive(Debug)]
pub(super) struct Gguf {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, Tensor>,
}

/// The place and type of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) kind: Kind,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The offset of its first byte in the file.
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// The type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) dtype: GgmlDType,
    /// The numbers in a block.
    pub(super) block: usize,
    /// The bytes of a block.
    pub(super) bytes: usize,
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Float(f64),
    Floats(Vec<f32>),
    Integer(i128),
    Integers(Vec<i32>),
    /// Another list, which is checked and skipped.
    Other,
    Text(String),
    Texts(Vec<String>),
}

/// Why a GGUF file is rejected.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The alignment is invalid.
    #[error("the alignment of its tensors is {0}")]
    Alignment(i128),
    /// The file is big-endian.
    #[error("it is in big-endian byte order; hint: convert it for this machine")]
    BigEndian,
    /// A count or length is too large.
    #[error("it claims {found} {what}, at most {most} are accepted")]
    Count {
        /// The name of the counted items.
        what: &'static str,
        /// The claimed number.
        found: u64,
        /// The maximum.
        most: u64,
    },
    /// A name occurs twice.
    #[error("{0:?} occurs twice")]
    Duplicate(String),
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The file is not a GGUF file.
    #[error("it is no GGUF file")]
    Magic,
    /// A tensor is not aligned, or ends outside the file.
    #[error("tensor {0:?} lies outside the file, or at an odd place: the file is cut short or damaged")]
    Outside(String),
    /// Two tensors overlap.
    #[error("tensors {0:?} and {1:?} overlap")]
    Overlap(String, String),
    /// A tensor has a zero dimension, too many dimensions, or rows that are not whole blocks.
    #[error("tensor {name:?} has the dimensions {dimensions:?}, which no tensor of its type has")]
    Shape {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dimensions: Vec<u64>,
    },
    /// A text is not UTF-8.
    #[error("a name or a text is not in UTF-8")]
    Text,
    /// The file is truncated.
    #[error("it ends inside its header: it is cut short or damaged")]
    Truncated,
    /// A tensor has an unknown type.
    #[error(
        "tensor {name:?} has type {kind}, which is not supported; hint: F32, F16, BF16, Q8_0, Q4_0, Q4_K and the \
         other types without a lookup table are"
    )]
    TypeOfTensor {
        /// The tensor.
        name: String,
        /// The number of its type.
        kind: u32,
    },
    /// A value has an unknown type.
    #[error("{name:?} has type {kind}, which no value has")]
    TypeOfValue {
        /// The value.
        name: String,
        /// The number of its type.
        kind: u32,
    },
    /// The version is not supported.
    #[error("it is of GGUF version {0}; 2 and 3 are supported")]
    Version(u32),
}

impl Gguf {
    /// Reads and validates the header of a file of this size.
    pub(super) fn read(file: impl Read, file_bytes: u64) -> Result<Self, GgufError> {
        let mut header = Header { file, at: 0, end: file_bytes.min(HEADER_BYTES_MAX) };
        if header.bytes::<4>()? != *b"GGUF" {
            return Err(GgufError::Magic);
        }
        match u32::from_le_bytes(header.bytes()?) {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian),
            version => return Err(GgufError::Version(version)),
        }
        let tensors = header.count("tensors", TENSORS_MAX, 32)?;
        let values = header.count("values", VALUES_MAX, 13)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..values {
            let name = header.text(NAME_BYTES_MAX)?;
            let kind = u32::from_le_bytes(header.bytes()?);
            let value = header.value(&name, kind)?;
            if metadata.contains_key(&name) {
                return Err(GgufError::Duplicate(name));
            }
            metadata.insert(name, value);
        }
        let mut found = Vec::new();
        for _ in 0..tensors {
            found.push(header.tensor()?);
        }
        let alignment = alignment(&metadata)?;
        let data_start = header.at.next_multiple_of(alignment);
        let tensors = placed(found, data_start, alignment, file_bytes)?;
        Ok(Self { metadata, tensors })
    }

    /// Returns a non-negative integer. Also accepts a list with the same number for each layer.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.metadata.get(name)? {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Integers(numbers) => {
                let first = numbers.first()?;
                u64::try_from(*first).ok().filter(|_| numbers.iter().all(|number| number == first))
            }
            Value::Bool(_)
            | Value::Float(_)
            | Value::Floats(_)
            | Value::Other
            | Value::Text(_)
            | Value::Texts(_) => None,
        }
    }

    pub(super) fn float(&self, name: &str) -> Option<f64> {
        if let Value::Float(number) = self.metadata.get(name)? { Some(*number) } else { None }
    }

    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        if let Value::Bool(truth) = self.metadata.get(name)? { Some(*truth) } else { None }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        if let Value::Text(text) = self.metadata.get(name)? { Some(text) } else { None }
    }

    pub(super) fn texts(&self, name: &str) -> Option<&[String]> {
        if let Value::Texts(texts) = self.metadata.get(name)? { Some(texts) } else { None }
    }

    pub(super) fn floats(&self, name: &str) -> Option<&[f32]> {
        if let Value::Floats(numbers) = self.metadata.get(name)? { Some(numbers) } else { None }
    }

    /// Tells whether a token is a control token.
    pub(super) fn is_control(&self, token: u32) -> bool {
        let types = self.integers("tokenizer.ggml.token_type").unwrap_or_default();
        types.get(token as usize) == Some(&3)
    }

    pub(super) fn integers(&self, name: &str) -> Option<&[i32]> {
        if let Value::Integers(numbers) = self.metadata.get(name)? { Some(numbers) } else { None }
    }
}

/// A reader of the header.
struct Header<R> {
    file: R,
    at: u64,
    /// The maximum position of the reader.
    end: u64,
}

/// A tensor in the header.
struct Written {
    name: String,
    kind: Kind,
    rows: usize,
    columns: usize,
    offset: u64,
    bytes: u64,
}

impl<R: Read> Header<R> {
    /// Reserves the next bytes, if the file has as many.
    fn advance(&mut self, bytes: u64) -> Result<(), GgufError> {
        let at = self.at.checked_add(bytes).filter(|at| *at <= self.end).ok_or(GgufError::Truncated)?;
        self.at = at;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GgufError> {
        self.file.read_exact(bytes).map_err(|error| {
            let short = error.kind() == io::ErrorKind::UnexpectedEof;
            if short { GgufError::Truncated } else { GgufError::Io(error) }
        })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn block(&mut self, bytes: u64) -> Result<Vec<u8>, GgufError> {
        self.advance(bytes)?;
        let mut block = vec![0; bytes as usize];
        self.fill(&mut block)?;
        Ok(block)
    }

    /// Reads a count of items that each take at least `bytes_each` bytes of the rest.
    fn count(&mut self, what: &'static str, most: u64, bytes_each: u64) -> Result<u64, GgufError> {
        let found = u64::from_le_bytes(self.bytes()?);
        let most = most.min((self.end - self.at) / bytes_each);
        if found <= most { Ok(found) } else { Err(GgufError::Count { what, found, most }) }
    }

    fn text(&mut self, bytes_max: u64) -> Result<String, GgufError> {
        let bytes = self.count("bytes of text", bytes_max, 1)?;
        String::from_utf8(self.block(bytes)?).map_err(|_| GgufError::Text)
    }

    fn value(&mut self, name: &str, kind: u32) -> Result<Value, GgufError> {
        let value = match kind {
            0 => Value::Integer(u8::from_le_bytes(self.bytes()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Integer(u32::from_le_bytes(self.bytes()?).into()),
            5 => Value::Integer(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            7 => Value::Bool(self.bytes::<1>()? != [0]),
            8 => Value::Text(self.text(TEXT_BYTES_MAX)?),
            9 => return self.array(name),
            10 => Value::Integer(u64::from_le_bytes(self.bytes()?).into()),
            11 => Value::Integer(i64::from_le_bytes(self.bytes()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            _ => return Err(GgufError::TypeOfValue { name: name.to_owned(), kind }),
        };
        Ok(value)
    }

    fn array(&mut self, name: &str) -> Result<Value, GgufError> {
        let kind = u32::from_le_bytes(self.bytes()?);
        let bytes_each = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            // Arrays of arrays do not occur.
            _ => return Err(GgufError::TypeOfValue { name: name.to_owned(), kind }),
        };
        let count = self.count("entries of a list", ENTRIES_MAX, bytes_each)?;
        if kind == 8 {
            let texts: Result<Vec<String>, GgufError> =
                (0..count).map(|_| self.text(TEXT_BYTES_MAX)).collect();
            return Ok(Value::Texts(texts?));
        }
        let block = self.block(count * bytes_each)?;
        let words = block.as_chunks::<4>().0.iter();
        Ok(match kind {
            4 | 5 => Value::Integers(words.map(|word| i32::from_le_bytes(*word)).collect()),
            6 => Value::Floats(words.map(|word| f32::from_le_bytes(*word)).collect()),
            _ => Value::Other,
        })
    }

    fn tensor(&mut self) -> Result<Written, GgufError> {
        let name = self.text(NAME_BYTES_MAX)?;
        let count = u32::from_le_bytes(self.bytes()?);
        if count > DIMENSIONS_MAX {
            let most = u64::from(DIMENSIONS_MAX);
            return Err(GgufError::Count { what: "dimensions", found: count.into(), most });
        }
        let mut dimensions = Vec::new();
        for _ in 0..count {
            dimensions.push(u64::from_le_bytes(self.bytes()?));
        }
        let kind = u32::from_le_bytes(self.bytes()?);
        let offset = u64::from_le_bytes(self.bytes()?);
        let Some(kind) = Kind::from_number(kind) else { return Err(GgufError::TypeOfTensor { name, kind }) };
        match shape(kind, &dimensions) {
            Some((rows, columns, bytes)) => Ok(Written { name, kind, rows, columns, offset, bytes }),
            None => Err(GgufError::Shape { name, dimensions }),
        }
    }
}

impl Kind {
    /// Returns a type by its number in a file.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        let (dtype, block, bytes) = match number {
            0 => (GgmlDType::F32, 1, 4),
            1 => (GgmlDType::F16, 1, 2),
            2 => (GgmlDType::Q4_0, 32, 18),
            3 => (GgmlDType::Q4_1, 32, 20),
            6 => (GgmlDType::Q5_0, 32, 22),
            7 => (GgmlDType::Q5_1, 32, 24),
            8 => (GgmlDType::Q8_0, 32, 34),
            10 => (GgmlDType::Q2K, 256, 84),
            11 => (GgmlDType::Q3K, 256, 110),
            12 => (GgmlDType::Q4K, 256, 144),
            13 => (GgmlDType::Q5K, 256, 176),
            14 => (GgmlDType::Q6K, 256, 210),
            30 => (GgmlDType::BF16, 1, 2),
            _ => return None,
        };
        Some(Self { dtype, block, bytes })
    }

    /// Returns the bytes of a row of this many numbers, or `None` if they are not whole blocks.
    pub(super) fn row_bytes(self, columns: usize) -> Option<usize> {
        (columns / self.block).checked_mul(self.bytes).filter(|_| columns.is_multiple_of(self.block))
    }
}

/// Returns the rows, columns and bytes of a tensor. Its first dimension is the length of its rows.
fn shape(kind: Kind, dimensions: &[u64]) -> Option<(usize, usize, u64)> {
    let (first, others) = dimensions.split_first()?;
    let columns = usize::try_from(*first).ok().filter(|columns| *columns > 0)?;
    let rows = others.iter().try_fold(1_u64, |rows, dimension| rows.checked_mul(*dimension))?;
    let rows = usize::try_from(rows).ok().filter(|rows| *rows > 0)?;
    let bytes = kind.row_bytes(columns)?.checked_mul(rows)?;
    Some((rows, columns, u64::try_from(bytes).ok()?))
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    match metadata.get("general.alignment") {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(Value::Integer(number)) => match u64::try_from(*number) {
            Ok(alignment) if alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX => Ok(alignment),
            _ => Err(GgufError::Alignment(*number)),
        },
        Some(_) => Err(GgufError::Alignment(-1)),
    }
}

/// Checks that tensors are aligned, lie in the file, and do not overlap.
fn placed(
    mut found: Vec<Written>,
    data_start: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<BTreeMap<String, Tensor>, GgufError> {
    found.sort_by_key(|tensor| tensor.offset);
    let mut tensors = BTreeMap::new();
    let mut last: Option<(u64, String)> = None;
    for Written { name, kind, rows, columns, offset, bytes } in found {
        let start = data_start.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(bytes)).filter(|end| *end <= file_bytes);
        let (Some(start), Some(end), true) = (start, end, offset.is_multiple_of(alignment)) else {
            return Err(GgufError::Outside(name));
        };
        if let Some((last_end, other)) = last
            && start < last_end
        {
            return Err(GgufError::Overlap(other, name));
        }
        last = Some((end, name.clone()));
        if tensors.insert(name.clone(), Tensor { kind, rows, columns, start, bytes }).is_some() {
            return Err(GgufError::Duplicate(name));
        }
    }
    Ok(tensors)
}

/// The maximum size of a header; vocabularies of a million tokens are far below.
const HEADER_BYTES_MAX: u64 = 64 << 20;
/// The maximum number of tensors.
const TENSORS_MAX: u64 = 1 << 16;
/// The maximum number of metadata values.
const VALUES_MAX: u64 = 1 << 16;
/// The maximum length of a list.
const ENTRIES_MAX: u64 = 1 << 21;
/// The maximum length of a name.
const NAME_BYTES_MAX: u64 = 1 << 10;
/// The maximum length of a text, such as a template.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// The maximum number of dimensions of a tensor.
const DIMENSIONS_MAX: u32 = 4;
/// The default alignment.
const ALIGNMENT_DEFAULT: u64 = 32;
/// The maximum alignment.
const ALIGNMENT_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests;
