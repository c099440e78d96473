//! A simulation that runs as fast as the real clock, with real models: what `demo` shows.
//!
//! [`Live::start`] runs the event queue in a thread of its own. The nodes, their network, their disks and all faults are
//! simulated as in every other run, and the invariants that hold under every fault are checked all the time. Three
//! things are real: the time, the users, who send requests through a [`LiveHandle`], and the models, which are an
//! inference port that all nodes share.
//!
//! A real clock makes no run like another. [`LiveHandle::recorded`] returns what happened as a scenario, with each
//! fault and task at its time and node, which runs like every other scenario.

pub(crate) mod history;
mod pacer;

use crate::cluster::Cluster;
use crate::disk::{self, Results};
use crate::executor::event_queue::EventQueue;
use crate::executor::event_queue::live::Watcher;
use crate::invariant::Violation;
use crate::invariants;
use crate::scenario::{
    Executor, Expect, FaultKind, INJECTIONS_MAX, NODES_MAX, Network, NodeSettings, Range, Scenario,
    Submissions, Target, Topology, Workload,
};
use core::time::Duration;
use engine::lifecycle::State;
use engine::task::{TaskKind, TaskResult};
use engine::{Config, Event, Instant, NodeId, TaskId};
use pacer::{Order, Outside, Pacer, Stops};
use runtime::clock;
use runtime::driver::Handle;
use runtime::ports::Inference;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use tokio::sync::{mpsc, oneshot, watch};

/// A running live simulation. Dropping it stops the simulation.
#[derive(Debug)]
pub struct Live {
    handle: LiveHandle,
    thread: Option<JoinHandle<LiveReport>>,
    stop: Stops,
}

/// What to simulate.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The nodes, their network, and what happens by plan.
    pub scenario: Scenario,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// The configuration of every node, except for what the scenario sets. It lists the models that the inference port
    /// runs.
    pub config: Config,
}

/// Sends requests to the nodes of a live simulation, and changes it.
#[derive(Clone, Debug)]
pub struct LiveHandle {
    orders: mpsc::Sender<Order>,
    front: Handle,
    nodes: Arc<[Handle]>,
    results: Arc<[Arc<Mutex<Results>>]>,
    changes: watch::Receiver<u64>,
}

/// The simulation has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulation has stopped")]
pub struct LiveStopped;

/// Why a fault was not injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// No node runs.
    #[error("no node runs")]
    NoneRuns,
    /// The node does not run.
    #[error("n{0} does not run")]
    NotRunning(u32),
    /// Too many faults were injected.
    #[error("{INJECTIONS_MAX} faults were injected, the most of one simulation")]
    TooMany,
}

/// A live simulation at one moment.
#[derive(Clone, Debug)]
pub struct LiveStatus {
    /// The simulated time, which is the time since the start.
    pub now: Instant,
    /// Every node.
    pub nodes: Vec<LiveNode>,
    /// The faults in effect.
    pub faults: Vec<FaultKind>,
    /// The first violation of each invariant.
    pub violations: Vec<Violation>,
}

/// A node at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveNode {
    /// Its number.
    pub node: u32,
    /// Its id.
    pub id: NodeId,
    /// Its state; `None` if its process does not run.
    pub state: Option<State>,
    /// Whether its process is suspended by a fault.
    pub suspended: bool,
}

/// What happened during a live simulation.
#[derive(Clone, Debug, Default)]
pub struct LiveReport {
    /// How long it ran.
    pub ran: Duration,
    /// The number of injected faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many times each event happened.
    pub events: BTreeMap<&'static str, u64>,
    /// How many times the invariants were checked.
    pub checks: u64,
    /// The first violation of each invariant.
    pub violations: Vec<Violation>,
}

/// The result of [`LiveHandle::heal`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// The number of faults that were cleared.
    pub faults: usize,
    /// The nodes that were started.
    pub started: Vec<u32>,
}

/// Returns a scenario of some nodes without any plan, for users to play with. Latencies are those of a fast local
/// network.
pub fn playground(nodes: u32) -> Scenario {
    let millis = Duration::from_millis;
    let micros = |from, to| Range { from: Duration::from_micros(from), to: Duration::from_micros(to) };
    let defaults = Config::default();
    // Bursts imitate the tasks of the workload.
    let submissions = Submissions::Series {
        tasks: 0,
        at: Duration::ZERO,
        every: millis(1),
        origin: Target::Any,
        input: "hello".to_owned(),
    };
    let workload = Workload {
        submissions,
        compute: Range { from: millis(1), to: millis(10) },
        kind: TaskKind::Embedding,
        timeout: Duration::from_secs(30),
    };
    Scenario {
        path: "demo".to_owned(),
        why: String::new(),
        nodes: nodes.clamp(1, NODES_MAX),
        executor: Executor::EventQueue,
        chosen: Executor::EventQueue,
        seed: None,
        duration: crate::scenario::DURATION_MAX,
        start: Range { from: Duration::ZERO, to: millis(50) },
        network: Network {
            latency: micros(100, 300),
            topology: Topology::Full,
            multicast: true,
            loss: None,
            tick: millis(1),
        },
        disk_latency: micros(50, 150),
        node: NodeSettings {
            max_peers: defaults.max_peers,
            max_concurrent_tasks: defaults.max_concurrent_tasks,
            queue_tasks_max: defaults.queue_tasks_max,
        },
        hosts: Vec::new(),
        workload: Some(workload),
        files: Vec::new(),
        fetches: Vec::new(),
        faults: Vec::new(),
        swarm: None,
        liveness: None,
        expect: Expect { always: invariants::NAMES.to_vec(), ..Expect::default() },
    }
}

