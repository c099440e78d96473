//! The arithmetics of matrix products: f32, bf16 and 8-bit integers.
//!
//! An [`Arithmetic`] defines how activations and weights are stored, how many adjacent products one instruction adds up
//! (a *group*), and how a tile's sums become f32. Weights are laid out in panels: for each group of inputs, the group's
//! weights of one output channel after another.

use super::Simd;
use super::elements::{self, Quantization};
use crate::aligned::Plain;

/// An arithmetic that instruction set `S` can compute in.
pub(crate) trait Arithmetic<S: Simd>: 'static {
    /// A stored activation.
    type Activation: Plain;
    /// A stored weight.
    type Weight: Plain;
    /// A vector of activations or weights.
    type Factor: Copy;
    /// A vector of sums.
    type Sum: Copy;

    /// Adjacent products that are added up at once.
    const GROUP: usize;
    /// Whether activations are used as plain f32, without being converted first.
    const AS_IS: bool;

    /// Stores a row of activations.
    fn prepare(simd: S, row: &[f32], prepared: &mut [Self::Activation]) -> Quantization;
    fn zero(simd: S) -> Self::Sum;
    fn multiply_add(simd: S, sum: Self::Sum, activation: Self::Factor, weight: Self::Factor) -> Self::Sum;
    fn to_floats(simd: S, sum: Self::Sum) -> S::Floats;

    /// Puts one group of activations in every lane.
    ///
    /// # Safety
    /// [`Self::GROUP`] activations can be read.
    unsafe fn splat(simd: S, from: *const Self::Activation) -> Self::Factor;
    /// Reads a group of weights for each lane.
    ///
    /// # Safety
    /// [`Self::GROUP`] × [`Simd::LANES`] weights can be read.
    unsafe fn load(simd: S, from: *const Self::Weight) -> Self::Factor;
}

/// An arithmetic whose activations and weights have the same type, so that activations can be multiplied with each
/// other.
pub(crate) trait StoredAs {
    /// How both are stored.
    type Number: Plain;
}

/// The arithmetics for products of activations with activations, as in attention.
pub(crate) trait SymmetricArithmetic<S: Simd>:
    StoredAs + Arithmetic<S, Activation = <Self as StoredAs>::Number, Weight = <Self as StoredAs>::Number>
{
    /// Stores a vector of numbers.
    ///
    /// # Safety
    /// [`Simd::LANES`] numbers can be written.
    unsafe fn store(simd: S, to: *mut <Self as StoredAs>::Number, numbers: S::Floats);
}

/// f32 throughout.
pub(crate) struct F32;

impl<S: Simd> Arithmetic<S> for F32 {
    type Activation = f32;
    type Weight = f32;
    type Factor = S::Floats;
    type Sum = S::Floats;

    const GROUP: usize = 1;
    const AS_IS: bool = true;

    #[inline(always)]
    fn prepare(_: S, row: &[f32], prepared: &mut [f32]) -> Quantization {
        prepared[..row.len()].copy_from_slice(row);
        Quantization::default()
    }

    #[inline(always)]
    fn zero(simd: S) -> S::Floats {
        simd.zero_floats()
    }

    #[inline(always)]
    fn multiply_add(simd: S, sum: S::Floats, activation: S::Floats, weight: S::Floats) -> S::Floats {
        simd.multiply_add(activation, weight, sum)
    }

    #[inline(always)]
    fn to_floats(_: S, sum: S::Floats) -> S::Floats {
        sum
    }

    #[inline(always)]
    unsafe fn splat(simd: S, from: *const f32) -> S::Floats {
        // SAFETY: the caller vouches for one number.
        simd.splat(unsafe { from.read() })
    }

    #[inline(always)]
    unsafe fn load(simd: S, from: *const f32) -> S::Floats {
        // SAFETY: the caller vouches for a vector.
        unsafe { simd.load(from) }
    }
}

impl StoredAs for F32 {
    type Number = f32;
}

impl<S: Simd> SymmetricArithmetic<S> for F32 {
    #[inline(always)]
    unsafe fn store(simd: S, to: *mut f32, numbers: S::Floats) {
        // SAFETY: the caller vouches for the room.
        unsafe { simd.store(to, numbers) }
    }
}

/// Weights in bf16, widened to multiply them with activations in f32.
pub(crate) struct Bf16Weights;

impl<S: Simd> Arithmetic<S> for Bf16Weights {
    type Activation = f32;
    type Weight = u16;
    type Factor = S::Floats;
    type Sum = S::Floats;

    const GROUP: usize = 1;
    const AS_IS: bool = true;

    #[inline(always)]
    fn prepare(simd: S, row: &[f32], prepared: &mut [f32]) -> Quantization {
        <F32 as Arithmetic<S>>::prepare(simd, row, prepared)
    }

