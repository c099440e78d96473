//! The decoder's vectors: 16 lanes whatever the register width, and their portable form.
//!
//! The operations of a forward pass are written once over [`Lanes`]; each instruction set implements it. Floating-point
//! sums are the same in all of them up to the order of additions; integer products are the same to the bit.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

use super::half::{bf16, f16};
use core::array::from_fn;

/// An instruction set, as operations on 16 lanes.
///
/// # Safety
/// Its functions may be called only on a processor that has them.
#[allow(clippy::missing_safety_doc, reason = "the trait's own section is the one for all its functions")]
pub(crate) unsafe trait Lanes {
    /// Sixteen f32.
    type Floats: Copy;
    /// Sixteen i32.
    type Ints: Copy;
    /// Four small integers for each of sixteen lanes.
    type Bytes: Copy;
    /// Rows of activations that a product handles at a time.
    const ROWS: usize;

    unsafe fn splat(x: f32) -> Self::Floats;
    unsafe fn load(x: &[f32; 16]) -> Self::Floats;
    unsafe fn store(x: Self::Floats, to: &mut [f32; 16]);
    unsafe fn from_f16(x: &[u8; 32]) -> Self::Floats;
    unsafe fn from_bf16(x: &[u8; 32]) -> Self::Floats;
    unsafe fn from_u8(x: &[u8; 16]) -> Self::Floats;
    unsafe fn from_ints(x: Self::Ints) -> Self::Floats;
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Returns a b + c.
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Rounds to the nearest integer, ties to even; |x| < 2^22.
    unsafe fn round(x: Self::Floats) -> Self::Floats;
    /// Returns x 2^n for integers n from -126 to 127.
    unsafe fn scale(x: Self::Floats, n: Self::Floats) -> Self::Floats;
    unsafe fn sum(x: Self::Floats) -> f32;
    unsafe fn largest(x: Self::Floats) -> f32;

    unsafe fn splat_ints(x: i32) -> Self::Ints;
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Returns the lower and the upper half of each byte.
    unsafe fn nibbles(x: &[u8; 64]) -> (Self::Bytes, Self::Bytes);
    /// Loads signed bytes for [`Self::dot_bytes`].
    unsafe fn bytes(x: &[u8; 64]) -> Self::Bytes;
    /// Adds the products of four nibbles a lane and the four signed bytes of `x`.
    unsafe fn dot_nibbles(sum: Self::Ints, w: Self::Bytes, x: i32) -> Self::Ints;
    /// Adds the products of four signed bytes a lane and the four signed bytes of `x`, which must not contain -128.
    unsafe fn dot_bytes(sum: Self::Ints, w: Self::Bytes, x: i32) -> Self::Ints;
    /// Returns the start value of the [`Self::dot_bytes`] sums over a block whose bytes of `x` add up to this.
    unsafe fn start_bytes(sum_of_x: i32) -> Self::Ints;
    /// Rounds 32 numbers to 8 bits; returns their scale and their sum.
    unsafe fn quantise(x: &[f32; 32], to: &mut [i32; 8]) -> (f32, i32);
    /// Prefetches the cache line that is `ahead` bytes after the start of a slice.
    unsafe fn prefetch(from: &[u8], ahead: usize);
}

/// Plain Rust, for any processor.
pub(crate) struct Portable;

