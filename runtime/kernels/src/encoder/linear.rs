//! A linear map: weights packed once for an instruction set, and the product with its epilogue.
//!
//! Weights lie in panels of output channels, so that a tile reads them in one stream. A row of 8-bit activations stands
//! for `scale * byte + shift`. A product with it needs the sum of an output channel's weights, which is computed when
//! they are packed.
//!
//! The invariant: a `Linear` is used with the instruction set and arithmetic that it was packed for; padding is zero.

mod epilogue;

use super::matrix::{Matrix, Outlier};
use super::tile::{multiply_tile, panel_width, tiles};
use crate::aligned::{Aligned, Plain, numbers_mut};
use crate::simd::arithmetic::{Arithmetic, F32, Int8};
use crate::simd::elements::{self, Activation, Quantization};
use crate::simd::isa::{Isa, WithSimd};
use crate::simd::{PANEL_MAX, Simd, TILE_ROWS_MAX};
use epilogue::{Tile, finish};

/// The precision that an encoder computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Weights in bf16, and activations too if the processor multiplies bf16.
    Bf16,
    /// f32 throughout.
    F32,
    /// 8-bit weights with a scale for each output channel, 8-bit activations with a scale for each token.
    Int8,
}

impl Precision {
    /// Returns the fastest precision of an instruction set.
    #[must_use]
    pub const fn fastest(isa: Isa) -> Self {
        if isa.has_fast_bytes() { Self::Int8 } else { Self::F32 }
    }
}

/// A packed linear map.
pub(crate) struct Linear {
    inputs: usize,
    groups: usize,
    panels: usize,
    weights: Packed,
    /// Padded to whole panels, like all vectors here.
    bias: Aligned<f32>,
    /// Sorted by row.
    outliers: Vec<Outlier>,
}

enum Packed {
    Bf16(Aligned<u16>),
    F32(Aligned<f32>),
    Int8 { values: Aligned<i8>, scales: Aligned<f32>, sums: Aligned<f32> },
}

/// A part of a linear map, to be packed beside others.
pub(crate) struct Part<'a> {
    pub(crate) weight: &'a Matrix<'a>,
    pub(crate) bias: &'a [f32],
    /// Multiplied with every weight and bias.
    pub(crate) factor: f32,
}

/// Packs parts that have the same inputs side by side.
pub(crate) struct Pack<'a> {
    pub(crate) parts: &'a [Part<'a>],
    pub(crate) precision: Precision,
}

impl WithSimd for Pack<'_> {
    type Output = Linear;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Linear {
        let inputs = self.parts.first().map_or(0, |part| part.weight.columns());
        let outputs: usize = self.parts.iter().map(|part| part.weight.rows()).sum();
        let panels = outputs.div_ceil(panel_width::<S>());
        let mut bias = Aligned::zeroed(panels * panel_width::<S>());
        let mut row = 0;
        for part in self.parts {
            for number in part.bias {
                bias[row] = number * part.factor;
                row += 1;
            }
        }
        let mut outliers = Vec::new();
        let (groups, weights) = match self.precision {
            Precision::Bf16 => {
                let group = <S::Half as Arithmetic<S>>::GROUP;
                let groups = inputs.div_ceil(group);
                let mut packed = Aligned::zeroed(panels * panel_width::<S>() * groups * group);
                pack_floats::<S, _>(self.parts, group, &mut packed, elements::bf16);
                (groups, Packed::Bf16(packed))
            }
            Precision::F32 => {
                let mut packed = Aligned::zeroed(panels * panel_width::<S>() * inputs);
                pack_floats::<S, _>(self.parts, 1, &mut packed, |number| number);
                (inputs, Packed::F32(packed))
            }
            Precision::Int8 => {
                let groups = inputs.div_ceil(S::BYTE_GROUP);
                let mut values = Aligned::zeroed(panels * panel_width::<S>() * groups * S::BYTE_GROUP);
                let mut scales = Aligned::zeroed(bias.len());
                let mut sums = Aligned::zeroed(bias.len());
                pack_bytes::<S>(self.parts, &mut values, &mut scales, &mut sums, &mut outliers);
                (groups, Packed::Int8 { values, scales, sums })
            }
        };
        outliers.sort_by_key(|outlier| outlier.row);
        Linear { inputs, groups, panels, weights, bias, outliers }
    }
}

