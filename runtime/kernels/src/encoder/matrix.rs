//! A weight matrix as it is stored in a file, before it is packed.
//!
//! The invariant: a [`Matrix`] that exists has as many bytes as its dimensions say. Any bytes are safe to read.

/// A matrix whose rows are output channels or table entries. It borrows its numbers.
#[derive(Clone, Debug)]
pub struct Matrix<'a> {
    rows: usize,
    columns: usize,
    values: Values<'a>,
}

#[derive(Clone, Debug)]
enum Values<'a> {
    Bf16(&'a [u8]),
    F16(&'a [u8]),
    F32(&'a [u8]),
    Int8 { values: &'a [u8], scales: Vec<f32>, outliers: Vec<Outlier> },
}

/// A weight that is stored apart, because it is far larger than the rest of its row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// Its row.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// The weight. The matrix must be zero at this place.
    pub weight: f32,
}

/// Why bytes do not form a matrix of the given dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} {what} for a matrix of {rows} rows and {columns} columns, expected {expected}")]
pub struct MatrixError {
    what: &'static str,
    found: usize,
    expected: usize,
    rows: usize,
    columns: usize,
}

impl<'a> Matrix<'a> {
    /// Makes a matrix of little-endian f32 numbers, row by row.
    ///
    /// # Errors
    /// [`MatrixError`] if the bytes do not fit the dimensions.
    pub fn f32(bytes: &'a [u8], rows: usize, columns: usize) -> Result<Self, MatrixError> {
        check("bytes", bytes.len(), 4, rows, columns)?;
        Ok(Self { rows, columns, values: Values::F32(bytes) })
    }

    /// Makes a matrix of little-endian IEEE half-precision numbers, row by row.
    ///
    /// # Errors
    /// [`MatrixError`] if the bytes do not fit the dimensions.
    pub fn f16(bytes: &'a [u8], rows: usize, columns: usize) -> Result<Self, MatrixError> {
        check("bytes", bytes.len(), 2, rows, columns)?;
        Ok(Self { rows, columns, values: Values::F16(bytes) })
    }

    /// Makes a matrix of little-endian bf16 numbers, row by row.
    ///
    /// # Errors
    /// [`MatrixError`] if the bytes do not fit the dimensions.
    pub fn bf16(bytes: &'a [u8], rows: usize, columns: usize) -> Result<Self, MatrixError> {
        check("bytes", bytes.len(), 2, rows, columns)?;
        Ok(Self { rows, columns, values: Values::Bf16(bytes) })
    }

    /// Makes a matrix of signed bytes, row by row, with a scale for each row. `outliers` replace bytes that are zero.
    ///
    /// # Errors
    /// [`MatrixError`] if the bytes, the scales or the outliers do not fit the dimensions.
    pub fn int8(
        values: &'a [u8],
        scales: Vec<f32>,
        outliers: Vec<Outlier>,
        rows: usize,
        columns: usize,
    ) -> Result<Self, MatrixError> {
        check("bytes", values.len(), 1, rows, columns)?;
        check("scales", scales.len(), 1, rows, 1)?;
        let inside = |outlier: &&Outlier| outlier.row < rows && outlier.column < columns;
        let found = outliers.iter().filter(inside).count();
        if found < outliers.len() {
            let expected = outliers.len();
            return Err(MatrixError { what: "outliers inside", found, expected, rows, columns });
        }
        Ok(Self { rows, columns, values: Values::Int8 { values, scales, outliers } })
    }

    /// Returns the number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Writes a row's numbers to `out`, which has the length of a row.
    ///
    /// # Panics
    /// Panics if there is no such row, or if `out` has another length.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns, "a row has {} numbers", self.columns);
        out.fill(0.0);
        self.add_row(row, out);
        if let Values::Int8 { outliers, .. } = &self.values {
            for outlier in outliers.iter().filter(|outlier| outlier.row == row) {
                out[outlier.column] = outlier.weight;
            }
        }
    }

    /// Adds a row's numbers, outliers excepted, to those of `sum`.
    #[inline(always)]
    pub(crate) fn add_row(&self, row: usize, sum: &mut [f32]) {
        let start = row * self.columns;
        match &self.values {
            Values::Bf16(bytes) => {
                for (sum, half) in sum.iter_mut().zip(row_of(bytes, start, self.columns)) {
                    *sum += f32::from_bits(u32::from(u16::from_le_bytes(*half)) << 16);
                }
            }
            Values::F16(bytes) => {
                for (sum, half) in sum.iter_mut().zip(row_of(bytes, start, self.columns)) {
                    *sum += from_f16(u16::from_le_bytes(*half));
                }
            }
            Values::F32(bytes) => {
                for (sum, number) in sum.iter_mut().zip(row_of(bytes, start, self.columns)) {
                    *sum += f32::from_le_bytes(*number);
                }
            }
            Values::Int8 { values, scales, .. } => {
                let scale = scales[row];
                for (sum, value) in sum.iter_mut().zip(&values[start..start + self.columns]) {
                    *sum += f32::from(value.cast_signed()) * scale;
                }
            }
        }
    }

    /// Returns the bytes, scales and outliers of a matrix that is quantised already.
    pub(crate) fn quantized(&self) -> Option<(&'a [u8], &[f32], &[Outlier])> {
        match &self.values {
            Values::Int8 { values, scales, outliers } => Some((values, scales, outliers)),
            Values::Bf16(_) | Values::F16(_) | Values::F32(_) => None,
        }
    }
}

/// Returns the numbers, of `N` bytes each, of the row that begins with number `start`.
#[inline(always)]
fn row_of<const N: usize>(bytes: &[u8], start: usize, columns: usize) -> &[[u8; N]] {
    &bytes.as_chunks().0[start..start + columns]
}

/// Widens IEEE half precision, without branches.
#[inline(always)]
fn from_f16(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff) << 13;
    // Moving the exponent's bias by a product is exact and treats subnormal numbers as the others.
    let number = f32::from_bits(magnitude) * f32::from_bits((254 - 15) << 23);
    let bits = if half & 0x7c00 == 0x7c00 { magnitude | 0x7f80_0000 } else { number.to_bits() };
    f32::from_bits(bits | sign)
}

