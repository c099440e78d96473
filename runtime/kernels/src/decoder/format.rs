//! Weight formats: the layout of a row in a model file, and the layout of 16 rows in a tile.
//!
//! The file formats are those of GGUF (ggml's block formats). A tile holds the same numbers bit for bit, so that four
//! (or one) of each of its 16 rows are one 64-byte load: [`pack`](Format::pack) is lossless.

use crate::simd::half::{bf16, f16, to_f16};

/// The storage format of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// bfloat16: the upper half of an f32.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// 256 4-bit numbers; each 32 have a 6-bit scale and minimum, all two f16 factors for these.
    Q4K,
    /// 32 4-bit numbers from -8 to 7 with an f16 scale.
    Q4_0,
    /// 32 8-bit numbers with an f16 scale.
    Q8_0,
}

/// Rows in a tile.
pub const TILE_ROWS: usize = 16;
/// Numbers that share a scale in activations, and in most formats.
pub(super) const BLOCK: usize = 32;
/// Blocks in a superblock of [`Format::Q4K`].
pub(super) const SUPER: usize = 8;

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Bf16, Self::F16, Self::F32, Self::Q4K, Self::Q4_0, Self::Q8_0];

    /// Returns the length of a block; the length of a row is a multiple of it.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 | Self::F32 => 1,
            Self::Q4K => SUPER * BLOCK,
            Self::Q4_0 | Self::Q8_0 => BLOCK,
        }
    }

    /// Returns the bytes of a block in a file.
    const fn block_bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
            Self::Q4K => 144,
            Self::Q4_0 => 18,
            Self::Q8_0 => 34,
        }
    }

    /// Tells whether products take 8-bit activations.
    pub const fn is_quantised(self) -> bool {
        self.block_len() > 1
    }

    /// Returns the bytes of a row of this many numbers in a file, or `None` if they are not whole blocks or too many.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        let whole = columns.is_multiple_of(self.block_len());
        (columns / self.block_len()).checked_mul(self.block_bytes()).filter(|_| whole)
    }

    /// Returns the bytes of a tile with this many columns, a multiple of 64, or `None` if there are no such rows.
    pub fn tile_bytes(self, columns: usize) -> Option<usize> {
        let row = self.row_bytes(columns)?;
        let widened = match self {
            // Scales and minima become bytes of their own.
            Self::Q4K => row.checked_add(columns / self.block_len() * 4)?,
            Self::Bf16 | Self::F16 | Self::F32 | Self::Q4_0 | Self::Q8_0 => row,
        };
        widened.checked_mul(TILE_ROWS)?.checked_next_multiple_of(64)
    }

    /// Packs up to 16 rows of a file into a tile. Missing rows become zeros.
    ///
    /// # Panics
    /// Panics if the length of a row or of the tile is not [`Self::row_bytes`] or [`Self::tile_bytes`].
    pub fn pack(self, rows: &[&[u8]], columns: usize, tile: &mut [u8]) {
        assert!(rows.len() <= TILE_ROWS, "{} rows for a tile", rows.len());
        assert!(rows.iter().all(|row| Some(row.len()) == self.row_bytes(columns)), "a row's length");
        assert_eq!(Some(tile.len()), self.tile_bytes(columns), "the tile's length");
        tile.fill(0);
        for (at, row) in rows.iter().enumerate() {
            match self {
                Self::Bf16 | Self::F16 => scatter::<2>(row, tile, at),
                Self::F32 => scatter::<4>(row, tile, at),
                Self::Q4K => pack_q4_k(row, tile, at),
                Self::Q4_0 => pack_blocks(row.as_chunks::<18>().0, tile, at),
                Self::Q8_0 => pack_blocks(row.as_chunks::<34>().0, tile, at),
            }
        }
    }

    /// Decodes a row to f32.
    ///
    /// # Panics
    /// Panics if the length of the row is not [`Self::row_bytes`].
    pub fn decode(self, row: &[u8], numbers: &mut [f32]) {
        assert_eq!(Some(row.len()), self.row_bytes(numbers.len()), "the row's length");
        let blocks = row.chunks_exact(self.block_bytes()).zip(numbers.chunks_exact_mut(self.block_len()));
        for (block, numbers) in blocks {
            match self {
                Self::Bf16 => numbers[0] = bf16([block[0], block[1]]),
                Self::F16 => numbers[0] = f16([block[0], block[1]]),
                Self::F32 => numbers[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
                Self::Q4K => decode_q4_k(block, numbers),
                Self::Q4_0 => {
                    let scale = f16([block[0], block[1]]);
                    for (at, &pair) in block[2..].iter().enumerate() {
                        numbers[at] = (f32::from(pair & 15) - 8.0) * scale;
                        numbers[at + 16] = (f32::from(pair >> 4) - 8.0) * scale;
                    }
                }
                Self::Q8_0 => {
                    let scale = f16([block[0], block[1]]);
                    for (number, &quant) in numbers.iter_mut().zip(&block[2..]) {
                        *number = f32::from(quant as i8) * scale;
                    }
                }
            }
        }
    }

    /// Tells whether all scales of a row, or all its numbers, are finite. The row must be [`Self::row_bytes`] long.
    pub fn is_finite(self, row: &[u8]) -> bool {
        let half_is_finite = |bytes: &[u8]| bytes[1] & 0x7c != 0x7c;
        row.chunks_exact(self.block_bytes()).all(|block| match self {
            Self::Bf16 => bf16([block[0], block[1]]).is_finite(),
            Self::F16 | Self::Q4_0 | Self::Q8_0 => half_is_finite(block),
            Self::F32 => f32::from_le_bytes([block[0], block[1], block[2], block[3]]).is_finite(),
            Self::Q4K => half_is_finite(block) && half_is_finite(&block[2..]),
        })
    }
}

