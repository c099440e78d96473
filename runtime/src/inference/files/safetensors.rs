//! The header of a safetensors file, validated against the file before any tensor is used.
//!
//! The invariants: a header above [`HEADER_BYTES_MAX`] is never parsed, since parsing costs many times its size in
//! memory. The tensors of an accepted header have no zero dimension, are exactly as large as their shapes say, and fill
//! the rest of the file without overlap or gap. Format: <https://github.com/huggingface/safetensors#format>.

use safetensors::Dtype;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};
use std::collections::BTreeMap;
use std::fmt;

/// The tensors of one file, by name.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) tensors: BTreeMap<String, Entry>,
}

/// The type, shape and place of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// The offset of its first byte in the file.
    pub(crate) start: u64,
    pub(crate) bytes: u64,
}

/// Why a header is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Two tensors have the same name.
    #[error("tensor {0} occurs twice")]
    Duplicate(String),
    /// Some bytes belong to no tensor.
    #[error("{bytes} bytes before tensor {name} belong to no tensor")]
    Gap {
        /// The tensor after the gap.
        name: String,
        /// The length of the gap.
        bytes: u64,
    },
    /// The header claims to end after the file.
    #[error("the header claims {found} bytes, the file has {file} in all: it is cut short or damaged")]
    HeaderTruncated {
        /// The claimed size.
        found: u64,
        /// The size of the file.
        file: u64,
    },
    /// The header claims to be too large.
    #[error("the header claims {found} bytes, at most {HEADER_BYTES_MAX} are accepted")]
    HeaderTooLarge {
        /// The claimed size.
        found: u64,
    },
    /// The header is not the expected JSON.
    #[error("the header is damaged: {0}")]
    Malformed(String),
    /// Two tensors share bytes.
    #[error("tensors {one} and {other} overlap")]
    Overlap {
        /// The first of them.
        one: String,
        /// The one that begins inside the first.
        other: String,
    },
    /// Bytes follow the last tensor.
    #[error("{0} bytes follow the last tensor: the file is longer than it should be")]
    Oversized(u64),
    /// The size of a tensor's shape differs from the span of its offsets.
    #[error(
        "tensor {name} of {dtype} and shape {shape:?} does not take the {bytes} bytes between its offsets"
    )]
    Size {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The span of its offsets.
        bytes: u64,
    },
    /// The file is shorter than the length field of a header.
    #[error("the file has {0} bytes, too few for a safetensors file")]
    TooShort(u64),
    /// The tensors end after the file.
    #[error("the file ends {0} bytes before its last tensor does: it is cut short")]
    Truncated(u64),
    /// A tensor has an unknown type.
    #[error("tensor {name} holds {dtype:?}, which is no known type")]
    UnknownDtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor has a zero dimension.
    #[error("tensor {name} has a dimension of zero: {shape:?}")]
    ZeroDimension {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
}

impl Header {
    /// Returns the number of bytes to read before [`Self::parse`]: the length field and the header.
    ///
    /// # Errors
    /// Returns an error if the header is too large, or larger than the file.
    pub(crate) fn end(first_bytes: &[u8], file_bytes: u64) -> Result<u64, HeaderError> {
        let length = first_bytes.first_chunk().ok_or(HeaderError::TooShort(file_bytes))?;
        let found = u64::from_le_bytes(*length);
        if found > HEADER_BYTES_MAX {
            return Err(HeaderError::HeaderTooLarge { found });
        }
        let end = LENGTH_BYTES + found;
        if end > file_bytes {
            return Err(HeaderError::HeaderTruncated { found, file: file_bytes });
        }
        Ok(end)
    }

