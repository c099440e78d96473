//! `node stop`: asks nodes to shut down gracefully and waits until they have.

use crate::client::{Client, block_on};
use crate::error::{Failure, Outcome};
use crate::{homes, output};
use engine::lifecycle::CUT_OFF;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::home::{Holder, Home};
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(super) fn run(home: &Home) -> Outcome {
    if home.holder() == Holder::Nobody {
        let failure = homes::not_running(home);
        if home.is_unreadable() {
            return Err(failure);
        }
        return Err(failure.hint(match homes::running() {
            Ok(homes) if !homes.is_empty() => "p2p-ai-agents node list shows the running nodes",
            Ok(_) | Err(_) => "no other node of this user runs either",
        }));
    }
    block_on(async {
        stop(home).await?;
        output::done(stop_message(home), &json!({ "home": home.root(), "stopped": true }))
    })
}

/// Stops all nodes of this user. A node that does not stop does not affect the others.
pub(super) fn run_all() -> Outcome {
    let homes = homes::running()?;
    block_on(async {
        // In parallel, because each may take eight seconds.
        let stops: Vec<_> =
            homes.into_iter().map(|home| tokio::spawn(async move { (stop(&home).await, home) })).collect();
        let (mut stopped, mut failed, mut homes_stopped) = (0, 0, Vec::new());
        for stop in stops {
            match stop.await {
                Ok((Ok(()), home)) => {
                    stopped += 1;
                    if !output::is_json() {
                        output::notice(&format!(
                            "{} (home: {})",
                            stop_message(&home),
                            home.root().display()
                        ))?;
                    }
                    homes_stopped.push(home.root().to_owned());
                }
                Ok((Err(failure), _)) => {
                    failed += 1;
                    failure.report();
                }
                Err(error) => return Err(Failure::from_error(&error).id("internal_error")),
            }
        }
        let nodes: Vec<_> =
            homes_stopped.iter().map(|home| json!({ "home": home, "stopped": true })).collect();
        let notice = format!("{stopped} {} stopped", if stopped == 1 { "node" } else { "nodes" });
        output::done(&notice, &json!({ "nodes": nodes, "failed": failed }))?;
        if failed > 0 { Err(Failure::silent()) } else { Ok(()) }
    })
    .map(|_| ExitCode::SUCCESS)
}

pub(super) async fn stop(home: &Home) -> Result<(), Failure> {
    let asked = async {
        Client::connect(home)?.post("/api/v1/shutdown", &()).await.and_then(crate::client::Reply::accepted)
    };
    let asked = tokio::time::timeout(REQUEST_TIMEOUT, asked).await.is_ok_and(|asked| asked.is_ok());
    if asked && released(home, SHUTDOWN_GRACE).await {
        return Ok(());
    }
    // The API does not answer or the shutdown takes too long. The signal means the same and needs no API.
    let Holder::Process { pid: Some(pid) } = home.holder() else { return Ok(()) };
    let process = i32::try_from(pid)
        .map(Pid::from_raw)
        .map_err(|error| Failure::from_error(&error).id("internal_error"))?;
    kill(process, Signal::SIGTERM).map_err(|error| {
        Failure::new(format!("cannot stop the node (pid {pid})"))
            .id("node_not_stopping")
            .because(Some(&error))
    })?;
    let grace = if asked { SIGNAL_GRACE } else { SHUTDOWN_GRACE };
    if released(home, grace).await {
        return Ok(());
    }
    Err(Failure::new(format!("the node did not stop (pid {pid})"))
        .id("node_not_stopping")
        .hint(format!("end it by force; no acknowledged task is lost: kill -9 {pid}")))
}

/// Returns the message for a node that has just stopped.
fn stop_message(home: &Home) -> &'static str {
    let code = std::fs::read_to_string(home.exit_file()).ok().and_then(|text| text.parse().ok());
    if code == Some(CUT_OFF) {
        "Node stopped; tasks that did not end in time resume after the next start, or on another node"
    } else {
        "Node stopped gracefully"
    }
}

/// Waits until no process holds the home.
async fn released(home: &Home, limit: Duration) -> bool {
    let begun = Instant::now();
    while home.holder() != Holder::Nobody {
        if begun.elapsed() >= limit {
            return false;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    true
}

/// A node acknowledges the request at once and shuts down afterwards.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A node stops within eight seconds of the request.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);
const SIGNAL_GRACE: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
