//! The epilogue of a product: applies scale, bias and activation to the sums of a tile and stores them, in one pass
//! while the sums are in the first-level cache.

use super::{Multiply, Output};
use crate::aligned::numbers_mut;
use crate::encoder::matrix::Outlier;
use crate::encoder::tile::panel_width;
use crate::simd::arithmetic::{F32, StoredAs, SymmetricArithmetic};
use crate::simd::elements::{self, Activation, Quantization};
use crate::simd::{PANEL_MAX, Simd, TILE_ROWS_MAX};
use std::marker::PhantomData;

/// A tile of a product: some rows of one panel of output channels.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) panel: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// Turns the sums of a tile into numbers and stores them in the output of the job. `scaling` holds a scale and a sum of
/// weights for each output channel, `outliers` those of the panel; both are for 8-bit products.
#[inline(always)]
pub(super) fn finish<S: Simd>(
    simd: S,
    job: &mut Multiply<'_>,
    tile: Tile,
    sums: &[f32],
    scaling: Option<(&[f32], &[f32])>,
    outliers: &[Outlier],
) {
    let width = panel_width::<S>();
    let column = tile.panel * width;
    let sums = &sums[..tile.rows * width];
    let bias = &job.linear.bias[column..][..width];
    let stride = job.output_stride;
    let place = Place { start: tile.first * stride + column, stride, exact: job.linear.is_exact() };
    let output = &mut job.output;
    let Some((scales, weight_sums)) = scaling else {
        put(simd, output, place, sums, &Biased(bias));
        return;
    };
    let quantizations = &job.quantizations[tile.first..][..tile.rows];
    let scaled = Scaled {
        scales: &scales[column..][..width],
        weight_sums: &weight_sums[column..][..width],
        bias,
        quantizations,
    };
    if outliers.is_empty() {
        put(simd, output, place, sums, &scaled);
        return;
    }
    let mut completed = [0.0; TILE_ROWS_MAX * PANEL_MAX];
    let completed = &mut completed[..sums.len()];
    each::<S, _, _, As<F32>>(simd, sums, &scaled, completed, width);
    for outlier in outliers {
        for (row, numbers) in (tile.first..).zip(completed.chunks_exact_mut(width)) {
            numbers[outlier.row - column] +=
                job.input[row * job.input_stride + outlier.column] * outlier.weight;
        }
    }
    put(simd, output, place, completed, &Complete);
}

/// The place of a tile in the output.
#[derive(Clone, Copy)]
struct Place {
    /// The index of the first number.
    start: usize,
    /// The distance between rows.
    stride: usize,
    /// Whether the activation must be exact.
    exact: bool,
}

/// Completes sums, applies the activation and stores the result.
#[inline(always)]
fn put<S: Simd>(
    simd: S,
    output: &mut Output<'_>,
    Place { start, stride, exact }: Place,
    sums: &[f32],
    completion: &impl Completion<S>,
) {
    match output {
        Output::Activated(out, activation) => {
            let out = &mut out[start..];
            match activation {
                Activation::Gelu if !exact => each::<S, _, _, Gelu>(simd, sums, completion, out, stride),
                Activation::Gelu | Activation::GeluTanh | Activation::Relu => {
                    each::<S, _, _, As<F32>>(simd, sums, completion, out, stride);
                    activate::<S>(out, stride, sums.len() / panel_width::<S>(), *activation);
                }
            }
        }
        Output::Added(out) => each::<S, _, _, Added>(simd, sums, completion, &mut out[start..], stride),
        Output::Attention(out, true) => {
            let out = &mut numbers_mut::<f32>(out)[start..];
            each::<S, _, _, As<F32>>(simd, sums, completion, out, stride);
        }
        Output::Attention(out, false) => {
            let out = &mut numbers_mut::<<S::Attention as StoredAs>::Number>(out)[start..];
            each::<S, _, _, As<S::Attention>>(simd, sums, completion, out, stride);
        }
    }
}

/// Applies an activation to a panel's numbers in some rows.
#[inline(always)]
fn activate<S: Simd>(out: &mut [f32], stride: usize, rows: usize, activation: Activation) {
    for row in out.chunks_mut(stride).take(rows) {
        let row = &mut row[..panel_width::<S>()];
        // One loop for each activation, so that the loops have no branches.
        match activation {
            Activation::Gelu => {
                for number in row {
                    *number = elements::gelu::<S>(*number);
                }
            }
            Activation::GeluTanh => {
                for number in row {
                    *number = elements::gelu_tanh::<S>(*number);
                }
            }
            Activation::Relu => {
                for number in row {
                    *number = elements::larger(*number, 0.0);
                }
            }
        }
    }
}

