//! `debug stress`: submits tasks at a fixed rate and measures how long they take.
//!
//! The load is open-loop: tasks are due at fixed times, whether or not earlier ones have ended, and a latency counts
//! from the time at which the task was due. So a node that stalls cannot hide it by slowing the load down.

mod summary;

use crate::client::Client;
use crate::commands::sample_task;
use crate::commands::task::submit::Kind;
use crate::error::{Failure, Outcome};
use crate::interruption;
use crate::output::{self, Format};
use crate::progress;
use api::{NewTask, Submitted};
use clap::Args;
use engine::NodeId;
use engine::task::TaskStatus;
use runtime::home::Home;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use summary::Summary;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Seconds to submit tasks for
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600), value_name = "SECONDS")]
    pub(crate) duration: u32,
    /// Tasks per second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000), value_name = "N")]
    pub(crate) task_rate: u32,
    /// Type of the tasks
    #[arg(long = "type", value_enum, default_value = "embedding", value_name = "TYPE")]
    pub(crate) kind: Kind,
    /// Model to use [default: chosen by the node]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// How one task ended.
enum Ended {
    /// The node refused it for now, and asks for a pause.
    Busy(Duration),
    /// It has an outcome.
    Done { status: TaskStatus, worker: Option<NodeId>, latency: Duration },
    /// The node refused it, or does not answer.
    Failed(Failure),
}

pub(super) fn run(home: &Home, arguments: &Arguments) -> Outcome {
    let client = Client::connect(home)?;
    let interrupted = interruption::watch()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = runtime.block_on(load(&client, arguments, &interrupted))?;
    if arguments.format.json {
        output::json(&summary)?;
    } else {
        summary.print()?;
    }
    if summary.interrupted {
        return Ok(interruption::exit_code());
    }
    Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn load(client: &Client, arguments: &Arguments, interrupted: &AtomicBool) -> Result<Summary, Failure> {
    let bar = progress::spinner();
    let (begun, length) = (Instant::now(), Duration::from_secs(arguments.duration.into()));
    let mut summary = Summary::new(arguments.task_rate);
    let mut in_flight = JoinSet::new();
    let (mut number, mut paused_until) = (0_u32, begun);
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let total = arguments.duration.saturating_mul(arguments.task_rate);
    while number < total && !interrupted.load(Ordering::Relaxed) {
        // By multiplication, so that rounding does not add up.
        let due = begun + Duration::from_secs(1) * number / arguments.task_rate;
        tokio::select! {
            biased;
            _ = look.tick() => bar.set_message(summary.line(begun.elapsed(), in_flight.len())),
            Some(ended) = in_flight.join_next(), if !in_flight.is_empty() => {
                handle(&mut summary, &mut paused_until, ended)?;
            }
            () = sleep_until(due) => {
                number += 1;
                if in_flight.len() >= IN_FLIGHT_MAX || due < paused_until {
                    summary.held_back += 1;
                } else {
                    summary.submitted += 1;
                    let text = sample_task::text(number);
                    let task = sample_task::new(arguments.kind.into(), text, arguments.model.clone());
                    let client = client.clone();
                    in_flight.spawn(async move { submit(&client, &task, due).await });
                }
            }
        }
    }
    summary.interrupted = interrupted.load(Ordering::Relaxed);
    // The last task was due a little before the end.
    summary.elapsed = if summary.interrupted { begun.elapsed() } else { begun.elapsed().max(length) };
    let grace = if summary.interrupted { INTERRUPTED_GRACE } else { TASK_GRACE };
    let over = Instant::now() + grace;
    while let Ok(Some(ended)) = tokio::time::timeout_at(over, in_flight.join_next()).await {
        handle(&mut summary, &mut paused_until, ended)?;
        bar.set_message(summary.line(begun.elapsed(), in_flight.len()));
    }
    summary.unfinished = in_flight.len() as u64;
    bar.finish_and_clear();
    Ok(summary)
}

fn handle(
    summary: &mut Summary,
    paused_until: &mut Instant,
    ended: Result<Ended, tokio::task::JoinError>,
) -> Result<(), Failure> {
    match ended.map_err(|error| Failure::from_error(&error).id("internal_error"))? {
        Ended::Busy(pause) => {
            summary.refused_busy += 1;
            *paused_until = (*paused_until).max(Instant::now() + pause);
        }
        Ended::Done { status, worker, latency } => summary.count(status, worker, latency),
        // If nothing has worked yet, nothing will.
        Ended::Failed(failure) if summary.latencies.is_empty() => return Err(failure),
        Ended::Failed(failure) => {
            summary.errors += 1;
            summary.last_error = Some(failure.message().to_owned());
        }
    }
    Ok(())
}

/// Submits a task and waits for its outcome.
async fn submit(client: &Client, task: &NewTask, due: Instant) -> Ended {
    let outcome = async {
        let reply = client.post("/api/v1/tasks", task).await?;
        if let Some(pause) = reply.retry_after() {
            return Ok(Ended::Busy(pause));
        }
        let id = reply.read::<Submitted>()?.id;
        loop {
            // Every task ends, because it has a timeout.
            let task = client.await_task(id, LONG_POLL).await?;
            if task.status.is_terminal() {
                let latency = due.elapsed();
                return Ok(Ended::Done { status: task.status, worker: task.worker, latency });
            }
        }
    };
    outcome.await.unwrap_or_else(Ended::Failed)
}

/// A quarter of the queue of a node.
const IN_FLIGHT_MAX: usize = 64;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LONG_POLL: Duration = Duration::from_secs(30);
/// How long the last tasks may take after the load has ended: a little more than the timeout of a task.
const TASK_GRACE: Duration = Duration::from_secs(35);
/// The same after Ctrl-C.
const INTERRUPTED_GRACE: Duration = Duration::from_secs(1);
