//! Nodes that are simulated in this process, at the pace of the real clock and with real models.
//!
//! Network, disks and processes are those of the simulator, so every fault of scenario files can be injected. All nodes
//! share the models of this machine. Each has an API of its own, as a real node has.

use super::backend::{Backend, FaultSpec, Healed, NodeView, Options, Refused, RunError};
use super::faults;
use super::memory;
use super::names;
use crate::commands::sim::scenario;
use crate::error::Failure;
use api::dashboard::FeedKind;
use api::{DemoKind, DemoNodeState, ErrorDetail, InvalidTask, NewTask, Status, StatusResponse, Task};
use engine::lifecycle::State;
use engine::request::{Request, Response};
use engine::task::TaskResult;
use engine::{NodeId, Rejection, TaskId};
use runtime::blobs::SharedFiles;
use runtime::clock;
use runtime::config::{self, Overrides};
use runtime::driver::Stopped;
use runtime::home::Home;
use runtime::http::{
    self, Api, Dashboard, DemoFront, MetricsSource, Names, ResultReadError, ResultSource, Sessions,
    StartupRouter,
};
use runtime::metrics::Host;
use runtime::observers::{AlertSinkStates, PageFeed};
use runtime::service::SharedModels;
use runtime::snapshot::Inspected;
use runtime::store::Damage;
use sim::invariant::Violation;
use sim::live::{InjectError, Live, LiveHandle, LiveNode, LiveOptions, LiveStatus, LiveStopped, playground};
use sim::scenario::{FaultKind, Target};
use sim::{Scenario, live};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// The simulated nodes of a demo.
pub(super) struct Simulated {
    live: Mutex<Option<Live>>,
    handle: LiveHandle,
    /// The scenario that it plays, or that of nodes without a plan.
    scenario: Scenario,
    /// The addresses of the nodes' APIs.
    addresses: Vec<SocketAddr>,
    front: Box<Api>,
    followed: Arc<Followed>,
    /// Dropping these ends the APIs and the watch over the model files.
    stops: Mutex<Vec<oneshot::Sender<()>>>,
}

/// The results on the disk of one node, or of all.
struct Results {
    handle: LiveHandle,
    node: Option<u32>,
}

impl ResultSource for Results {
    fn result(&self, id: TaskId) -> Result<Option<TaskResult>, ResultReadError> {
        Ok(self.handle.result(self.node, id))
    }

    fn damage(&self) -> Damage {
        Damage::default()
    }
}

impl Simulated {
    /// Starts all nodes.
    pub(super) async fn start(options: &Options) -> Result<Self, Failure> {
        let played = options.scenario.as_deref().map(|path| scenario::load(path, None)).transpose()?;
        let scenario = played.unwrap_or_else(|| playground(options.nodes));
        memory::check(scenario.nodes, false)?;
        let seed = options.seed.or(scenario.seed).unwrap_or_else(|| clock::wall().0);
        let home = Home::new(&options.directory)?;
        let effective = config::preview(&home, &Overrides::default())
            .map_err(|error| Failure::from_error(&error).id("config_invalid"))?;
        let settings = &effective.settings;
        let models = SharedModels::start(settings)?;
        let config =
            engine::Config { network: "demo".to_owned(), models: models.offers, ..settings.engine_config() };
        let live = LiveOptions { scenario: scenario.clone(), seed, config };
        let live = Live::start(live, models.inference)?;
        let handle = live.handle();
        let ended = |error: LiveStopped| Failure::from_error(&error).id("internal_error");
        let first = handle.status().await.map_err(ended)?;
        let (feed, node_names) = (PageFeed::default(), Arc::new(Names::default()));
        for &LiveNode { node, id, .. } in &first.nodes {
            node_names.set(id, names::name(node));
            let feed = feed.clone();
            handle.watch(node, move |_, event| feed.event_of(id, event)).await.map_err(ended)?;
        }
        let store = options.directory.join("store");
        let figures = Host::new(&store, clock::wall().0, Arc::default());
        let front = Api {
            handle: handle.front(),
            results: Arc::new(Results { handle: handle.clone(), node: None }),
            models: models.catalog,
            shared_files: Arc::new(SharedFiles::detached(&options.directory)),
            metrics: Arc::new(MetricsSource::new(figures)),
            log: options.log.clone(),
            profiling: Arc::default(),
            inspected: Arc::new(Inspected::new(&effective, store)),
            alert_sinks: AlertSinkStates::default(),
            dashboard: Dashboard::new(FeedKind::Demo, feed, node_names, Arc::clone(&options.sessions)),
            threads: models.threads,
            trace_sample: settings.trace_sample.millionths(),
            token: Arc::clone(&options.token),
            address: options.address,
        };
        let mut stops = vec![models.stop];
        let mut addresses = Vec::new();
        for node in 0..scenario.nodes {
            let (address, stop) = serve(&front, &options.sessions, &handle, node)?;
            addresses.push(address);
            stops.push(stop);
        }
        let followed = Arc::new(Followed::new(handle.clone(), first));
        tokio::spawn(follow(Arc::clone(&followed)));
        Ok(Self {
            live: Mutex::new(Some(live)),
            handle,
            scenario,
            addresses,
            front: Box::new(front),
            followed,
            stops: Mutex::new(stops),
        })
    }

