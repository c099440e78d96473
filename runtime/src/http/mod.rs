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
mod embedding_batch;
mod error;
mod events;
mod fields;
mod files;
mod framing;
mod input;
mod models;
mod openai;
mod peer_owner;
mod rerank;
mod routes;
mod server;
mod startup;
mod task_runner;
mod tei;
#[cfg(test)]
mod tests;
mod tracked_body;
mod truncated;

pub use auth::Token;
pub use error::ApiError;
pub use server::{listen, serve};
pub use startup::Door;

use crate::blobs::Shelf;
use crate::catalog::Catalog;
use crate::driver::Handle;
use crate::store::Damage;
use engine::TaskId;
use engine::task::TaskResult;
use std::net::SocketAddr;
use std::sync::Arc;

/// The largest body where many texts come together.
const LARGE_BODY_BYTES_MAX: usize = 8 << 20;

/// What the API needs of its node.
#[derive(Clone)]
pub struct Api {
    /// The way to ask the node.
    pub handle: Handle,
    /// The way to whole results, past the node.
    pub results: Arc<dyn ResultSource>,
    /// The models, past the node.
    pub models: Catalog,
    /// What the node shares.
    pub shelf: Arc<Shelf>,
    /// Threads that each model computes and tokenises on.
    pub threads: u16,
    /// What a client must show.
    pub token: Arc<Token>,
    /// Where the API answers; other names for it in `Host` are refused.
    pub address: SocketAddr,
}

/// Reads stored results. Called outside the async runtime, so it may block.
pub trait ResultSource: Send + Sync + 'static {
    /// Reads one result with its output; `None` where there is none.
    ///
    /// # Errors
    /// [`ResultReadError`] where storage cannot tell.
    fn result(&self, id: TaskId) -> Result<Option<TaskResult>, ResultReadError>;

    /// Returns what is known to be damaged; what is found damaged later is noted there.
    fn damage(&self) -> Damage;
}

/// Storage did not give a result back.
#[derive(Debug, thiserror::Error)]
pub enum ResultReadError {
    /// Its record is damaged.
    #[error("the stored result is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Storage does not answer.
    #[error("the result cannot be read from storage")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
