//! `task cancel ID`: cancels a task that has not ended.

use super::id;
use crate::client::Client;
use crate::error::Failure;
use crate::output;
use api::Task;
use runtime::home::Home;
use serde_json::json;

pub(super) async fn run(home: &Home, id: &str) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    let id = id::resolve(&client, id).await?;
    let task: Task = client.delete(&format!("/api/v1/tasks/{id}")).await?.read()?;
    output::done(&format!("Task cancelled (id: {})", task.id), &json!(task))
}
