//! What a task waits for, told on standard error while a command waits for the task.

use crate::commands::node_names::named;
use crate::error::Failure;
use crate::output;
use crate::terminal;
use api::Task;

/// Says why a task has not ended, once for each reason.
#[derive(Default)]
pub(super) struct WaitNotice {
    told: Option<String>,
}

impl WaitNotice {
    /// Says why `task` has not ended, unless that was the last thing said.
    pub(super) fn take(&mut self, task: &Task) -> Result<(), Failure> {
        let now = reason(task);
        if self.told.as_ref() == Some(&now) {
            return Ok(());
        }
        if !output::is_quiet() {
            output::write_error(format!("waiting: {}\n", terminal::sanitize_line(&now)).as_bytes())?;
        }
        self.told = Some(now);
        Ok(())
    }
}

fn reason(task: &Task) -> String {
    match (task.waits_for, task.worker) {
        (Some(waits_for), _) => waits_for.to_string(),
        (None, Some(worker)) => format!("{} runs it", named(&task.worker_name, worker)),
        (None, None) => "it is queued".to_owned(),
    }
}
