//! The classification head: computes a logit for each label from the hidden state of the first token.

use super::architectures::Between;
use super::config::{Classifier, EncoderConfig, Scores};
use super::parameters::Parameters;
use crate::inference::files::weights::WeightsError;
use std::sync::Arc;

/// A loaded classification head.
pub(super) struct ClassifierHead {
    first: Map,
    between: Between,
    second: Map,
    scores: Scores,
    ranking: Scores,
    labels: Arc<[String]>,
}

/// A linear map with a row of weights for each output.
struct Map {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl ClassifierHead {
    /// Loads the head for these labels.
    pub(super) fn load(
        parameters: &Parameters<'_, '_>,
        config: &EncoderConfig,
        classifier: &Classifier,
    ) -> Result<Self, WeightsError> {
        let (first, second) = parameters.head(classifier.labels.len())?;
        let [first, second] = [first, second].map(|map| Map { weight: map.weight.widen(), bias: map.bias });
        Ok(Self {
            first,
            between: config.architecture.names.head.between,
            second,
            scores: classifier.scores,
            ranking: classifier.ranking,
            labels: classifier.labels.as_slice().into(),
        })
    }

    /// Returns the names of the labels.
    pub(super) const fn labels(&self) -> &Arc<[String]> {
        &self.labels
    }

    /// Computes the logits from the hidden state of the first token.
    pub(super) fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        let mut middle = apply(&self.first, hidden);
        for number in &mut middle {
            *number = match self.between {
                Between::Relu => number.max(0.0),
                Between::Tanh => number.tanh(),
            };
        }
        apply(&self.second, &middle)
    }

    /// Returns the activation for single texts.
    pub(super) const fn scores(&self) -> Scores {
        self.scores
    }

    /// Returns the activation for pairs of texts.
    pub(super) const fn ranking(&self) -> Scores {
        self.ranking
    }
}

fn apply(map: &Map, input: &[f32]) -> Vec<f32> {
    let rows = map.weight.chunks_exact(input.len());
    let dot = |row: &[f32]| row.iter().zip(input).map(|(weight, number)| weight * number).sum::<f32>();
    rows.zip(&map.bias).map(|(row, bias)| dot(row) + bias).collect()
}