    /// Parses and checks a header. `beginning` is the file up to [`Self::end`].
    pub(crate) fn parse(beginning: &[u8], file_bytes: u64) -> Result<Self, HeaderError> {
        let data_start = Self::end(beginning, file_bytes)?;
        let json = usize::try_from(data_start)
            .ok()
            .and_then(|end| beginning.get(LENGTH_BYTES as usize..end))
            .ok_or(HeaderError::TooShort(file_bytes))?;
        let Written(written) =
            serde_json::from_slice(json).map_err(|error| HeaderError::Malformed(error.to_string()))?;
        let mut spans: Vec<(u64, u64, String)> = Vec::with_capacity(written.len());
        let mut tensors = BTreeMap::new();
        for (name, tensor) in written {
            let [start, end] = tensor.data_offsets;
            let entry = checked(&name, tensor, data_start)?;
            spans.push((start, end, name.clone()));
            if tensors.insert(name.clone(), entry).is_some() {
                return Err(HeaderError::Duplicate(name));
            }
        }
        spans.sort_unstable();
        check_spans(&spans, file_bytes - data_start)?;
        Ok(Self { tensors })
    }
}

fn checked(name: &str, written: WrittenTensor, data_start: u64) -> Result<Entry, HeaderError> {
    let WrittenTensor { dtype: dtype_name, shape, data_offsets: [start, end] } = written;
    let dtype: Dtype = serde_json::from_value(dtype_name.as_str().into())
        .map_err(|_| HeaderError::UnknownDtype { name: name.to_owned(), dtype: dtype_name.clone() })?;
    if shape.contains(&0) {
        return Err(HeaderError::ZeroDimension { name: name.to_owned(), shape });
    }
    let bits = shape.iter().try_fold(dtype.bitsize(), |bits, dimension| bits.checked_mul(*dimension));
    let (bytes, at) = (end.checked_sub(start), data_start.checked_add(start));
    match (bits, bytes, at) {
        (Some(bits), Some(bytes), Some(start))
            if bits.is_multiple_of(8) && (bits / 8) as u64 == bytes && shape.len() <= DIMENSIONS_MAX =>
        {
            Ok(Entry { dtype, shape, start, bytes })
        }
        _ => Err(HeaderError::Size {
            name: name.to_owned(),
            dtype: dtype_name,
            shape,
            bytes: end.saturating_sub(start),
        }),
    }
}

/// Checks that the sorted spans fill `data_bytes` without overlap or gap.
fn check_spans(spans: &[(u64, u64, String)], data_bytes: u64) -> Result<(), HeaderError> {
    let mut covered = 0;
    let mut last = "";
    for (start, end, name) in spans {
        if *start < covered {
            return Err(HeaderError::Overlap { one: last.to_owned(), other: name.clone() });
        }
        if *start > covered {
            return Err(HeaderError::Gap { name: name.clone(), bytes: start - covered });
        }
        (covered, last) = (*end, name);
    }
    if covered > data_bytes {
        return Err(HeaderError::Truncated(covered - data_bytes));
    }
    if covered < data_bytes {
        return Err(HeaderError::Oversized(data_bytes - covered));
    }
    Ok(())
}

/// The raw header: tensors in the order of the text, so that duplicate names are detected.
struct Written(Vec<(String, WrittenTensor)>);

#[derive(Deserialize)]
struct WrittenTensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WrittenVisitor)
    }
}

struct WrittenVisitor;

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                map.next_value::<de::IgnoredAny>()?;
            } else {
                tensors.push((name, map.next_value()?));
            }
        }
        Ok(Written(tensors))
    }
}

