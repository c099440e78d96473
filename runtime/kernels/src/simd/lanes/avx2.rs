//! AVX2 with FMA and F16C: two registers for sixteen lanes.

use super::{Lanes, inverse_of};
use core::arch::x86_64::*;

/// AVX2, FMA and F16C.
pub(crate) struct Avx2;

#[allow(
    unsafe_op_in_unsafe_fn,
    reason = "each function is one step of its trait, whose terms hold for all of it"
)]
// SAFETY: each intrinsic below belongs to one of the three named extensions, which callers make sure of; loads and
// stores are the unaligned ones and go through references to arrays of the loaded size.
unsafe impl Lanes for Avx2 {
    type Floats = [__m256; 2];
    type Ints = [__m256i; 2];
    type Bytes = [__m256i; 2];
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> [__m256; 2] {
        [_mm256_set1_ps(x); 2]
    }

    #[inline(always)]
    unsafe fn load(x: &[f32; 16]) -> [__m256; 2] {
        [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x[8..].as_ptr())]
    }

    #[inline(always)]
    unsafe fn store(x: [__m256; 2], to: &mut [f32; 16]) {
        _mm256_storeu_ps(to.as_mut_ptr(), x[0]);
        _mm256_storeu_ps(to[8..].as_mut_ptr(), x[1]);
    }

    #[inline(always)]
    unsafe fn from_f16(x: &[u8; 32]) -> [__m256; 2] {
        let (low, high) = (_mm_loadu_si128(x.as_ptr().cast()), _mm_loadu_si128(x[16..].as_ptr().cast()));
        [_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)]
    }

    #[inline(always)]
    unsafe fn from_bf16(x: &[u8; 32]) -> [__m256; 2] {
        let (low, high) = (_mm_loadu_si128(x.as_ptr().cast()), _mm_loadu_si128(x[16..].as_ptr().cast()));
        let (low, high) = (_mm256_cvtepu16_epi32(low), _mm256_cvtepu16_epi32(high));
        let (low, high) = (_mm256_slli_epi32::<16>(low), _mm256_slli_epi32::<16>(high));
        [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
    }

    #[inline(always)]
    unsafe fn from_u8(x: &[u8; 16]) -> [__m256; 2] {
        let all = _mm_loadu_si128(x.as_ptr().cast());
        let (low, high) = (_mm256_cvtepu8_epi32(all), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(all)));
        [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
    }

    #[inline(always)]
    unsafe fn from_ints(x: [__m256i; 2]) -> [__m256; 2] {
        [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])]
    }

    #[inline(always)]
    unsafe fn add(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn sub(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn mul(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn div(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn max(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn mul_add(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
    }

    #[inline(always)]
    unsafe fn round(x: [__m256; 2]) -> [__m256; 2] {
        [_mm256_round_ps::<8>(x[0]), _mm256_round_ps::<8>(x[1])]
    }

    #[inline(always)]
    unsafe fn scale(x: [__m256; 2], n: [__m256; 2]) -> [__m256; 2] {
        let power = |n| {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        };
        [_mm256_mul_ps(x[0], power(n[0])), _mm256_mul_ps(x[1], power(n[1]))]
    }

    #[inline(always)]
    unsafe fn sum(x: [__m256; 2]) -> f32 {
        let eight = _mm256_add_ps(x[0], x[1]);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }

    #[inline(always)]
    unsafe fn largest(x: [__m256; 2]) -> f32 {
        let eight = _mm256_max_ps(x[0], x[1]);
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }

    #[inline(always)]
    unsafe fn splat_ints(x: i32) -> [__m256i; 2] {
        [_mm256_set1_epi32(x); 2]
    }

    #[inline(always)]
    unsafe fn add_ints(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn nibbles(x: &[u8; 64]) -> ([__m256i; 2], [__m256i; 2]) {
        let mask = _mm256_set1_epi8(15);
        let [a, b] = Self::bytes(x);
        let low = [_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)];
        let (a, b) = (_mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b));
        (low, [_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)])
    }

    #[inline(always)]
    unsafe fn bytes(x: &[u8; 64]) -> [__m256i; 2] {
        [_mm256_loadu_si256(x.as_ptr().cast()), _mm256_loadu_si256(x[32..].as_ptr().cast())]
    }

    #[inline(always)]
    unsafe fn dot_nibbles(sum: [__m256i; 2], w: [__m256i; 2], x: i32) -> [__m256i; 2] {
        // A pair is at most 2 × 15 × 127, which the 16 bits between the two steps hold.
        let (x, ones) = (_mm256_set1_epi32(x), _mm256_set1_epi16(1));
        let dot = |w| _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones);
        [_mm256_add_epi32(sum[0], dot(w[0])), _mm256_add_epi32(sum[1], dot(w[1]))]
    }

    #[inline(always)]
    unsafe fn dot_bytes(sum: [__m256i; 2], w: [__m256i; 2], x: i32) -> [__m256i; 2] {
        // |w| times x with w's sign: a pair is at most 2 × 128 × 127, which 16 bits hold.
        let (x, ones) = (_mm256_set1_epi32(x), _mm256_set1_epi16(1));
        let pairs = |w| _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        let dot = |w| _mm256_madd_epi16(pairs(w), ones);
        [_mm256_add_epi32(sum[0], dot(w[0])), _mm256_add_epi32(sum[1], dot(w[1]))]
    }

    #[inline(always)]
    unsafe fn start_bytes(_sum_of_x: i32) -> [__m256i; 2] {
        [_mm256_setzero_si256(); 2]
    }

    #[inline(always)]
    unsafe fn quantise(x: &[f32; 32], to: &mut [i32; 8]) -> (f32, i32) {
        let (a, b) = (_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x[8..].as_ptr()));
        let (c, d) = (_mm256_loadu_ps(x[16..].as_ptr()), _mm256_loadu_ps(x[24..].as_ptr()));
        let sign = _mm256_set1_ps(-0.0);
        let low = _mm256_max_ps(_mm256_andnot_ps(sign, a), _mm256_andnot_ps(sign, b));
        let high = _mm256_max_ps(_mm256_andnot_ps(sign, c), _mm256_andnot_ps(sign, d));
        let largest = Self::largest([low, high]);
        let inverse = _mm256_set1_ps(inverse_of(largest));
        let (a, b) = (_mm256_mul_ps(a, inverse), _mm256_mul_ps(b, inverse));
        let (c, d) = (_mm256_mul_ps(c, inverse), _mm256_mul_ps(d, inverse));
        let (a, b) = (_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
        let (c, d) = (_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d));
        let all = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
        let mut lanes = [0_i32; 8];
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), all);
        // Packing works within halves of a register: the last step puts the groups of four in order.
        let packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(packed, order));
        (largest / 127.0, lanes.iter().sum())
    }

    #[inline(always)]
    unsafe fn prefetch(from: &[u8], ahead: usize) {
        _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(ahead).cast())
    }
}
