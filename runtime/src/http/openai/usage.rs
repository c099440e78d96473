//! Token usage of requests that generate no text.

use serde::Serialize;

/// Token usage in OpenAI's shape.
#[derive(Serialize)]
pub(super) struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl Usage {
    pub(super) const fn from_tokens(tokens: u64) -> Self {
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}
