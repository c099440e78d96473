//! `node start`: becomes a node in the foreground, or starts one in the background and waits until it is ACTIVE.

use crate::args::NodeStart;
use crate::error::{Failure, Outcome};
use crate::output;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};
use runtime::config::Overrides;
use runtime::home::{Home, RunInfo};
use runtime::service::{Service, StartError};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

pub(super) fn run(home: &Home, start: &NodeStart) -> Outcome {
    if start.foreground { become_node(home, start) } else { start_in_background(home) }
}

fn become_node(home: &Home, start: &NodeStart) -> Outcome {
    if start.detached {
        // Fails where this process leads its group already, and then there is no session to leave.
        let _ = setsid();
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let code = runtime.block_on(live(home, start));
    runtime.shutdown_timeout(LEFTOVERS);
    code
}

async fn live(home: &Home, start: &NodeStart) -> Outcome {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let service = Service::start(home, &overrides(start)?, !start.detached).await.map_err(explain)?;
    if start.detached {
        // Whoever starts it reads this; in the foreground the log says so already.
        for warning in service.warnings() {
            output::complain(format!("warning: {}\n", output::plain(warning)).as_bytes())?;
        }
    }
    let handle = service.handle();
    let mut ready = service.ready();
    let info = service.info().clone();
    let mut living = std::pin::pin!(service.wait());
    let (mut told, mut stopping) = (start.detached, false);
    loop {
        tokio::select! {
            code = &mut living => return Ok(ExitCode::from(code)),
            became = ready.wait_for(|ready| *ready), if !told => {
                told = true;
                if became.is_ok() {
                    output::mention(&announcement(&info));
                }
                continue;
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // The first signal asks, the second insists.
        if std::mem::replace(&mut stopping, true) {
            std::process::exit(FORCED);
        }
        let handle = handle.clone();
        tokio::spawn(async move { drop(handle.ask(engine::Request::Shutdown).await) });
    }
}

fn overrides(start: &NodeStart) -> io::Result<Overrides> {
    let mut flags = Vec::new();
    flags.extend(start.port.map(|port| ("network_port", json!(port), "--port")));
    flags.extend(start.api_port.map(|port| ("api_port", json!(port), "--api-port")));
    flags.extend(start.network.as_ref().map(|name| ("network", json!(name), "--network")));
    flags.extend(start.max_peers.map(|count| ("max_peers", json!(count), "--max-peers")));
    flags.extend(
        start.log_level.as_ref().map(|level| ("log_level", json!(level.to_uppercase()), "--log-level")),
    );
    if let Some(file) = &start.record {
        // As the user sees it from here, not from the home.
        flags.push(("record", json!(std::path::absolute(file)?), "--record"));
    }
    flags.extend(start.record_max_mb.map(|mib| ("record_max_mb", json!(mib), "--record-max-mb")));
    if !start.bootstrap_peers.is_empty() {
        flags.push(("bootstrap_peers", json!(start.bootstrap_peers), "--bootstrap-peer"));
    }
    if start.no_model {
        flags.push(("run_models", json!(false), "--no-model"));
    }
    if start.offline {
        flags.push(("offline", json!(true), "--offline"));
    }
    if !start.interfaces.is_empty() {
        flags.push(("interfaces", json!(start.interfaces), "--interface"));
    }
    Ok(Overrides { flags, config_file: start.config.clone(), environment: std::env::vars_os().collect() })
}

fn explain(error: StartError) -> Failure {
    let failure = Failure::from_error(&error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn announcement(info: &RunInfo) -> String {
    format!(
        "Node started (id: {}, port: {})\npid {}, API http://{}, network {:?} (open on this local network)",
        info.node_id, info.network_port, info.pid, info.api_address, info.network
    )
}

fn start_in_background(home: &Home) -> Outcome {
    home.create().map_err(|error| {
        Failure::new(format!("cannot use the home {}", home.root().display())).because(Some(&error))
    })?;
    let said = Said::new(home)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(["--foreground", "--detached"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.file.try_clone()?)
        .spawn()
        .map_err(|error| Failure::new("cannot start the node's process").because(Some(&error)))?;
    match await_ready(home, &mut child)? {
        Start::Active(info) => {
            output::complain(&said.keep(&home.stderr_file()))?;
            output::line(&announcement(&info))?;
            Ok(ExitCode::SUCCESS)
        }
        Start::Ended(status) => {
            // The child has explained itself as it would have in the foreground, unless it had no room to.
            let explanation = said.read();
            if explanation.is_empty() {
                return Err(unexplained(home, status));
            }
            output::complain(&explanation)?;
            let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
            Ok(ExitCode::from(code.unwrap_or(1)))
        }
        Start::Late => {
            if let Ok(pid) = i32::try_from(child.id()) {
                // It may have ended by itself at this moment.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            Err(Failure::new(format!(
                "the node was not ACTIVE after {} s and was stopped",
                READY_LIMIT.as_secs()
            ))
            .hint(format!("see {}", home.log_file().display())))
        }
    }
}

fn unexplained(home: &Home, status: ExitStatus) -> Failure {
    Failure::new(format!("the node's process ended before it was ACTIVE ({status})")).hint(format!(
        "check the space on the disk of {}; p2p-ai-agents node start --foreground may say more",
        home.root().display()
    ))
}

enum Start {
    Active(RunInfo),
    Ended(ExitStatus),
    Late,
}

fn await_ready(home: &Home, child: &mut Child) -> io::Result<Start> {
    let begun = Instant::now();
    loop {
        if let Some(info) = home.ready().filter(|info| info.pid == child.id()) {
            return Ok(Start::Active(info));
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Start::Ended(status));
        }
        if begun.elapsed() > READY_LIMIT {
            return Ok(Start::Late);
        }
        std::thread::sleep(POLL);
    }
}

/// What a process in the background says on standard error.
struct Said {
    path: PathBuf,
    file: File,
}

impl Said {
    fn new(home: &Home) -> io::Result<Self> {
        let path = home.root().join(format!("run/start-{}.stderr", std::process::id()));
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.set_len(0)?;
        Ok(Self { path, file })
    }

    /// Leaves the file for later, when a node says nothing there unless it panics; returns what it has said so far.
    fn keep(self, place: &Path) -> Vec<u8> {
        let text = fs::read(&self.path).unwrap_or_default();
        if fs::rename(&self.path, place).is_err() {
            self.discard();
        }
        text
    }

    fn read(self) -> Vec<u8> {
        let text = fs::read(&self.path).unwrap_or_default();
        self.discard();
        text
    }

    fn discard(&self) {
        // One that stays behind takes a little room and nothing else.
        let _ = fs::remove_file(&self.path);
    }
}

const THREADS_MAX: usize = 4;
const LEFTOVERS: Duration = Duration::from_millis(500);
const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(2);
/// The exit status of a node that a second signal ended.
const FORCED: i32 = 130;
