//! The head that classifies: from the first token's hidden state to a score for each label.

use super::architectures::Between;
use super::config::{Classifier, Config, Scores};
use super::parameters::Parameters;
use super::weights::WeightsError;
use std::sync::Arc;

/// A loaded head.
pub(super) struct Head {
    first: Map,
    between: Between,
    second: Map,
    scores: Scores,
    labels: Arc<[String]>,
}

/// A linear map, a row of weights for each output.
struct Map {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Head {
    /// Loads the head that belongs to these labels.
    pub(super) fn load(
        parameters: &Parameters<'_, '_>,
        config: &Config,
        classifier: &Classifier,
    ) -> Result<Self, WeightsError> {
        let (first, second) = parameters.head(classifier.labels.len())?;
        let [first, second] = [first, second].map(|map| Map { weight: map.weight.widen(), bias: map.bias });
        Ok(Self {
            first,
            between: config.architecture.names.head.between,
            second,
            scores: classifier.scores,
            labels: classifier.labels.as_slice().into(),
        })
    }

    /// Returns the names of the labels.
    pub(super) const fn labels(&self) -> &Arc<[String]> {
        &self.labels
    }

    /// Tells whether there is one score alone: how good a text is, not what.
    pub(super) fn ranks(&self) -> bool {
        self.labels.len() == 1
    }

    /// Returns what the head computes from the hidden state of a text's first token, before it becomes scores.
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

    /// Turns logits into the scores that users see.
    pub(super) fn scores(&self, logits: &[f32]) -> Vec<f32> {
        match self.scores {
            Scores::Independent => logits.iter().map(|logit| (1.0 + (-logit).exp()).recip()).collect(),
            Scores::OneOfAll => softmax(logits),
            Scores::Plain => logits.to_vec(),
        }
    }
}

fn apply(map: &Map, input: &[f32]) -> Vec<f32> {
    let rows = map.weight.chunks_exact(input.len());
    let dot = |row: &[f32]| row.iter().zip(input).map(|(weight, number)| weight * number).sum::<f32>();
    rows.zip(&map.bias).map(|(row, bias)| dot(row) + bias).collect()
}

/// Turns numbers into shares of one that are the larger the larger they are.
pub(super) fn softmax(numbers: &[f32]) -> Vec<f32> {
    let largest = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = numbers.iter().map(|number| (number - largest).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_what_the_configuration_says() {
        let head = |scores| {
            let map = || Map { weight: Vec::new(), bias: Vec::new() };
            Head { first: map(), between: Between::Relu, second: map(), scores, labels: Arc::default() }
        };
        let logits = [0.0, 1.0_f32.ln(), 2.0_f32.ln()];
        let close = |one: Vec<f32>, other: [f32; 3]| {
            one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-6)
        };
        assert!(close(head(Scores::OneOfAll).scores(&logits), [0.25, 0.25, 0.5]));
        assert!(close(head(Scores::Independent).scores(&logits), [0.5, 0.5, 2.0 / 3.0]));
        assert_eq!(head(Scores::Plain).scores(&logits), logits);
        assert_eq!(softmax(&[-1e30, 1e30]), [0.0, 1.0]);
    }
}
