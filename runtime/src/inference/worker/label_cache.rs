//! A cache of label embeddings, because many tasks classify with the same few labels.
//!
//! The invariant: it holds at most [`LABELS_MAX`] entries. When it is full it is cleared; labels in use soon come back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A cache of the embeddings of recently used labels.
#[derive(Default)]
pub(super) struct LabelCache {
    known: Mutex<BTreeMap<String, Vec<f32>>>,
}

impl LabelCache {
    /// Returns the embedding of a label, if it is cached.
    pub(super) fn find(&self, label: &str) -> Option<Vec<f32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(label).cloned()
    }

    /// Caches the embedding of a label.
    pub(super) fn keep(&self, label: &str, vector: &[f32]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= LABELS_MAX {
            known.clear();
        }
        known.insert(label.to_owned(), vector.to_vec());
    }
}

/// The maximum number of cached labels: 1 MB for embeddings of 1024 numbers.
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
