//! NEON, which every 64-bit ARM has. Bytes are multiplied as 16-bit numbers: no faster than f32, at half the memory.

use super::Simd;
use super::arithmetic::{Bf16Weights, F32};
use std::arch::aarch64::*;

/// NEON without the later dot products.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// # Safety
    /// The processor has these instructions.
    pub(crate) const unsafe fn new() -> Self {
        Self(())
    }
}

impl Simd for Neon {
    type Floats = float32x4_t;
    /// Sums, or pairs of 16 bits.
    type Integers = int32x4_t;
    type Byte = i16;
    type Half = Bf16Weights;
    type Attention = F32;

    const LANES: usize = 4;
    const TILE_ROWS: usize = 8;
    const BYTE_GROUP: usize = 2;
    const FUSED: bool = true;

    #[inline(always)]
    fn zero_floats(self) -> float32x4_t {
        self.splat(0.0)
    }

    #[inline(always)]
    fn splat(self, number: f32) -> float32x4_t {
        // SAFETY: `self` exists.
        unsafe { vdupq_n_f32(number) }
    }

    #[inline(always)]
    fn multiply_add(self, one: float32x4_t, other: float32x4_t, sum: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists.
        unsafe { vfmaq_f32(sum, one, other) }
    }

    #[inline(always)]
    fn multiply(self, one: float32x4_t, other: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists.
        unsafe { vmulq_f32(one, other) }
    }

    #[inline(always)]
    fn add(self, one: float32x4_t, other: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists.
        unsafe { vaddq_f32(one, other) }
    }

    #[inline(always)]
    fn larger(self, one: float32x4_t, other: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists.
        unsafe { vmaxnmq_f32(one, other) }
    }

    #[inline(always)]
    fn smaller(self, one: float32x4_t, other: float32x4_t) -> float32x4_t {
        // SAFETY: `self` exists.
        unsafe { vminnmq_f32(one, other) }
    }

    #[inline(always)]
    fn zero_integers(self) -> int32x4_t {
        // SAFETY: `self` exists.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    fn dot(self, sum: int32x4_t, activations: int32x4_t, weights: int32x4_t) -> int32x4_t {
        // SAFETY: `self` exists.
        unsafe {
            let (activations, weights) = (vreinterpretq_s16_s32(activations), vreinterpretq_s16_s32(weights));
            let low = vmull_s16(vget_low_s16(activations), vget_low_s16(weights));
            let high = vmull_high_s16(activations, weights);
            vaddq_s32(sum, vpaddq_s32(low, high))
        }
    }

    #[inline(always)]
    fn to_floats(self, sum: int32x4_t) -> float32x4_t {
        // SAFETY: `self` exists.
        unsafe { vcvtq_f32_s32(sum) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: `self` exists; the caller vouches for four numbers.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, numbers: float32x4_t) {
        // SAFETY: `self` exists; the caller vouches for four numbers.
        unsafe { vst1q_f32(to, numbers) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> float32x4_t {
        // SAFETY: `self` exists; the caller vouches for four numbers.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from))) }
    }

    #[inline(always)]
    unsafe fn splat_bytes(self, from: *const i16) -> int32x4_t {
        // SAFETY: `self` exists; the caller vouches for a pair.
        unsafe { vdupq_n_s32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const i8) -> int32x4_t {
        // SAFETY: `self` exists; the caller vouches for eight bytes.
        unsafe { vreinterpretq_s32_s16(vmovl_s8(vld1_s8(from))) }
    }

    #[inline(always)]
    fn byte(number: u8) -> i16 {
        i16::from(number)
    }
}
