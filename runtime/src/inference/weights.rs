//! The tensors of a safetensors file, looked at with suspicion.
//!
//! The invariant: no header above [`HEADER_BYTES_MAX`] is ever parsed (parsing costs about fifteen times its size
//! in memory), and a tensor that is handed out has the dtype and the shape that was asked for and lies inside the
//! file. Format: <https://github.com/huggingface/safetensors#format>.

use safetensors::{Dtype, SafeTensors};

/// A safetensors file whose header has been checked against its size.
pub(super) struct Weights<'a> {
    tensors: SafeTensors<'a>,
}

/// Why a file is not the safetensors file that was expected.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A tensor holds numbers of another type.
    #[error("tensor {name} holds {found}, expected {expected}")]
    Dtype {
        /// The tensor.
        name: String,
        /// The type that it has.
        found: String,
        /// The type that it should have.
        expected: String,
    },
    /// The header claims more bytes than a header may have.
    #[error("the header claims {found} bytes, at most {HEADER_BYTES_MAX} are accepted")]
    HeaderTooLarge {
        /// The bytes it claims.
        found: u64,
    },
    /// The header is not one, or does not fit the file.
    #[error("not a valid safetensors file: {0}")]
    Malformed(String),
    /// A tensor is not there.
    #[error("tensor {0} is missing")]
    Missing(String),
    /// A tensor holds a number that is infinite or none.
    #[error("tensor {0} holds a number that is not finite")]
    NotFinite(String),
    /// A tensor of places names one outside its matrix.
    #[error("tensor {0} names a place outside its matrix")]
    Outside(String),
    /// A tensor has other dimensions.
    #[error("tensor {name} has the shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
        /// The shape that it should have.
        expected: Vec<usize>,
    },
    /// The file is shorter than its header's length field.
    #[error("the file has {0} bytes, too few for a safetensors file")]
    TooShort(usize),
}

impl<'a> Weights<'a> {
    /// Checks the header of `file`; the tensors' contents are not read.
    pub(super) fn parse(file: &'a [u8]) -> Result<Self, WeightsError> {
        let (length, _) = file.split_first_chunk().ok_or(WeightsError::TooShort(file.len()))?;
        let found = u64::from_le_bytes(*length);
        if found > HEADER_BYTES_MAX {
            return Err(WeightsError::HeaderTooLarge { found });
        }
        let tensors =
            SafeTensors::deserialize(file).map_err(|error| WeightsError::Malformed(error.to_string()))?;
        Ok(Self { tensors })
    }

    /// Returns the names of all tensors, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        names
    }

    /// Tells whether there is a tensor of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// Returns the numbers of an F32 tensor of exactly this shape, all of them finite.
    pub(super) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let bytes = self.bytes(name, Dtype::F32, Some(shape))?;
        let numbers: Vec<f32> = floats(bytes).collect();
        if numbers.iter().all(|number| number.is_finite()) {
            Ok(numbers)
        } else {
            Err(WeightsError::NotFinite(name.to_owned()))
        }
    }

    /// Returns the bytes of an I8 tensor of exactly this shape.
    pub(super) fn signed(&self, name: &str, shape: &[usize]) -> Result<&'a [u8], WeightsError> {
        self.bytes(name, Dtype::I8, Some(shape))
    }

    /// Returns the rows and columns in a U32 tensor of places, all of them inside a matrix of this shape.
    pub(super) fn places(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Vec<[usize; 2]>, WeightsError> {
        let count =
            self.tensors.tensor(name).map_or(0, |tensor| tensor.shape().first().copied().unwrap_or(0));
        let bytes = self.bytes(name, Dtype::U32, Some(&[count, 2]))?;
        let numbers: Vec<usize> =
            bytes.as_chunks().0.iter().map(|&number| u32::from_le_bytes(number) as usize).collect();
        let places = numbers.as_chunks().0.to_vec();
        if places.iter().all(|&[row, column]| row < rows && column < columns) {
            Ok(places)
        } else {
            Err(WeightsError::Outside(name.to_owned()))
        }
    }

    /// Returns the bytes of a U8 tensor of one dimension: a file inside the file.
    pub(super) fn blob(&self, name: &str) -> Result<&'a [u8], WeightsError> {
        self.bytes(name, Dtype::U8, None)
    }

    fn bytes(&self, name: &str, dtype: Dtype, shape: Option<&[usize]>) -> Result<&'a [u8], WeightsError> {
        let tensor = self.tensors.tensor(name).map_err(|_| WeightsError::Missing(name.to_owned()))?;
        if tensor.dtype() != dtype {
            return Err(WeightsError::Dtype {
                name: name.to_owned(),
                found: format!("{:?}", tensor.dtype()),
                expected: format!("{dtype:?}"),
            });
        }
        let data = tensor.data();
        let as_blob = [data.len()];
        let expected = shape.unwrap_or(&as_blob);
        if tensor.shape() != expected {
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                found: tensor.shape().to_vec(),
                expected: expected.to_vec(),
            });
        }
        Ok(data)
    }
}

