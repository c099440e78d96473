//! Instruction sets: what each offers, which of them this processor has, and code that is generic over them.
//!
//! There are two traits, because the two models need different operations. The encoder multiplies f32, bf16 or unsigned
//! bytes in vectors of any length: [`Simd`]. The decoder reads blocks of quantised weights in tiles of 16 rows:
//! [`Lanes`](lanes::Lanes), with 16 lanes whatever the register width. CPU detection is common to both: [`cpu`].
//!
//! Products, reductions and stores use [`Simd`]. Element-wise operations are plain Rust loops, which the compiler
//! vectorises by itself once they are inlined into a function with the instructions enabled.
//!
//! The modules `arithmetic`, `avx512`, `elements` and `reductions` import each other and this one. The cycle is
//! intrinsic: an arithmetic is generic over an instruction set, and an instruction set names its fastest arithmetics.
//!
//! The invariant: a value of a type that implements [`Simd`] exists only where the processor has its instructions.

pub(crate) mod arithmetic;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
pub(crate) mod cpu;
pub(crate) mod elements;
pub(crate) mod half;
pub(crate) mod isa;
pub(crate) mod lanes;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
mod reductions;

use crate::aligned::Plain;
use arithmetic::{Arithmetic, SymmetricArithmetic};

/// One instruction set.
pub(crate) trait Simd: Copy + 'static {
    /// [`Self::LANES`] numbers of type f32.
    type Floats: Copy;
    /// [`Self::LANES`] sums of products of bytes, or the factors of such products.
    type Integers: Copy;
    /// How an activation of 0 to 255 is stored for products of bytes.
    type Byte: Plain;
    /// The arithmetic of weights in bf16.
    type Half: Arithmetic<Self, Weight = u16>;
    /// The fastest arithmetic that attention may use when it need not be exact.
    type Attention: SymmetricArithmetic<Self>;

    /// Numbers in a vector.
    const LANES: usize;
    /// The most rows of a tile: as many as leave the sums of [`PANEL_VECTORS`] vectors each in registers.
    const TILE_ROWS: usize;
    /// Adjacent products of bytes that one instruction adds up.
    const BYTE_GROUP: usize;
    /// Whether `f32::mul_add` is one instruction.
    const FUSED: bool;

    fn zero_floats(self) -> Self::Floats;
    fn splat(self, number: f32) -> Self::Floats;
    /// `one * other + sum`.
    fn multiply_add(self, one: Self::Floats, other: Self::Floats, sum: Self::Floats) -> Self::Floats;
    fn multiply(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    fn add(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    /// The larger numbers; if one of a pair is NaN, either.
    fn larger(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    /// The smaller numbers; if one of a pair is NaN, either.
    fn smaller(self, one: Self::Floats, other: Self::Floats) -> Self::Floats;
    fn zero_integers(self) -> Self::Integers;
    /// Adds to each sum the products of its group.
    fn dot(self, sum: Self::Integers, activations: Self::Integers, weights: Self::Integers)
    -> Self::Integers;
    fn to_floats(self, sum: Self::Integers) -> Self::Floats;

    /// # Safety
    /// [`Self::LANES`] numbers can be read.
    unsafe fn load(self, from: *const f32) -> Self::Floats;
    /// # Safety
    /// [`Self::LANES`] numbers can be written.
    unsafe fn store(self, to: *mut f32, numbers: Self::Floats);
    /// Reads numbers in bf16.
    ///
    /// # Safety
    /// [`Self::LANES`] numbers can be read.
    unsafe fn load_bf16(self, from: *const u16) -> Self::Floats;
    /// Puts one group of activations in every lane.
    ///
    /// # Safety
    /// [`Self::BYTE_GROUP`] activations can be read.
    unsafe fn splat_bytes(self, from: *const Self::Byte) -> Self::Integers;
    /// Reads a group of weights for each lane.
    ///
    /// # Safety
    /// [`Self::LANES`] × [`Self::BYTE_GROUP`] weights can be read.
    unsafe fn load_bytes(self, from: *const i8) -> Self::Integers;
    /// Writes the transpose of a block of [`Self::LANES`] words of as many rows; rows of `to` are `stride` words apart.
    ///
    /// # Safety
    /// The first [`Self::LANES`] of `rows` can be read, and the rows of `to` be written.
    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const u32; LANES_MAX], to: *mut u32, stride: usize) {
        for (column, row) in rows.iter().take(Self::LANES).enumerate() {
            for index in 0..Self::LANES {
                // SAFETY: the caller vouches for both.
                unsafe {
                    let word = row.add(index).read_unaligned();
                    to.add(index * stride + column).write_unaligned(word);
                }
            }
        }
    }
    /// Prefetches the cache line at an address into the first-level cache, if there is an instruction for it. Any
    /// address is valid, since nothing is read.
    #[inline(always)]
    fn prefetch(self, _address: *const u8) {}
    /// Stores a number from 0 to 255.
    fn byte(number: u8) -> Self::Byte;
}

/// Vectors of output channels that a tile computes at once.
pub(crate) const PANEL_VECTORS: usize = 2;
/// The largest [`Simd::LANES`].
pub(crate) const LANES_MAX: usize = 16;
/// The largest [`Simd::TILE_ROWS`].
pub(crate) const TILE_ROWS_MAX: usize = 12;
/// The width of the widest panel. Rows of all matrices are padded to a multiple of it.
pub(crate) const PANEL_MAX: usize = LANES_MAX * PANEL_VECTORS;
