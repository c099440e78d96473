//! The operations of a pass, compiled for each instruction set behind one safe interface and selected at run time.

use super::format::Format;
use super::layer_ops::{self, Attention};
use super::tile::{self, Block, Rows};
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
use crate::simd::cpu::CpuFeatures;
use crate::simd::lanes::Portable;
use std::sync::LazyLock;

/// The operations of a forward pass, compiled for one instruction set that this processor has.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    name: &'static str,
    pub(super) product: fn(Format, &[u8], Rows<'_>, &mut [[f32; 16]]),
    pub(super) quantise: fn(&[f32], &mut [Block]),
    pub(super) normalise: fn(&[f32], &[f32], f32, &mut [f32]),
    pub(super) gate: fn(&mut [[f32; 16]], &[[f32; 16]]),
    pub(super) attend: fn(&Attention<'_>, &mut [f32], &mut [f32]),
}

impl Kernel {
    /// Returns the fastest kernel of this processor.
    pub fn best() -> Self {
        AVAILABLE[0]
    }

    /// Returns a kernel by its name, if this processor can run it.
    pub fn named(name: &str) -> Option<Self> {
        AVAILABLE.iter().find(|kernel| kernel.name == name).copied()
    }

    /// Returns the name: `avx512`, `avx2`, `neon` or `portable`.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// Returns the names of the kernels that this processor can run, fastest first.
pub fn names() -> Vec<&'static str> {
    AVAILABLE.iter().map(|kernel| kernel.name).collect()
}

static AVAILABLE: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    let mut kernels = faster();
    kernels.push(portable::KERNEL);
    kernels
});

/// Returns the kernels that this processor can run except the portable one, fastest first.
#[cfg(target_arch = "x86_64")]
fn faster() -> Vec<Kernel> {
    let cpu = CpuFeatures::get();
    let kernels = [(cpu.avx512, avx512::KERNEL), (cpu.avx2_f16c, avx2::KERNEL)];
    kernels.into_iter().filter(|(is_available, _)| *is_available).map(|(_, kernel)| kernel).collect()
}

#[cfg(target_arch = "aarch64")]
fn faster() -> Vec<Kernel> {
    if CpuFeatures::get().neon { vec![neon::KERNEL] } else { Vec::new() }
}

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
const fn faster() -> Vec<Kernel> {
    Vec::new()
}

/// Compiles the operations with some instructions enabled. [`AVAILABLE`], the only source of kernels, has a kernel only
/// if the processor has its instructions.
macro_rules! kernel {
    ($module:ident, $lanes:ty, $name:literal, $($features:literal)?) => {
        mod $module {
            use super::*;

            pub(super) const KERNEL: Kernel = Kernel { name: $name, product, quantise, normalise, gate, attend };

            fn product(format: Format, tile: &[u8], x: Rows<'_>, out: &mut [[f32; 16]]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn inner(format: Format, tile: &[u8], x: Rows<'_>, out: &mut [[f32; 16]]) {
                    // SAFETY: as the caller promises.
                    unsafe { tile::product::<$lanes>(format, tile, x, out) }
                }
                // SAFETY: this kernel is reached only on a processor that has its instructions.
                unsafe { inner(format, tile, x, out) }
            }

            fn quantise(row: &[f32], blocks: &mut [Block]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn inner(row: &[f32], blocks: &mut [Block]) {
                    // SAFETY: as the caller promises.
                    unsafe { layer_ops::quantise::<$lanes>(row, blocks) }
                }
                // SAFETY: this kernel is reached only on a processor that has its instructions.
                unsafe { inner(row, blocks) }
            }

            fn normalise(row: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn inner(row: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
                    // SAFETY: as the caller promises.
                    unsafe { layer_ops::normalise::<$lanes>(row, weight, epsilon, out) }
                }
                // SAFETY: this kernel is reached only on a processor that has its instructions.
                unsafe { inner(row, weight, epsilon, out) }
            }

            fn gate(gate: &mut [[f32; 16]], up: &[[f32; 16]]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn inner(gate: &mut [[f32; 16]], up: &[[f32; 16]]) {
                    // SAFETY: as the caller promises.
                    unsafe { layer_ops::gate::<$lanes>(gate, up) }
                }
                // SAFETY: this kernel is reached only on a processor that has its instructions.
                unsafe { inner(gate, up) }
            }

            fn attend(attention: &Attention<'_>, scores: &mut [f32], out: &mut [f32]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn inner(attention: &Attention<'_>, scores: &mut [f32], out: &mut [f32]) {
                    // SAFETY: as the caller promises.
                    unsafe { layer_ops::attend::<$lanes>(attention, scores, out) }
                }
                // SAFETY: this kernel is reached only on a processor that has its instructions.
                unsafe { inner(attention, scores, out) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernel!(
    avx512,
    crate::simd::lanes::avx512::Avx512,
    "avx512",
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"
);
#[cfg(target_arch = "x86_64")]
kernel!(avx2, crate::simd::lanes::avx2::Avx2, "avx2", "avx2,fma,f16c");
#[cfg(target_arch = "aarch64")]
kernel!(neon, crate::simd::lanes::neon::Neon, "neon", "neon");
kernel!(portable, Portable, "portable",);

#[cfg(test)]
mod tests;
