//! JSON types of the control API.
//!
//! A node serves its control API over HTTP/1 on loopback, below `/api/v1`. This crate has the body of every request and
//! answer, and nothing else: no server, no client, no I/O. The server serialises what the command line and any other
//! client deserialise, so both ends share one definition.
//!
//! | route | request | answer |
//! |---|---|---|
//! | `GET /api/v1/status` | | [`StatusResponse`] |
//! | `GET /api/v1/health` | | [`Health`] |
//! | `GET /api/v1/alerts` | | [`Alerts`] |
//! | `GET /api/v1/alerts/history` | | [`AlertPage`] |
//! | `PATCH /api/v1/alerts/thresholds` | [`NewThresholds`] | [`Thresholds`] |
//! | `GET /api/v1/diagnosis` | | [`Diagnosis`] |
//! | `GET /api/v1/peers` | | [`Peers`] |
//! | `GET /api/v1/members` | | [`Members`] |
//! | `GET /api/v1/attempts` | | [`Attempts`] |
//! | `GET /api/v1/routes/{id}` | | [`Route`] |
//! | `POST /api/v1/routes/{id}/ping` | | [`Ping`] |
//! | `POST /api/v1/tasks` | [`NewTask`] | [`Submitted`] |
//! | `GET /api/v1/tasks` | | [`Tasks`] |
//! | `GET`, `DELETE /api/v1/tasks/{id}` | | [`Task`] |
//! | `GET /api/v1/tasks/{id}/result` | | [`ResultBody`] |
//! | `GET /api/v1/traces/{id}` | | [`Trace`] |
//! | `GET /api/v1/models`, `POST /api/v1/models/refresh` | | [`Models`] |
//! | `POST /api/v1/models` | [`NewPull`] | [`Models`] |
//! | `POST /api/v1/fetches` | [`NewFetch`] | one [`FetchLine`] a line |
//! | `GET /api/v1/fetches` | | [`Fetches`] |
//! | `GET /api/v1/metrics` | | [`metrics::Metrics`] |
//! | `POST /api/v1/files` | [`NewShare`] | |
//! | `GET /api/v1/debug/log-level` | | [`LogLevels`] |
//! | `POST /api/v1/debug/log-level` | [`NewLogLevel`] | [`LogLevels`] |
//! | `GET /api/v1/debug/memory` | | [`Memory`] |
//! | `GET /api/v1/debug/snapshot` | | [`Snapshot`] |
//! | `GET /api/v1/demo` | | [`Demo`] |
//! | `POST /api/v1/demo/tasks` | [`NewDemoTasks`] | one [`DemoTaskLine`] a line |
//! | `POST /api/v1/demo/kill` | [`DemoKill`] | [`DemoChange`] |
//! | `POST /api/v1/demo/heal` | | [`DemoChange`] |
//! | `POST /api/v1/demo/partition` | [`DemoPartition`] | [`DemoChange`] |
//! | `POST /api/v1/demo/fault` | [`NewDemoFault`] | [`DemoChange`] |
//! | `POST /api/v1/demo/stop` | | [`DemoSummary`] |
//! | below `/api/v1/dashboard` | | [`dashboard`] |
//! | `GET /healthz` | | [`Liveness`] |
//! | `GET /readyz` | | [`Readiness`] |
//!
//! Every failure of these routes has the body [`ErrorBody`] and a 4xx or 5xx status. Its `code` is stable; its `message`
//! may change.
//!
//! # Conventions
//! - Times are ISO 8601 strings in UTC. Durations are numbers whose names end in their unit: `_ms`, `_us`.
//! - Ids of tasks are UUIDs. Ids of nodes, fingerprints and hashes are lower-case hexadecimal strings.
//! - Optional fields are left out where they have no value, unless their documentation says otherwise.
//! - Requests with unknown fields are rejected. Answers may gain fields, so clients must ignore unknown ones.
//!
//! # Example
//! ```
//! use api::{NewTask, Submitted};
//! use engine::task::TaskKind;
//!
//! let task = NewTask::from_text(TaskKind::Embedding, "some text".to_owned());
//! assert_eq!(serde_json::to_string(&task)?, r#"{"type":"embedding","input":"some text"}"#);
//!
//! let answer = r#"{"id":"01234567-89ab-4def-8123-456789abcdef","status":"QUEUED"}"#;
//! let Submitted { id, .. } = serde_json::from_str(answer)?;
//! assert_eq!(id.to_string(), "01234567-89ab-4def-8123-456789abcdef");
//! # Ok::<(), serde_json::Error>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::print_stdout)]

mod alerts;
pub mod dashboard;
mod debug;
mod demo;
mod diagnosis;
mod error;
mod files;
pub mod metrics;
mod models;
mod network;
mod new_task;
mod status;
mod tasks;
mod traces;
mod work;

pub use alerts::{
    Alert, AlertNotice, AlertPage, AlertSink, AlertSinkKind, Alerts, NewThresholds, ThresholdValue,
    Thresholds,
};
pub use debug::{
    ComponentLevel, IssueFigures, IssueKind, LineFigures, LogFigures, LogLevel, LogLevels, MachineFigures,
    MappingKind, MappingMemory, MemberFigures, Memory, ModelFigures, NewLogLevel, NodeFigures, NotAnId,
    OccupancyFigures, PeerFigures, ProcessFigures, ProcessRole, ProgramFigures, SNAPSHOT_FORMAT,
    SettingFigure, SettingValue, ShortId, Snapshot, StorageFigures, Word,
};
pub use demo::{
    Demo, DemoBatch, DemoChange, DemoKill, DemoKind, DemoLatency, DemoNode, DemoNodeState, DemoPartition,
    DemoSummary, DemoTask, DemoTaskLine, DemoTasks, NewDemoFault, NewDemoTasks,
};
pub use diagnosis::{Conflict, DamagedRecord, Diagnosis, ModelVersion, RecentIssue};
pub use error::{ErrorBody, ErrorDetail};
pub use files::{Fetch, FetchLine, Fetches, NewFetch, NewShare};
pub use models::{Availability, ModelAvailability, ModelStatus, Models, NewPull, Pull, PullState};
pub use network::{Hop, Member, MemberRole, Members, Peer, Peers, Ping, Route};
pub use new_task::{InputBody, InvalidTask, Message, NewTask, OneOrMany, thousandths};
pub use status::{Health, Liveness, Model, Readiness, StartingStatus, Status, StatusResponse};
pub use tasks::{Dropped, OutputBody, ResultBody, Score, Submitted, Summary, Task, Tasks, TruncatedInput};
pub use traces::{Trace, TraceNode, TraceSpan};
pub use work::{Attempt, Attempts, OriginWork, Work};

/// Converts microseconds to milliseconds; exact up to 2^53 microseconds.
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
