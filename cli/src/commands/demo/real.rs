//! Nodes that are processes of their own, with sockets on the loopback interface and homes in the demo's directory.

use super::backend::{Backend, FaultSpec, Healed, NodeView, Options, Refused, RunError};
use super::names;
use crate::client::Client;
use crate::error::Failure;
use api::{DemoKind, DemoNodeState, ErrorDetail, NewTask, Status, StatusResponse, Submitted, Task};
use engine::NodeId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::home::{self, Home};
use runtime::http::{DemoFront, ForwardTarget, Forwarder};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The processes of a demo.
pub(super) struct Real {
    nodes: Vec<Arc<Process>>,
    changes: watch::Sender<u64>,
}

/// One node.
struct Process {
    index: u32,
    home: Home,
    port: u16,
    api_port: u16,
    network: String,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

struct State {
    id: Option<NodeId>,
    phase: Phase,
}

/// What a process does.
enum Phase {
    Starting,
    Running {
        client: Box<Client>,
        orders: mpsc::Sender<Order>,
        /// Whether its process is suspended.
        suspended: bool,
    },
    Stopped {
        reason: String,
    },
}

/// What a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Kill,
    Resume,
    Stop,
    Suspend,
}

impl Real {
    /// Starts all nodes and waits until each is ACTIVE.
    pub(super) async fn start(options: &Options) -> Result<Self, Failure> {
        let changes = watch::Sender::new(0);
        // No node of this user or of another demo meets these.
        let network = format!("demo-{}", std::process::id());
        let mut nodes = Vec::new();
        for (index, [port, api_port]) in (0..options.nodes).zip(free_ports(options.nodes)?) {
            let home = Home::new(&options.directory.join(names::name(index)))?;
            nodes.push(Arc::new(Process {
                index,
                home,
                port,
                api_port,
                network: network.clone(),
                state: Mutex::new(State { id: None, phase: Phase::Starting }),
                changes: changes.clone(),
            }));
        }
        let real = Self { nodes, changes };
        let all: Vec<u32> = (0..options.nodes).collect();
        real.start_nodes(&all).await.map_err(|why| Failure::new(why).id("demo_node_not_started"))?;
        Ok(real)
    }

    /// Starts nodes in parallel.
    async fn start_nodes(&self, indexes: &[u32]) -> Result<(), String> {
        let mut starts = JoinSet::new();
        for node in indexes.iter().filter_map(|index| self.node(*index)) {
            let node = Arc::clone(node);
            starts.spawn(async move { node.start().await });
        }
        starts.join_all().await.into_iter().collect()
    }

    fn node(&self, index: u32) -> Option<&Arc<Process>> {
        self.nodes.get(usize::try_from(index).ok()?)
    }

    fn unsupported(kind: &str) -> Refused {
        Refused::FaultUnsupported {
            message: format!("real nodes do not take the fault {kind:?}; they take {}", FAULTS.join(", ")),
            hint: "simulated nodes take every fault: p2p-ai-agents demo start, without --real".to_owned(),
        }
    }
}

impl Backend for Real {
    fn kind(&self) -> DemoKind {
        DemoKind::Real
    }

    fn nodes(&self) -> Vec<NodeView> {
        self.nodes.iter().map(|node| node.view()).collect()
    }

    fn running(&self) -> Vec<u32> {
        self.nodes.iter().filter(|node| node.is_running()).map(|node| node.index).collect()
    }

