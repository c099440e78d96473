//! `/v1/chat/completions` and `/v1/completions`: one generation, whole or piece by piece as it is written.

mod asked;
mod stream;

use self::asked::{ChatAsked, Settings, TextAsked};
use super::error::OpenAiError;
use crate::http::api::{internal, unexpected_output};
use crate::http::{Api, body, errand};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use engine::TaskId;
use engine::task::{FinishReason, Generation, Prompt, TaskInput, TaskOutput, TaskSpec};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) async fn chat(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, OpenAiError> {
    let asked: ChatAsked = body::json(&headers, &bytes, "a request for a chat completion")?;
    let (prompt, settings) = asked.read()?;
    create(api, Shape::Chat, prompt, settings).await
}

pub(super) async fn text(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, OpenAiError> {
    let asked: TextAsked = body::json(&headers, &bytes, "a request for a completion")?;
    let (prompt, settings) = asked.read()?;
    create(api, Shape::Text, prompt, settings).await
}

async fn create(api: Api, shape: Shape, prompt: Prompt, settings: Settings) -> Result<Response, OpenAiError> {
    let spec = TaskSpec {
        input: TaskInput::Generation(Box::new(Generation {
            prompt,
            max_tokens: settings.max_tokens,
            temperature_thousandths: settings.temperature_thousandths,
            top_p_thousandths: settings.top_p_thousandths,
            top_k: settings.top_k,
            seed: settings.seed,
            stop: settings.stop,
        })),
        model: settings.model,
        timeout: TASK_TIMEOUT,
    };
    if settings.stream {
        return Ok(stream::begin(api, shape, spec, settings.include_usage).await?.into_response());
    }
    let result = errand::run(api, spec).await?;
    let head = Head {
        shape,
        task: result.summary.id,
        model: result.summary.model.clone(),
        created: result.summary.submitted_at.0 / 1000,
    };
    let written = Written::of(errand::output(result)?)?;
    Ok(Json(head.whole(&written)).into_response())
}

/// Which of the two routes' shapes an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Chat,
    Text,
}

/// What a generation has written.
#[derive(Debug)]
struct Written {
    text: String,
    prompt_tokens: u32,
    tokens: u32,
    finish: FinishReason,
}

impl Written {
    fn of(output: TaskOutput) -> Result<Self, OpenAiError> {
        match output {
            TaskOutput::Generation { text, prompt_tokens, tokens, finish } => {
                Ok(Self { text, prompt_tokens, tokens, finish })
            }
            TaskOutput::Classification { .. }
            | TaskOutput::Embedding { .. }
            | TaskOutput::Reranking { .. } => Err(internal("internal_error", unexpected_output()).into()),
        }
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": u64::from(self.prompt_tokens) + u64::from(self.tokens),
        })
    }
}

/// What every answer to one request begins with.
#[derive(Clone, Debug)]
struct Head {
    shape: Shape,
    task: TaskId,
    model: String,
    /// In seconds.
    created: u64,
}

impl Head {
    /// Returns a whole answer.
    fn whole(&self, written: &Written) -> Value {
        let finish = written.finish.as_str();
        let choice = match self.shape {
            Shape::Chat => json!({
                "index": 0,
                "message": {"role": "assistant", "content": written.text, "refusal": null},
                "logprobs": null,
                "finish_reason": finish,
            }),
            Shape::Text => {
                json!({"index": 0, "text": written.text, "logprobs": null, "finish_reason": finish})
            }
        };
        let object = match self.shape {
            Shape::Chat => "chat.completion",
            Shape::Text => "text_completion",
        };
        let mut answer = self.with_choices(object, json!([choice]));
        answer["usage"] = written.usage();
        answer
    }

    /// Returns a piece of an answer: the first names the role, the last says why there is no more.
    fn chunk(&self, text: Option<&str>, first: bool, finish: Option<FinishReason>) -> Value {
        let finish = finish.map(FinishReason::as_str);
        let choice = match self.shape {
            Shape::Chat => {
                let delta = match text {
                    Some(text) if first => json!({"role": "assistant", "content": text}),
                    Some(text) => json!({"content": text}),
                    None => json!({}),
                };
                json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish})
            }
            Shape::Text => {
                let text = text.unwrap_or_default();
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish})
            }
        };
        self.with_choices(self.chunk_object(), json!([choice]))
    }

    /// Returns the piece after the last, which says what it all cost.
    fn usage_chunk(&self, written: &Written) -> Value {
        let mut chunk = self.with_choices(self.chunk_object(), json!([]));
        chunk["usage"] = written.usage();
        chunk
    }

    const fn chunk_object(&self) -> &'static str {
        match self.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Text => "text_completion",
        }
    }

    fn with_choices(&self, object: &str, choices: Value) -> Value {
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

/// How long a generation may take.
const TASK_TIMEOUT: Duration = Duration::from_secs(super::GENERATION_SECS_MAX);
