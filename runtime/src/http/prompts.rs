//! Prompts by name: what a model's files say to put before a query, a document or another kind of text.

use super::error::ApiError;
use super::state::Api;
use engine::task::{EmbeddingInput, TaskKind};

/// Puts the model's prompt of this name before each text. Without a model, chooses this node's first one.
///
/// # Errors
/// Returns the reason if this node does not know the model's prompts, or the model has none of this name.
pub(super) async fn prepend(
    api: &Api,
    model: &mut Option<String>,
    name: &str,
    inputs: &mut [EmbeddingInput],
) -> Result<(), ApiError> {
    let refused = |message: String| Err(ApiError::invalid_value(FIELD, message));
    let (called, info) = match model.as_deref() {
        Some(asked) => (asked.to_owned(), api.models.encoder(asked).await),
        None => api.models.first(TaskKind::Embedding).await.unwrap_or_default(),
    };
    let Some(info) = info else {
        return refused(format!(
            "{FIELD} is {name:?}, but this node does not have the model {called:?} and its prompts; put the prompt \
             before the texts instead"
        ));
    };
    let Some(prompt) = info.prompts.get(name) else {
        let names: Vec<&str> = info.prompts.keys().map(String::as_str).collect();
        return refused(format!(
            "{FIELD} is {name:?}, but the model {called:?} has these prompts: {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        ));
    };
    if info.has_own_prompt {
        return refused(format!(
            "{FIELD} is {name:?}, but the model {called:?} has a prompt of its own for every text"
        ));
    }
    for input in inputs {
        match input {
            EmbeddingInput::Text(text) | EmbeddingInput::WholeText(text) => text.insert_str(0, prompt),
            EmbeddingInput::Tokens(_) | EmbeddingInput::WholeTokens(_) => {
                return refused(format!("{FIELD} is {name:?}, but the input has tokens; prompts need texts"));
            }
        }
    }
    *model = Some(called);
    Ok(())
}

/// The field of a request.
const FIELD: &str = "prompt_name";
