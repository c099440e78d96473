//! The output of a task alone, as `--quiet` and the short commands print it.

use crate::error::Failure;
use crate::output;
use crate::terminal;
use api::{OutputBody, ResultBody};
use engine::task::TaskStatus;

/// Prints the output of a completed task.
///
/// # Errors
/// If the task did not complete: then with the reason.
pub(in crate::commands) fn print(result: &ResultBody) -> Result<(), Failure> {
    match &result.output {
        Some(output) => lines(output).iter().try_for_each(|line| output::line(line)),
        None => Err(failure(result)),
    }
}

/// Returns why a task has no output.
pub(in crate::commands) fn failure(result: &ResultBody) -> Failure {
    let id = result.id;
    if let Some(error) = &result.summary.error {
        // A model may say what to do in its message.
        let (message, hint) = match error.message.split_once("; hint: ") {
            Some((message, hint)) => (message, Some(hint)),
            None => (error.message.as_str(), error.hint.as_deref()),
        };
        let failure = Failure::new(message).id(error.code.clone());
        return match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        };
    }
    match result.status {
        TaskStatus::Cancelled => Failure::new(format!("the task was cancelled (id: {id})"))
            .id("task_cancelled")
            .hint("submit it again"),
        TaskStatus::Completed
        | TaskStatus::Failed
        | TaskStatus::Queued
        | TaskStatus::Running
        | TaskStatus::Timeout => Failure::new(format!(
            "the task was not done within its {} (id: {id})",
            output::duration(result.elapsed_ms)
        ))
        .id("task_timeout")
        .hint(
            "give it more time with --timeout SECONDS; p2p-ai-agents doctor says what is wrong with the node",
        ),
    }
}

/// Returns the lines of an output: vectors as JSON, labels and texts as they are.
fn lines(output: &OutputBody) -> Vec<String> {
    match output {
        OutputBody::Classification { label, .. } => vec![terminal::sanitize_line(label)],
        OutputBody::Embedding { vector, .. } => vec![vector_text(vector)],
        OutputBody::Embeddings { vectors, .. } => vectors.iter().map(|vector| vector_text(vector)).collect(),
        OutputBody::Generation { text, .. } => vec![terminal::for_stdout(text)],
        OutputBody::Reranking { scores, .. } => scores.iter().map(ToString::to_string).collect(),
    }
}

/// Returns a vector as a JSON list.
fn vector_text(vector: &[f32]) -> String {
    let numbers: Vec<String> = vector.iter().map(ToString::to_string).collect();
    format!("[{}]", numbers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Dropped, Score};

    #[test]
    fn an_answer_is_what_the_model_said_and_nothing_else() {
        let dropped = Dropped::default;
        let vectors = vec![vec![0.5, -1.25], vec![0.0, 1e-7]];
        let said = lines(&OutputBody::Embeddings { vectors, tokens: 4, dropped: dropped() });
        assert_eq!(said, ["[0.5,-1.25]", "[0,0.0000001]"]);
        let read: Vec<f32> = serde_json::from_str(&said[1]).unwrap();
        assert_eq!(read, [0.0, 1e-7]);
        let scores = vec![Score { label: "a\u{1b}[2J".to_owned(), score: 0.9 }];
        let output =
            OutputBody::Classification { label: scores[0].label.clone(), scores, dropped: dropped() };
        assert_eq!(lines(&output), ["a\u{fffd}[2J"]);
        let output = OutputBody::Reranking { scores: vec![0.25, 0.5], tokens: 9, dropped: dropped() };
        assert_eq!(lines(&output), ["0.25", "0.5"]);
    }
}
