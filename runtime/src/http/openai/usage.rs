//! What a request cost, in tokens.

use serde::Serialize;

/// What a request cost that writes nothing.
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
