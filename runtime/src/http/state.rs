//! State that all request handlers share.

use super::auth::{self, Token};
use super::dashboard::Dashboard;
use super::error::ApiError;
use super::metrics::MetricsSource;
use crate::blobs::SharedFiles;
use crate::catalog::Catalog;
use crate::driver::Handle;
use crate::logging::Log;
use crate::observers::AlertSinkStates;
use crate::snapshot::Inspected;
use crate::store::Damage;
use axum::extract::Request;
use engine::TaskId;
use engine::task::TaskResult;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The node, its results, models and files, and the token that clients must present.
#[derive(Clone)]
pub struct Api {
    /// Sends requests to the node.
    pub handle: Handle,
    /// Reads whole results from storage, without the node.
    pub results: Arc<dyn ResultSource>,
    /// Models of the node.
    pub models: Catalog,
    /// Files that the node shares.
    pub shared_files: Arc<SharedFiles>,
    /// Figures that only this process knows.
    pub metrics: Arc<MetricsSource>,
    /// Log of the node.
    pub log: Log,
    /// Held while a profile is taken.
    pub profiling: Arc<Mutex<()>>,
    /// What a snapshot shows besides the answers of the node.
    pub inspected: Arc<Inspected>,
    /// Receivers of the node's alerts.
    pub alert_sinks: AlertSinkStates,
    /// Dashboard of the node.
    pub dashboard: Dashboard,
    /// Threads for inference and tokenisation of each model.
    pub threads: u16,
    /// Share of requests without a trace context whose trace is kept, in millionths.
    pub trace_sample: u32,
    /// Bearer token that clients must present.
    pub token: Arc<Token>,
    /// Address of the API, which hints name.
    pub address: SocketAddr,
}

impl Api {
    /// Checks that the client of a request may send it.
    pub(super) fn authorize(&self, request: &Request) -> Result<(), ApiError> {
        auth::check(request.method(), request.headers(), &self.token, self.dashboard.sessions())
    }
}

/// Reads stored results. It is called outside the async runtime and may block.
pub trait ResultSource: Send + Sync + 'static {
    /// Reads one result with its output; `None` if there is none.
    ///
    /// # Errors
    /// [`ResultReadError`] if the record is damaged or storage fails.
    fn result(&self, id: TaskId) -> Result<Option<TaskResult>, ResultReadError>;

    /// Returns the list of damaged records, to which callers add those that they find.
    fn damage(&self) -> Damage;
}

/// Why a stored result could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ResultReadError {
    /// The record is damaged.
    #[error("the stored result is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Storage failed.
    #[error("the result cannot be read from storage")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
