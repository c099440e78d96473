//! Tasks: their specification, status, output and outcome.

mod input;

pub(crate) use input::preview;
pub use input::{
    CHAT_MESSAGES_MAX, ChatMessage, ChatRole, Classification, EMBEDDING_INPUTS_MAX, EMBEDDING_TOKENS_MAX,
    EmbeddingInput, Generation, InputFault, LABEL_BYTES_MAX, LABELS_MAX, MAX_TOKENS_DEFAULT, MAX_TOKENS_MAX,
    Prompt, RERANKING_TEXTS_MAX, Reranking, STOP_BYTES_MAX, STOPS_MAX, TEMPERATURE_MAX, TaskInput,
};

use crate::bounded_text::FailureReason;
use crate::ids::{Fingerprint, NodeId, TaskId, TraceId};
use crate::time::UnixMillis;
use crate::trace::{Caller, TraceContext};
use core::fmt::{self, Write as _};
use core::time::Duration;
use serde::{Deserialize, Deserializer, Serialize};

/// The kind of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// From a text to a label, with scores.
    Classification,
    /// From a text to a vector.
    Embedding,
    /// From a prompt to a text, token by token.
    Generation,
    /// From a query and texts to a relevance score for each text.
    Reranking,
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classification => "classification",
            Self::Embedding => "embedding",
            Self::Generation => "generation",
            Self::Reranking => "reranking",
        })
    }
}

/// The specification of a task, as submitted by a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The input, which determines the kind.
    pub input: TaskInput,
    /// The model's name; `None` for the node's default model of the kind.
    pub model: Option<String>,
    /// Maximum time from acceptance to outcome.
    pub timeout: Duration,
}

impl TaskSpec {
    /// Returns the kind of task.
    pub const fn kind(&self) -> TaskKind {
        self.input.kind()
    }
}

/// The status of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskStatus {
    /// Accepted and durable; waits for a worker.
    Queued,
    /// A worker has started an attempt.
    Running,
    /// Ended with an output.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended because its timeout expired.
    Timeout,
    /// Ended because its user cancelled it.
    Cancelled,
}

impl TaskStatus {
    /// Tells whether the status is final.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Timeout | Self::Cancelled)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
            Self::Cancelled => "CANCELLED",
        })
    }
}

/// The output of a completed task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutput {
    /// The chosen label, and the probability of every label.
    Classification {
        /// The most probable label.
        label: String,
        /// All labels with their probabilities, most probable first.
        scores: Vec<(String, f32)>,
        /// What the model did not read. Number 0 is the text; the requested labels count from 1.
        truncated: Vec<Truncation>,
    },
    /// A vector for each input. The model determines the dimension.
    Embedding {
        /// The vectors, in the order of the inputs.
        vectors: Vec<Vec<f32>>,
        /// Number of tokens that the model read, over all inputs.
        tokens: u32,
        /// The truncated inputs, in ascending order.
        truncated: Vec<Truncation>,
    },
    /// Generated text.
    Generation {
        /// The text, without the prompt.
        text: String,
        /// Number of tokens of the prompt.
        prompt_tokens: u32,
        /// Number of generated tokens.
        tokens: u32,
        /// Why the generation ended.
        finish: FinishReason,
    },
    /// A relevance score for each text. Written by earlier versions; it has no logits.
    Reranking {
        /// A score for each text, in the order of the texts; higher is more relevant.
        scores: Vec<f32>,
        /// Number of tokens that the model read, over all pairs.
        tokens: u32,
        /// The texts that were truncated, together with the query, in ascending order.
        truncated: Vec<Truncation>,
    },
    /// A relevance score for each text.
    Ranking {
        /// The model's logit for each text, in the order of the texts; higher is more relevant.
        logits: Vec<f32>,
        /// The activation of each logit. Logits far from zero give equal scores.
        scores: Vec<f32>,
        /// Number of tokens that the model read, over all pairs.
        tokens: u32,
        /// The texts that were truncated, together with the query, in ascending order.
        truncated: Vec<Truncation>,
    },
}

/// An input with more tokens than the model's maximum, which was truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncation {
    /// Its index among the task's inputs, from 0.
    pub input: u32,
    /// Number of tokens that the model did not read.
    pub dropped: u32,
}

impl TaskOutput {
    /// Returns the beginning of the output, for display.
    pub fn preview(&self) -> String {
        match self {
            Self::Classification { label, .. } => preview(label),
            Self::Embedding { vectors, .. } => preview_numbers(vectors.iter().flatten()),
            Self::Generation { text, .. } => preview(text),
            Self::Ranking { scores, .. } | Self::Reranking { scores, .. } => preview_numbers(scores.iter()),
        }
    }

