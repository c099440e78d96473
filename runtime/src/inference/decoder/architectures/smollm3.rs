//! `SmolLM3`.

use super::{Architecture, Bias, Defaults, Rotation, Window};

/// A Llama whose fourth layers do not rotate queries and keys (Yang et al., 2025).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    gguf: "smollm3",
    gguf_interleaved: true,
    attention_bias: Bias::Field("attention_bias"),
    feed_forward_bias: Bias::Field("mlp_bias"),
    head_norms: false,
    rotation: Rotation::ExceptEachFourth,
    window: Window::IfUsed,
    scaled: false,
    defaults: Defaults {
        kv_heads: Some(4),
        head_len: None,
        positions: 32_768,
        theta: 2_000_000.0,
        tied: true,
    },
};
