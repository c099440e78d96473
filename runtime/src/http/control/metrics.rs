//! Route of the metrics as JSON.

use super::answer::JsonResult;
use crate::http::metrics::collect;
use crate::http::state::Api;
use api::metrics::Metrics;
use axum::Json;
use axum::extract::State;

pub(super) async fn metrics(State(api): State<Api>) -> JsonResult<Metrics> {
    collect(&api).await.map(Json)
}
