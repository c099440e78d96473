//! `/v1/chat/completions` and `/v1/completions`: one generation for each choice of each prompt, whole or streamed.

mod answer;
mod request;
mod stream;

use self::answer::{Completion, Envelope, Shape};
use self::request::{CompletionRequest, Settings};
use super::error::OpenAiError;
use crate::http::fields;
use crate::http::limits::{GENERATION_SECS_MAX, GENERATIONS_AT_ONCE};
use crate::http::node_client::{internal, unexpected_output};
use crate::http::state::Api;
use crate::http::task_runner::{self, Part};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use engine::task::{Generation, Prompt, TaskInput, TaskSpec};
use std::time::Duration;

pub(super) async fn chat(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, OpenAiError> {
    let request: CompletionRequest =
        fields::read(&headers, &bytes, "a request for a chat completion", fields::CHAT)?;
    drop(bytes);
    let (prompts, settings) = request.chat()?;
    create(api, Shape::Chat, prompts, settings).await
}

pub(super) async fn text(
    State(api): State<Api>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, OpenAiError> {
    let request: CompletionRequest =
        fields::read(&headers, &bytes, "a request for a completion", fields::COMPLETION)?;
    drop(bytes);
    let (prompts, settings) = request.text()?;
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
        // Checks all inputs before the first submission.
        let parts = task_runner::parts(&specs);
        let check = |(spec, part): (&TaskSpec, Part)| part.check(&spec.input);
        specs.iter().zip(parts).try_for_each(check).map_err(|error| shape.about_input(error))?;
        let stream = stream::begin(api, shape, specs, settings.answers, settings.include_usage).await?;
        return Ok(stream.into_response());
    }
    let results = task_runner::run_all(&api, specs, GENERATIONS_AT_ONCE).await;
    let results = results.map_err(|error| shape.about_input(error))?;
    let envelope = results.first().map(|(_, result)| Envelope {
        shape,
        task: result.summary.id,
        model: result.summary.model.clone(),
        created: result.summary.submitted_at.0 / 1000,
    });
    let envelope = envelope.ok_or_else(|| internal("internal_error", unexpected_output()))?;
    let completions = results.into_iter().map(|(part, result)| {
        Completion::from_output(task_runner::output(part, result).map_err(|error| shape.about_input(error))?)
    });
    let completions: Vec<Completion> = completions.collect::<Result<_, OpenAiError>>()?;
    Ok(Json(envelope.response(&completions, settings.answers)).into_response())
}

/// Returns one task for each choice; those of one prompt are adjacent.
fn specs(prompts: Vec<Prompt>, settings: &Settings) -> Vec<TaskSpec> {
    let numbered = |prompt| (0..settings.answers as u64).map(move |number| (Prompt::clone(&prompt), number));
    let spec = |(prompt, number)| TaskSpec {
        input: TaskInput::Generation(Box::new(Generation {
            prompt,
            max_tokens: settings.max_tokens,
            temperature_thousandths: settings.temperature_thousandths,
            top_p_thousandths: settings.top_p_thousandths,
            top_k: settings.top_k,
            // Choices of one prompt must differ, and the same seed must reproduce them.
            seed: settings.seed.map(|seed| seed.wrapping_add(number)),
            stop: settings.stop.clone(),
        })),
        model: settings.model.clone(),
        timeout: TASK_TIMEOUT,
    };
    prompts.into_iter().flat_map(numbered).map(spec).collect()
}

/// Timeout of a generation.
const TASK_TIMEOUT: Duration = Duration::from_secs(GENERATION_SECS_MAX);
