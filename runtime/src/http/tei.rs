//! API of Hugging Face's text-embeddings-inference (TEI): `/embed`, `/predict`, `/rerank`, `/info`, `/health`, and `/`
//! for `/embed`.
//!
//! Long texts are truncated and headers say which, unless the request has `truncate: false`. Vectors are normalised
//! unless the request has `normalize: false`. Without a cross-encoder in the mesh, the scores of `/rerank` are cosine
//! similarities.
//!
//! Shapes: <https://huggingface.github.io/text-embeddings-inference>.

use super::error::ApiError;
use super::fields::{Integer, Truncate};
use super::input::refuse_empty;
use super::limits::{CONNECTIONS_MAX, LARGE_BODY_BYTES_MAX};
use super::node_client::{ask, internal, unexpected, unexpected_output};
use super::state::Api;
use super::truncated::TruncationReport;
use super::{body, embedding_batch, fields, prompts, rerank, task_runner};
use crate::inference::{EncoderInfo, EncoderOutput};
use api::InputBody;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use engine::Rejection;
use engine::lifecycle::State as NodeState;
use engine::request::{Request as NodeRequest, Response as NodeResponse};
use engine::task::{Classification, EmbeddingInput, TaskInput, TaskKind, TaskOutput, TaskSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Returns the routes.
pub(super) fn router(api: &Api) -> Router<Api> {
    Router::new()
        .route("/", post(embed))
        .route("/embed", post(embed))
        .route("/predict", post(predict))
        .route("/rerank", post(rerank))
        .route("/info", get(info))
        .layer(from_fn_with_state(api.clone(), gate))
        // Health checks have no token.
        .route("/health", get(health))
}

/// Error in TEI's shape.
#[derive(Debug)]
struct TeiError(ApiError);

async fn gate(State(api): State<Api>, request: Request, next: Next) -> Result<Response, TeiError> {
    api.authorize(&request)?;
    Ok(next.run(body::whole(request, LARGE_BODY_BYTES_MAX).await?).await)
}

#[derive(Deserialize)]
struct EmbedRequest {
    inputs: InputBody,
    normalize: Option<bool>,
    dimensions: Option<Integer>,
    truncate: Option<Truncate>,
    prompt_name: Option<String>,
    /// Extension: the model; by default the node chooses.
    model: Option<String>,
}

async fn embed(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<Response, TeiError> {
    let mut request: EmbedRequest = fields::read(&headers, &bytes, "a request to embed", fields::TEI_EMBED)?;
    drop(bytes);
    let truncate = truncates(request.truncate.as_ref())?;
    let mut inputs = request.inputs.into_inputs();
    check_count(inputs.len())?;
    refuse_empty(&inputs).map_err(|fault| TeiError::invalid(&fault.to_string()))?;
    if let Some(name) = &request.prompt_name {
        prompts::prepend(&api, &mut request.model, name, &mut inputs).await?;
    }
    let inputs = if truncate { inputs } else { inputs.into_iter().map(EmbeddingInput::whole).collect() };
    let mut batch = embedding_batch::embed(&api, request.model, inputs)
        .await
        .map_err(|error| too_long(error, truncate))?;
    match request.dimensions {
        // A negative number is as invalid as 0.
        Some(dimensions) => batch
            .shorten(dimensions.count().unwrap_or_default())
            .map_err(|error| TeiError::invalid(&error.to_string()))?,
        None if request.normalize == Some(false) => {}
        None => batch.normalize(),
    }
    Ok(batch.truncated.attach_to(Json(batch.vectors)))
}

fn truncates(truncate: Option<&Truncate>) -> Result<bool, TeiError> {
    Ok(truncate.map_or(Ok(true), Truncate::read)?)
}

/// Gives the rejection of a long text the status that TEI has.
fn too_long(error: ApiError, truncate: bool) -> ApiError {
    if error.code() == "input_rejected" && !truncate {
        return error.renamed(StatusCode::PAYLOAD_TOO_LARGE, "input_rejected");
    }
    error
}

#[derive(Deserialize)]
struct PredictRequest {
    inputs: Texts,
    raw_scores: Option<bool>,
    truncate: Option<Truncate>,
    /// Extension: the model; by default the node chooses.
    model: Option<String>,
}

/// One text, or a batch of lists with one text each. Lists of two texts are pairs, which are not supported.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    Batch(Vec<Vec<String>>),
    One(String),
    Pair(serde::de::IgnoredAny),
}

#[derive(Serialize)]
struct Prediction {
    label: String,
    score: f32,
}

async fn predict(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<Response, TeiError> {
    let request: PredictRequest =
        fields::read(&headers, &bytes, "a request to predict", fields::TEI_PREDICT)?;
    drop(bytes);
    if request.raw_scores == Some(true) {
        return Err(TeiError::invalid("raw_scores = true is not supported here"));
    }
    let truncate = truncates(request.truncate.as_ref())?;
    let no_pairs = || TeiError::invalid("pairs of texts are not supported here");
    let one = |mut texts: Vec<String>| if texts.len() == 1 { texts.pop() } else { None };
    let (texts, is_batch) = match request.inputs {
        Texts::One(text) => (vec![text], false),
        Texts::Batch(lists) => {
            let texts: Option<Vec<String>> = lists.into_iter().map(one).collect();
            (texts.ok_or_else(no_pairs)?, true)
        }
        Texts::Pair(serde::de::IgnoredAny) => return Err(no_pairs()),
    };
    check_count(texts.len())?;
    let batch = predictions(&api, request.model, texts, truncate).await;
    let (mut predictions, truncated) = batch.map_err(|error| too_long(error, truncate))?;
    if is_batch {
        return Ok(truncated.attach_to(Json(predictions)));
    }
    let only = predictions.pop().ok_or_else(|| internal("internal_error", unexpected_output()))?;
    Ok(truncated.attach_to(Json(only)))
}

/// Classifies each text with the model's own labels.
async fn predictions(
    api: &Api,
    model: Option<String>,
    texts: Vec<String>,
    truncate: bool,
) -> Result<(Vec<Vec<Prediction>>, TruncationReport), ApiError> {
    let spec = |text| TaskSpec {
        input: TaskInput::Classification(Classification { text, labels: Vec::new(), truncate }),
        model: model.clone(),
        timeout: TASK_TIMEOUT,
    };
    let specs = texts.into_iter().map(spec).collect();
    let (mut batch, mut all_truncated) = (Vec::new(), TruncationReport::default());
    for (part, result) in task_runner::run_all(api, specs, TASKS_AT_ONCE).await? {
        match task_runner::output(part, result)? {
            TaskOutput::Classification { scores, truncated, .. } => {
                all_truncated.add(part.first, &truncated);
                batch.push(scores.into_iter().map(|(label, score)| Prediction { label, score }).collect());
            }
            TaskOutput::Embedding { .. }
            | TaskOutput::Generation { .. }
            | TaskOutput::Ranking { .. }
            | TaskOutput::Reranking { .. } => {
                return Err(internal("internal_error", unexpected_output()));
            }
        }
    }
    Ok((batch, all_truncated))
}

#[derive(Deserialize)]
struct RerankRequest {
    query: String,
    texts: Vec<String>,
    return_text: Option<bool>,
    raw_scores: Option<bool>,
    truncate: Option<Truncate>,
    /// Extension: the model; by default the node chooses.
    model: Option<String>,
}

#[derive(Serialize)]
struct Rank {
    index: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

async fn rerank(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<Response, TeiError> {
    let request: RerankRequest = fields::read(&headers, &bytes, "a request to rerank", fields::TEI_RERANK)?;
    drop(bytes);
    check_count(request.texts.len())?;
    if request.query.is_empty() {
        return Err(TeiError::invalid("the query is empty"));
    }
    let truncate = truncates(request.truncate.as_ref())?;
    let mut texts = if request.return_text == Some(true) { request.texts.clone() } else { Vec::new() };
    let scores = rerank::score(&api, request.model, request.query, request.texts, truncate).await;
    let mut scores = scores.map_err(|error| too_long(error, truncate))?;
    scores.set_raw(request.raw_scores == Some(true));
    let rank = |(index, score)| Rank { index, score, text: texts.get_mut(index).map(std::mem::take) };
    let best: Vec<Rank> = scores.best_first().into_iter().map(rank).collect();
    Ok(scores.truncated.attach_to(Json(best)))
}

async fn info(State(api): State<Api>) -> Result<Json<Value>, TeiError> {
    let reply = ask(&api, NodeRequest::Status).await?;
    let NodeResponse::Status(status) = reply else { return Err(unexpected(&reply).into()) };
    let (model, outline) = described(&api).await?.unzip();
    let outline = outline.flatten();
    let outline = outline.as_ref();
    Ok(Json(json!({
        "model_id": model,
        "model_sha": null,
        "model_dtype": outline.map(|outline| outline.number_type),
        "model_type": model_type(outline.map(|outline| &outline.output)),
        "max_concurrent_requests": CONNECTIONS_MAX,
        "max_input_length": outline.map(|outline| outline.tokens_max),
        "max_batch_tokens": outline.map(|outline| outline.pass_tokens_max),
        "max_batch_requests": null,
        "max_client_batch_size": embedding_batch::INPUTS_MAX,
        "auto_truncate": true,
        "tokenization_workers": api.threads,
        "version": status.version,
        "sha": null,
        "docker_label": null,
    })))
}

/// Returns the model to describe, and its details if this node has it: this node's first model for embeddings, else
/// another node's, else this node's first for reranking or classification.
async fn described(api: &Api) -> Result<Option<(String, Option<EncoderInfo>)>, TeiError> {
    if let Some(own) = api.models.first(TaskKind::Embedding).await {
        return Ok(Some(own));
    }
    let reply = ask(api, NodeRequest::Members).await?;
    let NodeResponse::Members(members) = reply else { return Err(unexpected(&reply).into()) };
    let mut others = members.into_iter().flat_map(|member| member.models);
    if let Some(model) = others.find(|model| model.kind == TaskKind::Embedding) {
        return Ok(Some((model.name, None)));
    }
    match api.models.first(TaskKind::Reranking).await {
        Some(own) => Ok(Some(own)),
        None => Ok(api.models.first(TaskKind::Classification).await),
    }
}

fn model_type(output: Option<&EncoderOutput>) -> Value {
    match output {
        None => json!({"embedding": {"pooling": null}}),
        Some(EncoderOutput::Vector(pooling)) => json!({"embedding": {"pooling": pooling}}),
        Some(EncoderOutput::Scores(labels)) => {
            let names: BTreeMap<String, &String> =
                labels.iter().enumerate().map(|(at, label)| (at.to_string(), label)).collect();
            let places: BTreeMap<&String, usize> =
                labels.iter().enumerate().map(|(at, label)| (label, at)).collect();
            let kind = if labels.len() == 1 { "reranker" } else { "classifier" };
            json!({kind: {"id2label": names, "label2id": places}})
        }
    }
}

/// Reports whether the node accepts tasks, in the words of llama.cpp's server and the error shape of TEI.
async fn health(State(api): State<Api>) -> Response {
    match api.handle.ask(NodeRequest::Status).await {
        Ok(Ok(NodeResponse::Status(view))) if view.state == NodeState::Active => {
            Json(json!({"status": "ok"})).into_response()
        }
        _ => unhealthy(),
    }
}

/// Returns the response of a node that accepts no tasks.
pub(super) fn unhealthy() -> Response {
    TeiError(Rejection::NodeNotReady.into()).into_response()
}

impl TeiError {
    fn invalid(message: &str) -> Self {
        Self(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", message))
    }
}

impl From<ApiError> for TeiError {
    fn from(error: ApiError) -> Self {
        match error.code() {
            // TEI has this status for valid JSON with invalid values.
            "invalid_value" => Self(error.renamed(StatusCode::UNPROCESSABLE_ENTITY, "validation")),
            _ => Self(error),
        }
    }
}

impl IntoResponse for TeiError {
    fn into_response(self) -> Response {
        let kind = match self.0.status() {
            StatusCode::TOO_MANY_REQUESTS => "Overloaded",
            StatusCode::SERVICE_UNAVAILABLE => "Unhealthy",
            status if status.is_server_error() => "Backend",
            _ => "Validation",
        };
        let message = self.0.body().error.message;
        self.0.respond(Json(json!({"error": message, "error_type": kind})))
    }
}

fn check_count(inputs: usize) -> Result<(), TeiError> {
    if (1..=embedding_batch::INPUTS_MAX).contains(&inputs) {
        return Ok(());
    }
    Err(TeiError::invalid(&format!("{inputs} inputs; 1 to {} are allowed", embedding_batch::INPUTS_MAX)))
}

/// Concurrent classifications of one request.
const TASKS_AT_ONCE: usize = 16;
const TASK_TIMEOUT: Duration = Duration::from_secs(60);
