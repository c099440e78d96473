//! Element-wise operations of the candle backend, fused and in place.
//!
//! Candle's own operations allocate, and use a thread pool, although the caller already runs one pass for each core.
//! Like the candle backend, these are reached by tests only.

use super::parameters::Norm;
use candle_core::cpu::erf::erf_f32;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result};
use kernels::Activation;
use std::f32::consts::{FRAC_1_SQRT_2, PI};

/// Adds a bias to each row.
pub(super) struct Bias<'a>(pub(super) &'a [f32]);

impl InplaceOp1 for Bias<'_> {
    fn name(&self) -> &'static str {
        "bias"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        for row in numbers_mut(storage, layout)?.chunks_exact_mut(self.0.len()) {
            for (number, bias) in row.iter_mut().zip(self.0) {
                *number += bias;
            }
        }
        Ok(())
    }
}

/// Adds a bias to each row, then applies an activation.
pub(super) struct BiasActivation<'a>(pub(super) &'a [f32], pub(super) Activation);

impl InplaceOp1 for BiasActivation<'_> {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        for row in numbers_mut(storage, layout)?.chunks_exact_mut(self.0.len()) {
            for (number, bias) in row.iter_mut().zip(self.0) {
                *number = activate(*number + bias, self.1);
            }
        }
        Ok(())
    }
}

fn activate(x: f32, activation: Activation) -> f32 {
    match activation {
        Activation::Gelu => 0.5 * x * (1.0 + erf_f32(x * FRAC_1_SQRT_2)),
        // Hendrycks and Gimpel, 2016.
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0_f32 / PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
        }
        Activation::Relu => x.max(0.0),
    }
}

/// Scales the last dimension, then applies softmax.
pub(super) struct Softmax {
    pub(super) scale: f32,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let width = layout.dims().last().copied().unwrap_or(0).max(1);
        for row in numbers_mut(storage, layout)?.chunks_exact_mut(width) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for number in &mut *row {
                *number = ((*number - largest) * self.scale).exp();
                sum += *number;
            }
            for number in row {
                *number /= sum;
            }
        }
        Ok(())
    }
}

impl Norm {
    /// Normalises one row.
    pub(super) fn normalize(&self, row: &mut [f32]) {
        let count = row.len() as f32;
        let mean = row.iter().sum::<f32>() / count;
        let variance = row.iter().map(|number| (number - mean) * (number - mean)).sum::<f32>() / count;
        let factor = (variance + self.epsilon).sqrt().recip();
        for ((number, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
            *number = (*number - mean) * factor * weight + bias;
        }
    }

    /// Returns the operation after a linear map: adds this bias and the residual, then normalises.
    pub(super) const fn after<'a>(&'a self, bias: &'a [f32]) -> ResidualNorm<'a> {
        ResidualNorm { norm: self, bias }
    }
}

/// Adds a bias and a second matrix to each row, then normalises it.
pub(super) struct ResidualNorm<'a> {
    norm: &'a Norm,
    bias: &'a [f32],
}

impl InplaceOp2 for ResidualNorm<'_> {
    fn name(&self) -> &'static str {
        "residual-norm"
    }

    fn cpu_fwd(&self, sum: &mut CpuStorage, layout: &Layout, other: &CpuStorage, at: &Layout) -> Result<()> {
        let width = self.bias.len();
        let residuals = numbers(other, at)?.chunks_exact(width);
        for (row, residual) in numbers_mut(sum, layout)?.chunks_exact_mut(width).zip(residuals) {
            for ((number, residual), bias) in row.iter_mut().zip(residual).zip(self.bias) {
                *number += residual + bias;
            }
            self.norm.normalize(row);
        }
        Ok(())
    }
}

fn numbers_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&mut numbers[start..end]),
        (_, _) => candle_core::bail!("an in-place step wants contiguous f32"),
    }
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&numbers[start..end]),
        (_, _) => candle_core::bail!("an in-place step wants contiguous f32"),
    }
}
