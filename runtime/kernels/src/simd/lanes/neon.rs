//! NEON, which every 64-bit ARM processor has: products of bytes; the rest of the portable form compiles to it.

use super::{Lanes, Portable};
use core::arch::aarch64::*;

/// NEON.
pub(crate) struct Neon;

#[allow(
    unsafe_op_in_unsafe_fn,
    reason = "each function is one step of its trait, whose terms hold for all of it"
)]
// SAFETY: each intrinsic below belongs to NEON, which is part of the architecture; loads and stores go through
// references to arrays of the loaded size. The functions of the portable form need no special instruction.
unsafe impl Lanes for Neon {
    type Floats = [f32; 16];
    type Ints = [int32x4_t; 4];
    type Bytes = [int8x16_t; 4];
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 16] {
        Portable::splat(x)
    }

    #[inline(always)]
    unsafe fn load(x: &[f32; 16]) -> [f32; 16] {
        Portable::load(x)
    }

    #[inline(always)]
    unsafe fn store(x: [f32; 16], to: &mut [f32; 16]) {
        Portable::store(x, to)
    }

    #[inline(always)]
    unsafe fn from_f16(x: &[u8; 32]) -> [f32; 16] {
        Portable::from_f16(x)
    }

    #[inline(always)]
    unsafe fn from_bf16(x: &[u8; 32]) -> [f32; 16] {
        Portable::from_bf16(x)
    }

    #[inline(always)]
    unsafe fn from_u8(x: &[u8; 16]) -> [f32; 16] {
        Portable::from_u8(x)
    }

    #[inline(always)]
    unsafe fn from_ints(x: [int32x4_t; 4]) -> [f32; 16] {
        let mut floats = [0.0; 16];
        for (four, to) in x.into_iter().zip(floats.as_chunks_mut::<4>().0) {
            vst1q_f32(to.as_mut_ptr(), vcvtq_f32_s32(four));
        }
        floats
    }

    #[inline(always)]
    unsafe fn add(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Portable::add(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Portable::sub(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Portable::mul(a, b)
    }

    #[inline(always)]
    unsafe fn div(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Portable::div(a, b)
    }

    #[inline(always)]
    unsafe fn max(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Portable::max(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        core::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }

    #[inline(always)]
    unsafe fn round(x: [f32; 16]) -> [f32; 16] {
        Portable::round(x)
    }

    #[inline(always)]
    unsafe fn scale(x: [f32; 16], n: [f32; 16]) -> [f32; 16] {
        Portable::scale(x, n)
    }

    #[inline(always)]
    unsafe fn sum(x: [f32; 16]) -> f32 {
        Portable::sum(x)
    }

    #[inline(always)]
    unsafe fn largest(x: [f32; 16]) -> f32 {
        Portable::largest(x)
    }

    #[inline(always)]
    unsafe fn splat_ints(x: i32) -> [int32x4_t; 4] {
        [vdupq_n_s32(x); 4]
    }

    #[inline(always)]
    unsafe fn add_ints(a: [int32x4_t; 4], b: [int32x4_t; 4]) -> [int32x4_t; 4] {
        core::array::from_fn(|at| vaddq_s32(a[at], b[at]))
    }

    #[inline(always)]
    unsafe fn nibbles(x: &[u8; 64]) -> ([int8x16_t; 4], [int8x16_t; 4]) {
        let both: [uint8x16_t; 4] = core::array::from_fn(|at| vld1q_u8(x[16 * at..].as_ptr()));
        let low = both.map(|part| vreinterpretq_s8_u8(vandq_u8(part, vdupq_n_u8(15))));
        let high = both.map(|part| vreinterpretq_s8_u8(vshrq_n_u8::<4>(part)));
        (low, high)
    }

    #[inline(always)]
    unsafe fn bytes(x: &[u8; 64]) -> [int8x16_t; 4] {
        core::array::from_fn(|at| vreinterpretq_s8_u8(vld1q_u8(x[16 * at..].as_ptr())))
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: [int32x4_t; 4], w: [int8x16_t; 4], x: i32) -> [int32x4_t; 4] {
        Self::dot_bytes(sum, w, x)
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: [int32x4_t; 4], w: [int8x16_t; 4], x: i32) -> [int32x4_t; 4] {
        let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
        core::array::from_fn(|at| {
            // A pair is at most 2 × 128 × 127, which 16 bits hold.
            let low = vmull_s8(vget_low_s8(w[at]), vget_low_s8(x));
            let high = vmull_high_s8(w[at], x);
            vpadalq_s16(sum[at], vpaddq_s16(low, high))
        })
    }

    #[inline(always)]
    unsafe fn start_bytes(_sum_of_x: i32) -> [int32x4_t; 4] {
        [vdupq_n_s32(0); 4]
    }

    #[inline(always)]
    unsafe fn quantise(x: &[f32; 32], to: &mut [i32; 8]) -> (f32, i32) {
        Portable::quantise(x, to)
    }

    #[inline(always)]
    unsafe fn prefetch(_from: &[u8], _ahead: usize) {}
}
