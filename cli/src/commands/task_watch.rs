//! `task watch ID`: tells every change of a task until it has ended, and what it produced.

use super::task_result;
use crate::args::Format;
use crate::client::Client;
use crate::error::Failure;
use crate::output;
use engine::NodeId;
use engine::task::TaskStatus;
use runtime::home::Home;
use runtime::http::view::Task;
use std::time::Duration;

pub(super) async fn run(home: &Home, id: &str, format: Format) -> Result<(), Failure> {
    let id = super::task_id(id)?;
    let client = Client::connect(home)?;
    let mut told: Option<(TaskStatus, u32, Option<NodeId>)> = None;
    loop {
        let task: Task = client.get(&format!("/api/v1/tasks/{id}")).await?;
        let stands = (task.status, task.attempts, task.worker);
        if told != Some(stands) {
            told = Some(stands);
            tell(&task, format)?;
        }
        if task.status.is_terminal() {
            if !format.json && task.status == TaskStatus::Completed {
                output::line("")?;
                task_result::show(&client, id, false).await?;
            }
            return if task.status == TaskStatus::Completed { Ok(()) } else { Err(Failure::silent()) };
        }
        tokio::time::sleep(POLL).await;
    }
}

fn tell(task: &Task, format: Format) -> Result<(), Failure> {
    if format.json {
        return output::json(task);
    }
    let mut text = format!("{:>8}  {}", output::duration(task.elapsed_ms), task.status);
    if let Some(worker) = task.worker {
        text = format!("{text}  on {worker}");
    }
    if task.attempts > 1 {
        text = format!("{text}  (attempt {})", task.attempts);
    }
    if let Some(reason) = task.result.as_ref().and_then(|result| task_result::reason(task.status, result)) {
        text = format!("{text}: {reason}");
    }
    output::line(&output::plain(&text))
}

/// Between two looks; a change is told within it.
const POLL: Duration = Duration::from_millis(50);
