//! Tasks without a purpose of their own, for demos and stress tests.

use api::{InputBody, NewTask};
use engine::task::TaskKind;

/// Returns a task of a kind about a text, small in every respect.
pub(super) fn new(kind: TaskKind, text: String, model: Option<String>) -> NewTask {
    let mut task = NewTask { model, ..NewTask::from_text(kind, text) };
    match kind {
        TaskKind::Embedding => {}
        TaskKind::Classification => {
            task.labels = Some(["work", "leisure"].map(str::to_owned).to_vec());
        }
        TaskKind::Generation => task.max_tokens = Some(GENERATED_TOKENS),
        TaskKind::Reranking => {
            task.query = task.input.take().and_then(|input| match input {
                InputBody::Text(text) => Some(text),
                InputBody::Texts(_) | InputBody::Tokens(_) | InputBody::TokenLists(_) => None,
            });
            task.input = Some(InputBody::Texts(["a test", "a holiday"].map(str::to_owned).to_vec()));
        }
    }
    task
}

/// Returns a text that differs from those of other numbers, so that no result is reused.
pub(super) fn text(number: u32) -> String {
    format!("{number}: small models on your own machines share the work of many tasks")
}

const GENERATED_TOKENS: u32 = 16;
