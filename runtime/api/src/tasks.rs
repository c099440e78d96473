//! Tasks, their results and their outputs.

use crate::error::ErrorDetail;
use crate::millis;
use engine::request::TaskView;
use engine::task::{
    FinishReason, Outcome, ResultSummary, TaskKind, TaskOutput, TaskResult, TaskStatus, Truncation, WaitsFor,
};
use engine::{Fingerprint, NodeId, NodeName, TaskId, TraceId};
use serde::{Deserialize, Serialize};

/// A page of tasks, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// Number of tasks that match the filter, on all pages.
    pub total: u32,
    /// The tasks of this page.
    pub tasks: Vec<Task>,
}

/// Response to a submission: the accepted task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Id of the task.
    pub id: TaskId,
    /// Status of the task.
    pub status: TaskStatus,
}

/// Status of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Id of the task.
    pub id: TaskId,
    /// Task type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Name of the model.
    pub model: String,
    /// Status of the task.
    pub status: TaskStatus,
    /// When the origin accepted the task.
    pub submitted_at: String,
    /// Time from acceptance until now or until the outcome.
    pub elapsed_ms: u64,
    /// Attempts started.
    pub attempts: u32,
    /// Node that runs the task or produced its outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<NodeId>,
    /// Name of that node; absent if it is not known.
    #[serde(default, skip_serializing_if = "NodeName::is_empty")]
    pub worker_name: NodeName,
    /// The first 100 characters of the input.
    pub preview: String,
    /// What a queued task waits for; absent if it is not queued, or was accepted just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// Tokens produced so far by a running generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// Maximum tokens of a running generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Estimated remaining time of a running task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// How the task ended; present once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Summary>,
}

/// How a task ended, without its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// When the task ended.
    pub completed_at: String,
    /// When the result expires.
    pub expires_at: String,
    /// Compute time.
    pub execution_ms: f64,
    /// Size of the stored output.
    pub output_bytes: u64,
    /// The first 100 characters of the output.
    #[serde(default)]
    pub output_preview: String,
    /// Why the task failed; failed tasks, and those that timed out before they started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
    /// Trace id that connects all steps of the task across nodes.
    pub trace_id: TraceId,
}

/// How a task ended, with its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultBody {
    /// Id of the task.
    pub id: TaskId,
    /// Task type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Name of the model.
    pub model: String,
    /// Fingerprint of the model; completed tasks only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The terminal status.
    pub status: TaskStatus,
    /// Node that produced the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<NodeId>,
    /// Name of that node; absent if it is not known.
    #[serde(default, skip_serializing_if = "NodeName::is_empty")]
    pub worker_name: NodeName,
    /// When the origin accepted the task.
    pub submitted_at: String,
    /// Time from acceptance to the outcome.
    pub elapsed_ms: u64,
    /// Attempts started.
    pub attempts: u32,
    /// How the task ended.
    #[serde(flatten)]
    pub summary: Summary,
    /// Output; completed tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputBody>,
}

/// Output of a completed task; its form follows from the task type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutputBody {
    /// Output of a classification.
    Classification {
        /// The most probable label.
        label: String,
        /// All labels, most probable first.
        scores: Vec<Score>,
        /// Tokens that the model did not see.
        #[serde(flatten)]
        dropped: Dropped,
    },
    /// Output of an embedding of one input.
    Embedding {
        /// Components of the vector.
        vector: Vec<f32>,
        /// Tokens of the input that the model saw.
        tokens: u32,
        /// Tokens that the model did not see.
        #[serde(flatten)]
        dropped: Dropped,
    },
    /// Output of an embedding of several inputs.
    Embeddings {
        /// One vector for each input, in input order.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs that the model saw.
        tokens: u32,
        /// Tokens that the model did not see.
        #[serde(flatten)]
        dropped: Dropped,
    },
    /// Output of a generation.
    Generation {
        /// Generated text, without the prompt.
        text: String,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens produced.
        tokens: u32,
        /// Why the generation ended: `stop` or `length`.
        finish_reason: FinishReason,
    },
    /// Output of a reranking.
    Reranking {
        /// Relevance of each text to the query, in input order.
        scores: Vec<f32>,
        /// Tokens of all pairs that the model saw.
        tokens: u32,
        /// Tokens that the model did not see.
        #[serde(flatten)]
        dropped: Dropped,
    },
}

/// Tokens that were truncated from inputs longer than the model accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Truncated tokens of all inputs; absent if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_tokens: u64,
    /// Truncated inputs, in input order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<TruncatedInput>,
}

/// A truncated input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruncatedInput {
    /// Index of the input, from 0. In a classification the text is 0 and the labels follow.
    pub index: u32,
    /// Tokens of the input that the model did not see.
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
    /// Probability of the label.
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
            elapsed_ms: view.result.as_ref().map_or(view.elapsed_millis, elapsed_millis),
            attempts: view.attempts,
            worker: view.worker,
            worker_name: view.worker_name,
            preview: view.preview,
            waits_for: view.waits_for,
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

/// Returns the time from acceptance to the outcome. The wall clock may be set in between, but no task takes less time
/// than its execution.
fn elapsed_millis(summary: &ResultSummary) -> u64 {
    let by_clock = summary.completed_at.0.saturating_sub(summary.submitted_at.0);
    by_clock.max(summary.execution_micros.div_ceil(1000))
}

impl From<TaskResult> for ResultBody {
    fn from(result: TaskResult) -> Self {
        let summary = result.summary;
        Self {
            id: summary.id,
            kind: summary.kind,
            status: summary.status,
            worker: summary.worker,
            worker_name: NodeName::default(),
            submitted_at: summary.submitted_at.to_string(),
            elapsed_ms: elapsed_millis(&summary),
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