fn check(
    what: &'static str,
    found: usize,
    size: usize,
    rows: usize,
    columns: usize,
) -> Result<(), MatrixError> {
    let expected = rows.saturating_mul(columns).saturating_mul(size);
    if found == expected { Ok(()) } else { Err(MatrixError { what, found, expected, rows, columns }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_every_type() {
        let bytes = |numbers: &[f32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_le_bytes()).collect() };
        let read = |matrix: &Matrix<'_>, row| {
            let mut out = vec![9.0; matrix.columns()];
            matrix.read_row(row, &mut out);
            out
        };
        let single = bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(read(&Matrix::f32(&single, 3, 2).unwrap(), 2), [5.0, 6.0]);
        let half: Vec<u8> = [0x3c00_u16, 0xc000, 0x0001, 0x7c00, 0x8000, 0x3555]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        let smallest = 2.0_f32.powi(-24);
        let third = 0.333_251_95;
        assert_eq!(
            read(&Matrix::f16(&half, 1, 6).unwrap(), 0),
            [1.0, -2.0, smallest, f32::INFINITY, -0.0, third]
        );
        assert!(read(&Matrix::f16(&[0, 0x7e], 1, 1).unwrap(), 0)[0].is_nan());
        assert_eq!(read(&Matrix::bf16(&[0x80, 0x3f, 0, 0xc0], 1, 2).unwrap(), 0), [1.0, -2.0]);
        let outliers = vec![Outlier { row: 1, column: 0, weight: 7.0 }];
        let matrix = Matrix::int8(&[1, 0xff, 0, 2], vec![0.5, 2.0], outliers, 2, 2).unwrap();
        assert_eq!((read(&matrix, 0), read(&matrix, 1)), (vec![0.5, -0.5], vec![7.0, 4.0]));
    }

    #[test]
    fn mismatched_dimensions_are_rejected() {
        assert_eq!(
            Matrix::f32(&[0; 15], 2, 2).unwrap_err().to_string(),
            "15 bytes for a matrix of 2 rows and 2 columns, expected 16"
        );
        assert!(Matrix::f16(&[0; 8], usize::MAX, usize::MAX).is_err());
        assert!(Matrix::bf16(&[0; 9], 2, 2).is_err());
        assert!(Matrix::int8(&[0; 4], vec![1.0], Vec::new(), 2, 2).is_err());
        let outside = vec![Outlier { row: 2, column: 0, weight: 1.0 }];
        assert!(Matrix::int8(&[0; 4], vec![1.0; 2], outside, 2, 2).is_err());
    }
}
