//! `/v1/chat/completions` and `/v1/completions`: a generation for each answer to each prompt, whole or piece by piece as
//! they are written.

mod request;
mod stream;

use self::request::{Asked, Settings};
use super::error::OpenAiError;
use crate::http::error::ApiError;
use crate::http::fields;
use crate::http::limits::GENERATION_SECS_MAX;
use crate::http::node_client::{internal, unexpected_output};
use crate::http::state::Api;
use crate::http::task_runner::{self, Part};
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
    let asked: Asked = fields::read(&headers, &bytes, "a request for a chat completion", fields::CHAT)?;
    drop(bytes);
    let (prompts, settings) = asked.chat()?;
    create(api, Shape::Chat, prompts, settings).await
}

pub(super) async fn text(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, OpenAiError> {
    let asked: Asked = fields::read(&headers, &bytes, "a request for a completion", fields::COMPLETION)?;
    drop(bytes);
    let (prompts, settings) = asked.text()?;
    create(api, Shape::Text, prompts, settings).await
}

async fn create(
    api: Api,
    shape: Shape,
    prompts: Vec<Prompt>,
    settings: Settings,
) -> Result<Response, OpenAiError> {
    let specs = specs(prompts, &settings);
    if settings.stream {
        // Before the first of them costs anything.
        let parts = task_runner::parts(&specs);
        let check = |(spec, part): (&TaskSpec, Part)| part.check(&spec.input);
        specs.iter().zip(parts).try_for_each(check).map_err(|error| shape.about_input(error))?;
        let stream = stream::begin(api, shape, specs, settings.answers, settings.include_usage).await?;
        return Ok(stream.into_response());
    }
    let results = task_runner::run_all(&api, specs, TASKS_AT_ONCE).await;
    let results = results.map_err(|error| shape.about_input(error))?;
    let head = results.first().map(|(_, result)| Head {
        shape,
        task: result.summary.id,
        model: result.summary.model.clone(),
        created: result.summary.submitted_at.0 / 1000,
    });
    let head = head.ok_or_else(|| internal("internal_error", unexpected_output()))?;
    let written = results.into_iter().map(|(part, result)| {
        Written::of(task_runner::output(part, result).map_err(|error| shape.about_input(error))?)
    });
    let written: Vec<Written> = written.collect::<Result<_, OpenAiError>>()?;
    Ok(Json(head.whole(&written, settings.answers)).into_response())
}

/// Returns a task for each answer to each prompt, those to one prompt next to each other.
fn specs(prompts: Vec<Prompt>, settings: &Settings) -> Vec<TaskSpec> {
    let numbered = |prompt| (0..settings.answers as u64).map(move |number| (Prompt::clone(&prompt), number));
    let spec = |(prompt, number)| TaskSpec {
        input: TaskInput::Generation(Box::new(Generation {
            prompt,
            max_tokens: settings.max_tokens,
            temperature_thousandths: settings.temperature_thousandths,
            top_p_thousandths: settings.top_p_thousandths,
            top_k: settings.top_k,
            // Answers to one prompt are to differ, and the same ones are to come again.
            seed: settings.seed.map(|seed| seed.wrapping_add(number)),
            stop: settings.stop.clone(),
        })),
        model: settings.model.clone(),
        timeout: TASK_TIMEOUT,
    };
    prompts.into_iter().flat_map(numbered).map(spec).collect()
}

/// Which of the two routes' shapes an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Chat,
    Text,
}

impl Shape {
    /// Names the field that an error about an input is about.
    fn about_input(self, error: ApiError) -> ApiError {
        match self {
            _ if !error.is_of_input() => error,
            Self::Chat => error.about("messages"),
            Self::Text => error.about("prompt"),
        }
    }
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
            | TaskOutput::Ranking { .. }
            | TaskOutput::Reranking { .. } => Err(internal("internal_error", unexpected_output()).into()),
        }
    }
}

/// What a request cost.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    prompt_tokens: u64,
    tokens: u64,
}

impl Usage {
    /// Counts one more answer; a prompt counts once, however many there are to it.
    fn add(&mut self, written: &Written, first_to_prompt: bool) {
        self.tokens += u64::from(written.tokens);
        if first_to_prompt {
            self.prompt_tokens += u64::from(written.prompt_tokens);
        }
    }

    fn body(self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
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
    /// Returns all answers, of which so many each are to the same prompt.
    fn whole(&self, written: &[Written], answers: usize) -> Value {
        let mut usage = Usage::default();
        let choices = written.iter().enumerate().map(|(index, written)| {
            usage.add(written, index.is_multiple_of(answers));
            self.choice(index, written)
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

    fn choice(&self, index: usize, written: &Written) -> Value {
        let finish = written.finish.as_str();
        match self.shape {
            Shape::Chat => json!({
                "index": index,
                "message": {"role": "assistant", "content": written.text, "refusal": null},
                "logprobs": null,
                "finish_reason": finish,
            }),
            Shape::Text => {
                json!({"index": index, "text": written.text, "logprobs": null, "finish_reason": finish})
            }
        }
    }

    /// Returns a piece of an answer: the first names the role, the last says why there is no more.
    fn chunk(&self, index: usize, text: Option<&str>, first: bool, finish: Option<FinishReason>) -> Value {
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

    /// Returns the piece after the last, which says what it all cost.
    fn usage_chunk(&self, usage: Usage) -> Value {
        let mut chunk = self.with_choices(self.chunk_object(), json!([]));
        chunk["usage"] = usage.body();
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

/// Generations of one request that wait or run at the same time: one client leaves room for others.
const TASKS_AT_ONCE: usize = 8;
/// How long a generation may take.
const TASK_TIMEOUT: Duration = Duration::from_secs(GENERATION_SECS_MAX);
