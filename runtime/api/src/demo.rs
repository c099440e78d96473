//! A demo: nodes on one machine, simulated or real, that a person starts to look at.

use crate::error::ErrorDetail;
use engine::health::Verdict;
use engine::task::{TaskKind, TaskStatus};
use engine::{NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// How the nodes of a demo run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DemoKind {
    /// Each node is a process with sockets.
    Real,
    /// All nodes are simulated in the process of the demo.
    Simulated,
}

impl fmt::Display for DemoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real => "real",
            Self::Simulated => "simulated",
        })
    }
}

/// The state of a demo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demo {
    /// How its nodes run.
    pub kind: DemoKind,
    /// Its process id.
    pub pid: u32,
    /// The address of its page and API.
    pub address: SocketAddr,
    /// How long it has run.
    pub uptime_ms: u64,
    /// How long it took from the start until all nodes knew each other; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met_ms: Option<u64>,
    /// The scenario file that it plays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// The nodes, in the order of their names' list.
    pub nodes: Vec<DemoNode>,
    /// The faults in effect, in words.
    pub faults: Vec<String>,
    /// What the simulator's checks found wrong; empty for real nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
    /// The tasks given to the demo.
    pub tasks: DemoTasks,
    /// Memory of all processes of the demo.
    pub memory_bytes: u64,
}

/// A node of a demo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemoNode {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: NodeId,
    /// Whether it runs.
    pub state: DemoNodeState,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The address of its API; absent while it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_address: Option<SocketAddr>,
    /// Verdict of its last health check; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Verdict>,
    /// Number of its peers.
    pub peers: u32,
    /// Number of nodes that it knows, including itself.
    pub members: u32,
    /// Accepted tasks that are queued.
    pub tasks_queued: u32,
    /// Accepted tasks that are running.
    pub tasks_running: u32,
    /// Tasks of the demo that it ran to the end.
    pub tasks_run: u64,
}

/// Whether a node of a demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DemoNodeState {
    /// It runs and takes tasks.
    Running,
    /// It is starting.
    Starting,
    /// It was killed, has left or failed.
    Stopped,
}

/// The tasks that were given to a demo.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DemoTasks {
    /// All tasks, except those whose client left before their end.
    pub submitted: u64,
    /// Tasks that were completed.
    pub completed: u64,
    /// Tasks that ended otherwise or were rejected.
    pub failed: u64,
    /// Submissions that were repeated at another node, because theirs had stopped.
    pub resubmitted: u64,
    /// Tasks that wait for a running node.
    pub waiting: u64,
    /// Latency of completed tasks, in microseconds; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<DemoLatency>,
    /// Completed tasks of each node, by its name.
    pub workers: BTreeMap<String, u64>,
    /// The last tasks, newest first.
    pub last: Vec<DemoTask>,
}

/// How long tasks took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemoLatency {
    /// Half of them took at most this.
    pub median: u64,
    /// 99 of 100 took at most this.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// A task of a demo that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemoTask {
    /// Its id; absent if no node accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TaskId>,
    /// Task type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// How it ended.
    pub status: TaskStatus,
    /// Name of the node that accepted it.
    pub origin: String,
    /// Name of the node that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Time from its submission to its end.
    pub elapsed_us: u64,
    /// The first characters of its output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_preview: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}

/// Request to run tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDemoTasks {
    /// How many.
    pub count: u32,
    /// Their type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Their input; by default each has another text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The node that accepts all of them, by its name or the start of its id; by default each running node in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Name of the model; by default the node chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A line of the answer to [`NewDemoTasks`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemoTaskLine {
    /// The last line: what became of all tasks.
    Done(DemoBatch),
    /// A task has ended.
    Task(DemoTask),
    /// Tasks wait, because no node runs that could take them.
    Waiting {
        /// Why.
        reason: String,
    },
}

/// What became of the tasks of one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemoBatch {
    /// Tasks that were completed.
    pub completed: u64,
    /// Tasks that ended otherwise or were rejected.
    pub failed: u64,
    /// Submissions that were repeated at another node, because theirs had stopped.
    pub resubmitted: u64,
    /// Time from the first submission to the last end.
    pub elapsed_ms: u64,
    /// Latency of completed tasks, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<DemoLatency>,
    /// Completed tasks of each node, by its name.
    pub workers: BTreeMap<String, u64>,
}

/// Request to kill a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoKill {
    /// The node, by its name or the start of its id.
    pub node: String,
}

/// Request to divide the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoPartition {
    /// Groups of nodes that do not reach each other, each node by its name or the start of its id. The nodes that are
    /// in none reach all.
    pub groups: Vec<Vec<String>>,
}

/// Request to inject a fault of the simulator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDemoFault {
    /// The kind of fault, as in scenario files.
    pub kind: String,
    /// Its settings, as in scenario files. Nodes are given by name or the start of their id.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// What a request has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemoChange {
    /// What happened, in words.
    pub message: String,
    /// Nodes that run now.
    pub running: u32,
    /// All nodes.
    pub nodes: u32,
}

/// A demo at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemoSummary {
    /// How its nodes ran.
    pub kind: DemoKind,
    /// How long it ran.
    pub uptime_ms: u64,
    /// The number of its nodes.
    pub nodes: u32,
    /// The tasks given to it.
    pub tasks: DemoTasks,
    /// Faults that were injected, in words and in order.
    pub faults: Vec<String>,
    /// What the simulator's checks found wrong; empty for real nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
}
