//! A sample of a node: its own status, the process figures of the operating system, and its new log lines.

use crate::client::Client;
use crate::commands::node::health;
use crate::commands::task::work;
use crate::error::Failure;
use api::{Peer, Peers, StartingStatus, StatusResponse, Tasks, Work};
use engine::NodeName;
use engine::lifecycle::State;
use engine::task::TaskStatus;
use runtime::home::Home;
use runtime::host;
use runtime::logging::{Follower, Told};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs;
use std::time::Instant;

/// The state of a node at one time.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    pub(super) timestamp: String,
    pub(super) node_id: String,
    pub(super) name: NodeName,
    pub(super) version: String,
    pub(super) network: String,
    pub(super) state: State,
    pub(super) health: Option<String>,
    pub(super) uptime_ms: Option<u64>,
    pub(super) peers: Vec<Peer>,
    pub(super) members: u32,
    pub(super) tasks_queued: u32,
    pub(super) tasks_running: u32,
    pub(super) work: Work,
    #[serde(skip)]
    pub(super) running_here: String,
    /// Completed tasks per second since the previous sample.
    pub(super) tasks_per_second: f64,
    pub(super) latency_ms_median: Option<u64>,
    pub(super) latency_ms_p99: Option<u64>,
    /// Memory of the node and its models that the system cannot reclaim.
    pub(super) memory_bytes: u64,
    /// CPU time of the node and its models, in percent of one core.
    pub(super) cpu_percent: f64,
    /// Log lines since the previous sample, newest last.
    pub(super) events: Vec<String>,
}

/// Takes samples of a node.
pub(super) struct Observer {
    home: Home,
    client: Client,
    log: Follower,
    events: VecDeque<String>,
    previous: Option<PreviousSample>,
}

/// Values of the previous sample.
struct PreviousSample {
    at: Instant,
    timestamp: String,
    cpu_ticks: u64,
}

impl Observer {
    /// Starts with the newest `recalled` lines of the log; `node logs` shows the earlier ones.
    pub(super) fn new(home: &Home, client: Client, recalled: usize) -> Self {
        let mut log = Follower::at_start(&home.log_file());
        let mut newest = VecDeque::new();
        while let Ok(Some(line)) = log.next_line() {
            newest.push_back(line);
            newest.drain(..newest.len().saturating_sub(recalled));
        }
        let events = newest.iter().filter_map(|line| Told::parse(line)).map(|told| told.plain()).collect();
        Self { home: home.clone(), client, log, events, previous: None }
    }

    /// Takes a sample of the node, which may have restarted.
    pub(super) async fn sample_again(&mut self) -> Result<Sample, Failure> {
        let client = Client::connect(&self.home)?;
        if client.info().pid != self.client.info().pid {
            (self.client, self.previous) = (client, None);
        }
        self.sample().await
    }

    /// Takes a sample of the node.
    pub(super) async fn sample(&mut self) -> Result<Sample, Failure> {
        let status = match self.client.get("/api/v1/status").await? {
            StatusResponse::Full(status) => *status,
            StatusResponse::Starting(StartingStatus { state, .. }) => {
                let failure = Failure::new(format!("The node is {state}")).id("node_not_ready");
                return Err(failure.hint("try again in a moment"));
            }
        };
        let Peers { peers } = self.client.get("/api/v1/peers").await?;
        let Tasks { tasks, .. } = self.client.get(&format!("/api/v1/tasks?limit={TASKS_MAX}")).await?;
        let pid = self.client.info().pid;
        let (now, cpu_ticks) = (Instant::now(), cpu_ticks(pid));
        let previous =
            self.previous.replace(PreviousSample { at: now, timestamp: status.timestamp.clone(), cpu_ticks });
        let mut took: Vec<u64> = tasks
            .iter()
            .filter(|task| task.status == TaskStatus::Completed)
            .filter_map(|task| task.result.as_ref().map(|result| (result, task.elapsed_ms)))
            // Both are from the node's clock, in a format that sorts by time.
            .filter(|(result, _)| {
                previous.as_ref().is_some_and(|previous| result.completed_at > previous.timestamp)
            })
            .map(|(_, took)| took)
            .collect();
        took.sort_unstable();
        let seconds = previous.as_ref().map_or(f64::INFINITY, |previous| (now - previous.at).as_secs_f64());
        let ticks = previous.map_or(0, |previous| cpu_ticks.saturating_sub(previous.cpu_ticks));
        self.read_log();
        Ok(Sample {
            timestamp: status.timestamp,
            node_id: status.node_id.to_string(),
            name: status.name,
            version: status.version,
            network: status.network,
            state: status.state,
            health: status.health.map(|health| health::shown(health.status).to_owned()),
            uptime_ms: status.uptime_ms,
            peers,
            members: status.members,
            tasks_queued: status.tasks_queued,
            tasks_running: status.tasks_running,
            running_here: work::summary(&status.work, status.node_id),
            work: status.work,
            tasks_per_second: took.len() as f64 / seconds,
            latency_ms_median: took.get(took.len() / 2).copied(),
            latency_ms_p99: took.get(took.len() * 99 / 100).copied(),
            memory_bytes: host::memory_bytes(pid),
            cpu_percent: ticks as f64 * 100.0 / (host::TICKS_PER_SECOND as f64 * seconds),
            events: self.events.drain(..).collect(),
        })
    }

    fn read_log(&mut self) {
        // Without the log, the rest of the sample is still useful.
        while let Ok(Some(line)) = self.log.next_line() {
            if let Some(told) = Told::parse(&line) {
                self.events.push_back(told.plain());
            }
            if self.events.len() > EVENTS_MAX {
                self.events.pop_front();
            }
        }
    }
}

/// Returns the CPU time of a process and its children, in ticks.
fn cpu_ticks(pid: u32) -> u64 {
    let own = fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| host::cpu_ticks(&stat))
        .unwrap_or(0);
    host::children(pid).map(cpu_ticks).fold(own, u64::saturating_add)
}

/// Maximum number of tasks that are counted per sample.
const TASKS_MAX: u32 = 1000;
const EVENTS_MAX: usize = 200;
