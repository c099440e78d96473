//! Decodes records of version 1, in which inputs had no `truncate` flag and outputs no list of truncations.

use crate::error::DecodeError;
use crate::ids::{TaskId, TraceId};
use crate::task::{self, EmbeddingInput, Generation, Reranking};
use crate::time::UnixMillis;
use core::time::Duration;
use serde::Deserialize;

/// Decodes an open task.
pub(super) fn task(body: &[u8]) -> Result<task::StoredTask, DecodeError> {
    let StoredTask { id, spec, submitted_at, trace, attempts } = super::whole(body)?;
    let TaskSpec { input, model, timeout } = spec;
    let input = match input {
        TaskInput::Classification { text, labels } => {
            task::TaskInput::Classification(task::Classification { text, labels, truncate: true })
        }
        TaskInput::Embedding { inputs } => task::TaskInput::Embedding { inputs },
        TaskInput::Generation(generation) => task::TaskInput::Generation(generation),
        TaskInput::Reranking { query, texts } => {
            task::TaskInput::Reranking(Reranking { query, texts, truncate: true })
        }
    };
    let spec = task::TaskSpec { input, model, timeout };
    Ok(task::StoredTask { id, spec, submitted_at, trace, attempts, choice: None, caller: None })
}

/// Decodes a result. Version 1 lacks the list of truncations, which is the last field of a record.
pub(super) fn result(body: &[u8]) -> Result<task::TaskResult, DecodeError> {
    super::whole(body).or_else(|_| super::whole(&[body, &[NO_TRUNCATIONS]].concat()))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct StoredTask {
    id: TaskId,
    spec: TaskSpec,
    submitted_at: UnixMillis,
    trace: TraceId,
    attempts: u32,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct TaskSpec {
    input: TaskInput,
    model: Option<String>,
    timeout: Duration,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
enum TaskInput {
    Classification { text: String, labels: Vec<String> },
    Embedding { inputs: Vec<EmbeddingInput> },
    Generation(Box<Generation>),
    Reranking { query: String, texts: Vec<String> },
}

/// The encoding of an empty list.
const NO_TRUNCATIONS: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordKind, Stored, decode, upgrade};
    use crate::task::{Outcome, Prompt, TaskOutput};
    use crate::testing::completed;
    use proptest::prelude::*;

    fn version_1(body: &impl serde::Serialize) -> Vec<u8> {
        postcard::to_extend(body, vec![1]).unwrap()
    }

    fn read<T: Stored>(kind: RecordKind, bytes: &[u8]) -> Result<T, DecodeError> {
        let id = TaskId([1; 16]);
        decode(kind, id, &upgrade(kind, id, bytes).unwrap())
    }

    #[test]
    fn open_tasks_of_version_1_are_read() {
        let text = |text: &str| text.to_owned();
        let generation = Generation::from_prompt(Prompt::Text(text("once")));
        for (before, now) in [
            (
                TaskInput::Classification { text: text("a"), labels: vec![text("b")] },
                task::TaskInput::Classification(task::Classification {
                    text: text("a"),
                    labels: vec![text("b")],
                    truncate: true,
                }),
            ),
            (
                TaskInput::Embedding { inputs: vec![EmbeddingInput::Text(text("a"))] },
                task::TaskInput::Embedding { inputs: vec![EmbeddingInput::Text(text("a"))] },
            ),
            (
                TaskInput::Generation(Box::new(generation.clone())),
                task::TaskInput::Generation(Box::new(generation)),
            ),
            (
                TaskInput::Reranking { query: text("a"), texts: vec![text("b")] },
                task::TaskInput::Reranking(Reranking {
                    query: text("a"),
                    texts: vec![text("b")],
                    truncate: true,
                }),
            ),
        ] {
            let (model, timeout) = (Some(text("m")), Duration::from_secs(9));
            let (id, trace, submitted_at) = (TaskId([3; 16]), TraceId([4; 16]), UnixMillis(5));
            let spec = TaskSpec { input: before, model: model.clone(), timeout };
            let bytes = version_1(&StoredTask { id, spec, submitted_at, trace, attempts: 2 });
            let spec = task::TaskSpec { input: now, model, timeout };
            let task =
                task::StoredTask { id, spec, submitted_at, trace, attempts: 2, choice: None, caller: None };
            assert_eq!(read(RecordKind::Task, &bytes), Ok(task));
        }
    }

    proptest! {
        #[test]
        fn results_of_version_1_are_read(scores in proptest::collection::vec(any::<u16>(), 0..5), tokens: u32) {
            let summary = completed(TaskId([1; 16]), UnixMillis(2), UnixMillis(3));
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let label = |score: &f32| ("a label".to_owned(), *score);
            for output in [
                TaskOutput::Embedding { vectors: vec![scores.clone()], tokens, truncated: Vec::new() },
                TaskOutput::Reranking { scores: scores.clone(), tokens, truncated: Vec::new() },
                TaskOutput::Classification {
                    label: "a label".to_owned(),
                    scores: scores.iter().map(label).collect(),
                    truncated: Vec::new(),
                },
            ] {
                let outcome = Outcome::Completed(output);
                let result = task::TaskResult { summary: summary.clone(), outcome, fingerprint: None };
                let mut bytes = version_1(&result);
                prop_assert_eq!((bytes.pop(), bytes.pop()), (Some(0), Some(NO_TRUNCATIONS)));
                prop_assert_eq!(read(RecordKind::Result, &bytes), Ok(result));
            }
            let result = task::TaskResult { summary, outcome: Outcome::Timeout, fingerprint: None };
            let mut bytes = version_1(&result);
            prop_assert_eq!(bytes.pop(), Some(0));
            prop_assert_eq!(read(RecordKind::Result, &bytes), Ok(result));
        }
    }
}
