//! `demo start`: starts a demo in the background, or runs it in the foreground.

use super::server::{self, DemoServer};
use super::{connect, memory, stats, stop};
use crate::client::{Client, block_on};
use crate::commands::background::{self, BackgroundError, Started};
use crate::commands::stop_signals::StopSignals;
use crate::error::{Failure, Outcome};
use crate::output::{self, Format};
use api::Demo;
use clap::Args;
use nix::unistd::setsid;
use runtime::hardening::harden_this_process;
use runtime::home::{Holder, Home};
use runtime::host::raise_open_files_limit;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Number of nodes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000), allow_negative_numbers = true, value_name = "N")]
    pub(super) nodes: u32,
    /// Run each node as a process with sockets, instead of simulating all of them
    #[arg(long)]
    pub(super) real: bool,
    /// Play this scenario file, with its nodes, network and faults
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "real"])]
    pub(super) scenario: Option<PathBuf>,
    /// Seed of the simulated network and its faults [default: random]
    #[arg(long, value_name = "N", conflicts_with = "real")]
    pub(super) seed: Option<u64>,
    /// Port of the page and the API on loopback [default: 8080, or the next free port]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1024..), allow_negative_numbers = true, value_name = "PORT")]
    pub(super) port: Option<u16>,
    /// Run in the foreground until Ctrl-C
    #[arg(long)]
    pub(super) foreground: bool,
    #[command(flatten)]
    pub(super) format: Format,
    /// Leave the session of the terminal that started this process
    #[arg(long, hide = true, requires = "foreground")]
    pub(super) detached: bool,
}

pub(super) fn run(home: &Home, arguments: &Arguments) -> Outcome {
    if home.holder() != Holder::Nobody {
        return Err(server::already_running(home));
    }
    memory::check(arguments.nodes, arguments.real)?;
    if arguments.foreground { run_in_foreground(home, arguments) } else { start_in_background(home) }
}

fn start_in_background(home: &Home) -> Outcome {
    server::create(home)?;
    let mut process = Command::new(std::env::current_exe()?);
    process.args(std::env::args_os().skip(1)).args(["--foreground", "--detached"]);
    let started = background::start(home, process, READY_TIMEOUT).map_err(|error| match error {
        BackgroundError::Home(error) => Failure::from(error),
        BackgroundError::Process(error) => {
            Failure::new("cannot start the demo's process").id("process_not_started").because(Some(&error))
        }
    })?;
    match started {
        Started::Ready { said, .. } => {
            output::write_error(&said)?;
            block_on(async { announce(home, &connect(home)?).await.map(drop) })
        }
        Started::Ended { status, said } => {
            if said.is_empty() {
                return Err(Failure::new(format!("the demo's process ended at its start ({status})"))
                    .id("process_ended")
                    .hint(format!("see {}", home.log_file().display())));
            }
            output::write_error(&said)?;
            Ok(ExitCode::FAILURE)
        }
        Started::TimedOut { said } => {
            output::write_error(&said)?;
            Err(Failure::new(format!("the demo did not start within {} s", READY_TIMEOUT.as_secs()))
                .id("demo_start_timeout")
                .hint(format!("see {}", home.log_file().display())))
        }
    }
}

fn run_in_foreground(home: &Home, arguments: &Arguments) -> Outcome {
    if arguments.detached {
        // It fails if this process already leads its group; then there is no session to leave.
        let _ = setsid();
    }
    runtime()?.block_on(async {
        let mut signals = StopSignals::new()?;
        // A signal during the start ends the nodes that have started, because dropping them kills them.
        let mut server = tokio::select! {
            started = DemoServer::start(home, arguments) => started?,
            _ = signals.next() => return Ok(ExitCode::FAILURE),
        };
        if !arguments.detached {
            announce(home, &connect(home)?).await?;
        }
        tokio::select! {
            () = server.wait() => {}
            _ = signals.next() => {}
        }
        let summary = server.stop().await;
        if !arguments.detached {
            stop::print(&summary)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Prepares this process for a demo, and returns the runtime of its tasks.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    harden_this_process();
    // More nodes than files are refused by the system when they start.
    let _ = raise_open_files_limit();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

/// Prints what has started, and returns it.
pub(super) async fn announce(home: &Home, client: &Client) -> Result<Demo, Failure> {
    let demo: Demo = client.get("/api/v1/demo").await?;
    if output::is_json() {
        output::json(&demo)?;
        return Ok(demo);
    }
    let count = demo.nodes.len();
    let nodes = if count == 1 { "node" } else { "nodes" };
    let met = match demo.met_ms {
        Some(_) if count == 1 => String::new(),
        Some(millis) => format!("; they know each other after {}", output::duration(millis)),
        None => "; they do not know each other yet".to_owned(),
    };
    output::notice(&format!("Demo started with {count} {} {nodes} (pid {}){met}", demo.kind, demo.pid))?;
    output::notice(&format!("Page and API: http://{}", demo.address))?;
    if !output::is_quiet() {
        stats::print_nodes(&demo)?;
    }
    let place = home.root().display();
    output::notice(&format!("Open the page:   p2p-ai-agents --home {place} dashboard open"))?;
    output::notice("Give them work:  p2p-ai-agents demo tasks --count 10 --type embedding")?;
    Ok(demo)
}

const THREADS_MAX: usize = 4;
const READY_TIMEOUT: Duration = Duration::from_secs(120);
