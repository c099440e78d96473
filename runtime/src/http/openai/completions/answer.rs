//! Responses of the completion routes in OpenAI's shapes, whole or as chunks.

use crate::http::error::ApiError;
use crate::http::node_client::{internal, unexpected_output};
use crate::http::openai::error::OpenAiError;
use engine::TaskId;
use engine::task::{FinishReason, TaskOutput};
use serde_json::{Value, json};

/// Shape of a response: that of one of the two routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Text,
}

impl Shape {
    /// Sets the field of an error about an input.
    pub(super) fn about_input(self, error: ApiError) -> ApiError {
        match self {
            _ if !error.is_about_input() => error,
            Self::Chat => error.about("messages"),
            Self::Text => error.about("prompt"),
        }
    }
}

/// Output of a generation.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) text: String,
    pub(super) prompt_tokens: u32,
    pub(super) tokens: u32,
    pub(super) finish: FinishReason,
}

impl Completion {
    pub(super) fn from_output(output: TaskOutput) -> Result<Self, OpenAiError> {
        match output {
            TaskOutput::Generation { text, prompt_tokens, tokens, finish } => {
                Ok(Self { text, prompt_tokens, tokens, finish })
            }
            TaskOutput::Classification { .. }
            | TaskOutput::Embedding { .. }
            | TaskOutput::Ranking { .. }
            | TaskOutput::Reranking { .. } => Err(internal("internal_error", unexpected_output()).into()),
        }
    }
}

/// Token usage of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CompletionUsage {
    pub(super) prompt_tokens: u64,
    pub(super) tokens: u64,
}

impl CompletionUsage {
    /// Adds a choice; the prompt of several choices counts once.
    pub(super) fn add(&mut self, completion: &Completion, first_to_prompt: bool) {
        self.tokens += u64::from(completion.tokens);
        if first_to_prompt {
            self.prompt_tokens += u64::from(completion.prompt_tokens);
        }
    }

    pub(super) fn body(self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        })
    }
}

/// Common fields of a response and of all its chunks.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) shape: Shape,
    pub(super) task: TaskId,
    pub(super) model: String,
    /// In seconds.
    pub(super) created: u64,
}

impl Envelope {
    /// Returns the whole response, with `answers` choices for each prompt.
    pub(super) fn response(&self, completion: &[Completion], answers: usize) -> Value {
        let mut usage = CompletionUsage::default();
        let choices = completion.iter().enumerate().map(|(index, completion)| {
            usage.add(completion, index.is_multiple_of(answers));
            self.choice(index, completion)
        });
        let choices = Value::Array(choices.collect());
        let object = match self.shape {
            Shape::Chat => "chat.completion",
            Shape::Text => "text_completion",
        };
        let mut answer = self.with_choices(object, choices);
        answer["usage"] = usage.body();
        answer
    }

    pub(super) fn choice(&self, index: usize, completion: &Completion) -> Value {
        let finish = completion.finish.as_str();
        match self.shape {
            Shape::Chat => json!({
                "index": index,
                "message": {"role": "assistant", "content": completion.text, "refusal": null},
                "logprobs": null,
                "finish_reason": finish,
            }),
            Shape::Text => {
                json!({"index": index, "text": completion.text, "logprobs": null, "finish_reason": finish})
            }
        }
    }

    /// Returns a chunk of a choice: the first has the role, the last has the finish reason.
    pub(super) fn chunk(
        &self,
        index: usize,
        text: Option<&str>,
        first: bool,
        finish: Option<FinishReason>,
    ) -> Value {
        let finish = finish.map(FinishReason::as_str);
        let choice = match self.shape {
            Shape::Chat => {
                let delta = match text {
                    Some(text) if first => json!({"role": "assistant", "content": text}),
                    Some(text) => json!({"content": text}),
                    None => json!({}),
                };
                json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish})
            }
            Shape::Text => {
                let text = text.unwrap_or_default();
                json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish})
            }
        };
        self.with_choices(self.chunk_object(), json!([choice]))
    }

    /// Returns the final chunk, with the token usage.
    pub(super) fn usage_chunk(&self, usage: CompletionUsage) -> Value {
        let mut chunk = self.with_choices(self.chunk_object(), json!([]));
        chunk["usage"] = usage.body();
        chunk
    }

    pub(super) const fn chunk_object(&self) -> &'static str {
        match self.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Text => "text_completion",
        }
    }

    pub(super) fn with_choices(&self, object: &str, choices: Value) -> Value {
        let prefix = match self.shape {
            Shape::Chat => "chatcmpl",
            Shape::Text => "cmpl",
        };
        json!({
            "id": format!("{prefix}-{}", self.task),
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}