/// The maximum size of a header; that of a BERT with 24 layers has 45 kB.
pub const HEADER_BYTES_MAX: u64 = 1 << 20;
/// The size of the length field: a little-endian u64 before the header.
pub(crate) const LENGTH_BYTES: u64 = 8;
/// The key of the metadata, which is not a tensor.
const METADATA: &str = "__metadata__";
/// The maximum number of tensors; no model has as many.
const DIMENSIONS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data_bytes: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data_bytes, 0);
        file
    }

    fn said(file: &[u8]) -> String {
        match Header::parse(file, file.len() as u64) {
            Ok(header) => format!("{} tensors", header.tensors.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_way_to_be_damaged_is_said() {
        let one = |text: &str| format!(r#"{{"a":{text}}}"#);
        let two = |a: [u64; 2], b: [u64; 2]| {
            format!(
                r#"{{"__metadata__":{{"format":"pt"}},"a":{{"dtype":"F32","shape":[2],"data_offsets":{a:?}}},"b":{{"dtype":"F32","shape":[2],"data_offsets":{b:?}}}}}"#
            )
        };
        let table = [
            ("whole", file(&two([0, 8], [8, 16]), 16)),
            ("the other way round", file(&two([8, 16], [0, 8]), 16)),
            ("no tensors", file("{}", 0)),
            ("empty", Vec::new()),
            ("cut in the length", vec![1, 2, 3]),
            ("cut in the header", file(&two([0, 8], [8, 16]), 0)[..40].to_vec()),
            ("cut in the data", file(&two([0, 8], [8, 16]), 15)),
            ("longer than it should be", file(&two([0, 8], [8, 16]), 19)),
            ("all ones", vec![0xff; 64]),
            ("a header of 87 MB", [87_000_000_u64.to_le_bytes().as_slice(), &[b' '; 64]].concat()),
            ("overlap", file(&two([0, 8], [4, 12]), 12)),
            ("twice the same bytes", file(&two([0, 8], [0, 8]), 8)),
            ("gap", file(&two([0, 8], [12, 20]), 20)),
            ("gap at the beginning", file(&two([4, 12], [12, 20]), 20)),
            ("backwards", file(&two([8, 0], [8, 16]), 16)),
            ("far out", file(&two([0, 8], [u64::MAX - 8, u64::MAX]), 16)),
            ("too small for its shape", file(&one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#), 8)),
            (
                "a shape that overflows",
                file(&one(r#"{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,8]}"#), 8),
            ),
            (
                "a shape that overflows in bits only",
                file(&one(r#"{"dtype":"U8","shape":[2305843009213693952],"data_offsets":[0,0]}"#), 0),
            ),
            ("a dimension of zero", file(&one(r#"{"dtype":"F32","shape":[0,2],"data_offsets":[0,0]}"#), 0)),
            (
                "nine dimensions",
                file(&one(r#"{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}"#), 1),
            ),
            ("a negative dimension", file(&one(r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#), 8)),
            ("half a byte", file(&one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,1]}"#), 1)),
            ("an unknown type", file(&one(r#"{"dtype":"Q9","shape":[2],"data_offsets":[0,8]}"#), 8)),
            ("no object", file(&one("[]"), 8)),
            ("no JSON", file("not json", 0)),
            ("nothing at all", file("", 0)),
            (
                "a name twice",
                file(
                    r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                    2,
                ),
            ),
            ("depth", file(&"[".repeat(100_000), 0)),
        ];
        let told: Vec<String> = table.iter().map(|(what, file)| format!("{what}: {}", said(file))).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn every_prefix_of_a_good_file_is_refused() {
        let good = file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8);
        assert_eq!(said(&good), "1 tensors");
        for length in 0..good.len() {
            assert!(!said(&good[..length]).ends_with("tensors"), "cut to {length} bytes");
        }
    }

    proptest::proptest! {
        /// An accepted header is sound: each tensor lies in the file and has the size of its shape.
        #[test]
        fn what_is_accepted_lies_in_the_file(changes in proptest::collection::vec((0_usize..400, 0_u8..=255), 1..4)) {
            let header = r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I8","shape":[3],"data_offsets":[32,35]}}"#;
            let mut bytes = file(header, 35);
            for (place, value) in changes {
                let place = place % bytes.len();
                bytes[place] = value;
            }
            if let Ok(header) = Header::parse(&bytes, bytes.len() as u64) {
                let total: u64 = header.tensors.values().map(|entry| entry.bytes).sum();
                let data_start = Header::end(&bytes, bytes.len() as u64).unwrap();
                proptest::prop_assert_eq!(total + data_start, bytes.len() as u64);
                for entry in header.tensors.values() {
                    proptest::prop_assert!(entry.start >= data_start);
                    proptest::prop_assert!(entry.start + entry.bytes <= bytes.len() as u64);
                    let bits: usize = entry.shape.iter().product::<usize>() * entry.dtype.bitsize();
                    proptest::prop_assert_eq!(bits as u64, entry.bytes * 8);
                }
            }
        }
    }
}
