//! Element-wise operations between matrix products: activations, layer normalisation, softmax, quantisation.
//!
//! They are plain Rust that the compiler vectorises: no branches, no calls, no saturating conversions.
//!
//! The invariant: results differ between instruction sets by rounding only; quantised values do not differ at all.

use super::Simd;
use super::arithmetic::SymmetricArithmetic;
use super::reductions;

/// The activation between the two linear maps of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x), exactly (Hendrycks and Gimpel, 2016).
    Gelu,
    /// GELU approximated with tanh.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// The quantisation of a row of activations: `number = scale * byte + shift`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Quantization {
    pub(crate) scale: f32,
    pub(crate) shift: f32,
}

/// Quantises a row to 0 to 255, with zero represented exactly. Leaves `bytes` beyond the row as they are.
#[inline(always)]
pub(crate) fn quantize<S: Simd>(simd: S, row: &[f32], bytes: &mut [S::Byte]) -> Quantization {
    let low = reductions::smallest_negative(simd, row);
    let high = larger(reductions::largest(simd, row), 0.0);
    let scale = larger((high - low) / STEPS, SCALE_MIN);
    let inverse = scale.recip();
    // Adding 1.5 × 2^23 rounds to an integer as the processor does, half to even, and leaves the integer in the lowest
    // bits of the mantissa.
    let zero = (ROUNDER - low * inverse) - ROUNDER;
    let zero = smaller(larger(zero, 0.0), STEPS);
    let offset = ROUNDER + zero;
    for (byte, number) in bytes.iter_mut().zip(row) {
        let shifted = smaller(larger(number * inverse + offset, ROUNDER), ROUNDER + STEPS);
        *byte = S::byte(shifted.to_bits() as u8);
    }
    Quantization { scale, shift: -zero * scale }
}

/// Folds a row in stripes, then halves the stripes, so that the compiler folds whole vectors at once.
macro_rules! striped {
    ($row:expr, $start:expr, |$sum:ident, $number:ident| $step:expr, $join:expr) => {{
        let mut stripes = [$start; STRIPES];
        let (chunks, rest) = $row.as_chunks::<STRIPES>();
        for chunk in chunks {
            for ($sum, $number) in stripes.iter_mut().zip(chunk) {
                *$sum = $step;
            }
        }
        for ($sum, $number) in stripes.iter_mut().zip(rest) {
            *$sum = $step;
        }
        let mut eight = [$start; 8];
        for lane in 0..8 {
            eight[lane] = $join(stripes[lane], stripes[lane + 8]);
        }
        let mut four = [$start; 4];
        for lane in 0..4 {
            four[lane] = $join(eight[lane], eight[lane + 4]);
        }
        $join($join(four[0], four[2]), $join(four[1], four[3]))
    }};
}

#[inline(always)]
fn add(one: f32, other: f32) -> f32 {
    one + other
}

