//! `node start`: runs a node in the foreground, or starts one in the background and waits until it is ACTIVE.

use super::config;
use crate::client::{Client, block_on};
use crate::commands::background::{self, BackgroundError, Started};
use crate::error::{Failure, Outcome};
use crate::homes;
use crate::notify::ServiceManager;
use crate::output::{self, Format};
use crate::terminal;
use api::StatusResponse;
use clap::Args;
use nix::unistd::setsid;
use runtime::config::{Overrides, Shown};
use runtime::hardening::harden_this_process;
use runtime::home::{Home, RunInfo};
use runtime::host::raise_open_files_limit;
use runtime::service::{Service, StartError};
use runtime::startup::{Startup, Step, Timeline};
use runtime::store::{FREE_BYTES_MIN, check_free_space, is_full};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{self, ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Arguments {
    /// Name of the node, shown on all nodes [default: the host name without its domain]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Port on which the node accepts peers [default: 9000]
    #[arg(long, value_parser = port, value_name = "PORT", allow_negative_numbers = true)]
    pub(crate) port: Option<u16>,
    /// Port of the control API on loopback [default: 8080, or the next free port]
    #[arg(long, value_parser = port, value_name = "PORT", allow_negative_numbers = true)]
    pub(crate) api_port: Option<u16>,
    /// Port of the metrics on loopback, 0 for none [default: 9100, or the next free port]
    #[arg(long, value_parser = optional_port, value_name = "PORT", allow_negative_numbers = true)]
    pub(crate) metrics_port: Option<u16>,
    /// Read this configuration file (JSON, or TOML by extension) instead of the one in the home
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print how long each component and state of the start took
    #[arg(long)]
    pub(crate) startup_diagnostics: bool,
    /// Run in the foreground and log to the terminal
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Join this network; nodes of other networks are refused [default: local]
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,
    /// Maximum number of peers [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) max_peers: Option<u64>,
    /// Dial this address in addition to discovered ones; can be repeated
    #[arg(long = "bootstrap-peer", value_name = "IP:PORT")]
    pub(crate) bootstrap_peers: Vec<SocketAddr>,
    /// Discover nodes only on this network interface; can be repeated
    #[arg(long = "interface", value_name = "NAME")]
    pub(crate) interfaces: Vec<String>,
    /// Run no models: relay messages and pass submitted tasks to other nodes, to save memory
    #[arg(long)]
    pub(crate) no_model: bool,
    /// Never fetch from the Hugging Face hub
    #[arg(long)]
    pub(crate) offline: bool,
    /// Record all inputs and outputs of the node for `sim replay`, including the texts of tasks
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Stop recording at this many MiB [default: 64]
    #[arg(long, value_name = "MIB")]
    pub(crate) record_max_mb: Option<u64>,
    /// Start without earlier tasks and results if the data file is missing or unreadable
    #[arg(long)]
    pub(crate) accept_data_loss: bool,
    /// Lowest severity to log [default: INFO]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) format: Format,
    /// Leave the session of the terminal that started this process
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) detached: bool,
    /// Stop when standard input ends, which it does with the process that started this one
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) end_with_stdin: bool,
}

pub(super) fn run(home: &Home, start: &Arguments) -> Outcome {
    if start.foreground {
        return run_in_foreground(home, start);
    }
    let ended = start_in_background(home, &Command::new(start)?)?;
    if start.startup_diagnostics && ended == ExitCode::SUCCESS {
        let timeline = home.ready().and_then(|info| info.startup).unwrap_or_default();
        output::write(diagnostics(&timeline).as_bytes())?;
    }
    Ok(ended)
}

