//! A node raises an alert at most once before it clears it, and clears only what it raised, restarts included.

use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::observers::alerts::AlertRule;
use engine::record::Saved;
use engine::{Event, Instant, Output};
use std::collections::BTreeSet;

/// Tracks the active alerts of all nodes.
#[derive(Debug)]
pub(super) struct AlertsAlternate {
    active: Vec<BTreeSet<AlertRule>>,
    checks: u64,
}

pub(super) const NAME: &str = "alerts_alternate";

impl AlertsAlternate {
    pub(super) fn new(nodes: usize) -> Self {
        Self { active: vec![BTreeSet::new(); nodes], checks: 0 }
    }
}

impl Invariant for AlertsAlternate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS
    }

    fn state_loaded(&mut self, node: NodeIndex, saved: &Saved) -> Result<(), String> {
        // What was not durable is unknown to the node.
        self.active[node as usize] = active(saved).collect();
        Ok(())
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        let active = &mut self.active[node as usize];
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern alerts")]
        match observation {
            Observation::Output(Output::Event(Event::AlertRaised { rule, .. })) => {
                self.checks += 1;
                if active.insert(*rule) {
                    Ok(())
                } else {
                    Err(format!("{rule} was raised while it was active"))
                }
            }
            Observation::Output(Output::Event(Event::AlertCleared { rule, .. })) => {
                self.checks += 1;
                if active.remove(rule) {
                    Ok(())
                } else {
                    Err(format!("{rule} was cleared, but was not active"))
                }
            }
            _ => Ok(()),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

/// Returns the alerts that a node stored as active.
pub(crate) fn active(saved: &Saved) -> impl Iterator<Item = AlertRule> {
    saved.alerts.alerts.iter().filter(|alert| alert.cleared.is_none()).map(|alert| alert.rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::testing::at;
    use engine::UnixMillis;
    use engine::observers::alerts::{Alert, Severity};

    const RULE: AlertRule = AlertRule::PeerCount;

    #[test]
    fn an_alert_that_is_raised_or_cleared_twice_is_wrong() {
        let (severity, value, threshold) = (Severity::Warn, 1, 2);
        let raised = Output::Event(Event::AlertRaised { rule: RULE, severity, value, threshold });
        let cleared = Output::Event(Event::AlertCleared { rule: RULE, severity, value, threshold });
        let mut invariant = AlertsAlternate::new(2);
        let mut see = |node, output: &Output| {
            invariant.observe(at(1), node, Observation::Output(output)).map_err(|_| node)
        };
        assert_eq!([&raised, &cleared, &raised].map(|output| see(0, output)), [Ok(()); 3]);
        assert_eq!((see(0, &raised), see(1, &cleared)), (Err(0), Err(1)));
        assert_eq!(invariant.checks(), 5);
        let mut saved = Saved::default();
        assert_eq!(invariant.state_loaded(0, &saved), Ok(()));
        assert_eq!(invariant.observe(at(2), 0, Observation::Output(&raised)), Ok(()));
        saved.alerts.alerts =
            vec![Alert { rule: RULE, value, threshold, raised_at: UnixMillis(0), cleared: None }];
        assert_eq!(invariant.state_loaded(1, &saved), Ok(()));
        assert_eq!(invariant.observe(at(3), 1, Observation::Output(&cleared)), Ok(()));
    }
}
