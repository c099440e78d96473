//! Planted bugs that need more than one line of code.

use super::Node;
use crate::ids::NodeId;
use crate::mutants::{Mutant, shows};
use crate::task::{Outcome, TaskResult};
use crate::tasks::Computed;
use crate::wire::Attempt;

impl Node {
    /// Lets a second outcome replace the first, if that bug is planted.
    pub(super) fn accept_second_result(&mut self, from: NodeId, attempt: Attempt, computed: &Computed) {
        if !shows(Mutant::AcceptSecondResult) {
            return;
        }
        let first = self.results.get(attempt.task).cloned();
        if let (Some(mut summary), Ok(output)) = (first, &computed.result) {
            summary.worker = Some(from);
            let outcome = Outcome::Completed(output.clone());
            self.end(TaskResult { summary, outcome, fingerprint: Some(computed.fingerprint) });
        }
    }
}