fn run_in_foreground(home: &Home, start: &Arguments) -> Outcome {
    let mut refused = harden_this_process();
    if let Err(error) = raise_open_files_limit() {
        refused.push(format!("the limit of open files stays as it is: {error}"));
    }
    if start.detached {
        // It fails if this process already leads its group; then there is no session to leave.
        let _ = setsid();
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let code = runtime.block_on(run_node(home, start, &refused));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
    code
}

/// Runs a node. Logs what the operating system `refused`, once there is a log.
async fn run_node(home: &Home, start: &Arguments, refused: &[String]) -> Outcome {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let (manager, startup) = (Arc::new(ServiceManager::from_environment()), Startup::default());
    let started = Service::start(home, &overrides(start)?, !start.detached, &startup);
    if started.is_err() && start.startup_diagnostics {
        output::write_error(diagnostics(&startup.timeline()).as_bytes())?;
    }
    let service = started.map_err(explain)?;
    refused.iter().for_each(|what| tracing::debug!("{what}"));
    let command = Command { detached: start.detached, ..Command::new(start)? };
    if let Err(error) = command.save(home) {
        tracing::warn!(%error, "node restart will not know how this node was started");
    }
    if start.detached {
        // The starting process shows this; in the foreground the log shows it already.
        for warning in service.warnings() {
            output::write_error(format!("warning: {}\n", terminal::sanitize_line(warning)).as_bytes())?;
        }
    }
    let handle = service.handle();
    let mut ready = service.ready();
    let info = service.info().clone();
    let mut living = std::pin::pin!(service.wait());
    let (mut told, mut stopping) = (false, false);
    let mut watchdog = manager.watchdog().map(tokio::time::interval);
    let mut starter_gone = std::pin::pin!(starter_ended(start.end_with_stdin));
    loop {
        tokio::select! {
            code = &mut living => return Ok(ExitCode::from(code)),
            became = ready.wait_for(|ready| *ready), if !told => {
                told = true;
                if became.is_ok() {
                    let text = announcement(&info, &config::running_settings(home).unwrap_or_default());
                    manager.ready(&text);
                    if !start.detached {
                        output::try_notice(&text);
                    }
                    if start.startup_diagnostics && !start.detached {
                        output::write_error(diagnostics(&startup.timeline()).as_bytes())?;
                    }
                }
                continue;
            }
            () = tick(&mut watchdog) => {
                // A node that does not answer counts as dead, even if its process runs.
                let (handle, manager) = (handle.clone(), Arc::clone(&manager));
                tokio::spawn(async move {
                    if handle.ask(engine::Request::Status).await.is_ok() {
                        manager.alive();
                    }
                });
                continue;
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {
                // A node with a terminal of its own ends with it, in order. Others have none that could go.
                if start.detached || manager.exists() {
                    tracing::info!("the signal SIGHUP has no effect on a node in the background");
                    continue;
                }
            }
            () = &mut starter_gone, if !stopping => {}
        }
        manager.stopping();
        // The first signal requests a graceful shutdown; the second one forces it.
        if std::mem::replace(&mut stopping, true) {
            process::exit(FORCED_EXIT_CODE);
        }
        let handle = handle.clone();
        tokio::spawn(async move { drop(handle.ask(engine::Request::Shutdown).await) });
    }
}

async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(watchdog) => _ = watchdog.tick().await,
        None => std::future::pending().await,
    }
}

