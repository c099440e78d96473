//! Checks of inputs that only the HTTP interfaces make.

use engine::task::{EmbeddingInput, InputFault, TaskInput};

/// Rejects an empty text or list of tokens among the inputs of an embedding, as OpenAI's API does. Models accept it, but
/// it is usually a client's bug.
pub(super) fn refuse_empty(inputs: &[EmbeddingInput]) -> Result<(), InputFault> {
    match inputs.iter().position(EmbeddingInput::is_empty) {
        Some(number) => Err(InputFault::Empty.in_part(number, inputs.len())),
        None => Ok(()),
    }
}

/// Rejects an empty input of an embedding task; see [`refuse_empty`].
pub(super) fn refuse_empty_input(input: &TaskInput) -> Result<(), InputFault> {
    match input {
        TaskInput::Embedding { inputs } => refuse_empty(inputs),
        TaskInput::Classification(_) | TaskInput::Generation(_) | TaskInput::Reranking(_) => Ok(()),
    }
}