/// Returns the index of a row's first weight in the packed matrix, and the distance between groups.
#[inline(always)]
fn place<S: Simd>(row: usize, inputs: usize, group: usize) -> (usize, usize) {
    let width = panel_width::<S>();
    let (panel, lane) = (row / width, row % width);
    (((panel * inputs.div_ceil(group)) * width + lane) * group, width * group)
}

fn pack_floats<S: Simd, T: Plain>(
    parts: &[Part<'_>],
    group: usize,
    packed: &mut [T],
    convert: impl Fn(f32) -> T,
) {
    let mut first = 0;
    for part in parts {
        let mut numbers = vec![0.0; part.weight.columns()];
        for row in 0..part.weight.rows() {
            part.weight.read_row(row, &mut numbers);
            let (start, step) = place::<S>(first + row, numbers.len(), group);
            for (to, numbers) in packed[start..].chunks_mut(step).zip(numbers.chunks(group)) {
                for (to, number) in to.iter_mut().zip(numbers) {
                    *to = convert(number * part.factor);
                }
            }
        }
        first += part.weight.rows();
    }
}

fn pack_bytes<S: Simd>(
    parts: &[Part<'_>],
    packed: &mut [i8],
    scales: &mut [f32],
    sums: &mut [f32],
    outliers: &mut Vec<Outlier>,
) {
    let mut first = 0;
    for Part { weight, factor, .. } in parts {
        let mut put = |row: usize, bytes: &[u8], scale: f32| {
            let (start, step) = place::<S>(first + row, bytes.len(), S::BYTE_GROUP);
            let mut sum = 0_i32;
            for (to, bytes) in packed[start..].chunks_mut(step).zip(bytes.chunks(S::BYTE_GROUP)) {
                for (to, byte) in to.iter_mut().zip(bytes) {
                    *to = byte.cast_signed();
                    sum += i32::from(byte.cast_signed());
                }
            }
            scales[first + row] = scale * factor;
            sums[first + row] = sum as f32 * scale * factor;
        };
        let kept_apart = |outlier: &Outlier| Outlier {
            row: first + outlier.row,
            weight: outlier.weight * factor,
            column: outlier.column,
        };
        if let Some((values, scales, apart)) = weight.quantized() {
            for (row, (bytes, scale)) in values.chunks_exact(weight.columns()).zip(scales).enumerate() {
                put(row, bytes, *scale);
            }
            outliers.extend(apart.iter().map(kept_apart));
        } else {
            let mut numbers = vec![0.0; weight.columns()];
            let mut bytes = vec![0; weight.columns()];
            for row in 0..weight.rows() {
                weight.read_row(row, &mut numbers);
                let apart = take_outliers(row, &mut numbers);
                outliers.extend(apart.iter().map(kept_apart));
                let scale = quantize_weights(&numbers, &mut bytes);
                put(row, &bytes, scale);
            }
        }
        first += weight.rows();
    }
}

/// Removes the outliers of a row. One of them would make the quantisation steps of all other weights too coarse.
fn take_outliers(row: usize, weights: &mut [f32]) -> Vec<Outlier> {
    let mean_square = weights.iter().map(|weight| weight * weight).sum::<f32>() / weights.len() as f32;
    let largest_kept = OUTLIER_RATIO * mean_square.sqrt();
    let mut outliers = Vec::new();
    for (column, weight) in weights.iter_mut().enumerate() {
        if weight.abs() > largest_kept {
            outliers.push(Outlier { row, column, weight: std::mem::take(weight) });
        }
    }
    outliers
}

/// Quantises symmetrically: the largest weight of a row becomes ±127. Returns the scale, zero for a row of zeros.
fn quantize_weights(weights: &[f32], bytes: &mut [u8]) -> f32 {
    let scale = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs())) / 127.0;
    let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
    for (byte, weight) in bytes.iter_mut().zip(weights) {
        *byte = elements::rounded(weight * inverse).cast_unsigned();
    }
    scale
}

