//! Task ids on the command line: whole, the start of one, or `@last`.

use crate::client::Client;
use crate::error::Failure;
use api::Tasks;
use engine::TaskId;
use engine::observers::traces::IdPrefix;

/// Returns the task that a text names: by its id, by the start of one that no other task has, or as the last one that
/// was submitted.
pub(in crate::commands) async fn resolve(client: &Client, text: &str) -> Result<TaskId, Failure> {
    // Of a whole id the node knows more than the list does, such as that its record is damaged.
    if let Ok(id) = text.to_ascii_lowercase().parse() {
        return Ok(id);
    }
    let path = match (text == LAST, IdPrefix::parse(text)) {
        (true, _) => "/api/v1/tasks?limit=1".to_owned(),
        (false, Some(_)) => format!("/api/v1/tasks?limit=2&id={text}"),
        (false, None) => return Err(unknown(text)),
    };
    let Tasks { total, tasks } = client.get(&path).await?;
    match tasks.first() {
        Some(task) if text == LAST || total == 1 => Ok(task.id),
        Some(_) => Err(Failure::new(format!("{total} tasks have an id that starts with {text}"))
            .id("task_ambiguous")
            .hint("give more digits of the id; p2p-ai-agents task list shows the tasks")),
        None if text == LAST => Err(Failure::new("No task was submitted to this node yet")
            .id("task_not_found")
            .hint("submit one with: p2p-ai-agents task submit --type embedding --input \"hello world\"")),
        None => Err(unknown(text)),
    }
}

/// Replaces `@last` by the id of the last task.
pub(in crate::commands) async fn last_or(client: &Client, text: &str) -> Result<String, Failure> {
    if text == LAST { Ok(resolve(client, text).await?.to_string()) } else { Ok(text.to_owned()) }
}

fn unknown(text: &str) -> Failure {
    Failure::new(format!("Task not found (id: {text})"))
        .id("task_not_found")
        .hint("p2p-ai-agents task list shows the tasks")
}

/// Names the last task that was submitted.
const LAST: &str = "@last";
