//! Mistral 7B, whose first version sees a window of tokens.

use super::{Architecture, Bias, Defaults, Rotation, Window};

/// A Llama with a sliding window (Jiang et al., 2023). Its GGUF files are those of a Llama.
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "mistral",
    class: "MistralForCausalLM",
    gguf: "llama",
    gguf_interleaved: true,
    attention_bias: Bias::Never,
    feed_forward_bias: Bias::Never,
    head_norms: false,
    rotation: Rotation::All,
    window: Window::Always(4096),
    scaled: false,
    defaults: Defaults {
        kv_heads: Some(8),
        head_len: None,
        positions: 4096 * 32,
        theta: 10_000.0,
        tied: false,
    },
};
