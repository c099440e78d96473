//! `task status ID`: shows the status of a task.

use super::{id, result};
use crate::client::Client;
use crate::commands::node_names::named;
use crate::error::Failure;
use crate::output::{self, Format};
use api::Task;
use runtime::home::Home;

pub(super) async fn run(home: &Home, id: &str, format: Format) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let id = id::resolve(&client, id).await?;
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
        ("Submitted", output::when_exactly(&task.submitted_at)),
        ("Elapsed", output::duration(task.elapsed_ms)),
        ("Attempts", task.attempts.to_string()),
    ];
    rows.extend(task.worker.map(|worker| ("Worker", named(&task.worker_name, worker))));
    rows.extend(task.waits_for.map(|waits_for| ("Waiting", waits_for.to_string())));
    if let (Some(tokens), Some(most)) = (task.tokens, task.max_tokens) {
        rows.push(("Tokens", format!("{tokens} of at most {most}")));
    }
    rows.extend(task.remaining_ms.map(|millis| ("Remaining", format!("about {}", output::duration(millis)))));
    if let Some(result) = &task.result {
        rows.extend(result::execution(result));
        rows.push(("Completed", output::when_exactly(&result.completed_at)));
        rows.push(("Expires", output::when_exactly(&result.expires_at)));
        rows.push(("Size", format!("{} bytes", result.output_bytes)));
        rows.extend(result::reason(task.status, result).map(|reason| ("Reason", reason)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_running_generation_tells_how_far_it_is() {
        let task = json!({
            "id": "01010101-0101-0101-0101-010101010101", "type": "generation", "model": "tiny",
            "status": "RUNNING", "submitted_at": "2026-11-22T14:45:20.973Z", "elapsed_ms": 1500, "attempts": 1,
            "worker": "07070707070707070707070707070707", "worker_name": "cedar", "preview": "once", "tokens": 12, "max_tokens": 256,
            "remaining_ms": 65_000,
        });
        let rows = properties(&serde_json::from_value(task).unwrap());
        let rows: Vec<String> = rows.iter().skip(7).map(|(name, value)| format!("{name}: {value}")).collect();
        let expected = [
            "Attempts: 1",
            "Worker: cedar (07070707070707070707070707070707)",
            "Tokens: 12 of at most 256",
            "Remaining: about 1m 5s",
        ];
        assert_eq!(rows, expected);
    }
}