    fn index_of(&self, id: NodeId) -> Option<u32> {
        self.nodes.iter().find(|node| node.lock().id == Some(id)).map(|node| node.index)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn status(&self, node: u32) -> Option<Status> {
        let client = self.node(node)?.client()?;
        let asked = tokio::time::timeout(STATUS_TIMEOUT, client.get::<StatusResponse>("/api/v1/status"));
        match asked.await.ok()?.ok()? {
            StatusResponse::Full(status) => Some(*status),
            StatusResponse::Starting(_) => None,
        }
    }

    async fn run(&self, node: u32, task: &NewTask) -> Result<Task, RunError> {
        let client = self.node(node).and_then(|node| node.client()).ok_or(RunError::Stopped)?;
        let reply = client.post("/api/v1/tasks", task).await.map_err(run_error)?;
        if let Some(pause) = reply.retry_after() {
            return Err(RunError::Busy(pause));
        }
        let Submitted { id, .. } = reply.read().map_err(run_error)?;
        loop {
            // Every task ends, because it has a timeout.
            let task = client.await_task(id, LONG_POLL).await.map_err(run_error)?;
            if task.status.is_terminal() {
                return Ok(task);
            }
        }
    }

    async fn kill(&self, node: u32) -> Result<(), Refused> {
        if let Some(node) = self.node(node) {
            node.end(Order::Kill).await;
        }
        Ok(())
    }

    async fn heal(&self) -> Result<Healed, Refused> {
        let mut healed = Healed::default();
        for node in &self.nodes {
            if node.resume().await {
                healed.ended.push(suspension(node.index));
            }
            // An earlier heal may have been given up while nodes started.
            if !node.is_running() {
                healed.started.push(node.index);
            }
        }
        let started = self.start_nodes(&healed.started).await;
        started.map(|()| healed).map_err(|message| Refused::NotStarted { message })
    }

    async fn partition(&self, _groups: &[Vec<u32>]) -> Result<(), Refused> {
        Err(Refused::FaultUnsupported {
            message: "real nodes cannot be divided: they share the loopback interface of this machine".to_owned(),
            hint: "divide simulated nodes (p2p-ai-agents demo start, without --real), or suspend one node: p2p-ai-agents demo fault process-stopped node=amber".to_owned(),
        })
    }

    async fn fault(&self, fault: &FaultSpec) -> Result<String, Refused> {
        // Scenario files have underscores.
        let kind = fault.kind.replace('_', "-");
        if !FAULTS.contains(&kind.as_str()) {
            return Err(Self::unsupported(&fault.kind));
        }
        if let Some(setting) = fault.settings.keys().next() {
            let message = format!("faults of real nodes last until demo heal and do not take {setting:?}");
            return Err(Refused::FaultInvalid { message });
        }
        let Some(node) = fault.node.and_then(|node| self.node(node)) else {
            let message = format!("the fault {:?} needs a node: node=amber", fault.kind);
            return Err(Refused::FaultInvalid { message });
        };
        let name = names::name(node.index);
        if !node.is_running() {
            return Err(Refused::FaultInvalid { message: format!("{name} does not run") });
        }
        Ok(match kind.as_str() {
            "kill" => {
                node.end(Order::Kill).await;
                format!("killed {name}")
            }
            "leave" => {
                if node.leave().await {
                    format!("stopped {name} gracefully")
                } else {
                    format!("killed {name}, which did not stop within {} s", STOP_GRACE.as_secs())
                }
            }
            _ => {
                node.suspend().await;
                suspension(node.index)
            }
        })
    }

    fn faults(&self) -> Vec<String> {
        let fault = |node: &Arc<Process>| match &node.lock().phase {
            Phase::Running { suspended: true, .. } => Some(suspension(node.index)),
            Phase::Stopped { reason } => Some(format!("{} does not run: {reason}", names::name(node.index))),
            Phase::Running { .. } | Phase::Starting => None,
        };
        self.nodes.iter().filter_map(fault).collect()
    }

    async fn record(&self) -> Result<String, Refused> {
        Err(Refused::NotRecorded {
            message: "what happens to real nodes cannot be repeated, so there is nothing to record".to_owned(),
            hint: "record simulated nodes (p2p-ai-agents demo start, without --real), or one real node: p2p-ai-agents node start --record FILE".to_owned(),
        })
    }

    fn violations(&self) -> Vec<String> {
        Vec::new()
    }

    fn front(&self) -> DemoFront {
        let nodes = self.nodes.clone();
        let stopped = ErrorDetail {
            code: "demo_nodes_stopped".to_owned(),
            message: "all nodes of the demo are stopped".to_owned(),
            hint: Some("start them again with: p2p-ai-agents demo heal".to_owned()),
        };
        DemoFront::Forward(Forwarder::new(stopped, move || nodes.iter().find_map(|node| node.target())))
    }

    async fn stop(&self) -> Vec<String> {
        let mut stops = JoinSet::new();
        for node in self.nodes.iter() {
            let node = node.clone();
            stops.spawn(async move { node.leave().await });
        }
        stops.join_all().await;
        self.violations()
    }
}

impl Process {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changes.send_modify(|number| *number += 1);
    }

    fn is_running(&self) -> bool {
        matches!(self.lock().phase, Phase::Running { .. })
    }

