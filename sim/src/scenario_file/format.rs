//! The TOML format of a scenario file, before its values are checked against each other.

use super::fault_kind::FaultKind;
use super::units::{Counts, Offset, Period, Periods, Share};
use crate::scenario::Topology;
use engine::task::TaskKind;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) nodes: Spanned<u32>,
    #[serde(default)]
    pub(super) executor: Option<Spanned<Choice>>,
    #[serde(default)]
    pub(super) seed: Option<u64>,
    pub(super) duration: Spanned<Period>,
    #[serde(default)]
    pub(super) start: Option<Spanned<Periods>>,
    #[serde(default)]
    pub(super) network: Network,
    #[serde(default)]
    pub(super) disk: Disk,
    #[serde(default)]
    pub(super) node: Node,
    #[serde(default)]
    pub(super) workload: Option<Spanned<Workload>>,
    #[serde(default)]
    pub(super) host: Vec<Spanned<Host>>,
    #[serde(default)]
    pub(super) file: Vec<Spanned<SharedFile>>,
    #[serde(default)]
    pub(super) fetch: Vec<Spanned<Fetch>>,
    #[serde(default)]
    pub(super) fault: Vec<Spanned<Fault>>,
    #[serde(default)]
    pub(super) swarm: Option<Swarm>,
    #[serde(default)]
    pub(super) liveness: Option<Liveness>,
    #[serde(default)]
    pub(super) expect: Expect,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Choice {
    Auto,
    EventQueue,
    Turmoil,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub(super) latency: Option<Spanned<Periods>>,
    pub(super) topology: Option<Topology>,
    pub(super) multicast: Option<bool>,
    pub(super) loss: Option<Spanned<Share>>,
    pub(super) tick: Option<Spanned<Period>>,
    pub(super) retransmission: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disk {
    pub(super) latency: Option<Spanned<Periods>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) max_peers: Option<Spanned<u16>>,
    pub(super) max_concurrent_tasks: Option<Spanned<u16>>,
    pub(super) queue_tasks_max: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
    pub(super) compute: Spanned<Periods>,
    #[serde(default)]
    pub(super) task: Vec<Spanned<Task>>,
    #[serde(default)]
    pub(super) tasks: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) every: Option<Spanned<Period>>,
    #[serde(default)]
    pub(super) at: Option<Spanned<Period>>,
    #[serde(default)]
    pub(super) origin: Option<Spanned<String>>,
    #[serde(default, rename = "type")]
    pub(super) kind: Option<TaskKind>,
    #[serde(default)]
    pub(super) input: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) timeout: Option<Spanned<Period>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Host {
    pub(super) node: Spanned<String>,
    #[serde(default)]
    pub(super) start: Option<Spanned<Periods>>,
    #[serde(default)]
    pub(super) protocol: Option<Spanned<u16>>,
    #[serde(default)]
    pub(super) model: Option<Spanned<u16>>,
    #[serde(default)]
    pub(super) identity: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) unreachable_address: bool,
    #[serde(default)]
    pub(super) hostile: Vec<crate::scenario::Hostility>,
    #[serde(default)]
    pub(super) hostile_at: Option<Spanned<Period>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SharedFile {
    pub(super) bytes: Spanned<u32>,
    pub(super) holders: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fetch {
    pub(super) at: Spanned<Period>,
    pub(super) node: Spanned<String>,
    #[serde(default)]
    pub(super) file: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) by: Option<crate::scenario::FetchedBy>,
}

/// How many of the faults each seed draws.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Swarm {
    pub(super) faults: Spanned<Counts>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    pub(super) at: Spanned<Period>,
    #[serde(default)]
    pub(super) origin: Option<Spanned<String>>,
    pub(super) input: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) at: Spanned<Periods>,
    #[serde(default)]
    pub(super) probability: Option<Spanned<Share>>,
    #[serde(default)]
    pub(super) count: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) offset: Option<Spanned<Offset>>,
    #[serde(default)]
    pub(super) ppm: Option<Spanned<i32>>,
    #[serde(default)]
    pub(super) tasks: Option<Spanned<Vec<Spanned<u32>>>>,
    pub(super) kind: Spanned<FaultKind>,
    #[serde(default)]
    pub(super) node: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) groups: Option<Spanned<Vec<Vec<Spanned<String>>>>>,
    #[serde(default)]
    pub(super) from: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub(super) to: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub(super) every: Option<Spanned<Period>>,
    #[serde(default)]
    pub(super) away: Option<Spanned<Periods>>,
    #[serde(default)]
    pub(super) lasts: Option<Spanned<Period>>,
    #[serde(default)]
    pub(super) add: Option<Spanned<Periods>>,
    #[serde(default)]
    pub(super) share: Option<Spanned<Share>>,
    #[serde(default)]
    pub(super) restart_after: Option<Spanned<Period>>,
    #[serde(default)]
    pub(super) heal_after: Option<Spanned<Period>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Liveness {
    pub(super) after: Spanned<Period>,
    pub(super) within: Spanned<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    #[serde(default)]
    pub(super) always: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) sometimes: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) alerts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) alerts_cleared: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) never_alerts: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) outcomes: BTreeMap<crate::scenario::OutcomeKind, u32>,
}
