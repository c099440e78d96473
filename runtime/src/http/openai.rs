//! OpenAI's API: models, embeddings, chat and text completions; and reranking, as other servers offer it beside them.
//!
//! A request becomes one or more ordinary tasks, which are queued and assigned to nodes as any others. Unsupported
//! parameters are rejected by name if ignoring them would change the response.
//!
//! Shapes: <https://platform.openai.com/docs/api-reference>.

mod completions;
mod embeddings;
mod error;
mod models;
mod rerank;
mod usage;

use self::error::OpenAiError;
use super::body;
use super::error::ApiError;
use super::limits::LARGE_BODY_BYTES_MAX;
use super::state::Api;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

/// Returns the routes below `/v1`.
pub(super) fn router(api: &Api) -> Router<Api> {
    let routes = Router::new()
        .route("/models", get(models::list))
        .route("/models/{*name}", get(models::one))
        .route("/embeddings", post(embeddings::create))
        .route("/chat/completions", post(completions::chat))
        .route("/completions", post(completions::text))
        .route("/rerank", post(rerank::create));
    guarded(api, "/v1", routes)
}

/// Returns the routes below `/v2`, for Cohere's clients.
pub(super) fn router_v2(api: &Api) -> Router<Api> {
    guarded(api, "/v2", Router::new().route("/rerank", post(rerank::create)))
}

/// Adds the check of the token to the routes below a path.
fn guarded(api: &Api, path: &'static str, routes: Router<Api>) -> Router<Api> {
    routes
        .fallback(async move |method: Method, uri: Uri| unknown_route(path, &method, &uri))
        .method_not_allowed_fallback(async move |method: Method, uri: Uri| {
            unknown_method(path, &method, &uri)
        })
        .layer(from_fn_with_state(api.clone(), gate))
}

fn unknown_route(path: &str, method: &Method, uri: &Uri) -> OpenAiError {
    let message = format!("there is no {method} {path}{}", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "route_unknown", message).into()
}

fn unknown_method(path: &str, method: &Method, uri: &Uri) -> OpenAiError {
    let message = format!("{path}{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).into()
}

/// Checks the token, then buffers the body.
async fn gate(State(api): State<Api>, request: Request, next: Next) -> Result<Response, OpenAiError> {
    api.authorize(&request)?;
    Ok(next.run(body::whole(request, LARGE_BODY_BYTES_MAX).await?).await)
}
