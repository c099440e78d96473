//! `demo stats`: shows the nodes of a demo, their tasks and the faults in effect.

use crate::client::Client;
use crate::error::Failure;
use crate::output::{self, Format};
use api::{Demo, DemoLatency, DemoNode, DemoNodeState, DemoTasks};
use engine::health::Verdict;
use std::collections::BTreeMap;

pub(super) async fn run(client: &Client, format: Format) -> Result<(), Failure> {
    if format.json {
        let body = client.get_raw("/api/v1/demo").await?;
        return output::write(&[&body[..], b"\n"].concat());
    }
    print(&client.get("/api/v1/demo").await?)
}

pub(super) fn print(demo: &Demo) -> Result<(), Failure> {
    let running = demo.nodes.iter().filter(|node| node.state == DemoNodeState::Running).count();
    let mut rows = vec![
        ("Nodes", format!("{running} of {} {} nodes run", demo.nodes.len(), demo.kind)),
        ("Uptime", output::duration(demo.uptime_ms)),
        ("Page and API", format!("http://{}", demo.address)),
        ("Memory", output::bytes(demo.memory_bytes)),
    ];
    if let Some(scenario) = &demo.scenario {
        rows.push(("Scenario", scenario.clone()));
    }
    rows.extend(task_rows(&demo.tasks));
    rows.extend(demo.faults.iter().map(|fault| ("Fault", fault.clone())));
    rows.extend(demo.violations.iter().map(|violation| ("Violation", violation.clone())));
    output::properties(&rows)?;
    print_nodes(demo)
}

/// Formats the tasks of a demo.
pub(super) fn task_rows(tasks: &DemoTasks) -> Vec<(&'static str, String)> {
    let mut text = format!("{} completed, {} failed", tasks.completed, tasks.failed);
    let under_way = tasks.submitted.saturating_sub(tasks.completed + tasks.failed + tasks.waiting);
    for (count, what) in [
        (under_way, "under way"),
        (tasks.waiting, "waiting for a running node"),
        (tasks.resubmitted, "submitted again after their node stopped"),
    ] {
        if count > 0 {
            text = format!("{text}, {count} {what}");
        }
    }
    let mut rows = vec![("Tasks", text)];
    rows.extend(tasks.latency_us.map(|latency| ("Latency", latency_text(latency))));
    if !tasks.workers.is_empty() {
        rows.push(("Ran on", workers_text(&tasks.workers)));
    }
    rows
}

pub(super) fn latency_text(latency: DemoLatency) -> String {
    let DemoLatency { median, p99, max } = latency;
    let [median, p99, max] = [median, p99, max].map(output::micros);
    format!("median {median}, p99 {p99}, most {max}")
}

/// Formats which node ran how many tasks, the busiest first.
pub(super) fn workers_text(workers: &BTreeMap<String, u64>) -> String {
    let mut workers: Vec<(&String, &u64)> = workers.iter().collect();
    workers.sort_by(|(name, count), (other, most)| most.cmp(count).then(name.cmp(other)));
    let shown: Vec<String> =
        workers.iter().take(WORKERS_SHOWN).map(|(name, count)| format!("{name} {count}")).collect();
    let rest = workers.len().saturating_sub(WORKERS_SHOWN);
    let more = if rest > 0 { format!(", and {rest} more nodes") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Prints the table of nodes.
pub(super) fn print_nodes(demo: &Demo) -> Result<(), Failure> {
    let rows: Vec<[String; 8]> = demo.nodes.iter().map(row).collect();
    output::table(["NAME", "ID", "STATE", "HEALTH", "PEERS", "KNOWN", "TASKS RUN", "API"], &rows)
}

fn row(node: &DemoNode) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let state = match node.state {
        DemoNodeState::Running => "RUNNING",
        DemoNodeState::Starting => "STARTING",
        DemoNodeState::Stopped => "STOPPED",
    };
    let state = node.reason.as_ref().map_or_else(|| state.to_owned(), |reason| format!("{state}: {reason}"));
    let health = node.health.map(|verdict| match verdict {
        Verdict::Pass => "PASS",
        Verdict::Warn => "WARN",
        Verdict::Fail => "FAIL",
    });
    [
        node.name.clone(),
        node.id.to_string().chars().take(ID_CHARS).collect(),
        state,
        or_dash(health.map(str::to_owned)),
        node.peers.to_string(),
        node.members.to_string(),
        node.tasks_run.to_string(),
        or_dash(node.api_address.map(|address| address.to_string())),
    ]
}

/// Enough to tell the nodes of a demo apart.
const ID_CHARS: usize = 8;
const WORKERS_SHOWN: usize = 8;
