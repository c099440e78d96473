//! `task list`: lists the tasks of this node, newest first.

use super::work;
use crate::client::Client;
use crate::commands::node_id;
use crate::error::Failure;
use crate::output::{self, Format};
use api::{Attempts, Task, Tasks};
use clap::{Args, ValueEnum};
use engine::NodeId;
use engine::task::TaskStatus;
use runtime::home::Home;
use serde::Serialize;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Maximum number of tasks to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000), allow_negative_numbers = true, value_name = "N")]
    pub(crate) limit: u32,
    /// Number of newest tasks to skip
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..), allow_negative_numbers = true, value_name = "N")]
    pub(crate) offset: u32,
    /// List only tasks run by this node, given by its name or id, or the start of it
    #[arg(long, value_name = "NODE")]
    pub(crate) worker: Option<String>,
    /// List only tasks with this status
    #[arg(long, value_enum, ignore_case = true, value_name = "STATUS")]
    pub(crate) status: Option<StatusFilter>,
    /// Also list what this node runs now, for itself and for other nodes
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// Status of the tasks to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFilter {
    Cancelled,
    Completed,
    Failed,
    Queued,
    Running,
    Timeout,
}

impl From<StatusFilter> for TaskStatus {
    fn from(standing: StatusFilter) -> Self {
        match standing {
            StatusFilter::Cancelled => Self::Cancelled,
            StatusFilter::Completed => Self::Completed,
            StatusFilter::Failed => Self::Failed,
            StatusFilter::Queued => Self::Queued,
            StatusFilter::Running => Self::Running,
            StatusFilter::Timeout => Self::Timeout,
        }
    }
}

/// The tasks of a node, and what it runs.
#[derive(Serialize)]
struct All {
    #[serde(flatten)]
    tasks: Tasks,
    #[serde(flatten)]
    attempts: Attempts,
}

pub(super) async fn run(home: &Home, arguments: Arguments) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let Arguments { limit, offset, worker, status, all, format } = arguments;
    let mut path = format!("/api/v1/tasks?limit={limit}&offset={offset}");
    if let Some(worker) = worker {
        // A worker that left the network still has results, so a complete id is not resolved.
        let whole = worker.to_ascii_lowercase().parse::<NodeId>();
        let worker = match whole {
            Ok(worker) => worker,
            Err(_) => node_id::resolve(&client, &worker).await?.0,
        };
        path = format!("{path}&worker={worker}");
    }
    if let Some(status) = status.map(TaskStatus::from) {
        path = format!("{path}&status={status}");
    }
    if all {
        let tasks: Tasks = client.get(&path).await?;
        let attempts: Attempts = client.get("/api/v1/attempts").await?;
        if format.json {
            return output::json(&All { tasks, attempts });
        }
        print(tasks.total, &tasks.tasks)?;
        return work::print(&attempts, client.info().node_id);
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
    [
        task.id.to_string(),
        task.kind.to_string(),
        task.status.to_string(),
        output::when(&task.submitted_at),
        task.preview.clone(),
    ]
}