// SAFETY: no function of it uses any special instruction.
unsafe impl Lanes for Portable {
    type Floats = [f32; 16];
    type Ints = [i32; 16];
    type Bytes = [[i8; 4]; 16];
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 16] {
        [x; 16]
    }

    #[inline(always)]
    unsafe fn load(x: &[f32; 16]) -> [f32; 16] {
        *x
    }

    #[inline(always)]
    unsafe fn store(x: [f32; 16], to: &mut [f32; 16]) {
        *to = x;
    }

    #[inline(always)]
    unsafe fn from_f16(x: &[u8; 32]) -> [f32; 16] {
        from_fn(|lane| f16([x[2 * lane], x[2 * lane + 1]]))
    }

    #[inline(always)]
    unsafe fn from_bf16(x: &[u8; 32]) -> [f32; 16] {
        from_fn(|lane| bf16([x[2 * lane], x[2 * lane + 1]]))
    }

    #[inline(always)]
    unsafe fn from_u8(x: &[u8; 16]) -> [f32; 16] {
        from_fn(|lane| f32::from(x[lane]))
    }

    #[inline(always)]
    unsafe fn from_ints(x: [i32; 16]) -> [f32; 16] {
        from_fn(|lane| x[lane] as f32)
    }

    #[inline(always)]
    unsafe fn add(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    unsafe fn sub(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    unsafe fn mul(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    unsafe fn div(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|lane| a[lane] / b[lane])
    }

    #[inline(always)]
    unsafe fn max(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        from_fn(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        // Not fused: without the instruction that would be a call for each lane.
        from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    unsafe fn round(x: [f32; 16]) -> [f32; 16] {
        from_fn(|lane| (x[lane] + ROUNDER) - ROUNDER)
    }

    #[inline(always)]
    unsafe fn scale(x: [f32; 16], n: [f32; 16]) -> [f32; 16] {
        from_fn(|lane| x[lane] * f32::from_bits(((n[lane] as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn sum(x: [f32; 16]) -> f32 {
        let eight: [f32; 8] = from_fn(|lane| x[lane] + x[lane + 8]);
        let four: [f32; 4] = from_fn(|lane| eight[lane] + eight[lane + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }

    #[inline(always)]
    unsafe fn largest(x: [f32; 16]) -> f32 {
        x.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    unsafe fn splat_ints(x: i32) -> [i32; 16] {
        [x; 16]
    }

    #[inline(always)]
    unsafe fn add_ints(a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        from_fn(|lane| a[lane].wrapping_add(b[lane]))
    }

    #[inline(always)]
    unsafe fn nibbles(x: &[u8; 64]) -> ([[i8; 4]; 16], [[i8; 4]; 16]) {
        let low = from_fn(|lane| from_fn(|at| (x[4 * lane + at] & 15) as i8));
        let high = from_fn(|lane| from_fn(|at| (x[4 * lane + at] >> 4) as i8));
        (low, high)
    }

    #[inline(always)]
    unsafe fn bytes(x: &[u8; 64]) -> [[i8; 4]; 16] {
        from_fn(|lane| from_fn(|at| x[4 * lane + at] as i8))
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: [i32; 16], w: [[i8; 4]; 16], x: i32) -> [i32; 16] {
        let x = x.to_le_bytes().map(|byte| i32::from(byte as i8));
        from_fn(|lane| {
            let products: [i32; 4] = from_fn(|at| i32::from(w[lane][at]) * x[at]);
            sum[lane].wrapping_add(products.iter().sum())
        })
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: [i32; 16], w: [[i8; 4]; 16], x: i32) -> [i32; 16] {
        // SAFETY: signed bytes and nibbles are the same to plain Rust.
        unsafe { Self::dot_nibbles(sum, w, x) }
    }

    #[inline(always)]
    unsafe fn start_bytes(_sum_of_x: i32) -> [i32; 16] {
        [0; 16]
    }

    #[inline(always)]
    unsafe fn quantise(x: &[f32; 32], to: &mut [i32; 8]) -> (f32, i32) {
        let largest = x.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        let inverse = inverse_of(largest);
        let mut sum = 0;
        for (group, four) in to.iter_mut().zip(x.as_chunks::<4>().0) {
            let quants = four.map(|number| ((number * inverse + ROUNDER) - ROUNDER) as i8);
            sum += quants.iter().map(|&quant| i32::from(quant)).sum::<i32>();
            *group = i32::from_le_bytes(quants.map(|quant| quant as u8));
        }
        (largest / 127.0, sum)
    }

    #[inline(always)]
    unsafe fn prefetch(_from: &[u8], _ahead: usize) {}
}

/// Returns the factor that maps numbers up to `largest` to 8-bit integers.
#[inline(always)]
pub(crate) fn inverse_of(largest: f32) -> f32 {
    // Below, the inverse would not be finite.
    if largest > 1e-30 { 127.0 / largest } else { 0.0 }
}

/// 1.5 × 2^23: adding it leaves no fractional bits.
const ROUNDER: f32 = 12_582_912.0;
