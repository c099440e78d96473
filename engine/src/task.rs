//! The words of a task: what is asked, how it stands, how it ended.

mod input;

pub(crate) use input::preview;
pub use input::{
    CHAT_MESSAGES_MAX, ChatMessage, ChatRole, Classification, EMBEDDING_INPUTS_MAX, EMBEDDING_TOKENS_MAX,
    EmbeddingInput, Generation, InputFault, LABEL_BYTES_MAX, LABELS_MAX, MAX_TOKENS_DEFAULT, MAX_TOKENS_MAX,
    Prompt, RERANKING_TEXTS_MAX, Reranking, STOP_BYTES_MAX, STOPS_MAX, TEMPERATURE_MAX, TaskInput,
};

use crate::ids::{Fingerprint, NodeId, TaskId, TraceId};
use crate::model::ModelChoice;
use crate::time::UnixMillis;
use core::fmt::{self, Write as _};
use core::time::Duration;
use serde::{Deserialize, Deserializer, Serialize};

/// The kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Text to a label with scores.
    Classification,
    /// Text to a vector.
    Embedding,
    /// Prompt to text, token by token.
    Generation,
    /// A query and texts to how well each of them answers it.
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

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// What to work on, and so the kind of work.
    pub input: TaskInput,
    /// The model's name; `None` lets the node choose its primary model for the kind.
    pub model: Option<String>,
    /// How long the task may take from acceptance to outcome.
    pub timeout: Duration,
}

impl TaskSpec {
    /// Returns the kind of work.
    pub const fn kind(&self) -> TaskKind {
        self.input.kind()
    }
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskStatus {
    /// Accepted and durable; waits for a worker.
    Queued,
    /// A worker has begun it.
    Running,
    /// Ended with an output.
    Completed,
    /// Ended with a reason.
    Failed,
    /// Ended because its time was over.
    Timeout,
    /// Ended because its user said so.
    Cancelled,
}

impl TaskStatus {
    /// Tells whether nothing can follow this status.
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

/// What a completed task produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutput {
    /// The chosen label, and every label with its probability.
    Classification {
        /// The most probable label.
        label: String,
        /// All labels, most probable first.
        scores: Vec<(String, f32)>,
        /// What the model did not read: of the text as number 0, of the labels asked for from 1 on.
        truncated: Vec<Truncation>,
    },
    /// A vector for each input; the model fixes their dimension.
    Embedding {
        /// The vectors, in the order of the inputs.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs together that the model saw.
        tokens: u32,
        /// Which inputs the model did not read to their end, in their order.
        truncated: Vec<Truncation>,
    },
    /// Generated text.
    Generation {
        /// The text, without the prompt.
        text: String,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens produced.
        tokens: u32,
        /// Why there is no more.
        finish: FinishReason,
    },
    /// How well each text answers the query, by scores alone.
    Reranking {
        /// A score for each text, in their order; the higher the better.
        scores: Vec<f32>,
        /// Tokens of all pairs together that the model saw.
        tokens: u32,
        /// Which texts the model did not read to their end, together with the query, in their order.
        truncated: Vec<Truncation>,
    },
    /// How well each text answers the query.
    Ranking {
        /// What the model computed for each text, in their order; the higher the better.
        logits: Vec<f32>,
        /// The score that its activation makes of each; far from zero many become equal.
        scores: Vec<f32>,
        /// Tokens of all pairs together that the model saw.
        tokens: u32,
        /// Which texts the model did not read to their end, together with the query, in their order.
        truncated: Vec<Truncation>,
    },
}

/// An input that has more tokens than its model takes, and was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncation {
    /// Its number among the task's inputs, counted from 0.
    pub input: u32,
    /// Tokens of it that the model did not see.
    pub dropped: u32,
}

impl TaskOutput {
    /// Returns the first characters of the output, for people.
    pub fn preview(&self) -> String {
        match self {
            Self::Classification { label, .. } => preview(label),
            Self::Embedding { vectors, .. } => preview_numbers(vectors.iter().flatten()),
            Self::Generation { text, .. } => preview(text),
            Self::Ranking { scores, .. } | Self::Reranking { scores, .. } => preview_numbers(scores.iter()),
        }
    }

    /// Returns which inputs the model did not read to their end.
    pub fn truncated(&self) -> &[Truncation] {
        match self {
            Self::Classification { truncated, .. }
            | Self::Embedding { truncated, .. }
            | Self::Ranking { truncated, .. }
            | Self::Reranking { truncated, .. } => truncated,
            // A prompt that is too long is refused.
            Self::Generation { .. } => &[],
        }
    }

    /// Returns how many tokens of its inputs the model did not see.
    pub fn dropped_tokens(&self) -> u64 {
        self.truncated().iter().map(|truncation| u64::from(truncation.dropped)).sum()
    }

