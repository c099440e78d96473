//! `task status ID`: how a task stands.

use super::task_result;
use crate::args::Format;
use crate::client::Client;
use crate::error::Failure;
use crate::output;
use runtime::home::Home;
use runtime::http::view::Task;

pub(super) async fn run(home: &Home, id: &str, format: Format) -> Result<(), Failure> {
    let id = super::task_id(id)?;
    let client = Client::connect(home)?;
    let path = format!("/api/v1/tasks/{id}");
    if format.json {
        let body = client.get_raw(&path).await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    let task: Task = client.get(&path).await?;
    output::properties(&properties(&task))
}

fn properties(task: &Task) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Task", task.id.to_string()),
        ("Status", task.status.to_string()),
        ("Type", task.kind.to_string()),
        ("Model", task.model.clone()),
        ("Input", task.preview.clone()),
        ("Submitted", task.submitted_at.clone()),
        ("Elapsed", output::duration(task.elapsed_ms)),
        ("Attempts", task.attempts.to_string()),
    ];
    rows.extend(task.worker.map(|worker| ("Worker", worker.to_string())));
    if let Some(result) = &task.result {
        rows.push(("Execution", format!("{:.1} ms", result.execution_ms)));
        rows.push(("Completed", result.completed_at.clone()));
        rows.push(("Expires", result.expires_at.clone()));
        rows.push(("Size", format!("{} bytes", result.output_bytes)));
        rows.extend(task_result::reason(task.status, result).map(|reason| ("Reason", reason)));
    }
    rows
}
