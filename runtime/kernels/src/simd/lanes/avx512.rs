//! AVX-512 with its vector neural network instructions (VNNI).

use super::{Lanes, inverse_of};
use core::arch::x86_64::*;

/// AVX-512 F, BW, DQ, VL and VNNI.
pub(crate) struct Avx512;

#[allow(
    unsafe_op_in_unsafe_fn,
    reason = "each function is one step of its trait, whose terms hold for all of it"
)]
// SAFETY: each intrinsic below belongs to one of the five named extensions, which callers make sure of; loads and
// stores are the unaligned ones and go through references to arrays of the loaded size.
unsafe impl Lanes for Avx512 {
    type Floats = __m512;
    type Ints = __m512i;
    type Bytes = __m512i;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }

    #[inline(always)]
    unsafe fn load(x: &[f32; 16]) -> __m512 {
        _mm512_loadu_ps(x.as_ptr())
    }

    #[inline(always)]
    unsafe fn store(x: __m512, to: &mut [f32; 16]) {
        _mm512_storeu_ps(to.as_mut_ptr(), x)
    }

    #[inline(always)]
    unsafe fn from_f16(x: &[u8; 32]) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast()))
    }

    #[inline(always)]
    unsafe fn from_bf16(x: &[u8; 32]) -> __m512 {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
    }

    #[inline(always)]
    unsafe fn from_u8(x: &[u8; 16]) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast())))
    }

    #[inline(always)]
    unsafe fn from_ints(x: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(x)
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }

    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn round(x: __m512) -> __m512 {
        _mm512_roundscale_ps::<0>(x)
    }

    #[inline(always)]
    unsafe fn scale(x: __m512, n: __m512) -> __m512 {
        _mm512_scalef_ps(x, n)
    }

    #[inline(always)]
    unsafe fn sum(x: __m512) -> f32 {
        _mm512_reduce_add_ps(x)
    }

    #[inline(always)]
    unsafe fn largest(x: __m512) -> f32 {
        _mm512_reduce_max_ps(x)
    }

    #[inline(always)]
    unsafe fn splat_ints(x: i32) -> __m512i {
        _mm512_set1_epi32(x)
    }

    #[inline(always)]
    unsafe fn add_ints(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }

    #[inline(always)]
    unsafe fn nibbles(x: &[u8; 64]) -> (__m512i, __m512i) {
        let both = _mm512_loadu_si512(x.as_ptr().cast());
        let mask = _mm512_set1_epi8(15);
        (_mm512_and_si512(both, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask))
    }

    #[inline(always)]
    unsafe fn bytes(x: &[u8; 64]) -> __m512i {
        // The instruction takes unsigned weights: 128 more each, which `start_bytes` takes back.
        _mm512_xor_si512(_mm512_loadu_si512(x.as_ptr().cast()), _mm512_set1_epi8(-128))
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: __m512i, w: __m512i, x: i32) -> __m512i {
        _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x))
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: __m512i, w: __m512i, x: i32) -> __m512i {
        _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x))
    }

    #[inline(always)]
    unsafe fn start_bytes(sum_of_x: i32) -> __m512i {
        _mm512_set1_epi32(-128 * sum_of_x)
    }

    #[inline(always)]
    unsafe fn quantise(x: &[f32; 32], to: &mut [i32; 8]) -> (f32, i32) {
        let (a, b) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x[16..].as_ptr()));
        let largest = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
        let inverse = _mm512_set1_ps(inverse_of(largest));
        let a = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
        let b = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
        _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(a));
        _mm_storeu_si128(to[4..].as_mut_ptr().cast(), _mm512_cvtepi32_epi8(b));
        (largest / 127.0, _mm512_reduce_add_epi32(_mm512_add_epi32(a, b)))
    }

    #[inline(always)]
    unsafe fn prefetch(from: &[u8], ahead: usize) {
        _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(ahead).cast())
    }
}
