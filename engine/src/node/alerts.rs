//! Evaluates the alert rules, and stores alerts and thresholds.

use super::Node;
use crate::error::{Rejection, WriteError};
use crate::ids::RequestId;
use crate::input::ModelState;
use crate::lifecycle::State;
use crate::observers::alerts::{Figures, Threshold};
use crate::record::Record;
use crate::request::Response;
use crate::writes::Promise;
use std::collections::{BTreeMap, BTreeSet};

impl Node {
    /// Evaluates the rules if that is due, and begins the write of what changed. Tells whether something happened.
    pub(super) fn settle_alerts(&mut self) -> bool {
        let mut busy = false;
        if self.observers.alerts.is_due(self.clock.now) {
            let figures = self.alert_figures();
            let events = self.observers.alerts.evaluate(self.clock.now, self.wall(), figures);
            busy = !events.is_empty();
            events.into_iter().for_each(|event| self.event(event));
        }
        if let Some(alerts) = self.observers.alerts.poll_save(self.clock.now) {
            self.write(vec![Record::Alerts(Box::new(alerts))], Promise::Alerts);
        }
        busy
    }

    /// Sets thresholds. The reply follows once they are stored.
    pub(super) fn set_thresholds(
        &mut self,
        request: RequestId,
        changes: &BTreeMap<Threshold, u64>,
        reset: bool,
    ) -> Result<(), Rejection> {
        match self.state {
            State::ShuttingDown | State::Stopped => return Err(Rejection::NodeShuttingDown),
            State::Initializing | State::Registering => return Err(Rejection::NodeNotReady),
            State::Active => {}
        }
        match self.observers.alerts.handle_set(request, changes, reset) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Rejection::TooManyWaiting),
            Err(fault) => Err(Rejection::ThresholdOutOfRange(fault)),
        }
    }

    pub(super) fn handle_alerts_written(&mut self, result: Result<(), WriteError>) {
        let Some((request, result)) = self.observers.alerts.handle_saved(self.clock.now, result) else {
            return;
        };
        let answer = result.map(Response::Thresholds).map_err(|_| Rejection::StorageFailed);
        self.reply(request, answer);
    }

    fn alert_figures(&self) -> Figures {
        let is_listed = |kind, name: &str| self.config.models.iter().any(|model| model.is(kind, name));
        let models = self.worker.models().filter(|(kind, name, model)| match model.state {
            ModelState::Unusable(_) => true,
            // A configured model that stays away is as good as unusable.
            ModelState::Away => is_listed(*kind, name),
            ModelState::Ready => false,
        });
        let unusable: BTreeSet<&str> = models.map(|(_, name, _)| name).collect();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Figures { peers: count(self.peers.iter().count()), models_unusable: count(unusable.len()) }
    }
}
