//! AVX-512 with VNNI, and with bf16 beside.

use super::Simd;
use crate::format::{DotHalf, Single, WidenedHalf};
use std::arch::x86_64::*;

/// AVX-512 F, BW, DQ, VL and VNNI: Intel since Cascade Lake, AMD since Zen 4.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// The same and BF16: Intel since Sapphire Rapids, AMD since Zen 4.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Bf16(());

impl Avx512 {
    /// # Safety
    /// The processor has these instructions.
    pub(crate) const unsafe fn new() -> Self {
        Self(())
    }
}

impl Avx512Bf16 {
    /// # Safety
    /// The processor has these instructions.
    pub(crate) const unsafe fn new() -> Self {
        Self(())
    }

    /// Adds to each sum the products of its pair.
    #[inline(always)]
    pub(crate) fn dot_bf16(self, sum: __m512, one: __m512i, other: __m512i) -> __m512 {
        // SAFETY: `self` exists; both types are 512 bits that mean anything.
        unsafe {
            let one = std::mem::transmute::<__m512i, __m512bh>(one);
            let other = std::mem::transmute::<__m512i, __m512bh>(other);
            _mm512_dpbf16_ps(sum, one, other)
        }
    }
}

/// What both have in common.
macro_rules! common {
    () => {
        type Floats = __m512;
        type Integers = __m512i;
        type Byte = u8;

        const LANES: usize = 16;
        const TILE_ROWS: usize = 12;
        const BYTE_GROUP: usize = 4;
        const FUSED: bool = true;

        #[inline(always)]
        fn zero_floats(self) -> __m512 {
            // SAFETY: `self` exists.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        fn splat(self, number: f32) -> __m512 {
            // SAFETY: `self` exists.
            unsafe { _mm512_set1_ps(number) }
        }

        #[inline(always)]
        fn multiply_add(self, one: __m512, other: __m512, sum: __m512) -> __m512 {
            // SAFETY: `self` exists.
            unsafe { _mm512_fmadd_ps(one, other, sum) }
        }

        #[inline(always)]
        fn multiply(self, one: __m512, other: __m512) -> __m512 {
            // SAFETY: `self` exists.
            unsafe { _mm512_mul_ps(one, other) }
        }

        #[inline(always)]
        fn add(self, one: __m512, other: __m512) -> __m512 {
            // SAFETY: `self` exists.
            unsafe { _mm512_add_ps(one, other) }
        }

        #[inline(always)]
        fn zero_integers(self) -> __m512i {
            // SAFETY: `self` exists.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        fn dot(self, sum: __m512i, activations: __m512i, weights: __m512i) -> __m512i {
            // SAFETY: `self` exists.
            unsafe { _mm512_dpbusd_epi32(sum, activations, weights) }
        }

        #[inline(always)]
        fn to_floats(self, sum: __m512i) -> __m512 {
            // SAFETY: `self` exists.
            unsafe { _mm512_cvtepi32_ps(sum) }
        }

        #[inline(always)]
        unsafe fn load(self, from: *const f32) -> __m512 {
            // SAFETY: `self` exists; the caller vouches for sixteen numbers.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32, numbers: __m512) {
            // SAFETY: `self` exists; the caller vouches for sixteen numbers.
            unsafe { _mm512_storeu_ps(to, numbers) }
        }

        #[inline(always)]
        unsafe fn load_bf16(self, from: *const u16) -> __m512 {
            // SAFETY: `self` exists; the caller vouches for sixteen numbers.
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
            }
        }

        #[inline(always)]
        unsafe fn splat_bytes(self, from: *const u8) -> __m512i {
            // SAFETY: `self` exists; the caller vouches for four bytes.
            unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
        }

        #[inline(always)]
        unsafe fn load_bytes(self, from: *const i8) -> __m512i {
            // SAFETY: `self` exists; the caller vouches for sixty-four bytes.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        fn byte(number: u8) -> u8 {
            number
        }
    };
}

impl Simd for Avx512 {
    type Half = WidenedHalf;
    type Attention = Single;

    common!();
}

impl Simd for Avx512Bf16 {
    type Half = DotHalf;
    type Attention = DotHalf;

    common!();
}
