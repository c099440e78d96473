//! `demo stop`: stops the demo and prints a summary.

use super::connect;
use super::stats::task_rows;
use crate::error::Failure;
use crate::output::{self, Format};
use api::{DemoKind, DemoSummary};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::home::{Holder, Home};
use std::time::{Duration, Instant};

pub(super) async fn run(home: &Home, format: Format) -> Result<(), Failure> {
    let client = connect(home)?;
    let asked = async { client.post("/api/v1/demo/stop", &()).await?.read::<DemoSummary>() };
    let summary = tokio::time::timeout(STOP_TIMEOUT, asked).await;
    if !matches!(summary, Ok(Ok(_)))
        && let Holder::Process { pid: Some(pid) } = home.holder()
        && let Ok(pid) = i32::try_from(pid)
    {
        // The API does not answer. The signal means the same and needs no API. The process may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let begun = Instant::now();
    while home.holder() != Holder::Nobody {
        if begun.elapsed() > STOP_TIMEOUT {
            return Err(Failure::new("the demo did not stop")
                .id("demo_not_stopping")
                .hint(format!("see {}", home.log_file().display())));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    match summary {
        Ok(Ok(summary)) if format.json => output::json(&summary),
        Ok(Ok(summary)) => print(&summary),
        Ok(Err(_)) | Err(_) => output::notice("Demo stopped; it gave no summary"),
    }
}

/// Prints the summary of a demo.
pub(super) fn print(summary: &DemoSummary) -> Result<(), Failure> {
    let nodes = if summary.nodes == 1 { "node" } else { "nodes" };
    output::notice(&format!(
        "Demo stopped after {} with {} {} {nodes}",
        output::duration(summary.uptime_ms),
        summary.nodes,
        summary.kind
    ))?;
    let mut rows = task_rows(&summary.tasks);
    rows.extend(summary.faults.iter().take(FAULTS_SHOWN).map(|fault| ("Event", fault.clone())));
    let rest = summary.faults.len().saturating_sub(FAULTS_SHOWN);
    if rest > 0 {
        rows.push(("Event", format!("{rest} more")));
    }
    match (summary.kind, summary.violations.as_slice()) {
        (DemoKind::Real, _) => {}
        (DemoKind::Simulated, []) => rows.push(("Invariants", "all hold".to_owned())),
        (DemoKind::Simulated, violations) => {
            rows.extend(violations.iter().map(|violation| ("Violation", violation.clone())));
        }
    }
    if output::is_quiet() { Ok(()) } else { output::properties(&rows) }
}

const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const FAULTS_SHOWN: usize = 10;
