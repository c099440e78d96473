//! The encoder's instruction sets, and the dispatch to the one that this processor has.
//!
//! A kernel is written once over [`Simd`] and compiled for each instruction set; [`Isa::run`] dispatches at run time.
//! All code of a kernel must be inlined into the function that enables the instructions, hence `#[inline(always)]`.
//!
//! The invariant: an [`Isa`] that exists is one that this processor has.

use super::Simd;
use super::arithmetic::StoredAs;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
use super::cpu::CpuFeatures;
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::{
    avx2::{Avx2, Avx2Vnni},
    avx512::{Avx512, Avx512Bf16},
};
use std::fmt;

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

/// A function that is compiled for every instruction set.
pub(crate) trait WithSimd {
    /// The return type.
    type Output;

    /// Runs it. Implementations must be marked `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

struct AttentionBytes;

impl WithSimd for AttentionBytes {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        size_of::<<S::Attention as StoredAs>::Number>()
    }
}

impl Isa {
    /// Returns the fastest instruction set that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::available().into_iter().next().unwrap_or(Self(Kind::Portable))
    }

    /// Returns all instruction sets that this processor has and this crate supports, fastest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Kind::ALL.into_iter().filter(|kind| kind.is_available()).map(Self).collect()
    }

    /// Returns the portable instruction set: plain Rust, which runs on every processor.
    #[must_use]
    pub const fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// Tells whether 8-bit products are several times faster than those of f32.
    #[must_use]
    pub const fn has_fast_bytes(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 | Kind::Avx512 | Kind::Avx2Vnni => true,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => false,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => false,
            Kind::Portable => false,
        }
    }

    /// Returns the size in bytes of a number in attention that need not be exact.
    pub(crate) fn attention_bytes(self) -> usize {
        self.run(AttentionBytes)
    }

    /// Runs a kernel with these instructions.
    pub(crate) fn run<K: WithSimd>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` exists only where `is_available` said so.
            Kind::Avx512Bf16 => unsafe { run_avx512_bf16(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx512 => unsafe { run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx2Vnni => unsafe { run_avx2_vnni(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx2 => unsafe { run_avx2(kernel) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Kind::Neon => unsafe { run_neon(kernel) },
            Kind::Portable => kernel.run(Portable),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => "AVX-512 with VNNI and bf16",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "AVX-512 with VNNI",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2Vnni => "AVX2 with VNNI",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "AVX2",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "NEON",
            Kind::Portable => "portable",
        })
    }
}

#[cfg(target_arch = "x86_64")]
impl Kind {
    const ALL: [Self; 5] = [Self::Avx512Bf16, Self::Avx512, Self::Avx2Vnni, Self::Avx2, Self::Portable];

    fn is_available(self) -> bool {
        let cpu = CpuFeatures::get();
        match self {
            Self::Avx512Bf16 => cpu.avx512_bf16,
            Self::Avx512 => cpu.avx512,
            Self::Avx2Vnni => cpu.avx2_vnni,
            Self::Avx2 => cpu.avx2,
            Self::Portable => true,
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl Kind {
    const ALL: [Self; 2] = [Self::Neon, Self::Portable];

    fn is_available(self) -> bool {
        match self {
            Self::Neon => CpuFeatures::get().neon,
            Self::Portable => true,
        }
    }
}

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
impl Kind {
    const ALL: [Self; 1] = [Self::Portable];

    fn is_available(self) -> bool {
        true
    }
}

/// Defines a function that runs a kernel with some instructions enabled.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
macro_rules! entry {
    ($name:ident, $simd:ident, $features:literal) => {
        #[doc = concat!("Runs a kernel with ", $features, ".")]
        ///
        /// # Safety
        /// The processor has these features.
        #[target_feature(enable = $features)]
        unsafe fn $name<K: WithSimd>(kernel: K) -> K::Output {
            // SAFETY: the caller made sure of the features.
            kernel.run(unsafe { $simd::new() })
        }
    };
}

#[cfg(target_arch = "x86_64")]
entry!(run_avx512_bf16, Avx512Bf16, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16");
#[cfg(target_arch = "x86_64")]
entry!(run_avx512, Avx512, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");
#[cfg(target_arch = "x86_64")]
entry!(run_avx2_vnni, Avx2Vnni, "avx2,fma,avxvnni");
#[cfg(target_arch = "x86_64")]
entry!(run_avx2, Avx2, "avx2,fma");
#[cfg(target_arch = "aarch64")]
entry!(run_neon, Neon, "neon");
