//! HTTP/1 server of a node on loopback: the control API, OpenAI's API, that of text-embeddings-inference,
//! metrics, and the dashboard.
//!
//! No request is trusted. Browser pages of other origins, DNS names rebound to loopback, and other users of the machine
//! all reach this port. Therefore:
//! - `Host` and `Origin` are checked first.
//! - Every route except the probes and the files of the dashboard requires the node's bearer token, or the cookie of a
//!   session that was started with it. The metrics also have a port without it.
//! - Duration, size and number of requests are limited for each connection.
//! - When connections run out, those without the token are evicted first.
//!
//! From the socket up: `server` accepts, `connections` evicts, and `startup` responds until the node runs. `routes`
//! dispatches to `control`, `openai`, `tei` and `dashboard`. These ask the node through `node_client`; `task_runner` runs their tasks.

mod auth;
mod body;
mod client_stream;
mod clock_unset;
#[cfg(test)]
mod compat_tests;
mod connections;
mod control;
mod dashboard;
mod demo;
mod embedding_batch;
mod error;
mod fields;
mod forward;
mod framing;
mod input;
mod limits;
mod metrics;
mod model_rejection;
mod node_client;
mod openai;
mod peer_owner;
mod probes;
mod prompts;
mod rerank;
mod routes;
mod server;
mod startup;
mod state;
mod task_runner;
mod tei;
#[cfg(test)]
mod tests;
mod trace_context;
mod tracked_body;
mod truncated;

pub use auth::Token;
pub use dashboard::{Dashboard, Names, Sessions};
pub use demo::{DemoControl, DemoFront};
pub use error::ApiError;
pub use forward::{ForwardTarget, Forwarder};
pub use metrics::MetricsSource;
pub use server::{listen, listen_on_loopback, serve};
pub use startup::StartupRouter;
pub use state::{Api, ResultReadError, ResultSource};
