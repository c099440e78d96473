//! What the HTTP interfaces refuse of a task's input and the engine does not.

use engine::task::{EmbeddingInput, InputFault, TaskInput};

/// Refuses an empty text or list of tokens among the inputs of an embedding, as OpenAI's API does. Models would read it, but
/// who sends one has mostly lost something.
pub(super) fn refuse_empty(inputs: &[EmbeddingInput]) -> Result<(), InputFault> {
    match inputs.iter().position(EmbeddingInput::is_empty) {
        Some(number) => Err(InputFault::Empty.in_part(number, inputs.len())),
        None => Ok(()),
    }
}

/// The same for the input of a task.
pub(super) fn refuse_empty_input(input: &TaskInput) -> Result<(), InputFault> {
    match input {
        TaskInput::Embedding { inputs } => refuse_empty(inputs),
        TaskInput::Classification(_) | TaskInput::Generation(_) | TaskInput::Reranking(_) => Ok(()),
    }
}