    #[inline(always)]
    fn zero(simd: S) -> S::Floats {
        simd.zero_floats()
    }

    #[inline(always)]
    fn multiply_add(simd: S, sum: S::Floats, activation: S::Floats, weight: S::Floats) -> S::Floats {
        simd.multiply_add(activation, weight, sum)
    }

    #[inline(always)]
    fn to_floats(_: S, sum: S::Floats) -> S::Floats {
        sum
    }

    #[inline(always)]
    unsafe fn splat(simd: S, from: *const f32) -> S::Floats {
        // SAFETY: the caller vouches for one number.
        simd.splat(unsafe { from.read() })
    }

    #[inline(always)]
    unsafe fn load(simd: S, from: *const u16) -> S::Floats {
        // SAFETY: the caller vouches for a vector.
        unsafe { simd.load_bf16(from) }
    }
}

/// bf16 on both sides, with instructions for it.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Bf16Dot;

#[cfg(target_arch = "x86_64")]
mod dot_half {
    use super::{Arithmetic, Bf16Dot, Simd, StoredAs, SymmetricArithmetic, elements};
    use crate::simd::avx512::Avx512Bf16;
    use crate::simd::elements::Quantization;
    use std::arch::x86_64::{__m512, __m512i};

    impl Arithmetic<Avx512Bf16> for Bf16Dot {
        type Activation = u16;
        type Weight = u16;
        type Factor = __m512i;
        type Sum = __m512;

        const GROUP: usize = 2;
        const AS_IS: bool = false;

        #[inline(always)]
        fn prepare(_: Avx512Bf16, row: &[f32], prepared: &mut [u16]) -> Quantization {
            for (half, number) in prepared.iter_mut().zip(row) {
                *half = elements::bf16(*number);
            }
            Quantization::default()
        }

        #[inline(always)]
        fn zero(simd: Avx512Bf16) -> __m512 {
            simd.zero_floats()
        }

        #[inline(always)]
        fn multiply_add(simd: Avx512Bf16, sum: __m512, activation: __m512i, weight: __m512i) -> __m512 {
            simd.dot_bf16(sum, activation, weight)
        }

        #[inline(always)]
        fn to_floats(_: Avx512Bf16, sum: __m512) -> __m512 {
            sum
        }

        #[inline(always)]
        unsafe fn splat(simd: Avx512Bf16, from: *const u16) -> __m512i {
            // SAFETY: the caller vouches for a pair, which has the size of a group of bytes.
            unsafe { simd.splat_bytes(from.cast()) }
        }

        #[inline(always)]
        unsafe fn load(simd: Avx512Bf16, from: *const u16) -> __m512i {
            // SAFETY: the caller vouches for a vector of pairs.
            unsafe { simd.load_bytes(from.cast()) }
        }
    }

    impl StoredAs for Bf16Dot {
        type Number = u16;
    }

    impl SymmetricArithmetic<Avx512Bf16> for Bf16Dot {
        #[inline(always)]
        unsafe fn store(simd: Avx512Bf16, to: *mut u16, numbers: __m512) {
            // SAFETY: the caller vouches for the room.
            unsafe { simd.store_bf16(to, numbers) }
        }
    }
}

/// Weights of -127 to 127 and activations of 0 to 255, each row of both with its scale.
pub(crate) struct Int8;

impl<S: Simd> Arithmetic<S> for Int8 {
    type Activation = S::Byte;
    type Weight = i8;
    type Factor = S::Integers;
    type Sum = S::Integers;

    const GROUP: usize = S::BYTE_GROUP;
    const AS_IS: bool = false;

    #[inline(always)]
    fn prepare(simd: S, row: &[f32], prepared: &mut [S::Byte]) -> Quantization {
        elements::quantize(simd, row, prepared)
    }

    #[inline(always)]
    fn zero(simd: S) -> S::Integers {
        simd.zero_integers()
    }

    #[inline(always)]
    fn multiply_add(simd: S, sum: S::Integers, activation: S::Integers, weight: S::Integers) -> S::Integers {
        simd.dot(sum, activation, weight)
    }

    #[inline(always)]
    fn to_floats(simd: S, sum: S::Integers) -> S::Floats {
        simd.to_floats(sum)
    }

    #[inline(always)]
    unsafe fn splat(simd: S, from: *const S::Byte) -> S::Integers {
        // SAFETY: the caller vouches for a group.
        unsafe { simd.splat_bytes(from) }
    }

    #[inline(always)]
    unsafe fn load(simd: S, from: *const i8) -> S::Integers {
        // SAFETY: the caller vouches for a vector of groups.
        unsafe { simd.load_bytes(from) }
    }
}
