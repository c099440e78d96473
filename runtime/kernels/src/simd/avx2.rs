//! AVX2 with FMA, and the same with VNNI.

use super::Simd;
use super::arithmetic::{Bf16Weights, F32};
use std::arch::x86_64::*;

/// AVX2 and FMA: Intel since Haswell, AMD since Zen.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// The same and AVX-VNNI: Intel's desktop processors since Alder Lake.
#[derive(Clone, Copy)]
pub(crate) struct Avx2Vnni(());

impl Avx2 {
    /// # Safety
    /// The processor has these instructions.
    pub(crate) const unsafe fn new() -> Self {
        Self(())
    }
}

impl Avx2Vnni {
    /// # Safety
    /// The processor has these instructions.
    pub(crate) const unsafe fn new() -> Self {
        Self(())
    }
}

/// The operations that both variants share.
macro_rules! common {
    () => {
        type Floats = __m256;
        type Integers = __m256i;
        type Half = Bf16Weights;
        type Attention = F32;

        const LANES: usize = 8;
        const TILE_ROWS: usize = 6;
        const FUSED: bool = true;

        #[inline(always)]
        fn zero_floats(self) -> __m256 {
            // SAFETY: `self` exists.
            unsafe { _mm256_setzero_ps() }
        }

        #[inline(always)]
        fn splat(self, number: f32) -> __m256 {
            // SAFETY: `self` exists.
            unsafe { _mm256_set1_ps(number) }
        }

        #[inline(always)]
        fn multiply_add(self, one: __m256, other: __m256, sum: __m256) -> __m256 {
            // SAFETY: `self` exists.
            unsafe { _mm256_fmadd_ps(one, other, sum) }
        }

        #[inline(always)]
        fn multiply(self, one: __m256, other: __m256) -> __m256 {
            // SAFETY: `self` exists.
            unsafe { _mm256_mul_ps(one, other) }
        }

        #[inline(always)]
        fn add(self, one: __m256, other: __m256) -> __m256 {
            // SAFETY: `self` exists.
            unsafe { _mm256_add_ps(one, other) }
        }

        #[inline(always)]
        fn larger(self, one: __m256, other: __m256) -> __m256 {
            // SAFETY: `self` exists.
            unsafe { _mm256_max_ps(one, other) }
        }

        #[inline(always)]
        fn smaller(self, one: __m256, other: __m256) -> __m256 {
            // SAFETY: `self` exists.
            unsafe { _mm256_min_ps(one, other) }
        }

        #[inline(always)]
        fn zero_integers(self) -> __m256i {
            // SAFETY: `self` exists.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        fn prefetch(self, address: *const u8) {
            // SAFETY: `self` exists; an address that cannot be read is left alone.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
        }

        #[inline(always)]
        fn to_floats(self, sum: __m256i) -> __m256 {
            // SAFETY: `self` exists.
            unsafe { _mm256_cvtepi32_ps(sum) }
        }

        #[inline(always)]
        unsafe fn load(self, from: *const f32) -> __m256 {
            // SAFETY: `self` exists; the caller vouches for eight numbers.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32, numbers: __m256) {
            // SAFETY: `self` exists; the caller vouches for eight numbers.
            unsafe { _mm256_storeu_ps(to, numbers) }
        }

        #[inline(always)]
        unsafe fn load_bf16(self, from: *const u16) -> __m256 {
            // SAFETY: `self` exists; the caller vouches for eight numbers.
            unsafe {
                let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
            }
        }
    };
}

/// Without VNNI, pairs of 16 bits: `vpmaddubsw` would be a third faster but saturates.
impl Simd for Avx2 {
    type Byte = i16;

    const BYTE_GROUP: usize = 2;

    common!();

    #[inline(always)]
    fn dot(self, sum: __m256i, activations: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: `self` exists.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(activations, weights)) }
    }

    #[inline(always)]
    unsafe fn splat_bytes(self, from: *const i16) -> __m256i {
        // SAFETY: `self` exists; the caller vouches for a pair.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const i8) -> __m256i {
        // SAFETY: `self` exists; the caller vouches for sixteen bytes.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    fn byte(number: u8) -> i16 {
        i16::from(number)
    }
}

impl Simd for Avx2Vnni {
    type Byte = u8;

    const BYTE_GROUP: usize = 4;

    common!();

    #[inline(always)]
    fn dot(self, sum: __m256i, activations: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: `self` exists.
        unsafe { _mm256_dpbusd_avx_epi32(sum, activations, weights) }
    }

    #[inline(always)]
    unsafe fn splat_bytes(self, from: *const u8) -> __m256i {
        // SAFETY: `self` exists; the caller vouches for four bytes.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const i8) -> __m256i {
        // SAFETY: `self` exists; the caller vouches for thirty-two bytes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    fn byte(number: u8) -> u8 {
        number
    }
}
