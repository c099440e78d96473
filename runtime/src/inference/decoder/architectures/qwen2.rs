//! Qwen2 and Qwen2.5.

use super::{Architecture, Bias, Defaults, Rotation, Window};

/// A Llama with biases of queries, keys and values (Yang et al., 2024).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    gguf: "qwen2",
    gguf_interleaved: false,
    attention_bias: Bias::QueryKeyValue,
    feed_forward_bias: Bias::Never,
    head_norms: false,
    rotation: Rotation::All,
    window: Window::IfUsed,
    scaled: false,
    defaults: Defaults {
        kv_heads: Some(32),
        head_len: None,
        positions: 32_768,
        theta: 10_000.0,
        tied: false,
    },
};