/// The destination of a product's rows.
pub(crate) enum Output<'a> {
    /// Rows of f32, after an activation.
    Activated(&'a mut [f32], Activation),
    /// Rows of f32, added to the present values.
    Added(&'a mut [f32]),
    /// Rows as attention stores them, exact or not.
    Attention(&'a mut [u8], bool),
}

/// The product of some rows of f32 with a linear map.
pub(crate) struct Multiply<'a> {
    pub(crate) linear: &'a Linear,
    pub(crate) rows: usize,
    /// Rows of f32, `input_stride` apart.
    pub(crate) input: &'a [f32],
    pub(crate) input_stride: usize,
    /// A buffer for rows as the arithmetic stores them.
    pub(crate) prepared: &'a mut [u8],
    /// A buffer for the quantisation of each row.
    pub(crate) quantizations: &'a mut [Quantization],
    pub(crate) output: Output<'a>,
    pub(crate) output_stride: usize,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match &self.linear.weights {
            Packed::Bf16(weights) => multiply::<S, S::Half>(simd, self, weights, None),
            Packed::F32(weights) => multiply::<S, F32>(simd, self, weights, None),
            Packed::Int8 { values, scales, sums } => {
                multiply::<S, Int8>(simd, self, values, Some((scales, sums)));
            }
        }
    }
}

#[inline(always)]
fn multiply<S: Simd, M: Arithmetic<S>>(
    simd: S,
    mut job: Multiply<'_>,
    weights: &[M::Weight],
    scaling: Option<(&[f32], &[f32])>,
) {
    let linear = job.linear;
    let width = panel_width::<S>();
    let panel_length = linear.groups * M::GROUP * width;
    assert_eq!(weights.len(), linear.panels * panel_length, "weights packed for other instructions");
    let stride = linear.groups * M::GROUP;
    let prepared = numbers_mut::<M::Activation>(std::mem::take(&mut job.prepared));
    if !M::AS_IS {
        for row in 0..job.rows {
            let prepared = &mut prepared[row * stride..][..stride];
            let input = &job.input[row * job.input_stride..][..linear.inputs];
            job.quantizations[row] = M::prepare(simd, input, prepared);
            prepared[linear.inputs..].fill(M::Activation::default());
        }
    }
    let mut sums = Sums([0.0; TILE_ROWS_MAX * PANEL_MAX]);
    let mut outliers = linear.outliers.as_slice();
    for (panel, weights) in weights.chunks_exact(panel_length).enumerate() {
        let here = outliers.partition_point(|outlier| outlier.row < (panel + 1) * width);
        let (apart, later) = outliers.split_at(here);
        outliers = later;
        for (first, rows) in tiles::<S>(job.rows) {
            if M::AS_IS {
                let input = as_stored::<S, M>(&job.input[first * job.input_stride..]);
                multiply_tile::<S, M>(
                    simd,
                    rows,
                    input,
                    job.input_stride,
                    weights,
                    linear.groups,
                    &mut sums.0,
                    width,
                );
            } else {
                let input = &prepared[first * stride..];
                multiply_tile::<S, M>(simd, rows, input, stride, weights, linear.groups, &mut sums.0, width);
            }
            finish(simd, &mut job, Tile { panel, first, rows }, &sums.0, scaling, apart);
        }
    }
}

/// The sums of a tile.
#[repr(align(64))]
struct Sums([f32; TILE_ROWS_MAX * PANEL_MAX]);

/// Returns the activations of an arithmetic that takes plain f32.
#[inline(always)]
fn as_stored<S: Simd, M: Arithmetic<S>>(input: &[f32]) -> &[M::Activation] {
    assert!(M::AS_IS && size_of::<M::Activation>() == size_of::<f32>());
    // SAFETY: both are plain numbers of the same size and hence alignment.
    unsafe { std::slice::from_raw_parts(input.as_ptr().cast(), input.len()) }
}

impl Linear {
    /// Tells whether everything is f32.
    const fn is_exact(&self) -> bool {
        matches!(self.weights, Packed::F32(_))
    }

    /// Returns the bytes that [`Multiply::prepared`] needs for each row.
    pub(crate) const fn prepared_bytes(&self) -> usize {
        // At most four bytes a number, and less than a group of padding.
        (self.inputs + GROUP_MAX) * size_of::<f32>()
    }
}

/// The largest [`Arithmetic::GROUP`].
const GROUP_MAX: usize = 4;
/// A weight is an outlier if it is this many times larger than the root mean square of its row.
const OUTLIER_RATIO: f32 = 16.0;