/// Layer normalisation (Ba et al., 2016) in place.
#[inline(always)]
pub(crate) fn normalize<S: Simd>(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let count = row.len() as f32;
    let mean = striped!(row, 0.0_f32, |sum, number| *sum + number, add) / count;
    let variance =
        striped!(row, 0.0_f32, |sum, number| *sum + (number - mean) * (number - mean), add) / count;
    let factor = (variance + epsilon).sqrt().recip();
    for ((number, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *number = fused::<S>((*number - mean) * factor, *weight, *bias);
    }
}

/// Turns scores (logarithms to base 2) into weights, and returns the factor that makes the weights add up to one.
/// Ignores scores from `length` on: their weights in the last vector are as good as zero, and those beyond stay as they
/// are.
#[inline(always)]
pub(crate) fn softmax<S: Simd, M: SymmetricArithmetic<S>>(
    simd: S,
    scores: &mut [f32],
    length: usize,
    weights: &mut [M::Number],
) -> f32 {
    let scores = &mut scores[..length.next_multiple_of(S::LANES)];
    scores[length..].fill(f32::MIN);
    let largest = reductions::largest(simd, scores);
    for score in scores.iter_mut() {
        *score = exp2::<S>(*score - largest);
    }
    reductions::store::<S, M>(simd, scores, &mut weights[..scores.len()]);
    reductions::sum(simd, scores).recip()
}

/// Returns x Φ(x) with an error below 3e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
pub(crate) fn gelu<S: Simd>(x: f32) -> f32 {
    let z = (x * std::f32::consts::FRAC_1_SQRT_2).abs();
    let t = fused::<S>(0.327_591_1, z, 1.0).recip();
    let p = horner::<S, 5>([1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_72, 0.254_829_6], t);
    let half_complement = 0.5 * p * t * exp2::<S>(-z * z * std::f32::consts::LOG2_E);
    x * if x < 0.0 { half_complement } else { 1.0 - half_complement }
}

/// Returns x Φ(x) with an error below 1e-4: a polynomial for Φ between -4.5 and 4.5.
#[inline(always)]
pub(crate) fn gelu_close<S: Simd>(simd: S, x: S::Floats) -> S::Floats {
    let y = simd.smaller(simd.larger(x, simd.splat(-4.5)), simd.splat(4.5));
    let square = simd.multiply(y, y);
    let mut p = simd.splat(3.036_413e-11);
    for coefficient in [
        -3.314_655_2e-9,
        1.590_995_1e-7,
        -4.451_726e-6,
        8.142_512_5e-5,
        -0.001_037_591,
        0.009_585_202,
        -0.065_984_65,
        0.398_712_6,
    ] {
        p = simd.multiply_add(p, square, simd.splat(coefficient));
    }
    simd.multiply(x, simd.multiply_add(y, p, simd.splat(0.5)))
}

/// Returns 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))).
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(x: f32) -> f32 {
    // -2 √(2/π) log2(e)
    const FACTOR: f32 = -2.302_208_2;
    x / (1.0 + exp2::<S>(FACTOR * x * fused::<S>(0.044_715 * x, x, 1.0)))
}

/// Returns 2 to the power of x, to within two units in the last place. Clamps x to ±126.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(x: f32) -> f32 {
    let x = smaller(larger(x, -126.0), 126.0);
    let shifted = x + ROUNDER;
    let fraction = x - (shifted - ROUNDER);
    let p = horner::<S, 6>(
        [0.001_327_647, 0.009_675_542, 0.055_507_135, 0.240_221_2, 0.693_146_94, 1.000_000_1],
        fraction,
    );
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(ONE_BITS))
}

/// Evaluates a polynomial by Horner's rule, the highest power first.
#[inline(always)]
fn horner<S: Simd, const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    let mut value = coefficients[0];
    for coefficient in &coefficients[1..] {
        value = fused::<S>(value, x, *coefficient);
    }
    value
}

/// Returns the product plus the sum, rounded once if that is one instruction.
#[inline(always)]
pub(crate) fn fused<S: Simd>(one: f32, other: f32, sum: f32) -> f32 {
    if S::FUSED { one.mul_add(other, sum) } else { one * other + sum }
}

/// Returns the larger number, or the second if they do not compare. One instruction, unlike [`f32::max`].
#[inline(always)]
pub(crate) fn larger(one: f32, other: f32) -> f32 {
    if one > other { one } else { other }
}

/// Returns the smaller number, or the second if they do not compare.
#[inline(always)]
pub(crate) fn smaller(one: f32, other: f32) -> f32 {
    if one < other { one } else { other }
}

/// Rounds a number from -127 to 127 to an integer, half to even.
#[inline(always)]
pub(crate) fn rounded(number: f32) -> i8 {
    (number + ROUNDER).to_bits() as i8
}

