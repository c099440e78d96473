//! Counts the members that offer each model under each name, to detect when a name refers to two models.
//!
//! It holds only counts, not members: a network has few names, and all adverts are held anyway. `node/models.rs`
//! chooses between the models of one name.

use crate::ids::Fingerprint;
use crate::model::ModelOffer;
use std::collections::BTreeMap;

/// The names of the models of this node and of all reachable members.
#[derive(Debug, Default)]
pub(super) struct ModelNames {
    counts: BTreeMap<String, BTreeMap<Fingerprint, u32>>,
    /// The number of models, over all names.
    models: usize,
}

impl ModelNames {
    /// Counts a member's models. Returns the names that have just got a second model, with all their models.
    pub(super) fn add(&mut self, offers: &[ModelOffer]) -> Vec<(String, Vec<Fingerprint>)> {
        let mut conflicts = Vec::new();
        for ModelOffer { name, fingerprint, .. } in offers {
            let Some(fingerprint) = *fingerprint else { continue };
            if let Some(count) = self.counts.get_mut(name).and_then(|models| models.get_mut(&fingerprint)) {
                *count = count.saturating_add(1);
                continue;
            }
            // A model that was not counted need not be subtracted later.
            if self.models >= MODELS_MAX {
                continue;
            }
            self.models += 1;
            let models = self.counts.entry(name.clone()).or_default();
            models.insert(fingerprint, 1);
            if models.len() > 1 {
                conflicts.push((name.clone(), models.keys().copied().take(SHOWN_MAX).collect()));
            }
        }
        conflicts
    }

    /// Subtracts a member's models.
    pub(super) fn remove(&mut self, offers: &[ModelOffer]) {
        for ModelOffer { name, fingerprint, .. } in offers {
            let (Some(fingerprint), Some(models)) = (*fingerprint, self.counts.get_mut(name)) else {
                continue;
            };
            let Some(count) = models.get_mut(&fingerprint) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                models.remove(&fingerprint);
                self.models -= 1;
                if models.is_empty() {
                    self.counts.remove(name);
                }
            }
        }
    }

    /// Returns the number of models.
    pub(super) fn len(&self) -> usize {
        self.models
    }
}

/// Maximum number of models, over all names. Further ones are not counted, which bounds the map.
pub(super) const MODELS_MAX: usize = 4_096;
/// Maximum number of models to report for one name.
const SHOWN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskKind;

    fn offer(name: &str, which: Option<u8>) -> ModelOffer {
        let fingerprint = which.map(|which| Fingerprint([which; 16]));
        ModelOffer { name: name.to_owned(), kind: TaskKind::Embedding, fingerprint }
    }

    #[test]
    fn a_second_model_of_a_name_is_told_once_until_one_of_them_is_gone() {
        let mut names = ModelNames::default();
        let [one, two] = [1, 2].map(|which| Fingerprint([which; 16]));
        let told = || vec![("m".to_owned(), vec![one, two])];
        assert_eq!(names.add(&[offer("m", Some(1)), offer("n", Some(2))]), vec![]);
        assert_eq!(names.add(&[offer("m", Some(1)), offer("m", None)]), vec![]);
        assert_eq!(names.add(&[offer("m", Some(2))]), told());
        assert_eq!(names.add(&[offer("m", Some(2))]), vec![]);
        names.remove(&[offer("m", Some(2))]);
        assert_eq!(names.add(&[offer("m", Some(2))]), vec![]);
        names.remove(&[offer("m", Some(2)), offer("m", Some(2)), offer("m", Some(3))]);
        assert_eq!(names.add(&[offer("m", Some(2))]), told());
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn names_are_bounded() {
        let mut names = ModelNames::default();
        for number in 0..=MODELS_MAX {
            names.add(&[offer(&number.to_string(), Some(1))]);
        }
        assert_eq!(names.len(), MODELS_MAX);
        names.remove(&[offer(&MODELS_MAX.to_string(), Some(1))]);
        assert_eq!(names.len(), MODELS_MAX);
    }
}
