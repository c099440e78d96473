//! Detects the CPU features that kernels need: once, and nowhere else.
//!
//! Each field stands for all features of one group, so that a kernel can be offered only where every instruction that
//! it was compiled with exists. The encoder chooses an [`Isa`](super::isa::Isa) from these, the decoder a
//! [`Kernel`](crate::decoder::Kernel).

use std::sync::LazyLock;

/// Groups of CPU features that this processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuFeatures {
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    pub(crate) avx2: bool,
    /// AVX2, FMA and the VNNI instructions for 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    pub(crate) avx2_vnni: bool,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    pub(crate) avx2_f16c: bool,
    /// AVX2, FMA, and AVX-512 F, BW, DQ, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    pub(crate) avx512: bool,
    /// All of [`Self::avx512`], and BF16.
    #[cfg(target_arch = "x86_64")]
    pub(crate) avx512_bf16: bool,
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    pub(crate) neon: bool,
}

impl CpuFeatures {
    /// Returns the features of this processor.
    pub(crate) fn get() -> Self {
        *DETECTED
    }

    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        Self {
            avx2,
            avx2_vnni: avx2 && is_x86_feature_detected!("avxvnni"),
            avx2_f16c: avx2 && is_x86_feature_detected!("f16c"),
            avx512,
            avx512_bf16: avx512 && is_x86_feature_detected!("avx512bf16"),
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn detect() -> Self {
        Self { neon: std::arch::is_aarch64_feature_detected!("neon") }
    }
}

/// Returns the names of the groups of CPU features that kernels use and this processor has.
pub fn cpu_features() -> Vec<&'static str> {
    let features = CpuFeatures::get();
    #[cfg(target_arch = "x86_64")]
    let groups = [
        (features.avx2, "avx2"),
        (features.avx2_f16c, "f16c"),
        (features.avx2_vnni, "avx-vnni"),
        (features.avx512, "avx512-vnni"),
        (features.avx512_bf16, "avx512-bf16"),
    ];
    #[cfg(target_arch = "aarch64")]
    let groups = [(features.neon, "neon")];
    groups.into_iter().filter(|(present, _)| *present).map(|(_, name)| name).collect()
}

static DETECTED: LazyLock<CpuFeatures> = LazyLock::new(CpuFeatures::detect);