/// Reads little-endian numbers, which need no alignment this way.
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number))
}

/// The longest header that is parsed; that of a BERT with 24 layers has 45 kB.
pub const HEADER_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(data);
        file
    }

    fn refusal(file: &[u8]) -> String {
        Weights::parse(file).err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
    }

    #[test]
    fn a_header_over_the_limit_is_refused_before_it_is_parsed() {
        let mut hostile = 87_000_000_u64.to_le_bytes().to_vec();
        hostile.resize(88_000_000, b' ');
        assert_eq!(refusal(&hostile), "the header claims 87000000 bytes, at most 1048576 are accepted");
        assert!(matches!(Weights::parse(&[0xff; 64]), Err(WeightsError::HeaderTooLarge { found: u64::MAX })));
    }

    #[test]
    fn every_way_to_be_damaged_is_an_error() {
        let good = file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8]);
        assert!(Weights::parse(&good).is_ok());
        for length in 0..good.len() {
            assert!(Weights::parse(&good[..length]).is_err(), "cut to {length} bytes");
        }
        for (header, data) in [
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 9),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#, 8),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
            (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
            (r#"{"a":{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,8]}}"#, 8),
            (
                r#"{"a":{"dtype":"U8","shape":[2305843009213693951],"data_offsets":[0,2305843009213693951]}}"#,
                8,
            ),
            (r#"{"a":{"dtype":"Q9","shape":[2],"data_offsets":[0,8]}}"#, 8),
            (r#"{"a":[]}"#, 8),
            ("not json", 0),
            ("", 0),
        ] {
            assert!(Weights::parse(&file(header, &vec![0; data])).is_err(), "{header}");
        }
    }

    #[test]
    fn a_tensor_of_another_type_shape_or_name_is_refused() {
        let header = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[2,1],"data_offsets":[8,10]}}"#;
        let mut data = 1.5_f32.to_le_bytes().to_vec();
        data.extend_from_slice(&f32::NAN.to_le_bytes());
        data.extend_from_slice(b"{}");
        let bytes = file(header, &data);
        let weights = Weights::parse(&bytes).unwrap();
        let said = |result: Result<Vec<f32>, WeightsError>| result.unwrap_err().to_string();
        assert_eq!(said(weights.floats("a", &[1, 2])), "tensor a holds a number that is not finite");
        assert_eq!(said(weights.floats("a", &[2])), "tensor a has the shape [1, 2], expected [2]");
        assert_eq!(said(weights.floats("b", &[2, 1])), "tensor b holds U8, expected F32");
        assert_eq!(said(weights.floats("c", &[2])), "tensor c is missing");
        assert_eq!(weights.blob("b").unwrap_err().to_string(), "tensor b has the shape [2, 1], expected [2]");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_at_all_make_it_panic(header in "[{}\\[\\]\":,a-z0-9F]{0,80}", data in 0_usize..16) {
            let _ = Weights::parse(&file(&header, &vec![0; data])).map(|weights| weights.floats("a", &[1]).is_ok());
        }
    }
}