    fn view(&self) -> NodeView {
        let State { id, phase } = &*self.lock();
        let (state, reason, api_address) = match phase {
            Phase::Starting => (DemoNodeState::Starting, None, None),
            Phase::Running { client, suspended, .. } => {
                let reason = suspended.then(|| "suspended".to_owned());
                (DemoNodeState::Running, reason, Some(client.info().api_address))
            }
            Phase::Stopped { reason } => (DemoNodeState::Stopped, Some(reason.clone()), None),
        };
        NodeView { id: id.unwrap_or(NodeId([0; 16])), state, reason, api_address }
    }

    fn client(&self) -> Option<Client> {
        match &self.lock().phase {
            Phase::Running { client, .. } => Some(Client::clone(client)),
            Phase::Starting | Phase::Stopped { .. } => None,
        }
    }

    fn target(&self) -> Option<ForwardTarget> {
        match &self.lock().phase {
            Phase::Running { client, suspended: false, .. } => Some(client.forward_target()),
            Phase::Running { .. } | Phase::Starting | Phase::Stopped { .. } => None,
        }
    }

    /// Starts the process and waits until the node is ACTIVE.
    async fn start(self: &Arc<Self>) -> Result<(), String> {
        self.set(Phase::Starting);
        let started = self.try_start().await;
        started.inspect_err(|why| self.set(Phase::Stopped { reason: why.clone() }))
    }

