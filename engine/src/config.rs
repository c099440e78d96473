//! What a node is told before it starts. A `Config` is trusted: whoever makes it has checked its values.

use crate::model::ModelOffer;
#[cfg(feature = "testing")]
use crate::mutants::Mutant;
use core::net::SocketAddr;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The settings of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The product's version, as shown to users and peers; at most 32 bytes.
    pub version: String,
    /// The network's name; nodes of other networks are refused. At most 64 bytes.
    pub network: String,
    /// The most links that the node keeps, 1 to 256.
    pub max_peers: u16,
    /// Whether the node announces itself and looks for others by mDNS.
    pub discovery: bool,
    /// Addresses to dial besides those discovered.
    pub bootstrap_peers: Vec<SocketAddr>,
    /// How often the node looks after its own health.
    pub health_check_interval: Duration,
    /// Memory that the node may use, its models' processes included, in bytes.
    pub memory_bytes_max: u64,
    /// Models that the node will be able to run, its primary model of a kind first.
    pub models: Vec<ModelOffer>,
    /// Jobs that run at the same time.
    pub max_concurrent_tasks: u16,
    /// Accepted tasks that may wait or run at the same time.
    pub queue_tasks_max: u32,
    /// Bytes of input that waiting tasks may hold together.
    pub queue_bytes_max: u64,
    /// The longest input of one task, in bytes.
    pub input_bytes_max: u64,
    /// Results kept; beyond, the oldest go first.
    pub results_max: u32,
    /// How long a result is kept.
    pub result_retention: Duration,
    /// A known bug to put back, so that a test can show that it is caught.
    #[cfg(feature = "testing")]
    #[serde(skip)]
    pub mutant: Option<Mutant>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
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
            #[cfg(feature = "testing")]
            mutant: None,
        }
    }
}
