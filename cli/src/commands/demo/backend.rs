//! The nodes of a demo, which either run as processes or are simulated.
//!
//! A backend knows its nodes by their index. Their names follow from it, through [`super::names`].

use api::{DemoKind, DemoNodeState, ErrorDetail, NewTask, Status, Task};
use engine::NodeId;
use runtime::http::{DemoFront, Sessions, Token};
use runtime::logging::Log;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The options of a backend.
#[allow(dead_code, reason = "real nodes need only some of them")]
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// The number of nodes.
    pub(super) nodes: u32,
    /// The directory for the files of nodes. It exists and is empty.
    pub(super) directory: PathBuf,
    /// The scenario file to play.
    pub(super) scenario: Option<PathBuf>,
    /// The seed of random numbers.
    pub(super) seed: Option<u64>,
    /// The token of the demo, for APIs in this process.
    pub(super) token: Arc<Token>,
    /// The address of the demo, for the API in front of the nodes.
    pub(super) address: SocketAddr,
    /// The logins of browsers at the demo.
    pub(super) sessions: Arc<Sessions>,
    /// The log of the demo.
    pub(super) log: Log,
}

/// A node as its backend knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeView {
    pub(super) id: NodeId,
    pub(super) state: DemoNodeState,
    /// Why it does not run.
    pub(super) reason: Option<String>,
    /// The address of its API, while it has one.
    pub(super) api_address: Option<SocketAddr>,
}

/// A fault to inject, with the nodes resolved to indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FaultSpec {
    /// The kind, as in scenario files.
    pub(super) kind: String,
    pub(super) node: Option<u32>,
    pub(super) from: Vec<u32>,
    pub(super) to: Vec<u32>,
    pub(super) groups: Vec<Vec<u32>>,
    /// The other settings, as in scenario files.
    pub(super) settings: BTreeMap<String, String>,
}

/// What a heal has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Healed {
    /// The nodes that were started.
    pub(super) started: Vec<u32>,
    /// The faults that ended, in words.
    pub(super) ended: Vec<String>,
}

/// Why a node did not run a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RunError {
    /// Its queue is full; it asks for a pause.
    Busy(Duration),
    /// It does not run, or it stopped before the task ended.
    Stopped,
    /// It rejected the task.
    Rejected(ErrorDetail),
}

/// Why a backend does not carry out a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// This kind of demo has no such fault.
    FaultUnsupported { message: String, hint: String },
    /// The fault lacks a setting, or has a wrong one.
    FaultInvalid { message: String },
    /// What happened cannot be recorded.
    NotRecorded { message: String, hint: String },
    /// A node could not be started again.
    NotStarted { message: String },
}

impl Refused {
    const fn code(&self) -> &'static str {
        match self {
            Self::FaultInvalid { .. } => "demo_fault_invalid",
            Self::FaultUnsupported { .. } => "demo_fault_unsupported",
            Self::NotRecorded { .. } => "demo_not_recorded",
            Self::NotStarted { .. } => "demo_node_not_started",
        }
    }
}

impl From<Refused> for ErrorDetail {
    fn from(refused: Refused) -> Self {
        let code = refused.code().to_owned();
        let (message, hint) = match refused {
            Refused::FaultUnsupported { message, hint } | Refused::NotRecorded { message, hint } => {
                (message, hint)
            }
            Refused::FaultInvalid { message } => {
                (message, "p2p-ai-agents help demo lists the faults and their settings".to_owned())
            }
            Refused::NotStarted { message } => {
                (message, "read the log of the node, which demo stats names".to_owned())
            }
        };
        Self { code, message, hint: Some(hint) }
    }
}

/// The nodes of a demo.
pub(super) trait Backend: Send + Sync + 'static {
    /// Returns how the nodes run.
    fn kind(&self) -> DemoKind;

    /// Returns all nodes, by their indexes.
    fn nodes(&self) -> Vec<NodeView>;

    /// Returns the nodes that run, in order.
    fn running(&self) -> Vec<u32>;

    /// Returns the node with an id.
    fn index_of(&self, id: NodeId) -> Option<u32>;

    /// Returns a number that changes when a node starts or stops.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Returns the status of a node; `None` if it does not answer.
    fn status(&self, node: u32) -> impl Future<Output = Option<Status>> + Send;

    /// Submits a task to a node and waits until it has ended.
    fn run(&self, node: u32, task: &NewTask) -> impl Future<Output = Result<Task, RunError>> + Send;

    /// Kills a running node.
    fn kill(&self, node: u32) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Ends all faults and starts the stopped nodes. Returns when these run.
    fn heal(&self) -> impl Future<Output = Result<Healed, Refused>> + Send;

    /// Divides the network into groups, which share no node.
    fn partition(&self, groups: &[Vec<u32>]) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Injects a fault. Returns it in words.
    fn fault(&self, fault: &FaultSpec) -> impl Future<Output = Result<String, Refused>> + Send;

    /// Returns the faults in effect, in words.
    fn faults(&self) -> Vec<String>;

    /// Returns what has happened so far, as a scenario file.
    fn record(&self) -> impl Future<Output = Result<String, Refused>> + Send;

    /// Returns what checks of the nodes found wrong.
    fn violations(&self) -> Vec<String>;

    /// Returns the node that takes the requests which are not about the demo.
    fn front(&self) -> DemoFront;

    /// Stops all nodes. Returns what checks of the nodes found wrong until the end.
    fn stop(&self) -> impl Future<Output = Vec<String>> + Send;
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Two nodes that do not run; without a sender, they never will.
    pub(in crate::commands::demo) struct Stopped(pub(in crate::commands::demo) Option<watch::Sender<u64>>);

    impl Backend for Stopped {
        fn kind(&self) -> DemoKind {
            DemoKind::Real
        }

        fn nodes(&self) -> Vec<NodeView> {
            let state = DemoNodeState::Stopped;
            let view = |id| NodeView { id: NodeId([id; 16]), state, reason: None, api_address: None };
            vec![view(1), view(2)]
        }

        fn running(&self) -> Vec<u32> {
            Vec::new()
        }

        fn index_of(&self, _: NodeId) -> Option<u32> {
            None
        }

        fn changes(&self) -> watch::Receiver<u64> {
            self.0.as_ref().map_or_else(|| watch::channel(0).1, watch::Sender::subscribe)
        }

        async fn status(&self, _: u32) -> Option<Status> {
            None
        }

        async fn run(&self, _: u32, _: &NewTask) -> Result<Task, RunError> {
            Err(RunError::Stopped)
        }

        async fn kill(&self, _: u32) -> Result<(), Refused> {
            Ok(())
        }

        async fn heal(&self) -> Result<Healed, Refused> {
            Ok(Healed::default())
        }

        async fn partition(&self, _: &[Vec<u32>]) -> Result<(), Refused> {
            Ok(())
        }

        async fn fault(&self, _: &FaultSpec) -> Result<String, Refused> {
            Ok(String::new())
        }

        fn faults(&self) -> Vec<String> {
            Vec::new()
        }

        async fn record(&self) -> Result<String, Refused> {
            Ok(String::new())
        }

        fn violations(&self) -> Vec<String> {
            Vec::new()
        }

        fn front(&self) -> DemoFront {
            unreachable!("no test asks for it")
        }

        async fn stop(&self) -> Vec<String> {
            vec!["found at the end".to_owned()]
        }
    }
}
