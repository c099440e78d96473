//! Bugs put back on purpose, so that tests can show that they are caught.

use super::Node;
use crate::config::Mutant;
use crate::error::InferenceError;
use crate::ids::NodeId;
use crate::task::{Outcome, TaskOutput, TaskResult};
use crate::wire::Attempt;

impl Node {
    /// Tells whether a bug is to be shown.
    pub(super) fn has_mutant(&self, mutant: Mutant) -> bool {
        self.config.mutant == Some(mutant)
    }

    /// Lets a second outcome replace the first, where that bug is to be shown.
    pub(super) fn accept_second_result(
        &mut self,
        from: NodeId,
        attempt: Attempt,
        result: &Result<TaskOutput, InferenceError>,
    ) {
        let first = self.results.get(attempt.task).cloned();
        if let (true, Some(mut summary), Ok(output)) =
            (self.has_mutant(Mutant::AcceptSecondResult), first, result)
        {
            summary.worker = Some(from);
            self.end(TaskResult { summary, outcome: Outcome::Completed(output.clone()) });
        }
    }
}
