//! Records of invented tasks, for tests of the store.

use engine::record::Record;
use engine::task::{
    Outcome, ResultSummary, StoredTask, TaskInput, TaskKind, TaskOutput, TaskResult, TaskSpec,
};
use engine::{TaskId, TraceId, UnixMillis};
use std::path::PathBuf;
use std::time::Duration;

/// Returns the id of a numbered task. Ids sort like the numbers.
pub(crate) fn id(number: u64) -> TaskId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    TaskId(bytes)
}

/// Returns an open task.
pub(crate) fn stored_task(number: u64) -> StoredTask {
    let spec = TaskSpec {
        input: TaskInput::from_text(TaskKind::Embedding, format!("input {number}")),
        model: Some("m".to_owned()),
        timeout: Duration::from_secs(30),
    };
    StoredTask {
        id: id(number),
        spec,
        submitted_at: UnixMillis(number),
        trace: TraceId([1; 16]),
        attempts: 0,
        choice: None,
        caller: None,
    }
}

/// Returns the record of an open task.
pub(crate) fn task(number: u64) -> Record {
    Record::Task(Box::new(stored_task(number)))
}

/// Returns the result of a task.
pub(crate) fn result(number: u64) -> Box<TaskResult> {
    let output = TaskOutput::Embedding { vectors: vec![vec![0.5; 384]], tokens: 3, truncated: Vec::new() };
    let outcome = Outcome::Completed(output);
    let summary = ResultSummary {
        id: id(number),
        kind: TaskKind::Embedding,
        model: "m".to_owned(),
        status: outcome.status(),
        failure: None,
        worker: None,
        execution_micros: 1,
        attempts: 1,
        submitted_at: UnixMillis(0),
        // Newest first on disk, so that the store must sort what it loads.
        completed_at: UnixMillis(1_000_000 - number),
        expires_at: UnixMillis(2_000_000),
        output_bytes: 1536,
        preview: "preview".to_owned(),
        output_preview: String::new(),
        trace: TraceId([1; 16]),
    };
    Box::new(TaskResult { summary, outcome, fingerprint: None })
}

/// Returns a temporary folder and the path of a data file in it.
pub(crate) fn home() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("node.redb");
    (home, path)
}
