//! How well texts answer a query: by a cross-encoder, which reads both together, where the mesh has one, else by the
//! similarity of embeddings.

use super::error::ApiError;
use super::state::Api;
use super::truncated::TruncationReport;
use super::{embedding_batch, task_runner};
use crate::inference::cosine;
use engine::TaskId;
use engine::task::{EmbeddingInput, Reranking, TaskInput, TaskOutput, TaskSpec};

/// The scores of some texts.
#[derive(Debug, Default)]
pub(super) struct RerankScores {
    /// A score for each text, in their order: the higher the better.
    pub(super) scores: Vec<f32>,
    /// What a cross-encoder's scores were made of; as many as there are scores, or none.
    pub(super) logits: Vec<f32>,
    /// Tokens of all texts together.
    pub(super) tokens: u64,
    /// The texts that the model did not read to their end.
    pub(super) truncated: TruncationReport,
    /// The model that gave them.
    pub(super) model: String,
    /// The first of the tasks that they come from.
    pub(super) task: Option<TaskId>,
}

impl RerankScores {
    /// Returns the texts' places and scores, best first; equals keep their order. What a cross-encoder computed decides:
    /// far from zero its scores are no longer apart.
    pub(super) fn best_first(&self) -> Vec<(usize, f32)> {
        let by = if self.logits.is_empty() { &self.scores } else { &self.logits };
        let mut ranked: Vec<(usize, f32)> = by.iter().copied().enumerate().collect();
        ranked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let score = |(at, by): (usize, f32)| (at, self.scores.get(at).copied().unwrap_or(by));
        ranked.into_iter().map(score).collect()
    }

    /// Makes the scores those of text-embeddings-inference: a cross-encoder's plain numbers, or shares of one, whatever
    /// its files say.
    pub(super) fn set_raw(&mut self, raw: bool) {
        if !self.logits.is_empty() {
            let share = |logit: &f32| (1.0 + (-logit).exp()).recip();
            self.scores = if raw { self.logits.clone() } else { self.logits.iter().map(share).collect() };
        }
    }
}

/// Compares each text with the query; texts that are too long are cut, or refused.
///
/// # Errors
/// Where one text cannot be taken, or one task fails; the other tasks are cancelled then.
pub(super) async fn score(
    api: &Api,
    model: Option<String>,
    query: String,
    texts: Vec<String>,
    truncate: bool,
) -> Result<RerankScores, ApiError> {
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
    // Numbers and scores of several kinds have no order.
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
    // The query comes last, so that the texts keep their numbers.
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

/// The codes of a node that knows no cross-encoder, or not one of this name.
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
