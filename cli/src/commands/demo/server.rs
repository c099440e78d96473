//! The process of a demo: its nodes, the API in front of them, and the files by which other commands find it.

use super::backend::{Backend, Options};
use super::control::Control;
use super::real::Real;
use super::simulated::Simulated;
use super::start::Arguments;
use crate::commands::loopback;
use crate::error::Failure;
use api::DemoSummary;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::clock;
use runtime::home::{self, Holder, Home, Lock, LockError, RunInfo};
use runtime::http::{self, DemoControl, Sessions, StartupRouter, Token};
use runtime::logging::{self, Log, LogOptions};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// A demo that runs in this process.
pub(super) struct DemoServer {
    home: Home,
    control: Arc<dyn DemoControl>,
    stopped: watch::Receiver<bool>,
    api: JoinHandle<()>,
    stop_api: oneshot::Sender<()>,
    log: Log,
    // Held until everything else of the demo is gone.
    lock: Lock,
}

impl DemoServer {
    /// Starts a demo. Returns when its nodes know each other, or do not within a timeout.
    pub(super) async fn start(home: &Home, arguments: &Arguments) -> Result<Self, Failure> {
        let begun = Instant::now();
        let unusable = |error: &io::Error| {
            let place = home.root().display();
            Failure::new(format!("cannot use the directory {place}")).id("home_unusable").because(Some(error))
        };
        create(home).map_err(|error| unusable(&error))?;
        let lock = home.lock().map_err(|error| match error {
            LockError::Held { .. } => already_running(home),
            LockError::Io(error) => unusable(&error),
        })?;
        home.clear_run().map_err(|error| unusable(&error))?;
        let directory = empty_nodes(home).map_err(|error| unusable(&error))?;
        let log = Log::open(&home.log_file(), LogOptions::default()).map_err(|error| unusable(&error))?;
        log.take_tracing();
        logging::report_panics(&log, &home.log_file());
        let listener = loopback::listen(arguments.port)?;
        let address = listener.local_addr()?;
        let token = Arc::new(Token::create(&home.token_file()).map_err(|error| unusable(&error))?);
        let sessions = Arc::new(Sessions::open(address.port(), None));
        let door = StartupRouter::new(address, Arc::clone(&token), Arc::clone(&sessions));
        let (stop_api, stop) = oneshot::channel();
        let api = tokio::spawn(http::serve(listener, door.clone(), async { drop(stop.await) }));
        let options = Options {
            nodes: arguments.nodes,
            directory,
            scenario: arguments.scenario.clone(),
            seed: arguments.seed,
            token,
            sessions,
            address,
            log: log.clone(),
        };
        let server =
            |control, stopped| Self { home: home.clone(), control, stopped, api, stop_api, log, lock };
        if arguments.real {
            let real = Real::start(&options).await?;
            serve(home, real, &options, begun, &door, server).await
        } else {
            let simulated = Simulated::start(&options).await?;
            serve(home, simulated, &options, begun, &door, server).await
        }
    }

    /// Waits until the demo has stopped by a request to its API.
    pub(super) async fn wait(&mut self) {
        // The sender lives as long as the control.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    /// Stops the nodes, unless they have stopped, and closes everything else. Returns the summary.
    pub(super) async fn stop(self) -> DemoSummary {
        let summary = self.control.stop().await;
        // Clients that ask from here on find no demo.
        let cleared = self.home.clear_run();
        if let Err(error) = cleared {
            tracing::warn!(%error, "cannot clear the run directory");
        }
        drop(self.stop_api);
        if let Err(error) = self.api.await {
            tracing::error!(%error, "the API of the demo failed");
        }
        self.log.flush();
        drop(self.lock);
        summary
    }
}

/// Serves a demo whose nodes have started.
async fn serve<B: Backend>(
    home: &Home,
    backend: B,
    options: &Options,
    begun: Instant,
    door: &StartupRouter,
    server: impl FnOnce(Arc<dyn DemoControl>, watch::Receiver<bool>) -> DemoServer,
) -> Result<DemoServer, Failure> {
    let (backend, address) = (Arc::new(backend), options.address);
    let scenario = options.scenario.as_ref().map(|path| path.display().to_string());
    let control = Control::start(Arc::clone(&backend), address, scenario, begun);
    door.attach_demo(Arc::clone(&control) as Arc<dyn DemoControl>, backend.front());
    let info = RunInfo {
        pid: std::process::id(),
        node_id: backend.nodes().first().map_or(engine::NodeId([0; 16]), |node| node.id),
        name: engine::NodeName::default(),
        api_address: address,
        metrics_address: None,
        network_port: 0,
        network: "demo".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        timestamp: clock::wall().to_string(),
        startup: None,
    };
    info.write(&home.info_file())?;
    let mut met = control.met();
    // Nodes that never meet are shown as such.
    let _ = tokio::time::timeout(MEETING_TIMEOUT, met.wait_for(Option::is_some)).await;
    info.write(&home.ready_file())?;
    let stopped = control.stopped();
    Ok(server(control, stopped))
}

/// Returns the home of the demo in the home of a user's node.
pub(super) fn home_of_demo(home: &Home) -> Result<Home, Failure> {
    Ok(Home::new(&home.root().join("demo"))?)
}

/// Returns the failure of a second demo in one home.
pub(super) fn already_running(home: &Home) -> Failure {
    let pid = match home.holder() {
        Holder::Process { pid: Some(pid) } => format!(" (pid {pid})"),
        Holder::Process { pid: None } | Holder::Nobody => String::new(),
    };
    let place = home.info().map_or_else(String::new, |info| format!(", at http://{}", info.api_address));
    Failure::new(format!("A demo is running already{pid}{place}"))
        .id("demo_running")
        .hint("look at it with: p2p-ai-agents demo stats; end it with: p2p-ai-agents demo stop")
}

/// Creates the missing directories of a demo.
pub(super) fn create(home: &Home) -> io::Result<()> {
    ["logs", "nodes", "run"].iter().try_for_each(|part| home::create_directory(&home.root().join(part)))
}

/// Removes the files of an earlier demo's nodes, and the nodes that outlived it.
fn empty_nodes(home: &Home) -> io::Result<PathBuf> {
    let directory = home.root().join("nodes");
    for entry in fs::read_dir(&directory)?.flatten() {
        if let Holder::Process { pid: Some(pid) } = Home::new(&entry.path())?.holder()
            && let Ok(pid) = i32::try_from(pid)
        {
            // It may end by itself in the meantime.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    fs::remove_dir_all(&directory)?;
    home::create_directory(&directory)?;
    Ok(directory)
}

const MEETING_TIMEOUT: Duration = Duration::from_secs(15);