    /// Returns the inputs that were truncated.
    pub fn truncated(&self) -> &[Truncation] {
        match self {
            Self::Classification { truncated, .. }
            | Self::Embedding { truncated, .. }
            | Self::Ranking { truncated, .. }
            | Self::Reranking { truncated, .. } => truncated,
            // A prompt that is too long is rejected.
            Self::Generation { .. } => &[],
        }
    }

    /// Returns the number of tokens that the model read, as far as the output tells, and of those that it generated.
    pub fn token_counts(&self) -> (u64, u64) {
        match self {
            Self::Classification { .. } => (0, 0),
            Self::Embedding { tokens, .. }
            | Self::Ranking { tokens, .. }
            | Self::Reranking { tokens, .. } => (u64::from(*tokens), 0),
            Self::Generation { prompt_tokens, tokens, .. } => (u64::from(*prompt_tokens), u64::from(*tokens)),
        }
    }

    /// Returns the number of input tokens that the model did not read.
    pub fn dropped_tokens(&self) -> u64 {
        self.truncated().iter().map(|truncation| u64::from(truncation.dropped)).sum()
    }

    /// Returns the approximate size of the output in bytes, on the wire and on disk.
    pub fn bytes(&self) -> usize {
        size_of_val(self.truncated()) + self.body_bytes()
    }

    fn body_bytes(&self) -> usize {
        match self {
            Self::Classification { label, scores, .. } => {
                label.len() + scores.iter().map(|(label, _)| label.len() + 8).sum::<usize>()
            }
            Self::Embedding { vectors, .. } => vectors.iter().map(|vector| vector.len() * 4 + 4).sum(),
            Self::Generation { text, .. } => text.len(),
            Self::Ranking { logits, scores, .. } => (logits.len() + scores.len()) * 4,
            Self::Reranking { scores, .. } => scores.len() * 4,
        }
    }
}

fn preview_numbers<'n>(numbers: impl Iterator<Item = &'n f32>) -> String {
    let mut text = String::new();
    for number in numbers.take(PREVIEW_NUMBERS) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        push_number(&mut text, *number);
    }
    preview(&text)
}

/// Formats a number with four decimals, rounded half to even, like `{:.4}` but ten times as fast.
fn push_number(text: &mut String, number: f32) {
    if number.is_nan() || number.abs() >= 1e6 {
        let _ = write!(text, "{number:.4}");
        return;
    }
    // Exact: an f32 has 24 bits, 10,000 has 14.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10^10")]
    let parts = (f64::from(number.abs()) * 10_000.0).round_ties_even() as u64;
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let _ = write!(text, "{sign}{}.{:04}", parts / 10_000, parts % 10_000);
}

/// More numbers than fit into a preview.
const PREVIEW_NUMBERS: usize = 16;

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The maximum number of tokens, or the model's context length, was reached.
    Length,
    /// The model ended its text, or generated a stop text.
    Stop,
}

impl FinishReason {
    /// Returns the stable name of the reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
        }
    }
}

/// What a queued task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// For a heartbeat: the nodes that run its model do not answer.
    Answer,
    /// For a free slot: all nodes that run its model have enough other tasks.
    FreeSlot,
    /// For its model, which is being loaded.
    Model,
    /// For a node that runs its model: none can be reached.
    Worker,
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer => "the nodes that run the model do not answer",
            Self::FreeSlot => "all nodes that run the model are busy",
            Self::Model => "the model is still loading",
            Self::Worker => "no node in reach runs the model",
        })
    }
}

/// Why a task failed, or timed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskFailure {
    /// The model rejected the input, for this reason.
    InputRejected(FailureReason),
    /// The model could not be loaded or run, for this reason.
    ModelFailed(FailureReason),
    /// Three attempts each ended with a crash.
    Poison,
    /// The model rejected one of several inputs.
    PartRejected {
        /// The index of the input, from 0.
        part: u32,
        /// The reason.
        reason: FailureReason,
    },
    /// The model with which the request began has left the network.
    ModelChanged,
    /// No attempt started before the timeout, as the task waited for this.
    NotStarted(WaitsFor),
}