    async fn inject(&self, kind: FaultKind) -> Result<(), Refused> {
        let message = match self.handle.inject(kind).await {
            Ok(Ok(())) => match self.followed.refresh().await {
                Ok(()) => return Ok(()),
                Err(error) => error.to_string(),
            },
            Ok(Err(InjectError::NotRunning(node))) => format!("{} does not run", names::name(node)),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Refused::FaultInvalid { message })
    }
}

impl Backend for Simulated {
    fn kind(&self) -> DemoKind {
        DemoKind::Simulated
    }

    fn nodes(&self) -> Vec<NodeView> {
        let status = self.followed.status.borrow();
        status
            .nodes
            .iter()
            .zip(&self.addresses)
            .map(|(node, address)| view(node, *address, &status))
            .collect()
    }

    fn running(&self) -> Vec<u32> {
        let status = self.followed.status.borrow();
        status
            .nodes
            .iter()
            .filter(|node| state(node) == DemoNodeState::Running)
            .map(|node| node.node)
            .collect()
    }

    fn index_of(&self, id: NodeId) -> Option<u32> {
        self.followed.status.borrow().nodes.iter().find(|node| node.id == id).map(|node| node.node)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.followed.changes.subscribe()
    }

    async fn status(&self, node: u32) -> Option<Status> {
        let asked = timeout(STATUS_TIMEOUT, self.handle.node(node)?.ask(Request::Status)).await;
        let Ok(Ok(Ok(Response::Status(view)))) = asked else { return None };
        match StatusResponse::from(*view) {
            StatusResponse::Full(status) => Some(*status),
            StatusResponse::Starting(_) => None,
        }
    }

    async fn run(&self, node: u32, task: &NewTask) -> Result<Task, RunError> {
        let node = self.handle.node(node).ok_or(RunError::Stopped)?;
        let spec = task.clone().spec().map_err(|InvalidTask(why)| rejected("body_malformed", why))?;
        let id = match node.ask(Request::Submit(spec)).await.map_err(|Stopped| RunError::Stopped)? {
            Ok(Response::Submitted(id)) => id,
            answer => return Err(refusal(answer)),
        };
        // Every task ends, because it has a timeout.
        match node.ask(Request::AwaitTask(id)).await.map_err(|Stopped| RunError::Stopped)? {
            Ok(Response::Task(view)) => Ok(Task::from(*view)),
            answer => Err(refusal(answer)),
        }
    }

    async fn kill(&self, node: u32) -> Result<(), Refused> {
        self.inject(FaultKind::Kill { node: Target::Node(node), restart_after: None }).await
    }

    async fn heal(&self) -> Result<Healed, Refused> {
        let failed = |message| Refused::NotStarted { message };
        let ended = |error: LiveStopped| failed(error.to_string());
        let before = self.handle.status().await.map_err(ended)?;
        let live::Healed { started, .. } = self.handle.heal().await.map_err(ended)?;
        self.followed.refresh().await.map_err(ended)?;
        let active = |status: &LiveStatus| {
            let runs = |node: &u32| {
                status.nodes.get(*node as usize).is_some_and(|node| node.state == Some(State::Active))
            };
            started.iter().all(runs)
        };
        let mut status = self.followed.status.subscribe();
        if timeout(START_TIMEOUT, status.wait_for(active)).await.is_err() {
            return Err(failed(format!("not all nodes were ACTIVE after {} s", START_TIMEOUT.as_secs())));
        }
        let ended = before.faults.iter().filter(|kind| faults::stopped_node(kind).is_none());
        Ok(Healed { ended: ended.map(faults::words).collect(), started })
    }

    async fn partition(&self, groups: &[Vec<u32>]) -> Result<(), Refused> {
        self.inject(FaultKind::Partition { groups: groups.to_vec(), heal_after: None }).await
    }

    async fn fault(&self, fault: &FaultSpec) -> Result<String, Refused> {
        let kind = faults::parse(fault, self.scenario.nodes)?;
        self.inject(kind.clone()).await?;
        Ok(faults::words(&kind))
    }

    fn faults(&self) -> Vec<String> {
        self.followed.status.borrow().faults.iter().map(faults::words).collect()
    }

    async fn record(&self) -> Result<String, Refused> {
        let (scenario, notes) = self.handle.recorded().await.map_err(|error| Refused::NotRecorded {
            message: error.to_string(),
            hint: "start another demo: p2p-ai-agents demo start".to_owned(),
        })?;
        Ok(scenario.to_toml(&notes))
    }

