//! Qwen3 without experts.

use super::{Architecture, Bias, Defaults, Rotation, Window};

/// A Llama that normalises each head of queries and keys (Yang et al., 2025).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    gguf: "qwen3",
    gguf_interleaved: false,
    attention_bias: Bias::Field("attention_bias"),
    feed_forward_bias: Bias::Never,
    head_norms: true,
    rotation: Rotation::All,
    window: Window::IfUsed,
    scaled: false,
    defaults: Defaults {
        kv_heads: Some(32),
        head_len: Some(128),
        positions: 32_768,
        theta: 10_000.0,
        tied: false,
    },
};
