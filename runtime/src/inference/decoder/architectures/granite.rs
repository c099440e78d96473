//! Granite 3 without experts.

use super::{Architecture, Bias, Defaults, Rotation, Window};

/// A Llama with factors for embeddings, attention, the residual stream and logits (Granite Team, 2024).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "granite",
    class: "GraniteForCausalLM",
    gguf: "granite",
    gguf_interleaved: true,
    attention_bias: Bias::Field("attention_bias"),
    feed_forward_bias: Bias::Field("mlp_bias"),
    head_norms: false,
    rotation: Rotation::All,
    window: Window::Never,
    scaled: true,
    defaults: Defaults { kv_heads: None, head_len: None, positions: 2048, theta: 10_000.0, tied: false },
};