    fn violations(&self) -> Vec<String> {
        in_words(&self.followed.status.borrow().violations)
    }

    fn front(&self) -> DemoFront {
        DemoFront::Api(self.front.clone())
    }

    async fn stop(&self) -> Vec<String> {
        let stops = std::mem::take(&mut *self.stops.lock().unwrap_or_else(PoisonError::into_inner));
        drop(stops);
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread ends within a moment, and blocks this one until then.
        match tokio::task::spawn_blocking(|| live.map(Live::stop)).await {
            Ok(Some(report)) => in_words(&report.violations),
            Ok(None) | Err(_) => self.violations(),
        }
    }
}

/// Serves the API of one node on a free port. Returns its address, and what stops it.
fn serve(
    front: &Api,
    sessions: &Arc<Sessions>,
    live: &LiveHandle,
    node: u32,
) -> io::Result<(SocketAddr, oneshot::Sender<()>)> {
    let listener = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let door = StartupRouter::new(address, Arc::clone(&front.token), Arc::clone(sessions));
    let missing = || io::Error::other("the simulation lacks a node");
    door.attach(Api {
        handle: live.node(node).ok_or_else(missing)?,
        results: Arc::new(Results { handle: live.clone(), node: Some(node) }),
        address,
        ..front.clone()
    });
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(http::serve(listener, door, async { drop(stopped.await) }));
    Ok((address, stop))
}

/// The last known status of a simulation.
struct Followed {
    live: LiveHandle,
    status: watch::Sender<LiveStatus>,
    /// The number of times that the status was renewed.
    changes: watch::Sender<u64>,
    /// Held while the status is renewed, so that no older one replaces a newer one.
    renewing: tokio::sync::Mutex<()>,
}

impl Followed {
    fn new(live: LiveHandle, first: LiveStatus) -> Self {
        let (status, changes) = (watch::Sender::new(first), watch::Sender::new(0));
        Self { live, status, changes, renewing: tokio::sync::Mutex::new(()) }
    }

    /// Renews the status. Everything that was ordered before is in effect in it.
    async fn refresh(&self) -> Result<(), LiveStopped> {
        let _turn = self.renewing.lock().await;
        let now = self.live.status().await?;
        self.status.send_replace(now);
        self.changes.send_modify(|number| *number = number.wrapping_add(1));
        Ok(())
    }
}

/// Keeps a status up to date until the simulation ends.
async fn follow(followed: Arc<Followed>) {
    let mut changed = followed.live.changes();
    while changed.changed().await.is_ok() && followed.refresh().await.is_ok() {
        // Nodes that start change many times in a row.
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

fn in_words(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(ToString::to_string).collect()
}

const fn state(node: &LiveNode) -> DemoNodeState {
    match node.state {
        None => DemoNodeState::Stopped,
        Some(_) if node.suspended => DemoNodeState::Running,
        Some(State::Active) => DemoNodeState::Running,
        Some(State::Initializing | State::Registering) => DemoNodeState::Starting,
        Some(State::ShuttingDown | State::Stopped) => DemoNodeState::Stopped,
    }
}

fn view(node: &LiveNode, address: SocketAddr, status: &LiveStatus) -> NodeView {
    let state = state(node);
    let reason = match node.state {
        None => {
            let fault = status.faults.iter().find(|kind| faults::stopped_node(kind) == Some(node.node));
            Some(fault.map_or("it stopped by itself", |kind| faults::stop_reason(kind)))
        }
        Some(_) if node.suspended => Some("suspended"),
        Some(State::ShuttingDown | State::Stopped) => Some("it is leaving"),
        Some(State::Active | State::Initializing | State::Registering) => None,
    };
    let reason = reason.map(str::to_owned);
    let api_address = (state != DemoNodeState::Stopped).then_some(address);
    NodeView { id: node.id, state, reason, api_address }
}

fn rejected(code: &str, message: String) -> RunError {
    RunError::Rejected(ErrorDetail { code: code.to_owned(), message, hint: None })
}

/// Returns why an answer is not the expected one.
fn refusal(answer: Result<Response, Rejection>) -> RunError {
    match answer {
        Ok(other) => rejected("internal_error", format!("unexpected answer: {other:?}")),
        Err(Rejection::QueueFull { retry_after }) => RunError::Busy(retry_after),
        Err(rejection) if GONE.contains(&rejection.code()) => RunError::Stopped,
        Err(rejection) => rejected(rejection.code(), rejection.to_string()),
    }
}

/// Rejections of a node that stops or has lost its memory.
const GONE: [&str; 3] = ["node_not_ready", "node_shutting_down", "task_not_found"];
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a restarted node may take.
const START_TIMEOUT: Duration = Duration::from_secs(15);
const FOLLOW_INTERVAL: Duration = Duration::from_millis(10);
