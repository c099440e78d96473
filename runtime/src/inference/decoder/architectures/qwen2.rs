//! Qwen2 and Qwen2.5.

use super::{Architecture, Bias, Defaults, Window, llama};

/// A Llama with biases of queries, keys and values (Yang et al., 2024).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    gguf: "qwen2",
    gguf_interleaved: false,
    attention_bias: Bias::QueryKeyValue,
    feed_forward_bias: Bias::Never,
    window: Window::IfUsed,
    defaults: Defaults { kv_heads: Some(32), positions: 32_768, ..llama::ARCHITECTURE.defaults },
    ..llama::ARCHITECTURE
};
