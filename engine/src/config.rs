//! The settings that a node gets at its start. Its driver has checked them; the engine does not check them again.

use crate::model::ModelOffer;
#[cfg(feature = "mutants")]
use crate::mutants::Mutant;
use crate::node_name::NodeName;
use core::net::SocketAddr;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The settings of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The product's version, shown to users and peers; at most 32 bytes.
    pub version: String,
    /// The node's name, which it advertises.
    pub name: NodeName,
    /// The network's name, at most 64 bytes. Links with nodes of other networks are refused.
    pub network: String,
    /// Maximum number of links, 1 to 256.
    pub max_peers: u16,
    /// Whether the node announces itself and looks for other nodes by mDNS.
    pub discovery: bool,
    /// Addresses to dial in addition to those discovered.
    pub bootstrap_peers: Vec<SocketAddr>,
    /// The interval between two checks of the node's own health.
    pub health_check_interval: Duration,
    /// Memory limit of the node in bytes, including its model processes.
    pub memory_bytes_max: u64,
    /// Models that the node offers or is about to load. The first of each kind is the default for that kind.
    pub models: Vec<ModelOffer>,
    /// Maximum number of inference jobs that run at the same time.
    pub max_concurrent_tasks: u16,
    /// Maximum number of accepted tasks that wait or run at the same time.
    pub queue_tasks_max: u32,
    /// Maximum total size of the inputs of open tasks, in bytes.
    pub queue_bytes_max: u64,
    /// Maximum size of the input of one task, in bytes.
    pub input_bytes_max: u64,
    /// Maximum number of stored results. Beyond it, the oldest results are deleted.
    pub results_max: u32,
    /// How long a result is stored.
    pub result_retention: Duration,
    /// The share of tasks whose trace is kept, in millionths.
    pub trace_sample_millionths: u32,
    /// A known bug to put back, so that a test can show that it is caught.
    #[cfg(feature = "mutants")]
    #[serde(skip)]
    pub mutant: Option<Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: NodeName::default(),
            network: "local".to_owned(),
            max_peers: 32,
            discovery: true,
            bootstrap_peers: Vec::new(),
            health_check_interval: Duration::from_secs(30),
            memory_bytes_max: 512 << 20,
            models: Vec::new(),
            max_concurrent_tasks: 4,
            queue_tasks_max: 256,
            queue_bytes_max: 64 << 20,
            input_bytes_max: 256 << 10,
            results_max: 10_000,
            result_retention: Duration::from_secs(24 * 3600),
            trace_sample_millionths: 1_000_000,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}
