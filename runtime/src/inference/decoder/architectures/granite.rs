//! Granite 3 without experts.

use super::{Architecture, llama};

/// A Llama with factors for embeddings, attention, the residual stream and logits (Granite Team, 2024).
pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_type: "granite",
    class: "GraniteForCausalLM",
    gguf: "granite",
    scaled: true,
    ..llama::ARCHITECTURE
};
