//! Llama 1 to 3, and the models with its configuration: `SmolLM`, `SmolLM2`, `TinyLlama`, the distillations of `DeepSeek`.

use super::{Architecture, Bias, Defaults, Rotation, Window};

/// The architecture that the others differ from (Touvron et al., 2023).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "llama",
    class: "LlamaForCausalLM",
    gguf: "llama",
    gguf_interleaved: true,
    attention_bias: Bias::Field("attention_bias"),
    feed_forward_bias: Bias::Field("mlp_bias"),
    head_norms: false,
    rotation: Rotation::All,
    window: Window::Never,
    scaled: false,
    defaults: Defaults { kv_heads: None, head_len: None, positions: 2048, theta: 10_000.0, tied: false },
};
