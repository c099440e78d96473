//! AVX-512 with VNNI, and the same with BF16.

use super::arithmetic::{Bf16Dot, Bf16Weights, F32};
use super::{LANES_MAX, Simd};
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

    /// Writes numbers in bf16, rounded half to even; those too small for a whole mantissa as zero.
    ///
    /// # Safety
    /// Sixteen numbers can be written.
    #[inline(always)]
    pub(crate) unsafe fn store_bf16(self, to: *mut u16, numbers: __m512) {
        // SAFETY: `self` exists; the caller vouches for the room, and both types are 256 bits that mean anything.
        unsafe {
            let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(numbers));
            _mm256_storeu_si256(to.cast(), halves);
        }
    }
}

/// The operations that both variants share.
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
        fn larger(self, one: __m512, other: __m512) -> __m512 {
            // SAFETY: `self` exists.
            unsafe { _mm512_max_ps(one, other) }
        }

        #[inline(always)]
        fn smaller(self, one: __m512, other: __m512) -> __m512 {
            // SAFETY: `self` exists.
            unsafe { _mm512_min_ps(one, other) }
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
        fn prefetch(self, address: *const u8) {
            // SAFETY: `self` exists; an address that cannot be read is left alone.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
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
        unsafe fn transpose(self, rows: &[*const u32; LANES_MAX], to: *mut u32, stride: usize) {
            // SAFETY: `self` exists; the caller vouches for the rows.
            unsafe { transpose(rows, to, stride) }
        }

        #[inline(always)]
        fn byte(number: u8) -> u8 {
            number
        }
    };
}

impl Simd for Avx512 {
    type Half = Bf16Weights;
    type Attention = F32;

    common!();
}

impl Simd for Avx512Bf16 {
    type Half = Bf16Dot;
    type Attention = Bf16Dot;

    common!();
}

/// Transposes 16 × 16 words in registers: pairs, quarters, then halves of vectors change places.
///
/// # Safety
/// The processor has AVX-512, the rows can be read, and those of `to` be written.
#[inline(always)]
unsafe fn transpose(rows: &[*const u32; LANES_MAX], to: *mut u32, stride: usize) {
    // SAFETY: the caller vouches for the instructions, the rows and the room.
    unsafe {
        // No closures: they would not be compiled for these instructions.
        let mut r = [_mm512_setzero_ps(); 16];
        for (vector, row) in r.iter_mut().zip(rows) {
            *vector = _mm512_loadu_ps(row.cast());
        }
        for i in (0..16).step_by(2) {
            (r[i], r[i + 1]) = (_mm512_unpacklo_ps(r[i], r[i + 1]), _mm512_unpackhi_ps(r[i], r[i + 1]));
        }
        let mut s = r;
        for i in (0..16).step_by(4) {
            let (one, two) = (_mm512_castps_pd(r[i]), _mm512_castps_pd(r[i + 1]));
            let (three, four) = (_mm512_castps_pd(r[i + 2]), _mm512_castps_pd(r[i + 3]));
            s[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(one, three));
            s[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(one, three));
            s[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(two, four));
            s[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(two, four));
        }
        for i in 0..4 {
            r[i] = _mm512_shuffle_f32x4::<0x88>(s[i], s[i + 4]);
            r[i + 4] = _mm512_shuffle_f32x4::<0xdd>(s[i], s[i + 4]);
            r[i + 8] = _mm512_shuffle_f32x4::<0x88>(s[i + 8], s[i + 12]);
            r[i + 12] = _mm512_shuffle_f32x4::<0xdd>(s[i + 8], s[i + 12]);
        }
        for i in 0..8 {
            let (low, high) = (r[i], r[i + 8]);
            _mm512_storeu_ps(to.add(i * stride).cast(), _mm512_shuffle_f32x4::<0x88>(low, high));
            _mm512_storeu_ps(to.add((i + 8) * stride).cast(), _mm512_shuffle_f32x4::<0xdd>(low, high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_words_is_transposed() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        let words: Vec<u32> = (0..256).collect();
        let rows = std::array::from_fn(|row| words[row * 16..].as_ptr());
        let mut transposed = vec![0_u32; 16 * 20];
        // SAFETY: the instructions were found; 16 rows of 16 words are there, and room for as many 20 words apart.
        unsafe { transpose(&rows, transposed.as_mut_ptr(), 20) };
        for (index, row) in transposed.chunks_exact(20).enumerate() {
            let expected: Vec<u32> = (0..16).map(|column| column * 16 + index as u32).collect();
            assert_eq!(row[..16], expected);
        }
    }
}
