//! `SmolLM3`.

use super::{Architecture, Defaults, Rotation, Window, llama};

/// A Llama whose fourth layers do not rotate queries and keys (Yang et al., 2025).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    gguf: "smollm3",
    rotation: Rotation::ExceptEachFourth,
    window: Window::IfUsed,
    defaults: Defaults {
        kv_heads: Some(4),
        positions: 32_768,
        theta: 2_000_000.0,
        tied: true,
        ..llama::ARCHITECTURE.defaults
    },
    ..llama::ARCHITECTURE
};