/// Rounds to bf16, half to even.
#[inline(always)]
pub(crate) fn bf16(number: f32) -> u16 {
    let bits = number.to_bits();
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Partial sums that are kept side by side: the lanes of the widest vector.
const STRIPES: usize = 16;
/// 1.5 × 2^23: numbers near it have no fractional bits.
const ROUNDER: f32 = 12_582_912.0;
/// The bits of 1.0.
const ONE_BITS: u32 = 127 << 23;
/// Quantisation steps from the smallest to the largest activation of a row.
const STEPS: f32 = 255.0;
/// The scale of a row of zeros.
const SCALE_MIN: f32 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Portable;

    /// Checks `ours` against `exact` from -10 to 10.
    fn furthest(ours: fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        (-10_000..=10_000)
            .map(|step| step as f32 / 1000.0)
            .map(|x| (f64::from(ours(x)) - exact(f64::from(x))).abs())
            .fold(0.0, f64::max)
    }

    /// The error function, by its series or its continued fraction.
    fn erf(x: f64) -> f64 {
        if x.abs() > 2.0 {
            let fraction = (1..60).rev().fold(x.abs(), |rest, n| x.abs() + f64::from(n) / 2.0 / rest);
            return x.signum() * (1.0 - (-x * x).exp() / fraction / std::f64::consts::PI.sqrt());
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= -x * x / f64::from(n);
            sum += term / (2.0 * f64::from(n) + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn activations_are_as_close_as_they_say() {
        let exact = |x: f64| 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
        assert!(furthest(gelu::<Portable>, exact) < 1e-6);
        assert!(furthest(|x| gelu_close(Portable, [x; 8])[0], exact) < 1e-4);
        let tanh = |x: f64| {
            0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)).tanh())
        };
        assert!(furthest(gelu_tanh::<Portable>, tanh) < 2e-6);
    }

    #[test]
    fn powers_of_two_are_close_over_the_whole_range() {
        for step in -12_600..12_600 {
            let x = step as f32 / 100.0;
            let (ours, exact) = (f64::from(exp2::<Portable>(x)), f64::from(x).exp2());
            assert!((ours / exact - 1.0).abs() < 3e-7, "2^{x}: {ours}, exactly {exact}");
        }
        assert!(exp2::<Portable>(f32::MIN) < 1e-37);
        assert!(exp2::<Portable>(f32::NAN).is_finite());
    }

    #[test]
    fn a_quantised_row_is_its_bytes_to_half_a_step() {
        let row: Vec<f32> = (0..100).map(|step| (step as f32 * 0.37).sin() * 3.0 + 1.0).collect();
        let mut bytes = [7_i16; 101];
        let Quantization { scale, shift } = quantize(Portable, &row, &mut bytes);
        for (number, byte) in row.iter().zip(bytes) {
            assert!((scale * f32::from(byte) + shift - number).abs() <= scale * 0.51);
        }
        assert_eq!(bytes[100], 7);
        assert_eq!((bytes[..100].iter().min(), bytes[..100].iter().max()), (Some(&0), Some(&255)));

        let mut bytes = [0_i16; 4];
        for hostile in
            [[f32::NAN; 4], [f32::INFINITY, 1.0, -1.0, f32::NAN], [f32::MAX, f32::MIN, 0.0, 1.0], [0.0; 4]]
        {
            quantize(Portable, &hostile, &mut bytes);
            assert!(bytes.iter().all(|byte| (0..=255).contains(byte)), "{hostile:?}");
        }
    }

    #[test]
    fn softmax_adds_up_to_one_and_ignores_what_is_beyond() {
        let mut scores = [500.0; 16];
        scores[..3].copy_from_slice(&[1.0, 3.0, -2.0]);
        let mut weights = [7.0; 16];
        let factor = softmax::<_, crate::simd::arithmetic::F32>(Portable, &mut scores, 3, &mut weights);
        let sum = 2.0 + 8.0 + 0.25;
        for (weight, expected) in weights.iter().zip([2.0, 8.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0]) {
            assert!((weight * factor - expected / sum).abs() < 1e-6);
        }
        assert_eq!(weights[8..], [7.0; 8]);
    }

    #[test]
    fn a_normalised_row_has_mean_zero_and_variance_one() {
        let mut row: Vec<f32> = (0..37).map(|step| (step * step % 11) as f32 + 5.0).collect();
        normalize::<Portable>(&mut row, &[1.0; 37], &[0.0; 37], 0.0);
        let mean = row.iter().sum::<f32>() / 37.0;
        let variance = row.iter().map(|number| number * number).sum::<f32>() / 37.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    }

    #[test]
    fn halves_are_rounded_to_even() {
        let numbers = [-127.0, -1.5, -0.5, 0.4, 0.5, 1.5, 126.6];
        assert_eq!(numbers.map(rounded), [-127, -2, 0, 0, 0, 2, 127]);
        assert_eq!(bf16(1.0), 0x3f80);
        assert_eq!(bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(bf16(f32::from_bits(0x3f80_8001)), 0x3f81);
    }
}
