//! Plain Rust: for processors without kernels of their own, and the reference for all other instruction sets.

use super::Simd;
use super::arithmetic::{Bf16Weights, F32};
use super::elements;

/// No instructions beyond those that every processor of its kind has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type Floats = [f32; 8];
    type Integers = [i32; 8];
    type Byte = i16;
    type Half = Bf16Weights;
    type Attention = F32;

    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;
    const BYTE_GROUP: usize = 1;
    const FUSED: bool = false;

    #[inline(always)]
    fn zero_floats(self) -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    fn splat(self, number: f32) -> [f32; 8] {
        [number; 8]
    }

    #[inline(always)]
    fn multiply_add(self, one: [f32; 8], other: [f32; 8], sum: [f32; 8]) -> [f32; 8] {
        self.add(self.multiply(one, other), sum)
    }

    #[inline(always)]
    fn multiply(self, mut one: [f32; 8], other: [f32; 8]) -> [f32; 8] {
        for (number, factor) in one.iter_mut().zip(other) {
            *number *= factor;
        }
        one
    }

    #[inline(always)]
    fn add(self, mut one: [f32; 8], other: [f32; 8]) -> [f32; 8] {
        for (number, more) in one.iter_mut().zip(other) {
            *number += more;
        }
        one
    }

    #[inline(always)]
    fn larger(self, mut one: [f32; 8], other: [f32; 8]) -> [f32; 8] {
        for (number, rival) in one.iter_mut().zip(other) {
            *number = elements::larger(*number, rival);
        }
        one
    }

    #[inline(always)]
    fn smaller(self, mut one: [f32; 8], other: [f32; 8]) -> [f32; 8] {
        for (number, rival) in one.iter_mut().zip(other) {
            *number = elements::smaller(*number, rival);
        }
        one
    }

    #[inline(always)]
    fn zero_integers(self) -> [i32; 8] {
        [0; 8]
    }

    #[inline(always)]
    fn dot(self, mut sum: [i32; 8], activations: [i32; 8], weights: [i32; 8]) -> [i32; 8] {
        for ((total, activation), weight) in sum.iter_mut().zip(activations).zip(weights) {
            *total = total.wrapping_add(activation.wrapping_mul(weight));
        }
        sum
    }

    #[inline(always)]
    fn to_floats(self, sum: [i32; 8]) -> [f32; 8] {
        sum.map(|sum| sum as f32)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 8] {
        // SAFETY: the caller vouches for eight numbers.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, numbers: [f32; 8]) {
        // SAFETY: the caller vouches for eight numbers.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(numbers) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> [f32; 8] {
        // SAFETY: the caller vouches for eight numbers.
        let halves = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        halves.map(|half| f32::from_bits(u32::from(half) << 16))
    }

    #[inline(always)]
    unsafe fn splat_bytes(self, from: *const i16) -> [i32; 8] {
        // SAFETY: the caller vouches for one number.
        [i32::from(unsafe { from.read() }); 8]
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const i8) -> [i32; 8] {
        // SAFETY: the caller vouches for eight numbers.
        unsafe { from.cast::<[i8; 8]>().read_unaligned() }.map(i32::from)
    }

    #[inline(always)]
    fn byte(number: u8) -> i16 {
        i16::from(number)
    }
}
