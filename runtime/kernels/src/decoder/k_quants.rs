//! Readers of the GGUF block types that are common in files and have no kernel: Q5_K and Q6_K.
//!
//! A loader decodes them and packs the numbers as Q8_0. Each number is the same, bit for bit, as ggml's own
//! `dequantize_row_*` gives. Both types hold 256 numbers in a block.

use super::format::{BLOCK, q4_k_scale};
use crate::simd::half::f16;

/// The bytes of a Q5_K block: two f16 factors, 12 bytes of 6-bit scales and minima, 256 high bits, 256 low nibbles.
const Q5_K_BYTES: usize = 176;
/// The bytes of a Q6_K block: 256 low nibbles, 256 pairs of high bits, 16 8-bit scales, an f16 factor.
const Q6_K_BYTES: usize = 210;
/// The numbers in a block of either.
const NUMBERS: usize = 256;

/// Writes the numbers of a row of Q5_K blocks.
///
/// # Panics
/// Panics if the row does not hold exactly as many numbers as `numbers`.
pub fn decode_q5_k(row: &[u8], numbers: &mut [f32]) {
    let (blocks, outputs) = blocks::<Q5_K_BYTES>(row, numbers);
    for (block, numbers) in blocks.iter().zip(outputs) {
        let (factor, minimum_factor) = (f16([block[0], block[1]]), f16([block[2], block[3]]));
        let (high, low) = (&block[16..48], &block[48..]);
        for (index, numbers) in numbers.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let (scale, minimum) = q4_k_scale(&block[4..16], index);
            let (scale, minimum) = (factor * f32::from(scale), minimum_factor * f32::from(minimum));
            let pairs = &low[index / 2 * 32..][..32];
            for ((number, pair), high) in numbers.iter_mut().zip(pairs).zip(high) {
                let quant = (pair >> (4 * (index % 2))) & 15 | ((high >> index) & 1) << 4;
                *number = scale * f32::from(quant) - minimum;
            }
        }
    }
}

/// Writes the numbers of a row of Q6_K blocks.
///
/// # Panics
/// Panics if the row does not hold exactly as many numbers as `numbers`.
pub fn decode_q6_k(row: &[u8], numbers: &mut [f32]) {
    let (blocks, outputs) = blocks::<Q6_K_BYTES>(row, numbers);
    for (block, numbers) in blocks.iter().zip(outputs) {
        let factor = f16([block[208], block[209]]);
        for (index, numbers) in numbers.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            // Each half of a block has 64 bytes of nibbles, 32 of high bits and 8 scales for four runs of 32 numbers.
            let (half, run) = (index / 4, index % 4);
            let low = &block[64 * half + 32 * (run % 2)..][..32];
            let high = &block[128 + 32 * half..][..32];
            let scales = &block[192 + 8 * half + 2 * run..][..2];
            let scales = [0, 1].map(|at: usize| factor * f32::from(scales[at] as i8));
            for (at, number) in numbers.iter_mut().enumerate() {
                let quant = (low[at] >> (4 * (run / 2))) & 15 | ((high[at] >> (2 * run)) & 3) << 4;
                *number = scales[at / 16] * (f32::from(quant) - 32.0);
            }
        }
    }
}

/// Splits a row into its blocks and the numbers of each.
fn blocks<'a, const BYTES: usize>(
    row: &'a [u8],
    numbers: &'a mut [f32],
) -> (&'a [[u8; BYTES]], &'a mut [[f32; NUMBERS]]) {
    let (blocks, rest) = row.as_chunks::<BYTES>();
    let (outputs, more) = numbers.as_chunks_mut::<NUMBERS>();
    assert!(rest.is_empty() && more.is_empty() && blocks.len() == outputs.len(), "the row's length");
    (blocks, outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::half::to_f16;

    #[test]
    fn a_q5_k_block_has_a_fifth_bit_for_each_number() {
        let (mut block, mut numbers) = ([0; Q5_K_BYTES], [0.0; NUMBERS]);
        block[..2].copy_from_slice(&to_f16(0.5));
        block[2..4].copy_from_slice(&to_f16(0.25));
        // The first run: scale 3, minimum 2. The second: scale 1, minimum 0.
        (block[4], block[5], block[8]) = (3, 1, 2);
        // Column 7 of the first two runs: low bits 9 and 4; the fifth bit is set in the first alone.
        (block[48 + 7], block[16 + 7]) = (0x49, 0b01);
        decode_q5_k(&block, &mut numbers);
        assert_eq!(numbers[7], 0.5 * 3.0 * 25.0 - 0.25 * 2.0);
        assert_eq!(numbers[32 + 7], 0.5 * 4.0);
        assert_eq!((numbers[6], numbers[64 + 7]), (-0.5, 0.0));
    }

    #[test]
    fn a_q6_k_block_has_two_more_bits_for_each_number() {
        let (mut block, mut numbers) = ([0; Q6_K_BYTES], [0.0; NUMBERS]);
        block[208..].copy_from_slice(&to_f16(0.5));
        // Of the second half: the third run's second scale is -2, and column 17 of it has 0b11_0101.
        block[192 + 8 + 5] = (-2_i8).cast_unsigned();
        block[64 + 17] = 0x50;
        block[128 + 32 + 17] = 0b11 << 4;
        decode_q6_k(&block, &mut numbers);
        assert_eq!(numbers[128 + 64 + 17], 0.5 * -2.0 * (53.0 - 32.0));
        assert_eq!(numbers[128 + 64 + 18], 0.5 * -2.0 * -32.0);
        assert_eq!(numbers[128 + 64], 0.0);
    }
}
