//! How well texts answer a query: by a cross-encoder, which reads both together, where the mesh has one, else by the
//! similarity of embeddings.

use super::error::ApiError;
use super::{Api, errand, vectors};
use crate::inference::cosine;
use engine::task::{EmbeddingInput, Reranking, TaskInput, TaskOutput, TaskSpec};

/// The scores of some texts.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    /// A score for each text, in their order: the higher the better.
    pub(super) scores: Vec<f32>,
    /// Tokens of all texts together.
    pub(super) tokens: u64,
    /// The model that gave them.
    pub(super) model: String,
}

impl Ranks {
    /// Returns the texts' places and scores, best first; equals keep their order.
    pub(super) fn best_first(&self) -> Vec<(usize, f32)> {
        let mut ranked: Vec<(usize, f32)> = self.scores.iter().copied().enumerate().collect();
        ranked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        ranked
    }
}

/// Compares each text with the query.
///
/// # Errors
/// Where one text cannot be taken, or one task fails; the other tasks are cancelled then.
pub(super) async fn make(
    api: &Api,
    model: Option<String>,
    query: String,
    texts: Vec<String>,
) -> Result<Ranks, ApiError> {
    match by_cross_encoder(api, model.clone(), &query, texts.clone()).await {
        Err(error) if NO_CROSS_ENCODER.contains(&error.code()) => {
            by_similarity(api, model, query, texts).await
        }
        made => made,
    }
}

async fn by_cross_encoder(
    api: &Api,
    model: Option<String>,
    query: &str,
    texts: Vec<String>,
) -> Result<Ranks, ApiError> {
    let spec = |texts| TaskSpec {
        input: TaskInput::Reranking(Reranking { query: query.to_owned(), texts }),
        model: model.clone(),
        timeout: vectors::TASK_TIMEOUT,
    };
    let lists = vectors::split(texts, |text| query.len() + text.len());
    let specs: Vec<TaskSpec> = lists.into_iter().map(spec).collect();
    let mut ranks = Ranks::default();
    for result in errand::run_all(api, specs, vectors::TASKS_AT_ONCE).await? {
        ranks.model.clone_from(&result.summary.model);
        if let TaskOutput::Reranking { scores, tokens } = errand::output(result)? {
            ranks.scores.extend(scores);
            ranks.tokens += u64::from(tokens);
        }
    }
    Ok(ranks)
}

async fn by_similarity(
    api: &Api,
    model: Option<String>,
    query: String,
    texts: Vec<String>,
) -> Result<Ranks, ApiError> {
    let all = std::iter::once(query).chain(texts).map(EmbeddingInput::Text).collect();
    let made = vectors::make(api, model, all).await?;
    let scores = made.vectors.split_first().map(|(query, texts)| {
        let cosines = texts.iter().map(|text| cosine(query, text));
        cosines.collect()
    });
    Ok(Ranks { scores: scores.unwrap_or_default(), tokens: made.tokens, model: made.model })
}

/// The codes of a node that knows no cross-encoder, or not one of this name.
const NO_CROSS_ENCODER: [&str; 2] = ["task_type_unsupported", "model_unknown"];
