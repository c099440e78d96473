//! Scores texts against a query: with a cross-encoder if the mesh has one, else by similarity of embeddings.

use super::error::ApiError;
use super::state::Api;
use super::truncated::TruncationReport;
use super::{embedding_batch, node_client, task_runner};
use crate::inference::cosine;
use engine::TaskId;
use engine::task::{EmbeddingInput, Reranking, TaskInput, TaskKind, TaskOutput, TaskSpec};

/// Scores of the texts of a request.
#[derive(Debug, Default)]
pub(super) struct RerankScores {
    /// One score for each text, in input order; higher is better.
    pub(super) scores: Vec<f32>,
    /// Logits of a cross-encoder: one for each score, or none.
    pub(super) logits: Vec<f32>,
    /// Tokens of all texts.
    pub(super) tokens: u64,
    /// Truncated texts.
    pub(super) truncated: TruncationReport,
    /// Name of the model.
    pub(super) model: String,
    /// The first task of the request.
    pub(super) task: Option<TaskId>,
}

impl RerankScores {
    /// Returns indices and scores, best first, in a stable order. Sorts by logits if there are any, because large
    /// logits saturate to equal scores.
    pub(super) fn best_first(&self) -> Vec<(usize, f32)> {
        let by = if self.logits.is_empty() { &self.scores } else { &self.logits };
        let mut ranked: Vec<(usize, f32)> = by.iter().copied().enumerate().collect();
        ranked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let score = |(at, by): (usize, f32)| (at, self.scores.get(at).copied().unwrap_or(by));
        ranked.into_iter().map(score).collect()
    }

    /// Converts the scores to those of text-embeddings-inference: raw logits, or their sigmoid, whatever the model's
    /// files configure.
    pub(super) fn set_raw(&mut self, raw: bool) {
        if !self.logits.is_empty() {
            let share = |logit: &f32| (1.0 + (-logit).exp()).recip();
            self.scores = if raw { self.logits.clone() } else { self.logits.iter().map(share).collect() };
        }
    }
}

/// Scores each text against the query; `truncate` says whether long texts are truncated or rejected.
///
/// # Errors
/// If a text is rejected or a task fails; the other tasks are cancelled.
pub(super) async fn score(
    api: &Api,
    model: Option<String>,
    query: String,
    texts: Vec<String>,
    truncate: bool,
) -> Result<RerankScores, ApiError> {
    // A reranking task would compare embeddings as well, in smaller batches.
    if node_client::embedding_model_for(api, TaskKind::Reranking, model.clone()).await?.is_some() {
        return by_similarity(api, model, query, texts, truncate).await;
    }
    match by_cross_encoder(api, model.clone(), &query, texts.clone(), truncate).await {
        Err(error) if NO_CROSS_ENCODER.contains(&error.code()) => {
            by_similarity(api, model, query, texts, truncate).await
        }
        batch => batch,
    }
}

async fn by_cross_encoder(
    api: &Api,
    model: Option<String>,
    query: &str,
    texts: Vec<String>,
    truncate: bool,
) -> Result<RerankScores, ApiError> {
    let spec = |texts| TaskSpec {
        input: TaskInput::Reranking(Reranking { query: query.to_owned(), texts, truncate }),
        model: model.clone(),
        timeout: embedding_batch::TASK_TIMEOUT,
    };
    let lists = embedding_batch::split(texts, |text| query.len() + text.len());
    let specs: Vec<TaskSpec> = lists.into_iter().map(spec).collect();
    let mut all = RerankScores::default();
    for (part, result) in task_runner::run_all(api, specs, embedding_batch::TASKS_AT_ONCE).await? {
        all.model.clone_from(&result.summary.model);
        all.task.get_or_insert(result.summary.id);
        let (scores, logits, tokens, truncated) = match task_runner::output(part, result)? {
            TaskOutput::Ranking { logits, scores, tokens, truncated } => (scores, logits, tokens, truncated),
            TaskOutput::Reranking { scores, tokens, truncated } => (scores, Vec::new(), tokens, truncated),
            TaskOutput::Classification { .. }
            | TaskOutput::Embedding { .. }
            | TaskOutput::Generation { .. } => continue,
        };
        all.scores.extend(scores);
        all.logits.extend(logits);
        all.tokens += u64::from(tokens);
        all.truncated.add(part.first, &truncated);
    }
    // Logits and scores of different kinds are not comparable.
    if all.logits.len() != all.scores.len() {
        all.logits.clear();
    }
    Ok(all)
}

async fn by_similarity(
    api: &Api,
    model: Option<String>,
    query: String,
    texts: Vec<String>,
    truncate: bool,
) -> Result<RerankScores, ApiError> {
    // The query comes last, so that the texts keep their indices.
    let query_number = texts.len();
    let input = |text| {
        let text = EmbeddingInput::Text(text);
        if truncate { text } else { text.whole() }
    };
    let all = texts.into_iter().chain([query]).map(input).collect();
    let batch = embedding_batch::embed(api, model, all).await?;
    let scores = batch.vectors.split_last().map(|(query, texts)| {
        let cosines = texts.iter().map(|text| cosine(query, text));
        cosines.collect()
    });
    let mut truncated = batch.truncated;
    truncated.set_query(query_number);
    let (scores, logits) = (scores.unwrap_or_default(), Vec::new());
    Ok(RerankScores { scores, logits, tokens: batch.tokens, truncated, model: batch.model, task: batch.task })
}

/// Error ids if no node has a cross-encoder, or none of this name.
const NO_CROSS_ENCODER: [&str; 2] = ["task_type_unsupported", "model_unknown"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_scores_no_longer_tell_apart_is_ordered_by_what_they_were_made_of() {
        let mut scores = RerankScores {
            scores: vec![1.0, 1.0, 0.5, 1.0],
            logits: vec![20.0, 30.0, 0.0, 20.0],
            ..RerankScores::default()
        };
        assert_eq!(scores.best_first(), [(1, 1.0), (0, 1.0), (3, 1.0), (2, 0.5)]);
        scores.set_raw(true);
        assert_eq!(scores.best_first(), [(1, 30.0), (0, 20.0), (3, 20.0), (2, 0.0)]);
        scores.set_raw(false);
        assert_eq!(scores.best_first()[3], (2, 0.5));
        let mut cosines = RerankScores { scores: vec![-0.5, 0.5], ..RerankScores::default() };
        cosines.set_raw(false);
        assert_eq!(cosines.best_first(), [(1, 0.5), (0, -0.5)]);
    }
}
