//! What the handlers of requests share: the way to the node, to its results, models and files, and the token.

use super::auth::Token;
use crate::blobs::SharedFiles;
use crate::catalog::Catalog;
use crate::driver::Handle;
use crate::store::Damage;
use engine::TaskId;
use engine::task::TaskResult;
use std::net::SocketAddr;
use std::sync::Arc;

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
    pub shared_files: Arc<SharedFiles>,
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