    /// Returns about how many bytes the output takes, on its way and on disk.
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

/// Writes a number with four decimals, rounded half to even, as `{:.4}` does in a tenth of the time.
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

/// More numbers than fit a preview.
const PREVIEW_NUMBERS: usize = 16;

/// Why a generation came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// As many tokens as were asked for, or as the model has room for.
    Length,
    /// The model ended its text, or a stop text came up.
    Stop,
}

impl FinishReason {
    /// Returns the reason's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
        }
    }
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskFailure {
    /// The model refused this input; the text says why.
    InputRejected(String),
    /// The model could not be loaded or run; the text says why.
    ModelFailed(String),
    /// Three attempts each ended with the death of whatever ran it.
    Poison,
    /// The model refused one of several inputs.
    PartRejected {
        /// Its number, counted from 0.
        part: u32,
        /// Why.
        reason: String,
    },
    /// The model that the request began with is no longer in the network.
    ModelChanged,
}

impl TaskFailure {
    /// Returns the reason's stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InputRejected(_) | Self::PartRejected { .. } => "input_rejected",
            Self::ModelFailed(_) => "model_failed",
            Self::Poison => "poison",
            Self::ModelChanged => "model_changed",
        }
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputRejected(why) => write!(f, "the model refused the input: {why}"),
            Self::ModelFailed(why) => write!(f, "the model failed: {why}"),
            Self::PartRejected { part, reason } => {
                write!(f, "the model refused input {part} (the first is 0): {reason}")
            }
            Self::Poison => f.write_str("every attempt ended with the death of its worker"),
            Self::ModelChanged => f.write_str(
                "the model was replaced by another one of the same name while the request ran; try again",
            ),
        }
    }
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its user cancelled it.
    Cancelled,
    /// It has an output.
    Completed(TaskOutput),
    /// It failed.
    Failed(TaskFailure),
    /// Its time was over.
    Timeout,
}

impl Outcome {
    /// Returns the status that this outcome gives its task.
    pub const fn status(&self) -> TaskStatus {
        match self {
            Self::Cancelled => TaskStatus::Cancelled,
            Self::Completed(_) => TaskStatus::Completed,
            Self::Failed(_) => TaskStatus::Failed,
            Self::Timeout => TaskStatus::Timeout,
        }
    }
}

/// A task that was accepted and has no outcome yet, as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTask {
    /// Its name.
    pub id: TaskId,
    /// What was asked; `model` is always filled in.
    pub spec: TaskSpec,
    /// When it was accepted.
    pub submitted_at: UnixMillis,
    /// Ties the steps of the task together across nodes.
    pub trace: TraceId,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Which model it is for; `None` while that is not known, and in records of earlier versions, which end here.
    #[serde(default, deserialize_with = "trailing")]
    pub choice: Option<ModelChoice>,
}

/// Reads the last field of a record, which is absent in those of earlier versions.
fn trailing<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer).unwrap_or_default())
}

/// A task's one terminal outcome, as it is kept on disk and shown to users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Everything but the outcome's body.
    pub summary: ResultSummary,
    /// The outcome.
    pub outcome: Outcome,
    /// The model that computed it; `None` where none did, and in records of earlier versions, which end here.
    #[serde(default, deserialize_with = "trailing")]
    pub fingerprint: Option<Fingerprint>,
}

/// What is known of a finished task without reading its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultSummary {
    /// The task's name.
    pub id: TaskId,
    /// The kind of work.
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// The terminal status.
    pub status: TaskStatus,
    /// Why it failed, if it did.
    pub failure: Option<TaskFailure>,
    /// The node that produced the outcome; `None` where no worker had a part in it.
    pub worker: Option<NodeId>,
    /// Time spent computing, in microseconds.
    pub execution_micros: u64,
    /// Attempts made.
    pub attempts: u32,
    /// When the task was accepted.
    pub submitted_at: UnixMillis,
    /// When it ended.
    pub completed_at: UnixMillis,
    /// When it will be forgotten.
    pub expires_at: UnixMillis,
    /// Size of the output in bytes, as stored.
    pub output_bytes: u64,
    /// The first 100 characters of the input.
    pub preview: String,
    /// The first 100 characters of the output; empty where there is none.
    pub output_preview: String,
    /// Ties the steps of the task together across nodes.
    pub trace: TraceId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_the_library_writes_them(bits in any::<u32>(), near in -2_000_000_i32..2_000_000) {
            // Any number, and such as lie between two of four decimals.
            for number in [f32::from_bits(bits), near as f32 / 65_536.0, near as f32 * 0.5] {
                let mut text = String::new();
                push_number(&mut text, number);
                prop_assert_eq!(text, format!("{number:.4}"));
            }
        }
    }
}
