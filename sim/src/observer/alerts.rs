//! The alerts of a run, for what a scenario expects of them: those that must be raised, those that must be cleared
//! again, and those that no node may raise.

use crate::node_set::NodeIndex;
use crate::scenario::Expect;
use engine::observers::alerts::AlertRule;
use std::collections::BTreeSet;

/// The alerts of all nodes so far.
#[derive(Debug, Default)]
pub(crate) struct AlertWatch {
    /// The rules that no node may raise.
    never: BTreeSet<AlertRule>,
    raised: BTreeSet<AlertRule>,
    active: BTreeSet<(AlertRule, NodeIndex)>,
}

/// The name of the violation if a node raises an alert that it may not raise.
pub(crate) const NAME: &str = "never_alerts";

impl AlertWatch {
    pub(crate) fn new(expect: &Expect) -> Self {
        Self { never: expect.never_alerts.iter().copied().collect(), ..Self::default() }
    }

    /// Observes that a node raises an alert. Returns whether it may.
    pub(crate) fn raised(&mut self, node: NodeIndex, rule: AlertRule) -> bool {
        self.raised.insert(rule);
        self.active.insert((rule, node));
        !self.never.contains(&rule)
    }

    /// Observes that a node clears an alert.
    pub(crate) fn cleared(&mut self, node: NodeIndex, rule: AlertRule) {
        self.active.remove(&(rule, node));
    }

    /// Observes that a node starts with these active alerts on its disk.
    pub(crate) fn loaded(&mut self, node: NodeIndex, active: impl Iterator<Item = AlertRule>) {
        self.active.retain(|(_, of)| *of != node);
        self.active.extend(active.map(|rule| (rule, node)));
    }

    /// Returns whether a node raised an alert of this rule.
    pub(crate) fn was_raised(&self, rule: AlertRule) -> bool {
        self.raised.contains(&rule)
    }

    /// Returns the nodes on which an alert of this rule is active.
    pub(crate) fn active_on(&self, rule: AlertRule) -> impl Iterator<Item = NodeIndex> {
        self.active.range((rule, 0)..=(rule, NodeIndex::MAX)).map(|(_, node)| *node)
    }
}