    async fn try_start(self: &Arc<Self>) -> Result<(), String> {
        let name = names::name(self.index);
        let failed = |error: io::Error| format!("cannot start {name}: {error}");
        home::create_directory(&self.home.root().join("logs")).map_err(failed)?;
        let errors = File::create(self.home.stderr_file()).map_err(failed)?;
        let mut child = self.command(errors).and_then(|mut command| command.spawn()).map_err(failed)?;
        let begun = Instant::now();
        let info = loop {
            if let Some(info) = self.home.ready().filter(|info| Some(info.pid) == child.id()) {
                break info;
            }
            if let Some(status) = child.try_wait().map_err(failed)? {
                let said = fs::read_to_string(self.home.stderr_file()).unwrap_or_default();
                return Err(format!("{name} ended at its start ({status}): {}", said.trim()));
            }
            if begun.elapsed() > READY_TIMEOUT {
                return Err(format!("{name} was not ACTIVE after {} s", READY_TIMEOUT.as_secs()));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        let client = Client::connect(&self.home).map_err(|failure| failure.message().to_owned())?;
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        self.lock().id = Some(info.node_id);
        self.set(Phase::Running { client: Box::new(client), orders, suspended: false });
        tokio::spawn(Arc::clone(self).supervise(child, inbox));
        Ok(())
    }

    /// Returns the command of the node. Its standard input is open as long as this process lives.
    fn command(&self, errors: File) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--home")
            .arg(self.home.root())
            .args(["node", "start", "--foreground", "--detached", "--end-with-stdin", "--interface", "lo"])
            .args(["--network", &self.network, "--metrics-port", "0"])
            .args(["--name", &names::name(self.index)])
            .args(["--port", &self.port.to_string(), "--api-port", &self.api_port.to_string()])
            // The user's own list of running nodes does not show it.
            .env("XDG_RUNTIME_DIR", self.home.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors)
            // Ctrl-C is for the demo alone.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Passes orders to the process until it ends.
    async fn supervise(self: Arc<Self>, mut child: Child, mut orders: mpsc::Receiver<Order>) {
        // Waiting for the process would close it, and the node ends with its standard input.
        let _stdin = child.stdin.take();
        let mut reason = "it ended by itself".to_owned();
        let status = loop {
            tokio::select! {
                biased;
                status = child.wait() => break status,
                Some(order) = orders.recv() => {
                    let signal = match order {
                        Order::Kill => {
                            "killed".clone_into(&mut reason);
                            Signal::SIGKILL
                        }
                        Order::Stop => {
                            "stopped".clone_into(&mut reason);
                            Signal::SIGTERM
                        }
                        Order::Resume => Signal::SIGCONT,
                        Order::Suspend => Signal::SIGSTOP,
                    };
                    // The process has not been waited for, so its id belongs to it.
                    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                        let _ = kill(Pid::from_raw(pid), signal);
                    }
                }
            }
        };
        if let Ok(status) = status
            && reason == "it ended by itself"
        {
            reason = format!("{reason} ({status})");
        }
        self.set(Phase::Stopped { reason });
    }

    /// Gives an order, unless the process has ended.
    async fn order(&self, order: Order) {
        let orders = match &self.lock().phase {
            Phase::Running { orders, .. } => orders.clone(),
            Phase::Starting | Phase::Stopped { .. } => return,
        };
        // It may have ended in the meantime.
        let _ = orders.send(order).await;
    }

    /// Ends the process and waits until it is gone.
    async fn end(&self, order: Order) {
        let mut changes = self.changes.subscribe();
        self.order(order).await;
        while self.is_running() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stops the node gracefully, or kills it if it takes too long. Returns whether it stopped by itself.
    async fn leave(&self) -> bool {
        // A suspended process does not see that it is to stop.
        self.resume().await;
        let left = tokio::time::timeout(STOP_GRACE, self.end(Order::Stop)).await.is_ok();
        if !left {
            self.end(Order::Kill).await;
        }
        left
    }

    async fn suspend(&self) {
        if self.mark_suspended(true) {
            self.order(Order::Suspend).await;
        }
    }

    /// Resumes a suspended process. Returns whether it was one.
    async fn resume(&self) -> bool {
        let was = self.mark_suspended(false);
        if was {
            self.order(Order::Resume).await;
        }
        was
    }

    /// Returns whether this is a change.
    fn mark_suspended(&self, to: bool) -> bool {
        match &mut self.lock().phase {
            Phase::Running { suspended, .. } => std::mem::replace(suspended, to) != to,
            Phase::Starting | Phase::Stopped { .. } => false,
        }
    }
}

fn suspension(index: u32) -> String {
    format!("the process of {} is suspended", names::name(index))
}

fn run_error(failure: Failure) -> RunError {
    let detail: ErrorDetail = failure.into_detail();
    if GONE.contains(&detail.code.as_str()) { RunError::Stopped } else { RunError::Rejected(detail) }
}

/// Returns two unused ports for each node.
fn free_ports(nodes: u32) -> Result<Vec<[u16; 2]>, Failure> {
    // Demos that start at once take ports far from each other.
    let at = std::process::id().wrapping_mul(PORTS_APART) % u32::from(PORT_MAX - PORT_MIN);
    let first = PORT_MIN + u16::try_from(at).unwrap_or_default();
    let listen = |port: u16| Some((port, TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?));
    let mut free = (first..PORT_MAX).chain(PORT_MIN..first).filter_map(listen);
    // All are open at once, so no port is returned twice.
    let found = (0..nodes).map(|_| Some([free.next()?, free.next()?])).collect::<Option<Vec<_>>>();
    let found = found.ok_or_else(|| {
        Failure::new("too few ports are unused for the nodes").id("port_in_use").hint("start fewer nodes")
    })?;
    Ok(found.iter().map(|[(port, _), (api_port, _)]| [*port, *api_port]).collect())
}

/// The ports of nodes are below those that the system gives to outgoing connections.
const PORT_MIN: u16 = 20_000;
const PORT_MAX: u16 = 32_000;
/// A prime number above the ports that a demo usually takes.
const PORTS_APART: u32 = 211;
/// The faults that real nodes take.
const FAULTS: [&str; 3] = ["kill", "leave", "process-stopped"];
/// Errors of a node that stops or is gone.
const GONE: [&str; 4] = ["node_not_answering", "node_not_ready", "node_shutting_down", "task_not_found"];
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
const LONG_POLL: Duration = Duration::from_secs(30);
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A node stops within eight seconds of the request.
const STOP_GRACE: Duration = Duration::from_secs(9);
const ORDERS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_heal_starts_what_an_earlier_one_left_starting() {
        let directory = tempfile::tempdir().unwrap();
        let changes = watch::Sender::new(0);
        let amber = Process {
            index: 0,
            home: Home::new(directory.path()).unwrap(),
            port: 0,
            api_port: 0,
            network: "test".to_owned(),
            state: Mutex::new(State { id: None, phase: Phase::Starting }),
            changes: changes.clone(),
        };
        let real = Real { nodes: vec![Arc::new(amber)], changes };
        // The program of the tests does not understand the command, and ends at once.
        let Err(Refused::NotStarted { message }) = real.heal().await else { panic!("it was not started") };
        assert!(message.starts_with("amber ended at its start ("), "{message}");
        assert_eq!(real.nodes()[0].state, DemoNodeState::Stopped);
    }
}
