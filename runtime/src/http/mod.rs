//! The HTTP interfaces of a node: HTTP/1 on loopback, for the user's own programs. Beside the control API there are
//! OpenAI's routes and those of text-embeddings-inference, for programs that speak to these.
//!
//! Nothing that arrives here is trusted: a browser page of another origin, a name that was rebound to loopback
//! and another user of the machine all reach this port. So `Host` and `Origin` are checked first, everything but
//! the probes wants the node's token, time, size and number are bounded for each connection, and where places are
//! short, a connection without the token gives way.

mod auth;
mod body;
mod client_stream;
mod clock_unset;
#[cfg(test)]
mod compat_tests;
mod connections;
mod control;
mod embedding_batch;
mod error;
mod fields;
mod framing;
mod input;
mod limits;
mod model_rejection;
mod node_client;
mod openai;
mod peer_owner;
mod probes;
mod rerank;
mod routes;
mod server;
mod startup;
mod state;
mod task_runner;
mod tei;
#[cfg(test)]
mod tests;
mod tracked_body;
mod truncated;

pub use auth::Token;
pub use error::ApiError;
pub use server::{listen, serve};
pub use startup::StartupRouter;
pub use state::{Api, ResultReadError, ResultSource};
