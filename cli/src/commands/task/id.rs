//! Task ids on the command line.

use crate::error::Failure;
use engine::TaskId;

/// Parses a task id. A malformed id is reported as a task that does not exist.
pub(super) fn parse(text: &str) -> Result<TaskId, Failure> {
    text.to_ascii_lowercase().parse().map_err(|_| {
        Failure::new(format!("Task not found (id: {text})"))
            .id("task_not_found")
            .hint("p2p-ai-agents task list shows the tasks")
    })
}
