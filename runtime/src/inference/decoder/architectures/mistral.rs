//! Mistral 7B, whose first version sees a window of tokens.

use super::{Architecture, Bias, Defaults, Window, llama};

/// A Llama with a sliding window (Jiang et al., 2023). Its GGUF files are those of a Llama.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "mistral",
    class: "MistralForCausalLM",
    attention_bias: Bias::Never,
    feed_forward_bias: Bias::Never,
    window: Window::Always(4096),
    defaults: Defaults { kv_heads: Some(8), positions: 4096 * 32, ..llama::ARCHITECTURE.defaults },
    ..llama::ARCHITECTURE
};
