//! Zero-shot classification without a head: compares the embeddings of a text and of its labels.
//!
//! Scores are the softmax of the cosine similarities times [`SCALE`]. This is the training objective of
//! all-MiniLM-L6-v2, which learnt to find a sentence's partner among others.

use super::config::softmax;

/// Returns the scores of the labels, which add up to one.
pub(crate) fn scores(text: &[f32], labels: &[Vec<f32>]) -> Vec<f32> {
    let similarities: Vec<f32> = labels.iter().map(|label| SCALE * cosine(text, label)).collect();
    softmax(&similarities)
}

/// Returns the cosine similarity of two vectors, -1 to 1; 0 if one of them is zero.
pub(crate) fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    if lengths > 0.0 { dot(one, other) / lengths } else { 0.0 }
}

/// The inverse temperature of the softmax.
const SCALE: f32 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_alike_scores_higher_whatever_its_length() {
        let scores = scores(&[3.0, 0.0], &[vec![0.1, 0.0], vec![0.0, 9.0], vec![0.0, 0.0]]);
        assert!(scores[0] > 0.999_99, "{scores:?}");
        assert_eq!(scores[1].to_bits(), scores[2].to_bits());
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