/// Waits until standard input ends, if `watch`.
async fn starter_ended(watch: bool) {
    let (open, ended) = tokio::sync::oneshot::channel::<()>();
    let read = move || {
        let _open = open;
        // Input is discarded; only its end matters.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    };
    let started = watch && std::thread::Builder::new().name("stdin".to_owned()).spawn(read).is_ok();
    if started {
        let _ = ended.await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// Formats how long each part of a start took.
fn diagnostics(timeline: &Timeline) -> String {
    let line = |step: &Step| {
        let (millis, micros) = (step.micros / 1000, step.micros % 1000);
        format!("  {:14} {millis:>6}.{micros:03} ms\n", step.name)
    };
    let components: String = timeline.components.iter().map(line).collect();
    let states: String = timeline.states.iter().map(line).collect();
    format!("Components, and how long each took:\n{components}States, and when each was entered:\n{states}")
}

fn overrides(start: &Arguments) -> io::Result<Overrides> {
    let mut flags = Vec::new();
    flags.extend(start.name.as_ref().map(|name| ("name", json!(name), "--name")));
    flags.extend(start.port.map(|port| ("port", json!(port), "--port")));
    flags.extend(start.api_port.map(|port| ("api_port", json!(port), "--api-port")));
    flags.extend(start.metrics_port.map(|port| ("metrics_port", json!(port), "--metrics-port")));
    flags.extend(start.network.as_ref().map(|name| ("network", json!(name), "--network")));
    flags.extend(start.max_peers.map(|count| ("max_peers", json!(count), "--max-peers")));
    flags.extend(
        start.log_level.as_ref().map(|level| ("log_level", json!(level.to_uppercase()), "--log-level")),
    );
    if let Some(file) = &start.record {
        // Relative to this process's directory, not to the home.
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
    Ok(Overrides {
        flags,
        config_file: start.config.clone(),
        accept_data_loss: start.accept_data_loss,
        ..Overrides::from_environment()
    })
}

pub(super) fn explain(error: StartError) -> Failure {
    let failure = Failure::from_error(&error).id(error.id());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Returns the configured models that the node cannot use; none if it does not answer.
fn unusable_models(home: &Home) -> Vec<String> {
    let mut unusable = Vec::new();
    let asked = block_on(async {
        if let StatusResponse::Full(status) = Client::connect(home)?.get("/api/v1/status").await? {
            unusable = status.models_unusable;
        }
        Ok(())
    });
    // The node has started, whatever it answers.
    drop(asked);
    unusable
}

/// Says why a port is not the one of the settings, if so.
fn moved_port(settings: &[Shown], key: &str, port: u16) -> String {
    let wanted = settings.iter().find(|shown| shown.key == key).and_then(|shown| shown.value.as_u64());
    match wanted.filter(|wanted| *wanted != u64::from(port)) {
        Some(wanted) => format!(" (port {wanted} is in use)"),
        None => String::new(),
    }
}

fn announcement(info: &RunInfo, settings: &[Shown]) -> String {
    let name = if info.name.is_empty() { String::new() } else { format!(", name {}", info.name) };
    let metrics = info.metrics_address.map_or_else(String::new, |address| {
        let moved = moved_port(settings, "metrics_port", address.port());
        format!("\nmetrics http://{address}/metrics{moved}, without a token")
    });
    let moved = moved_port(settings, "api_port", info.api_address.port());
    format!(
        "Node started (id: {}, port: {})\npid {}{name}, API http://{}{moved}, network {:?} (open on this local network){metrics}",
        info.node_id, info.network_port, info.pid, info.api_address, info.network
    )
}

/// Returns what a program needs to know of a node that has started.
fn started_json(home: &Home, info: &RunInfo) -> serde_json::Value {
    json!({
        "node_id": info.node_id,
        "name": info.name,
        "home": home.root(),
        "pid": info.pid,
        "network": info.network,
        "network_port": info.network_port,
        "api_address": info.api_address,
        "metrics_address": info.metrics_address,
    })
}

/// Starts a node in the background and waits until it is ACTIVE.
pub(super) fn start_in_background(home: &Home, command: &Command) -> Outcome {
    home.create().map_err(|error| unusable(home, &error))?;
    let mut process = command.process(home)?;
    process.arg("--detached");
    let started = background::start(home, process, READY_TIMEOUT).map_err(|error| match error {
        BackgroundError::Home(error) => unusable(home, &error),
        BackgroundError::Process(error) => {
            Failure::new("cannot start the node's process").id("process_not_started").because(Some(&error))
        }
    })?;
    match started {
        Started::Ready { info, said } => {
            output::write_error(&said)?;
            let text = announcement(&info, &config::running_settings(home).unwrap_or_default());
            output::done(&text, &started_json(home, &info))?;
            for name in unusable_models(home) {
                let text =
                    format!("warning: the model {name} cannot be used; p2p-ai-agents model list says why");
                output::write_error(
                    format!("{}\n", terminal::sanitize_line(&homes::in_hint(&text))).as_bytes(),
                )?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Started::Ended { status, said } => {
            // The child has reported the cause as in the foreground, unless the disk was full.
            if said.is_empty() {
                require_free_space(home)?;
                return Err(unexplained(home, status));
            }
            output::write_error(&said)?;
            let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
            Ok(ExitCode::from(code.unwrap_or(1)))
        }
        Started::TimedOut { said } => {
            output::write_error(&said)?;
            require_free_space(home)?;
            Err(Failure::new(format!(
                "the node was not ACTIVE after {} s and was stopped",
                READY_TIMEOUT.as_secs()
            ))
            .id("node_start_timeout")
            .hint(format!("see {}", home.log_file().display())))
        }
    }
}

impl Arguments {
    /// Returns these arguments as words of a command line.
    fn words(&self) -> Vec<OsString> {
        let value = |flag: &str, value: Option<OsString>| {
            value.map(|value| [OsString::from(flag), value]).into_iter().flatten().collect::<Vec<_>>()
        };
        let number =
            |flag: &str, number: Option<u64>| value(flag, number.map(|number| number.to_string().into()));
        let text = |flag: &str, text: &Option<String>| value(flag, text.as_ref().map(OsString::from));
        let path = |flag: &str, path: &Option<PathBuf>| value(flag, path.as_ref().map(OsString::from));
        let switch = |flag: &str, on: bool| on.then(|| OsString::from(flag)).into_iter().collect::<Vec<_>>();
        let peers = self.bootstrap_peers.iter().map(ToString::to_string);
        [
            text("--name", &self.name),
            number("--port", self.port.map(u64::from)),
            number("--api-port", self.api_port.map(u64::from)),
            number("--metrics-port", self.metrics_port.map(u64::from)),
            path("--config", &self.config),
            switch("--startup-diagnostics", self.startup_diagnostics),
            text("--network", &self.network),
            number("--max-peers", self.max_peers),
            peers.flat_map(|peer| ["--bootstrap-peer".into(), peer.into()]).collect(),
            self.interfaces.iter().flat_map(|name| ["--interface".into(), name.into()]).collect(),
            switch("--no-model", self.no_model),
            switch("--offline", self.offline),
            path("--record", &self.record),
            number("--record-max-mb", self.record_max_mb),
            switch("--accept-data-loss", self.accept_data_loss),
            text("--log-level", &self.log_level),
            switch("--end-with-stdin", self.end_with_stdin),
            switch("--json", self.format.json),
        ]
        .concat()
    }

    /// Returns these arguments, with those of `before` where these say nothing.
    fn or(self, before: Self) -> Self {
        let list = |now: Vec<_>, before| if now.is_empty() { before } else { now };
        let peers =
            if self.bootstrap_peers.is_empty() { before.bootstrap_peers } else { self.bootstrap_peers };
        Self {
            name: self.name.or(before.name),
            port: self.port.or(before.port),
            api_port: self.api_port.or(before.api_port),
            metrics_port: self.metrics_port.or(before.metrics_port),
            config: self.config.or(before.config),
            startup_diagnostics: self.startup_diagnostics,
            foreground: false,
            network: self.network.or(before.network),
            max_peers: self.max_peers.or(before.max_peers),
            bootstrap_peers: peers,
            interfaces: list(self.interfaces, before.interfaces),
            no_model: self.no_model || before.no_model,
            offline: self.offline || before.offline,
            record: self.record.or(before.record),
            record_max_mb: self.record_max_mb.or(before.record_max_mb),
            // The data loss was accepted for one start, not for every restart.
            accept_data_loss: self.accept_data_loss,
            log_level: self.log_level.or(before.log_level),
            detached: false,
            end_with_stdin: before.end_with_stdin,
            format: self.format,
        }
    }
}

/// The command that started a node: arguments, working directory, and the variables with settings.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Command {
    /// With absolute paths.
    start: Arguments,
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
    /// Whether the node runs in the background rather than under another program.
    detached: bool,
}

impl Command {
    /// Returns the command of this process, which starts a node.
    fn new(start: &Arguments) -> io::Result<Self> {
        let is_setting = |(name, _): &(OsString, OsString)| is_setting(name);
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let start =
            Arguments { config: absolute(&start.config)?, record: absolute(&start.record)?, ..start.clone() };
        let environment = std::env::vars_os().filter(is_setting).collect();
        Ok(Self { start, directory: std::env::current_dir()?, environment, detached: true })
    }

    /// Reads the command that started the running node of a home.
    pub(super) fn for_running_node(home: &Home) -> Result<Self, Failure> {
        let unknown = || Failure::new("the options of the last start are not known").id("start_unknown");
        let hint = "stop the node, then start it with the options you want";
        let text =
            fs::read(home.command_file()).map_err(|error| unknown().because(Some(&error)).hint(hint))?;
        serde_json::from_slice(&text).map_err(|error| unknown().because(Some(&error)).hint(hint))
    }

    /// Fails if another program runs the node, and would start it again by itself.
    pub(super) fn require_background(&self) -> Result<(), Failure> {
        if self.detached {
            return Ok(());
        }
        Err(Failure::new("another program runs the node in the foreground").id("node_in_foreground").hint(
            "restart it with the program that started it, such as: systemctl restart p2p-ai-agents; or stop and start it",
        ))
    }

    /// Returns the command of a restart: flags and variables of today count before those of the last start.
    pub(super) fn renewed(self, start: &Arguments) -> io::Result<Self> {
        let now = Self::new(start)?;
        let is_set = |name: &OsString| now.environment.iter().any(|(of_now, _)| of_now == name);
        let kept = self.environment.into_iter().filter(|(name, _)| !is_set(name));
        let environment = kept.chain(now.environment.iter().cloned()).collect();
        Ok(Self { start: now.start.or(self.start), environment, ..self })
    }

    /// Returns what this command sets.
    pub(super) fn overrides(&self) -> io::Result<Overrides> {
        Ok(Overrides { environment: self.environment.clone(), ..overrides(&self.start)? })
    }

    fn save(&self, home: &Home) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        runtime::home::replace_file(&home.command_file(), &text, 0o600)
    }

    fn process(&self, home: &Home) -> io::Result<process::Command> {
        let mut process = process::Command::new(std::env::current_exe()?);
        std::env::vars_os().filter(|(name, _)| is_setting(name)).for_each(|(name, _)| {
            process.env_remove(name);
        });
        process
            .arg("--home")
            .arg(home.root())
            .args(["node", "start", "--foreground"])
            .args(self.start.words());
        process.current_dir(&self.directory).envs(self.environment.iter().cloned());
        Ok(process)
    }
}

fn is_setting(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"P2P_AI_")
}

/// Returns the failure of a home that cannot be used, or of a full disk.
fn unusable(home: &Home, error: &io::Error) -> Failure {
    let place = home.root().display();
    if is_full(error) {
        return Failure::new(format!("no space is left on the disk of {place}"))
            .id("disk_full")
            .because(Some(error))
            .hint(format!("free space: a node needs at least {} MiB", FREE_BYTES_MIN >> 20));
    }
    Failure::new(format!("cannot use the home {place}"))
        .id("home_unusable")
        .because(Some(error))
        .hint("check its permissions, and that its disk is not mounted read-only")
}

/// Fails if the disk is full, on behalf of a node that could not report it.
fn require_free_space(home: &Home) -> Result<(), Failure> {
    match check_free_space(&home.run_directory()) {
        Err(error) if is_full(&error) => Err(unusable(home, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn unexplained(home: &Home, status: ExitStatus) -> Failure {
    Failure::new(format!("the node's process ended before it was ACTIVE ({status})"))
        .id("process_ended")
        .hint(format!(
            "check the free space on the disk of {}, or run p2p-ai-agents node start --foreground for details",
            home.root().display()
        ))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port >= 1024)
        .ok_or_else(|| "Invalid port number (must be 1024-65535)".to_owned())
}

fn optional_port(text: &str) -> Result<u16, String> {
    let invalid = || "Invalid port number (must be 0 for none, or 1024-65535)".to_owned();
    if text == "0" { Ok(0) } else { port(text).map_err(|_| invalid()) }
}

const THREADS_MAX: usize = 4;
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Exit status of a node that a second signal ended.
const FORCED_EXIT_CODE: i32 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_that_of_its_setting() {
        let start = Arguments {
            name: Some("cedar".to_owned()),
            port: Some(2000),
            api_port: Some(2001),
            metrics_port: Some(2002),
            network: Some("x".to_owned()),
            max_peers: Some(3),
            bootstrap_peers: vec!["127.0.0.1:1".parse().unwrap()],
            interfaces: vec!["lo".to_owned()],
            no_model: true,
            offline: true,
            record: Some("r".into()),
            record_max_mb: Some(1),
            log_level: Some("debug".to_owned()),
            ..Arguments::default()
        };
        let set: Vec<_> =
            overrides(&start).unwrap().flags.iter().map(|(key, _, flag)| (*key, *flag)).collect();
        let fields = runtime::config::FIELDS.iter();
        let mut known: Vec<_> = fields.filter_map(|field| Some((field.key, field.flag?))).collect();
        for flag in &set {
            assert!(known.contains(flag), "{flag:?}");
        }
        known.retain(|flag| !set.contains(flag));
        assert_eq!(known, [], "no flag is left out");
    }

    #[test]
    fn ports_are_checked() {
        assert_eq!(port("1024"), Ok(1024));
        for bad in ["1023", "65536", "-1", "http", ""] {
            assert_eq!(port(bad), Err("Invalid port number (must be 1024-65535)".to_owned()), "{bad:?}");
            assert!(optional_port(bad).is_err(), "{bad:?}");
        }
        assert_eq!((optional_port("0"), optional_port("9100")), (Ok(0), Ok(9100)));
    }
}