impl TaskFailure {
    /// Returns the stable name of the reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InputRejected(_) | Self::PartRejected { .. } => "input_rejected",
            Self::ModelFailed(_) => "model_failed",
            Self::Poison => "poison",
            Self::ModelChanged => "model_changed",
            Self::NotStarted(_) => "not_started",
        }
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputRejected(why) => write!(f, "the model rejected the input: {why}"),
            Self::ModelFailed(why) => write!(f, "the model failed: {why}"),
            Self::PartRejected { part, reason } => {
                write!(f, "the model rejected input {part} (the first is 0): {reason}")
            }
            Self::NotStarted(waits_for) => write!(f, "it was not started in its time: {waits_for}"),
            Self::Poison => f.write_str("the model process crashed in every attempt"),
            Self::ModelChanged => f.write_str(
                "the model was replaced by another one of the same name while the request ran; try again",
            ),
        }
    }
}

/// The outcome of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its user cancelled it.
    Cancelled,
    /// It has an output.
    Completed(TaskOutput),
    /// It failed.
    Failed(TaskFailure),
    /// Its timeout expired.
    Timeout,
}

impl Outcome {
    /// Returns the status of a task with this outcome.
    pub const fn status(&self) -> TaskStatus {
        match self {
            Self::Cancelled => TaskStatus::Cancelled,
            Self::Completed(_) => TaskStatus::Completed,
            Self::Failed(_) => TaskStatus::Failed,
            Self::Timeout => TaskStatus::Timeout,
        }
    }
}

/// The model of a task. It is chosen once, so that all attempts use the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelChoice {
    /// The model.
    pub fingerprint: Fingerprint,
    /// Whether other tasks of the same request rely on the choice. If so, no other model may be used.
    pub required: bool,
}

/// An accepted task without an outcome, as stored on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTask {
    /// Its id.
    pub id: TaskId,
    /// Its specification; `model` is never `None`.
    pub spec: TaskSpec,
    /// The time at which it was accepted.
    pub submitted_at: UnixMillis,
    /// Connects the steps of the task across nodes.
    pub trace: TraceId,
    /// Number of attempts begun.
    pub attempts: u32,
    /// The model for all attempts; `None` while it is unknown, and in records of earlier versions, which end before it.
    #[serde(default, deserialize_with = "trailing")]
    pub choice: Option<ModelChoice>,
    /// What the client's trace context adds; `None` if this node began the trace and keeps it, and in records of earlier
    /// versions, which end here.
    #[serde(default, deserialize_with = "trailing")]
    pub caller: Option<Box<Caller>>,
}

impl StoredTask {
    /// Returns the trace of the task.
    pub fn trace_context(&self) -> TraceContext {
        TraceContext { id: self.trace, sampled: self.caller.as_ref().is_none_or(|caller| caller.sampled) }
    }
}

/// Reads the last field of a record; `None` in records of earlier versions, which lack the field.
fn trailing<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer).unwrap_or_default())
}

/// The outcome of a task, as stored on disk and shown to users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Everything except the outcome's body.
    pub summary: ResultSummary,
    /// The outcome.
    pub outcome: Outcome,
    /// The model that computed it; `None` if none did, and in records of earlier versions, which end here.
    #[serde(default, deserialize_with = "trailing")]
    pub fingerprint: Option<Fingerprint>,
}

/// The data of a finished task, without its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultSummary {
    /// The task's id.
    pub id: TaskId,
    /// The task's kind.
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// The final status.
    pub status: TaskStatus,
    /// The error, if it failed.
    pub failure: Option<TaskFailure>,
    /// The node that produced the outcome; `None` if no worker was involved.
    pub worker: Option<NodeId>,
    /// Compute time, in microseconds.
    pub execution_micros: u64,
    /// Number of attempts.
    pub attempts: u32,
    /// The time at which the task was accepted.
    pub submitted_at: UnixMillis,
    /// The time at which it ended.
    pub completed_at: UnixMillis,
    /// The time at which the result will be deleted.
    pub expires_at: UnixMillis,
    /// Size of the stored output, in bytes.
    pub output_bytes: u64,
    /// The first 100 characters of the input.
    pub preview: String,
    /// The first 100 characters of the output; empty if there is none.
    pub output_preview: String,
    /// Connects the steps of the task across nodes.
    pub trace: TraceId,
}

/// The largest output, in bytes: a frame holds it with room to spare.
pub(crate) const OUTPUT_BYTES_MAX: usize = 768 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_the_library_writes_them(bits in any::<u32>(), near in -2_000_000_i32..2_000_000) {
            // Any number, and numbers halfway between two of four decimals.
            for number in [f32::from_bits(bits), near as f32 / 65_536.0, near as f32 * 0.5] {
                let mut text = String::new();
                push_number(&mut text, number);
                prop_assert_eq!(text, format!("{number:.4}"));
            }
        }
    }
}