/// Completes each vector of sums and stores it in rows of `out` that are `stride` apart.
#[inline(always)]
fn each<S: Simd, C: Completion<S>, T, P: Put<S, T>>(
    simd: S,
    sums: &[f32],
    completion: &C,
    out: &mut [T],
    stride: usize,
) {
    let width = panel_width::<S>();
    let rows = sums.len() / width;
    assert!(rows >= 1 && out.len() >= (rows - 1) * stride + width, "too little room");
    for lane in (0..width).step_by(S::LANES) {
        let vectors = completion.vectors(simd, lane);
        for row in 0..rows {
            // SAFETY: there are `rows` rows of a panel of sums, and room for them was checked.
            unsafe {
                let sums = simd.load(sums.as_ptr().add(row * width + lane));
                let to = out.as_mut_ptr().add(row * stride + lane);
                P::put(simd, to, completion.complete(simd, vectors, row, sums));
            }
        }
    }
}

/// Stores a vector of numbers. A trait, because its functions are always inlined, unlike closures.
trait Put<S: Simd, T> {
    /// # Safety
    /// A vector can be read and written.
    unsafe fn put(simd: S, to: *mut T, numbers: S::Floats);
}

/// Adds to the present values.
struct Added;

impl<S: Simd> Put<S, f32> for Added {
    #[inline(always)]
    unsafe fn put(simd: S, to: *mut f32, numbers: S::Floats) {
        // SAFETY: the caller vouches for the vector.
        unsafe { simd.store(to, simd.add(simd.load(to), numbers)) }
    }
}

/// Stores in the format of an arithmetic.
struct As<M>(PhantomData<M>);

impl<S: Simd, M: SymmetricArithmetic<S>> Put<S, M::Number> for As<M> {
    #[inline(always)]
    unsafe fn put(simd: S, to: *mut M::Number, numbers: S::Floats) {
        // SAFETY: the caller vouches for the vector.
        unsafe { M::store(simd, to, numbers) }
    }
}

/// Applies the activation.
struct Gelu;

impl<S: Simd> Put<S, f32> for Gelu {
    #[inline(always)]
    unsafe fn put(simd: S, to: *mut f32, numbers: S::Floats) {
        // SAFETY: the caller vouches for the vector.
        unsafe { simd.store(to, elements::gelu_close(simd, numbers)) }
    }
}

/// Turns sums into numbers.
trait Completion<S: Simd> {
    /// The values that all rows share.
    type Vectors: Copy;

    /// Loads the values for the channels from `lane` on.
    fn vectors(&self, simd: S, lane: usize) -> Self::Vectors;
    /// Completes the sums of a row.
    fn complete(&self, simd: S, vectors: Self::Vectors, row: usize, sums: S::Floats) -> S::Floats;
}

/// Leaves the numbers as they are.
struct Complete;

impl<S: Simd> Completion<S> for Complete {
    type Vectors = ();

    #[inline(always)]
    fn vectors(&self, _: S, _: usize) {}

    #[inline(always)]
    fn complete(&self, _: S, (): (), _: usize, sums: S::Floats) -> S::Floats {
        sums
    }
}

/// Adds the bias of a panel.
struct Biased<'a>(&'a [f32]);

impl<S: Simd> Completion<S> for Biased<'_> {
    type Vectors = S::Floats;

    #[inline(always)]
    fn vectors(&self, simd: S, lane: usize) -> S::Floats {
        vector(simd, self.0, lane)
    }

    #[inline(always)]
    fn complete(&self, simd: S, bias: S::Floats, _: usize, sums: S::Floats) -> S::Floats {
        simd.add(sums, bias)
    }
}

/// Scales 8-bit products and adds the bias.
struct Scaled<'a> {
    scales: &'a [f32],
    weight_sums: &'a [f32],
    bias: &'a [f32],
    /// Of each row.
    quantizations: &'a [Quantization],
}

impl<S: Simd> Completion<S> for Scaled<'_> {
    type Vectors = [S::Floats; 3];

    #[inline(always)]
    fn vectors(&self, simd: S, lane: usize) -> [S::Floats; 3] {
        // Not with `map`, which is a call.
        [vector(simd, self.scales, lane), vector(simd, self.weight_sums, lane), vector(simd, self.bias, lane)]
    }

    #[inline(always)]
    fn complete(
        &self,
        simd: S,
        [scales, weight_sums, bias]: [S::Floats; 3],
        row: usize,
        sums: S::Floats,
    ) -> S::Floats {
        let Quantization { scale, shift } = self.quantizations[row];
        let offset = simd.multiply_add(simd.splat(shift), weight_sums, bias);
        simd.multiply_add(sums, simd.multiply(simd.splat(scale), scales), offset)
    }
}

#[inline(always)]
fn vector<S: Simd>(simd: S, row: &[f32], lane: usize) -> S::Floats {
    let numbers = &row[lane..lane + S::LANES];
    // SAFETY: so many numbers are there.
    unsafe { simd.load(numbers.as_ptr()) }
}
