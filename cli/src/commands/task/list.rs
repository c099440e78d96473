//! `task list`: the tasks of this node, newest first.

use crate::args::Format;
use crate::client::Client;
use crate::commands::node_id;
use crate::error::Failure;
use crate::output;
use api::{Task, Tasks};
use engine::NodeId;
use engine::task::TaskStatus;
use runtime::home::Home;

/// Which tasks.
pub(in crate::commands) struct Wanted {
    pub(in crate::commands) limit: u32,
    pub(in crate::commands) offset: u32,
    /// The beginning of a node's id.
    pub(in crate::commands) worker: Option<String>,
    pub(in crate::commands) status: Option<TaskStatus>,
}

pub(in crate::commands) async fn run(home: &Home, wanted: Wanted, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let Wanted { limit, offset, worker, status } = wanted;
    let mut path = format!("/api/v1/tasks?limit={limit}&offset={offset}");
    if let Some(worker) = worker {
        // One that is gone has left its results.
        let whole = worker.to_ascii_lowercase().parse::<NodeId>();
        let worker = match whole {
            Ok(worker) => worker,
            Err(_) => node_id::resolve(&client, &worker).await?,
        };
        path = format!("{path}&worker={worker}");
    }
    if let Some(status) = status {
        path = format!("{path}&status={status}");
    }
    if format.json {
        let body = client.get_raw(&path).await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let Tasks { total, tasks } = client.get(&path).await?;
    print(total, &tasks)
}

pub(in crate::commands) fn print(total: u32, tasks: &[Task]) -> Result<(), Failure> {
    if tasks.is_empty() {
        return output::line(if total == 0 { "No tasks" } else { "No more tasks" });
    }
    let rows: Vec<[String; 5]> = tasks.iter().map(row).collect();
    output::table(["ID", "TYPE", "STATUS", "SUBMITTED", "INPUT"], &rows)?;
    let shown = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
    if shown < total { output::line(&format!("{shown} of {total} tasks")) } else { Ok(()) }
}

fn row(task: &Task) -> [String; 5] {
    let input: String = task.preview.chars().take(INPUT_CHARS).collect();
    [
        task.id.to_string(),
        task.kind.to_string(),
        task.status.to_string(),
        task.submitted_at.clone(),
        if input.len() < task.preview.len() { input + "…" } else { input },
    ]
}

const INPUT_CHARS: usize = 40;
