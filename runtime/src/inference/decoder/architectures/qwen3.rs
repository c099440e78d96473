//! Qwen3 without experts.

use super::{Architecture, Bias, Defaults, Window, llama};

/// A Llama that normalises each head of queries and keys (Yang et al., 2025).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    gguf: "qwen3",
    gguf_interleaved: false,
    feed_forward_bias: Bias::Never,
    head_norms: true,
    window: Window::IfUsed,
    defaults: Defaults {
        kv_heads: Some(32),
        head_len: Some(128),
        positions: 32_768,
        ..llama::ARCHITECTURE.defaults
    },
    ..llama::ARCHITECTURE
};
