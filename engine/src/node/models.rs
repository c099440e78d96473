//! Chooses the model of a task.
//!
//! A name may stand for several models, so one is chosen when the task is accepted: this node's own, otherwise the one
//! that most nodes have, otherwise the one with the lowest fingerprint. Every attempt is for that model. If no node has
//! it any more, a task may get another one. But it must not share its model with other tasks, and no part of its output
//! may have been shown.

use super::Node;
use crate::error::Rejection;
use crate::ids::{Fingerprint, NodeId};
use crate::input::ModelState;
use crate::model::{ModelConflict, ModelOffer};
use crate::task::TaskKind;
use crate::wire::Advert;
use std::collections::{BTreeMap, BTreeSet};

impl Node {
    /// Returns the model to use: the requested one, otherwise the first suitable one of this node or of the mesh. If
    /// its nodes were reachable recently, the task waits for their return.
    pub(super) fn choose_model(
        &self,
        kind: TaskKind,
        labels: bool,
        asked: Option<&str>,
    ) -> Result<String, Rejection> {
        let known = || self.known_models().filter(|(of, _)| *of == kind).map(|(_, name)| name);
        if let Some(name) = asked {
            let found = known().find(|known| *known == name);
            return found.map(str::to_owned).ok_or_else(|| Rejection::ModelUnknown(name.into()));
        }
        let also = |name: &str, kind| self.known_models().any(|model| model == (kind, name));
        let chosen = match kind {
            TaskKind::Classification => {
                // A user's labels are compared by embeddings. Without labels, the model's own are wanted; a
                // cross-encoder has only one.
                known().min_by_key(|name| match (labels, also(name, TaskKind::Embedding)) {
                    (true, embeds) => u8::from(!embeds),
                    (false, true) => 2,
                    (false, false) => u8::from(also(name, TaskKind::Reranking)),
                })
            }
            // A cross-encoder reads a text together with the query, which is better than comparing embeddings.
            TaskKind::Reranking => known().min_by_key(|name| u8::from(also(name, TaskKind::Embedding))),
            TaskKind::Embedding | TaskKind::Generation => known().next(),
        };
        chosen.map(str::to_owned).ok_or(Rejection::KindUnsupported(kind))
    }

    /// Returns the models that tasks can be for, this node's first.
    fn known_models(&self) -> impl Iterator<Item = (TaskKind, &str)> {
        let listed = self.config.models.iter().map(|model| (model.kind, model.name.as_str()));
        let own = listed.filter(|(kind, name)| self.worker.unusable(*kind, name).is_none());
        // Models may be added while the node runs.
        let later = self.worker.models().filter(|(_, _, model)| model.state == ModelState::Ready);
        let later = later.map(|(kind, name, _)| (kind, name));
        let others = self.membership.reachable().map(|(_, advert)| advert);
        let others = others.chain(self.membership.lately_reachable(self.clock.now));
        let others =
            others.flat_map(|advert| advert.models.iter().map(|model| (model.kind, model.name.as_str())));
        own.chain(later).chain(others)
    }

    /// Returns the fingerprint that a new task's model must have; `None` if it is not known yet, or no node has one.
    pub(super) fn fingerprint_for(&self, kind: TaskKind, name: &str) -> Option<Fingerprint> {
        if let Some(own) = self.own_model(kind, name) {
            return own.fingerprint;
        }
        let most = |adverts: &mut dyn Iterator<Item = &Advert>| {
            let mut counts: BTreeMap<Fingerprint, usize> = BTreeMap::new();
            let offered = adverts.flat_map(|advert| &advert.models).filter(|model| model.is(kind, name));
            for fingerprint in offered.filter_map(|model| model.fingerprint) {
                *counts.entry(fingerprint).or_default() += 1;
            }
            counts.into_iter().min_by_key(|&(which, count)| (core::cmp::Reverse(count), which))
        };
        let chosen = most(&mut self.others().map(|(_, advert)| advert));
        let chosen = chosen.or_else(|| most(&mut self.membership.lately_reachable(self.clock.now)));
        chosen.map(|(fingerprint, _)| fingerprint)
    }

    /// Returns the other reachable nodes, and their adverts.
    pub(super) fn others(&self) -> impl Iterator<Item = (NodeId, &Advert)> {
        self.membership.reachable().filter(|(node, _)| *node != self.me)
    }

    /// Returns this node's model of a name, unless it is unusable.
    pub(super) fn own_model(&self, kind: TaskKind, name: &str) -> Option<&crate::worker::Model> {
        self.worker.model(kind, name).filter(|model| !matches!(model.state, ModelState::Unusable(_)))
    }

    /// Returns the names that reachable nodes use for different models.
    pub(super) fn model_conflicts(&self) -> Vec<ModelConflict> {
        let mut names: BTreeMap<&str, BTreeMap<Fingerprint, BTreeSet<NodeId>>> = BTreeMap::new();
        for (node, advert) in self.membership.reachable() {
            for ModelOffer { name, fingerprint, .. } in &advert.models {
                let Some(fingerprint) = fingerprint else { continue };
                names.entry(name).or_default().entry(*fingerprint).or_default().insert(node);
            }
        }
        let conflicts = names.into_iter().filter(|(_, models)| models.len() > 1);
        let listed = conflicts.map(|(name, models)| ModelConflict {
            name: name.to_owned(),
            models: models.into_iter().map(|(which, nodes)| (which, nodes.into_iter().collect())).collect(),
        });
        listed.take(CONFLICTS_LISTED_MAX).collect()
    }
}

/// Maximum number of conflicts in one reply.
const CONFLICTS_LISTED_MAX: usize = 64;
