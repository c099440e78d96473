//! The vectors of labels, kept because many tasks ask for the same few.
//!
//! The invariant: at most [`LABELS_MAX`] are kept; when there are more, all are forgotten, which the ones in use soon
//! make up for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The vectors of the labels that were lately asked for.
#[derive(Default)]
pub(super) struct LabelCache {
    known: Mutex<BTreeMap<String, Vec<f32>>>,
}

impl LabelCache {
    /// Returns a label's vector, if it is known.
    pub(super) fn find(&self, label: &str) -> Option<Vec<f32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(label).cloned()
    }

    /// Keeps a label's vector.
    pub(super) fn keep(&self, label: &str, vector: &[f32]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= LABELS_MAX {
            known.clear();
        }
        known.insert(label.to_owned(), vector.to_vec());
    }
}

/// The most labels whose vectors are kept: 1 MB of them where a vector has 1024 numbers.
const LABELS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_kept_than_the_limit() {
        let vectors = LabelCache::default();
        for label in 0..=LABELS_MAX {
            vectors.keep(&label.to_string(), &[label as f32]);
        }
        assert_eq!(vectors.find("0"), None);
        assert_eq!(vectors.find(&LABELS_MAX.to_string()), Some(vec![LABELS_MAX as f32]));
    }
}
