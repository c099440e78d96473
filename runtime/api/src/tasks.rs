//! A task and what came of it, as the control API writes them.

use crate::error::ErrorDetail;
use crate::millis;
use engine::request::TaskView;
use engine::task::{
    FinishReason, Outcome, ResultSummary, TaskKind, TaskOutput, TaskResult, TaskStatus, Truncation,
};
use engine::{Fingerprint, NodeId, TaskId, TraceId};
use serde::{Deserialize, Serialize};

/// A part of the tasks, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// How many there are in all, of those asked for.
    pub total: u32,
    /// The part asked for.
    pub tasks: Vec<Task>,
}

/// The name of an accepted task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The task's name.
    pub id: TaskId,
    /// How it stands.
    pub status: TaskStatus,
}

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The kind of work.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// How it stands.
    pub status: TaskStatus,
    /// When it was accepted.
    pub submitted_at: String,
    /// From acceptance to now, or to the outcome.
    pub elapsed_ms: u64,
    /// Attempts begun.
    pub attempts: u32,
    /// The node that runs it or that made its outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<NodeId>,
    /// The first 100 characters of the input.
    pub preview: String,
    /// Tokens so far, of a generation that has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// The most that there will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How much longer it will take, by what was measured; only while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// Terminal tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Summary>,
}

/// How a task ended, without its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// When it ended.
    pub completed_at: String,
    /// When it will be forgotten.
    pub expires_at: String,
    /// Time spent computing.
    pub execution_ms: f64,
    /// Size of the output as stored.
    pub output_bytes: u64,
    /// The first 100 characters of the output.
    #[serde(default)]
    pub output_preview: String,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
    /// Ties the steps of the task together across nodes.
    pub trace_id: TraceId,
}

/// How a task ended, with its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultBody {
    /// The task's name.
    pub id: TaskId,
    /// The kind of work.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// The model's name.
    pub model: String,
    /// Which model that was; completed tasks only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The terminal status.
    pub status: TaskStatus,
    /// The node that made the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<NodeId>,
    /// When it was accepted.
    pub submitted_at: String,
    /// From acceptance to the outcome.
    pub elapsed_ms: u64,
    /// Attempts made.
    pub attempts: u32,
    /// How it ended.
    #[serde(flatten)]
    pub summary: Summary,
    /// Completed tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputBody>,
}

/// What a completed task produced; its `type` is that of the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutputBody {
    /// Of a classification.
    Classification {
        /// The most probable label.
        label: String,
        /// All labels, most probable first.
        scores: Vec<Score>,
        /// What the model did not read.
        #[serde(flatten)]
        dropped: Dropped,
    },
    /// Of an embedding of one input.
    Embedding {
        /// The vector's components.
        vector: Vec<f32>,
        /// Tokens of the input that the model saw.
        tokens: u32,
        /// What it did not see.
        #[serde(flatten)]
        dropped: Dropped,
    },
    /// Of an embedding of several inputs.
    Embeddings {
        /// A vector for each input, in their order.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs together that the model saw.
        tokens: u32,
        /// What it did not see.
        #[serde(flatten)]
        dropped: Dropped,
    },
    /// Of a generation.
    Generation {
        /// The text, without the prompt.
        text: String,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens produced.
        tokens: u32,
        /// Why there is no more: `stop` or `length`.
        finish_reason: FinishReason,
    },
    /// Of a reranking.
    Reranking {
        /// How well each text answers the query, in their order.
        scores: Vec<f32>,
        /// Tokens of all pairs together that the model saw.
        tokens: u32,
        /// What it did not see.
        #[serde(flatten)]
        dropped: Dropped,
    },
}

/// What a model did not read of inputs that have too many tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Tokens in all; none where all was read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_tokens: u64,
    /// The inputs that were cut, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<TruncatedInput>,
}

/// An input that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruncatedInput {
    /// Its number, counted from 0; of a classification 0 is the text, and the labels follow.
    pub index: u32,
    /// Tokens of it that the model did not see.
    pub dropped_tokens: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as the derive calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Dropped {
    fn from_truncations(truncated: &[Truncation]) -> Self {
        let input = |it: &Truncation| TruncatedInput { index: it.input, dropped_tokens: it.dropped };
        Self {
            dropped_tokens: truncated.iter().map(|it| u64::from(it.dropped)).sum(),
            truncated: truncated.iter().map(input).collect(),
        }
    }
}

/// One label of a classification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The label.
    pub label: String,
    /// Its probability.
    pub score: f32,
}

impl From<TaskView> for Task {
    fn from(view: TaskView) -> Self {
        Self {
            id: view.id,
            kind: view.kind,
            model: view.model,
            status: view.status,
            submitted_at: view.submitted_at.to_string(),
            elapsed_ms: view.elapsed_millis,
            attempts: view.attempts,
            worker: view.worker,
            preview: view.preview,
            tokens: view.tokens.map(|tokens| tokens.produced),
            max_tokens: view.tokens.map(|tokens| tokens.most),
            remaining_ms: view.remaining_millis,
            result: view.result.as_ref().map(Summary::from),
        }
    }
}

impl From<&ResultSummary> for Summary {
    fn from(summary: &ResultSummary) -> Self {
        Self {
            completed_at: summary.completed_at.to_string(),
            expires_at: summary.expires_at.to_string(),
            execution_ms: millis(summary.execution_micros),
            output_bytes: summary.output_bytes,
            output_preview: summary.output_preview.clone(),
            error: summary.failure.as_ref().map(|failure| ErrorDetail {
                code: failure.code().to_owned(),
                message: failure.to_string(),
                hint: None,
            }),
            trace_id: summary.trace,
        }
    }
}

impl From<TaskResult> for ResultBody {
    fn from(result: TaskResult) -> Self {
        let summary = result.summary;
        Self {
            id: summary.id,
            kind: summary.kind,
            status: summary.status,
            worker: summary.worker,
            submitted_at: summary.submitted_at.to_string(),
            elapsed_ms: summary.completed_at.0.saturating_sub(summary.submitted_at.0),
            attempts: summary.attempts,
            summary: Summary::from(&summary),
            model: summary.model,
            fingerprint: result.fingerprint,
            output: match result.outcome {
                Outcome::Completed(output) => Some(OutputBody::from(output)),
                Outcome::Cancelled | Outcome::Failed(_) | Outcome::Timeout => None,
            },
        }
    }
}

impl From<TaskOutput> for OutputBody {
    fn from(output: TaskOutput) -> Self {
        match output {
            TaskOutput::Classification { label, scores, truncated } => Self::Classification {
                label,
                scores: scores.into_iter().map(|(label, score)| Score { label, score }).collect(),
                dropped: Dropped::from_truncations(&truncated),
            },
            TaskOutput::Embedding { mut vectors, tokens, truncated } if vectors.len() == 1 => {
                let vector = vectors.pop().unwrap_or_default();
                Self::Embedding { vector, tokens, dropped: Dropped::from_truncations(&truncated) }
            }
            TaskOutput::Embedding { vectors, tokens, truncated } => {
                Self::Embeddings { vectors, tokens, dropped: Dropped::from_truncations(&truncated) }
            }
            TaskOutput::Generation { text, prompt_tokens, tokens, finish } => {
                Self::Generation { text, prompt_tokens, tokens, finish_reason: finish }
            }
            TaskOutput::Ranking { scores, tokens, truncated, .. }
            | TaskOutput::Reranking { scores, tokens, truncated } => {
                Self::Reranking { scores, tokens, dropped: Dropped::from_truncations(&truncated) }
            }
        }
    }
}