impl Live {
    /// Starts a simulation whose nodes run their models on `inference`. Must be called inside a tokio runtime, which
    /// runs the timers of `inference`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(options: LiveOptions, inference: impl Inference) -> io::Result<Self> {
        let LiveOptions { scenario, seed, config } = options;
        let scenario = Scenario { executor: Executor::EventQueue, ..scenario };
        let (front, front_asks) = Handle::new();
        let (nodes, node_asks): (Vec<Handle>, Vec<_>) = (0..scenario.nodes).map(|_| Handle::new()).unzip();
        let results: Arc<[_]> = (0..scenario.nodes).map(|_| Arc::default()).collect();
        let mut cluster = Cluster::new(&scenario, seed, None);
        // Disks are in memory.
        cluster.configure(Config { results_max: RESULTS_MAX, ..config });
        let (change, changes) = watch::channel(0);
        let (orders, order_receiver) = mpsc::channel(ORDERS_MAX);
        let (stop, stopped) = pacer::stop();
        let (nodes, disks) = (nodes.into(), Arc::clone(&results));
        let handle = LiveHandle { orders, front, nodes, results: disks, changes };
        let runtime = tokio::runtime::Handle::current();
        let thread = thread::Builder::new().name("simulation".to_owned()).spawn(move || {
            let _timers = runtime.enter();
            let asks = (0..).map(Some).zip(node_asks).chain([(None, front_asks)]);
            let outside = Outside::new(asks, order_receiver, stopped);
            let expect = Expect { always: invariants::LIVE.to_vec(), ..Expect::default() };
            let played = Scenario { expect, ..scenario.clone() };
            let world = EventQueue::live(&played, Arc::new(cluster), clock::wall(), &results, change);
            Pacer::new(world, (scenario, seed), inference, outside).run()
        })?;
        Ok(Self { handle, thread: Some(thread), stop })
    }

    /// Returns a handle of the simulation.
    pub fn handle(&self) -> LiveHandle {
        self.handle.clone()
    }

    /// Stops the simulation. Blocks for a moment.
    pub fn stop(mut self) -> LiveReport {
        self.end()
    }

    fn end(&mut self) -> LiveReport {
        self.stop.stop();
        // The thread handles panics of nodes; one of its own has been printed.
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

impl LiveHandle {
    /// Returns a handle of one node; `None` if there is no such node. A node that does not run answers as a stopped
    /// one.
    pub fn node(&self, node: u32) -> Option<Handle> {
        self.nodes.get(node as usize).cloned()
    }

    /// Returns a handle whose requests go to the first node that runs.
    pub fn front(&self) -> Handle {
        self.front.clone()
    }

    /// Returns the stored result of a task of one node, or of any node.
    pub fn result(&self, node: Option<u32>, task: TaskId) -> Option<TaskResult> {
        let disks = match node {
            Some(node) => self.results.get(node as usize).map(core::slice::from_ref).unwrap_or_default(),
            None => &self.results,
        };
        disks.iter().find_map(|disk| disk::lock(disk).get(&task).map(|(_, result)| result.clone()))
    }

    /// Returns a number that changes when a node changes its state or stops, when a fault begins or ends, and when an
    /// invariant is violated.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Injects a fault now. Its nodes must exist.
    ///
    /// # Errors
    /// [`LiveStopped`], or [`InjectError`] inside.
    pub async fn inject(&self, kind: FaultKind) -> Result<Result<(), InjectError>, LiveStopped> {
        self.order(|reply| Order::Inject(kind, reply)).await
    }

    /// Clears all faults in effect, and starts every node that was stopped.
    ///
    /// # Errors
    /// [`LiveStopped`].
    pub async fn heal(&self) -> Result<Healed, LiveStopped> {
        self.order(Order::Heal).await
    }

    /// Describes the simulation at this moment.
    ///
    /// # Errors
    /// [`LiveStopped`].
    pub async fn status(&self) -> Result<LiveStatus, LiveStopped> {
        self.order(Order::Status).await
    }

    /// Returns what happened so far as a scenario that repeats it, and notes about what it leaves out.
    ///
    /// # Errors
    /// [`LiveStopped`].
    pub async fn recorded(&self) -> Result<(Scenario, Vec<String>), LiveStopped> {
        self.order(Order::Record).await
    }

    /// Shows all further events of a node to a watcher, which runs on the simulation's thread and must not block.
    /// Returns when the watcher sees them, so it misses none that a later request causes.
    ///
    /// # Errors
    /// [`LiveStopped`].
    pub async fn watch(
        &self,
        node: u32,
        watcher: impl FnMut(Instant, &Event) + Send + 'static,
    ) -> Result<(), LiveStopped> {
        let watcher: Watcher = Box::new(watcher);
        self.order(|reply| Order::Watch(node, watcher, reply)).await
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, LiveStopped> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| LiveStopped)?;
        answer.await.map_err(|_| LiveStopped)
    }
}

/// The most orders that wait.
const ORDERS_MAX: usize = 64;
/// The most results that each node stores.
const RESULTS_MAX: u32 = 1_000;

#[cfg(test)]
mod tests;
