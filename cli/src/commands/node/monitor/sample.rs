//! One look at a node: what it says of itself, what the system says of its process, what its log tells.

use crate::client::Client;
use crate::commands::node::health;
use crate::error::Failure;
use api::{Metadata, Peer, Peers, StatusAnswer, Tasks};
use engine::lifecycle::State;
use engine::task::TaskStatus;
use runtime::home::Home;
use runtime::host;
use runtime::logging::{Follower, Told};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs;
use std::time::Instant;

/// How a node is at one time.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    pub(super) timestamp: String,
    pub(super) node_id: String,
    pub(super) version: String,
    pub(super) network: String,
    pub(super) state: State,
    pub(super) health: Option<String>,
    pub(super) uptime_ms: Option<u64>,
    pub(super) peers: Vec<Peer>,
    pub(super) members: u32,
    pub(super) tasks_queued: u32,
    pub(super) tasks_running: u32,
    /// Tasks of this node that ended since the look before.
    pub(super) tasks_per_second: f64,
    pub(super) latency_ms_median: Option<u64>,
    pub(super) latency_ms_p99: Option<u64>,
    /// Memory of the node and its models that the system cannot take back.
    pub(super) memory_bytes: u64,
    /// Of one core, the node and its models.
    pub(super) cpu_percent: f64,
    /// The lines that the log has got since the look before, the newest last.
    pub(super) events: Vec<String>,
}

/// Looks at a node again and again.
pub(super) struct Observer {
    home: Home,
    client: Client,
    log: Follower,
    events: VecDeque<String>,
    before: Option<Before>,
}

/// What the look before saw.
struct Before {
    at: Instant,
    timestamp: String,
    cpu_ticks: u64,
}

impl Observer {
    /// Begins with so many of the newest lines of the log; what was before is for `node logs`.
    pub(super) fn new(home: &Home, client: Client, recalled: usize) -> Self {
        let mut log = Follower::at_start(&home.log_file());
        let mut newest = VecDeque::new();
        while let Ok(Some(line)) = log.next_line() {
            newest.push_back(line);
            newest.drain(..newest.len().saturating_sub(recalled));
        }
        let events = newest.iter().filter_map(|line| Told::parse(line)).map(|told| told.plain()).collect();
        Self { home: home.clone(), client, log, events, before: None }
    }

    /// Looks at the node, which may be another process by now.
    pub(super) async fn look_again(&mut self) -> Result<Sample, Failure> {
        let client = Client::connect(&self.home)?;
        if client.info().pid != self.client.info().pid {
            (self.client, self.before) = (client, None);
        }
        self.look().await
    }

    /// Looks at the node.
    pub(super) async fn look(&mut self) -> Result<Sample, Failure> {
        let status = match self.client.get("/api/v1/status").await? {
            StatusAnswer::Whole(status) => *status,
            StatusAnswer::Early(Metadata { state, .. }) => {
                let failure = Failure::new(format!("The node is {state}")).id("node_not_ready");
                return Err(failure.hint("try again in a moment"));
            }
        };
        let Peers { peers } = self.client.get("/api/v1/peers").await?;
        let Tasks { tasks, .. } = self.client.get(&format!("/api/v1/tasks?limit={TASKS_MAX}")).await?;
        let pid = self.client.info().pid;
        let (now, cpu_ticks) = (Instant::now(), cpu_ticks(pid));
        let before = self.before.replace(Before { at: now, timestamp: status.timestamp.clone(), cpu_ticks });
        let mut took: Vec<u64> = tasks
            .iter()
            .filter(|task| task.status == TaskStatus::Completed)
            .filter_map(|task| task.result.as_ref().map(|result| (result, task.elapsed_ms)))
            // Both are of the node's own clock, in a form whose order is that of time.
            .filter(|(result, _)| {
                before.as_ref().is_some_and(|before| result.completed_at > before.timestamp)
            })
            .map(|(_, took)| took)
            .collect();
        took.sort_unstable();
        let seconds = before.as_ref().map_or(f64::INFINITY, |before| (now - before.at).as_secs_f64());
        let ticks = before.map_or(0, |before| cpu_ticks.saturating_sub(before.cpu_ticks));
        self.read_log();
        Ok(Sample {
            timestamp: status.timestamp,
            node_id: status.node_id.to_string(),
            version: status.version,
            network: status.network,
            state: status.state,
            health: status.health.map(|health| health::shown(health.status).to_owned()),
            uptime_ms: status.uptime_ms,
            peers,
            members: status.members,
            tasks_queued: status.tasks_queued,
            tasks_running: status.tasks_running,
            tasks_per_second: took.len() as f64 / seconds,
            latency_ms_median: took.get(took.len() / 2).copied(),
            latency_ms_p99: took.get(took.len() * 99 / 100).copied(),
            memory_bytes: host::memory_bytes(pid),
            cpu_percent: ticks as f64 * 100.0 / (TICKS_PER_SECOND * seconds),
            events: self.events.drain(..).collect(),
        })
    }

    fn read_log(&mut self) {
        // Without the log, all else is still worth a look.
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

/// Returns the processor time that a process and its children have used.
fn cpu_ticks(pid: u32) -> u64 {
    let own = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| ticks(&stat)).unwrap_or(0);
    host::children(pid).map(cpu_ticks).fold(own, u64::saturating_add)
}

fn ticks(stat: &str) -> Option<u64> {
    // After the program's name in brackets: the state is the third field of all, these are the 14th and the 15th.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Of every Linux that there is (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;
/// Of tasks that end between two looks, this many are counted.
const TASKS_MAX: u32 = 1000;
const EVENTS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 5 0 99 1000 200";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (x) S 1"), None);
    }
}
