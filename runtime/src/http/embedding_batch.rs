//! Embeds many inputs: splits them into tasks that several nodes can share, and merges the vectors in order.

use super::error::ApiError;
use super::state::Api;
use super::task_runner;
use super::truncated::TruncationReport;
use engine::TaskId;
use engine::task::{EMBEDDING_INPUTS_MAX, EmbeddingInput, TaskInput, TaskOutput, TaskSpec};
use std::time::Duration;

/// Vectors of the inputs of a request.
#[derive(Debug, Default)]
pub(super) struct EmbeddingBatch {
    /// One vector for each input, in input order.
    pub(super) vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs.
    pub(super) tokens: u64,
    /// Truncated inputs.
    pub(super) truncated: TruncationReport,
    /// Name of the model.
    pub(super) model: String,
    /// The first task of the batch.
    pub(super) task: Option<TaskId>,
}

/// The requested number of dimensions is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dimensions is {asked}; the model gives 1 to {most}")]
pub(super) struct DimensionsError {
    asked: usize,
    most: usize,
}

impl EmbeddingBatch {
    /// Normalises each vector to unit length.
    pub(super) fn normalize(&mut self) {
        self.vectors.iter_mut().for_each(|vector| normalize(vector));
    }

    /// Shortens each vector to its first dimensions, and normalises it again.
    pub(super) fn shorten(&mut self, dimensions: usize) -> Result<(), DimensionsError> {
        let most = self.vectors.first().map_or(0, Vec::len);
        if !(1..=most).contains(&dimensions) {
            return Err(DimensionsError { asked: dimensions, most });
        }
        self.vectors.iter_mut().for_each(|vector| shorten(vector, dimensions));
        Ok(())
    }
}

/// Embeds each input.
///
/// # Errors
/// If an input is rejected or a task fails; the other tasks are cancelled.
pub(super) async fn embed(
    api: &Api,
    model: Option<String>,
    inputs: Vec<EmbeddingInput>,
) -> Result<EmbeddingBatch, ApiError> {
    let specs: Vec<TaskSpec> = split(inputs, EmbeddingInput::bytes)
        .into_iter()
        .map(|inputs| TaskSpec {
            input: TaskInput::Embedding { inputs },
            model: model.clone(),
            timeout: TASK_TIMEOUT,
        })
        .collect();
    let mut batch = EmbeddingBatch::default();
    for (part, result) in task_runner::run_all(api, specs, TASKS_AT_ONCE).await? {
        batch.model.clone_from(&result.summary.model);
        batch.task.get_or_insert(result.summary.id);
        if let TaskOutput::Embedding { vectors, tokens, truncated } = task_runner::output(part, result)? {
            batch.vectors.extend(vectors);
            batch.tokens += u64::from(tokens);
            batch.truncated.add(part.first, &truncated);
        }
    }
    Ok(batch)
}

/// Splits inputs into batches of one task each, limited in count and bytes.
pub(super) fn split<T>(inputs: Vec<T>, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut lists: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for input in inputs {
        let more = bytes_of(&input);
        bytes += more;
        match lists.last_mut() {
            Some(list) if list.len() < TASK_INPUTS && bytes <= TASK_BYTES => list.push(input),
            Some(_) | None => {
                bytes = more;
                lists.push(vec![input]);
            }
        }
    }
    lists
}

/// Normalises a vector to unit length; a vector that has it up to rounding keeps its bits.
fn normalize(vector: &mut [f32]) {
    let square: f32 = vector.iter().map(|component| component * component).sum();
    if square > 0.0 && (square - 1.0).abs() > ROUNDING {
        let length = square.sqrt();
        vector.iter_mut().for_each(|component| *component /= length);
    }
}

fn shorten(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    normalize(vector);
}

/// Maximum inputs of a request.
pub(super) const INPUTS_MAX: usize = 2_048;
/// Tolerance for the squared length of a normalised vector.
const ROUNDING: f32 = 1e-5;
/// Inputs of one task: enough for a forward pass, few enough for several nodes to take part.
const TASK_INPUTS: usize = EMBEDDING_INPUTS_MAX / 2;
/// Maximum bytes of a task with more than one input.
const TASK_BYTES: usize = 64 << 10;
/// Concurrent tasks of one request; the limit leaves capacity for other clients.
pub(super) const TASKS_AT_ONCE: usize = 8;
pub(super) const TASK_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_vector_has_unit_length() {
        let mut vector = vec![3.0, 4.0, 12.0];
        shorten(&mut vector, 2);
        assert_eq!(vector, [0.6, 0.8]);
        let mut nothing = vec![0.0, 1.0];
        shorten(&mut nothing, 1);
        assert_eq!(nothing, [0.0]);
    }

    #[test]
    fn a_vector_of_unit_length_keeps_its_bits() {
        let normal = |vector: [f32; 2]| {
            let mut vector = vector;
            normalize(&mut vector);
            vector
        };
        assert_eq!(normal([3.0, 4.0]), [0.6, 0.8]);
        let near = [0.6, 0.800_001];
        assert_eq!(normal(near).map(f32::to_bits), near.map(f32::to_bits));
        assert_eq!(normal([0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn tasks_are_bounded_in_number_and_size_and_keep_the_order() {
        let text = |length: usize| EmbeddingInput::Text("x".repeat(length));
        let lengths = |inputs: Vec<EmbeddingInput>| {
            split(inputs, EmbeddingInput::bytes)
                .iter()
                .map(|list| list.iter().map(EmbeddingInput::bytes).collect())
                .collect::<Vec<Vec<_>>>()
        };
        assert_eq!(lengths(vec![]), Vec::<Vec<usize>>::new());
        let many = lengths(vec![text(1); 40]);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [16, 16, 8]);
        let mixed = lengths(vec![text(40_000), text(30_000), text(100_000), text(1), text(2)]);
        assert_eq!(mixed, [vec![40_000], vec![30_000], vec![100_000], vec![1, 2]]);
    }
}