/// Encodes a row in [`Format::Q8_0`]: each block of 32 with the smallest scale that covers it.
///
/// # Panics
/// Panics if the lengths do not match.
pub fn encode_q8_0(numbers: &[f32], row: &mut [u8]) {
    assert_eq!(Some(row.len()), Format::Q8_0.row_bytes(numbers.len()), "the row's length");
    for (block, numbers) in row.as_chunks_mut::<34>().0.iter_mut().zip(numbers.as_chunks::<BLOCK>().0) {
        let largest = numbers.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        let scale = f16(to_f16(largest / 127.0));
        let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
        block[..2].copy_from_slice(&to_f16(largest / 127.0));
        for (quant, number) in block[2..].iter_mut().zip(numbers) {
            *quant = (number * inverse).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
        }
    }
}

/// Interleaves the numbers of one row, of `WIDTH` bytes each, into a tile of 16 rows.
#[inline]
fn scatter<const WIDTH: usize>(row: &[u8], tile: &mut [u8], at: usize) {
    // A constant width makes each copy one instruction.
    let slots = tile.as_chunks_mut::<WIDTH>().0.iter_mut().skip(at).step_by(TILE_ROWS);
    for (number, slot) in row.as_chunks::<WIDTH>().0.iter().zip(slots) {
        *slot = *number;
    }
}

/// Interleaves blocks of an f16 scale and quants: first all quants, four of each row side by side, then the scales.
fn pack_blocks<const BYTES: usize>(blocks: &[[u8; BYTES]], tile: &mut [u8], at: usize) {
    let quants = BYTES - 2;
    let (quant_part, scale_part) = tile.split_at_mut(blocks.len() * quants * TILE_ROWS);
    let slots = quant_part.chunks_exact_mut(quants * TILE_ROWS).zip(scale_part.chunks_exact_mut(32));
    for (block, (quant_slot, scale_slot)) in blocks.iter().zip(slots) {
        scatter::<4>(&block[2..], quant_slot, at);
        scale_slot[2 * at..][..2].copy_from_slice(&block[..2]);
    }
}

/// Packs the quants as [`pack_blocks`] does, then the 16 rows' scales and minima for each 32 columns, then their
/// factors for each 256.
fn pack_q4_k(row: &[u8], tile: &mut [u8], at: usize) {
    let supers = row.len() / 144;
    let (quant_part, rest) = tile.split_at_mut(supers * SUPER * 256);
    let (scale_part, factor_part) = rest.split_at_mut(supers * SUPER * 32);
    for (index, block) in row.as_chunks::<144>().0.iter().enumerate() {
        let factors = &mut factor_part[index * 64..][..64];
        factors[2 * at..][..2].copy_from_slice(&block[..2]);
        factors[32 + 2 * at..][..2].copy_from_slice(&block[2..4]);
        for (part, quants) in block[16..].as_chunks::<32>().0.iter().enumerate() {
            for high in 0..2 {
                let (scale, minimum) = q4_k_scale(&block[4..16], 2 * part + high);
                let sub = index * SUPER + 2 * part + high;
                scale_part[sub * 32 + at] = scale;
                scale_part[sub * 32 + 16 + at] = minimum;
                let nibble = |column: usize| (quants[column] >> (4 * high)) & 15;
                let joined: [u8; 16] = core::array::from_fn(|j| nibble(j) | nibble(j + 16) << 4);
                scatter::<4>(&joined, &mut quant_part[sub * 256..][..256], at);
            }
        }
    }
}

fn decode_q4_k(block: &[u8], numbers: &mut [f32]) {
    let (factor, minimum_factor) = (f16([block[0], block[1]]), f16([block[2], block[3]]));
    for (index, numbers) in numbers.chunks_exact_mut(BLOCK).enumerate() {
        let (scale, minimum) = q4_k_scale(&block[4..16], index);
        let (scale, minimum) = (factor * f32::from(scale), minimum_factor * f32::from(minimum));
        let quants = &block[16 + index / 2 * 32..][..32];
        for (number, pair) in numbers.iter_mut().zip(quants) {
            *number = f32::from((pair >> (4 * (index % 2))) & 15) * scale - minimum;
        }
    }
}

/// Returns the scale and the minimum of one of eight blocks, from their twelve bytes.
pub(super) fn q4_k_scale(bytes: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        (bytes[index] & 63, bytes[index + 4] & 63)
    } else {
        let low = bytes[index + 4];
        ((low & 15) | (bytes[index - 4] >> 6) << 4, (low >> 4) | (bytes[index] >> 6) << 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_blocks_decode_to_known_numbers() {
        let mut numbers = [0.0; 32];
        let mut block = [0x21; 18];
        block[..2].copy_from_slice(&to_f16(0.5));
        Format::Q4_0.decode(&block, &mut numbers);
        assert_eq!((numbers[0], numbers[15], numbers[16], numbers[31]), (-3.5, -3.5, -3.0, -3.0));
        let mut block = [0xfe; 34];
        block[..2].copy_from_slice(&to_f16(0.25));
        Format::Q8_0.decode(&block, &mut numbers);
        assert_eq!(numbers, [-0.5; 32]);
    }

    proptest! {
        #[test]
        fn q8_0_is_off_by_half_a_step_at_most(numbers in prop::array::uniform32(-9.0_f32..9.0)) {
            let (mut row, mut back) = ([0; 34], [0.0; 32]);
            encode_q8_0(&numbers, &mut row);
            Format::Q8_0.decode(&row, &mut back);
            let step = f16([row[0], row[1]]);
            for (number, back) in numbers.iter().zip(back) {
                prop_assert!((number - back).abs() <= step * 0.57, "{number} became {back}, a step is {step}");
            }
        }
    }
}
