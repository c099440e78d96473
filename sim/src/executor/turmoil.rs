//! Runs the real driver, framing and handshake over turmoil's network, one node per host.
//!
//! Everything runs on one thread in steps of a millisecond, or of the scenario's tick, so a seed determines the run. A
//! machine that loses power is first partitioned from all others, so that nobody sees its sockets close, and then
//! crashed. A killed process is replaced by one that does nothing, so that its machine still refuses connections.

mod blobs;
mod inference;
mod multicast;
mod store;
mod traces;
mod transport;

use crate::blob_disk::BlobDisk;
use crate::clients::Fetcher;
use crate::clients::RETRY_INTERVAL;
use crate::cluster::{self, Cluster};
use crate::disk::Disk;
use crate::faults::machine::{clock_ahead, host_facts};
use crate::faults::{Change, Effect, Faults, LinkCondition, Stop};
use crate::invariant::Observation;
use crate::node_set::NodeIndex;
use crate::observer::Observer;
use crate::random::Purpose;
use crate::scenario::{MachineFault, Scenario};
use core::future;
use core::time::Duration;
use engine::health::HostFacts;
use engine::observers::traces::Shelf;
use engine::request::Request;
use engine::{Input, Instant, Node, Output, Rejection, TaskId, UnixMillis};
use runtime::driver::{self, Handle, World};
use runtime::ports::{Clock, Host, Journal};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use turmoil::Sim;

/// Runs a scenario to its end, or to the first violation.
pub(super) fn run(scenario: &Scenario, cluster: &Arc<Cluster>, observer: Observer) -> Observer {
    let observer = Arc::new(Mutex::new(observer));
    let stage = Simulation::new(scenario, cluster, &observer);
    stage.run();
    Arc::into_inner(observer)
        // The simulation owned all hosts and is gone, so nothing else shares the observer.
        .expect("nobody watches any more")
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

/// A running simulation, and what is still scheduled.
struct Simulation<'a> {
    scenario: &'a Scenario,
    cluster: Arc<Cluster>,
    observer: Arc<Mutex<Observer>>,
    sim: Sim<'a>,
    machines: Vec<Arc<Machine>>,
    faults: Faults,
    conditions: BTreeMap<(NodeIndex, NodeIndex), LinkCondition>,
    changes: Vec<Change>,
    looks: Vec<Duration>,
    submitted: u32,
}

/// The state of a node that outlives its process.
struct Machine {
    node: NodeIndex,
    cluster: Arc<Cluster>,
    scenario: Scenario,
    observer: Arc<Mutex<Observer>>,
    disk: Mutex<Disk>,
    blobs: Mutex<BlobDisk>,
    traces: Mutex<Shelf>,
    /// The faults in effect, by number.
    machine_faults: Mutex<Vec<(usize, MachineFault)>>,
    /// Tasks whose inputs crash the process that runs them.
    poison: Mutex<BTreeSet<u32>>,
    process: Mutex<Process>,
}

#[derive(Default)]
struct Process {
    runs: bool,
    incarnation: u32,
    /// The channel for the numbers of tasks to submit.
    submissions: Option<mpsc::Sender<u32>>,
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario, cluster: &Arc<Cluster>, observer: &Arc<Mutex<Observer>>) -> Self {
        let random = cluster.random;
        let mut sim = turmoil::Builder::new()
            .epoch(std::time::UNIX_EPOCH + Duration::from_millis(cluster::EPOCH.0))
            .rng_seed(random.draw(Purpose::Turmoil, 0, 0))
            .tick_duration(scenario.network.tick)
            .simulation_duration(scenario.duration + scenario.network.tick)
            .min_message_latency(scenario.network.latency.from)
            .max_message_latency(scenario.network.latency.to)
            .tcp_capacity(SEGMENTS_MAX)
            .udp_capacity(SEGMENTS_MAX)
            .build();
        let machine = |node| {
            Arc::new(Machine {
                node,
                cluster: Arc::clone(cluster),
                scenario: scenario.clone(),
                observer: Arc::clone(observer),
                disk: Mutex::default(),
                blobs: Mutex::default(),
                traces: Mutex::default(),
                machine_faults: Mutex::default(),
                poison: Mutex::default(),
                process: Mutex::new(Process { runs: true, incarnation: 1, submissions: None }),
            })
        };
        let machines: Vec<_> = (0..scenario.nodes).map(machine).collect();
        for machine in &machines {
            let machine = Arc::clone(machine);
            sim.host(cluster::ip(machine.node), move || process(Arc::clone(&machine)));
        }
        Self {
            scenario,
            cluster: Arc::clone(cluster),
            observer: Arc::clone(observer),
            sim,
            machines,
            faults: Faults::new(scenario, random),
            conditions: BTreeMap::new(),
            changes: Faults::changes(scenario, random),
            looks: scenario.liveness_checks(),
            submitted: 0,
        }
    }

    fn run(mut self) {
        // After a panic only the observations are used.
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| self.run_steps())) {
            lock(&self.observer).panicked(self.now(), &*panic);
        }
        lock(&self.observer).injected = self.faults.into_injected();
    }

    fn run_steps(&mut self) {
        self.changes.reverse();
        self.looks.reverse();
        while lock(&self.observer).violation.is_none() {
            let now = self.sim.elapsed();
            while let Some(change) = self.changes.pop_if(|change| change.at <= now) {
                self.change(change);
            }
            self.submit(now);
            while self.looks.pop_if(|at| *at <= now).is_some() {
                lock(&self.observer).check_liveness(self.now(), self.looks.is_empty(), || None);
            }
            if now >= self.scenario.duration {
                return;
            }
            if let Err(error) = self.sim.step() {
                lock(&self.observer).violated(self.now(), 0, "nodes_do_not_fail", error.to_string());
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO.after(self.sim.elapsed())
    }

    fn submit(&mut self, now: Duration) {
        let Some(workload) = &self.scenario.workload else { return };
        while let Some((at, origin)) = workload.submissions.when_and_where(self.submitted)
            && at <= now
        {
            let number = self.submitted;
            self.submitted += 1;
            let origin = self.faults.pick(origin, Purpose::Origin, u64::from(number));
            if let Some(node) = origin
                && let Some(submissions) = &lock(&self.machines[node as usize].process).submissions
            {
                // If the queue of a node is full, the user gets no answer.
                let _ = submissions.try_send(number);
            }
        }
    }

    fn change(&mut self, change: Change) {
        let Some((effect, words)) = self.faults.apply(change.step) else { return };
        lock(&self.observer).narrate(self.now(), change.step, &self.faults, words);
        self.route();
        match effect {
            Effect::Machine(node) => self.apply_machine_faults(node),
            Effect::Burst(node, count) => self.burst(node, count),
            Effect::Poison => {
                for machine in &self.machines {
                    lock(&machine.poison).clone_from(self.faults.poison());
                }
            }
            // No fault that this executor models has these effects.
            Effect::Leave(_) | Effect::Reset(_) => {}
            Effect::Network => {
                lock(&self.observer).network_changed(self.now());
                (0..self.scenario.nodes).for_each(|node| self.apply_machine_faults(node));
            }
            Effect::Start(node) => {
                let mut process = lock(&self.machines[node as usize].process);
                process.runs = true;
                process.incarnation += 1;
                drop(process);
                self.sim.bounce(cluster::ip(node));
            }
            Effect::Stop(node, how) => self.stop(node, how),
        }
    }

    /// Updates the faults of a machine.
    fn apply_machine_faults(&self, node: NodeIndex) {
        let machine_faults =
            self.faults.machine_faults(node).map(|(fault, what)| (fault, what.clone())).collect();
        *lock(&self.machines[node as usize].machine_faults) = machine_faults;
    }

    fn burst(&self, node: NodeIndex, count: u32) {
        let process = lock(&self.machines[node as usize].process);
        let Some(submissions) = &process.submissions else { return };
        for _ in 0..count {
            let Some(number) = lock(&self.observer).clients.add() else { return };
            // If the queue of a node is full, the user gets no answer.
            let _ = submissions.try_send(number);
        }
    }

    fn stop(&mut self, node: NodeIndex, how: Stop) {
        self.sim.crash(cluster::ip(node));
        let machine = &self.machines[node as usize];
        let mut process = lock(&machine.process);
        process.runs = false;
        process.submissions = None;
        let incarnation = process.incarnation;
        drop(process);
        if how != Stop::PowerLoss {
            let in_flight = lock(&machine.disk).in_flight();
            let random = self.cluster.random;
            let survive = random.index(in_flight + 1, Purpose::WritesSurvive, u64::from(node), incarnation);
            if how == Stop::TornWrite && survive > 0 {
                lock(&self.observer).mark("write_torn");
            }
            (0..survive).for_each(|_| {
                machine.complete_write(self.now());
            });
        }
        lock(&machine.disk).lose_in_flight();
        lock(&self.observer).observe(self.now(), node, Observation::Stopped);
        if how == Stop::Kill {
            self.sim.bounce(cluster::ip(node));
        }
    }

    /// Applies the link conditions to turmoil's network.
    fn route(&mut self) {
        for a in 0..self.scenario.nodes {
            for b in a + 1..self.scenario.nodes {
                let wanted = self.faults.link_condition(a, b);
                let before = self.conditions.insert((a, b), wanted).unwrap_or(LinkCondition::Open);
                let (a, b) = (cluster::ip(a), cluster::ip(b));
                match (before, wanted) {
                    (LinkCondition::Open, LinkCondition::Cut) => self.sim.partition(a, b),
                    (LinkCondition::Cut, LinkCondition::Open) => self.sim.repair(a, b),
                    (LinkCondition::Open, LinkCondition::Stalled) => self.sim.hold(a, b),
                    (LinkCondition::Stalled, LinkCondition::Open) => self.sim.release(a, b),
                    // A scenario with both cuts and stalls is refused.
                    (LinkCondition::Cut, LinkCondition::Stalled)
                    | (LinkCondition::Stalled, LinkCondition::Cut) => {}
                    (LinkCondition::Cut, LinkCondition::Cut)
                    | (LinkCondition::Open, LinkCondition::Open)
                    | (LinkCondition::Stalled, LinkCondition::Stalled) => {}
                }
            }
        }
    }
}

impl Machine {
    fn observe(&self, now: Instant, observation: Observation<'_>) {
        lock(&self.observer).observe(now, self.node, observation);
    }

    fn complete_write(&self, now: Instant) -> Option<engine::WriteId> {
        let (id, records) = lock(&self.disk).complete()?;
        for record in &records {
            self.observe(now, Observation::Durable(record));
        }
        Some(id)
    }
}

/// The process of a host: a node, or nothing after it was killed.
async fn process(machine: Arc<Machine>) -> turmoil::Result {
    let (runs, incarnation) = {
        let process = lock(&machine.process);
        (process.runs, process.incarnation)
    };
    if !runs {
        return future::pending().await;
    }
    let (node, cluster) = (machine.node, &machine.cluster);
    if incarnation == 1 {
        let start = machine.scenario.start.ends();
        tokio::time::sleep(cluster.random.between(start, Purpose::Start, u64::from(node), 0)).await;
    }
    let (handle, asks) = Handle::new();
    let (submissions, numbers) = mpsc::channel(SUBMISSIONS_MAX);
    lock(&machine.process).submissions = Some(submissions);
    let clock = WallClock { machine: Arc::clone(&machine) };
    let (start, identity) = cluster.start(node, incarnation, clock.now(), clock.wall());
    let saved = lock(&machine.disk).saved();
    lock(&machine.observer).state_loaded(clock.now(), node, &saved);
    let identity = lock(&machine.observer).begin(node, incarnation, &start, &saved, identity);
    let engine = Node::new(start.config, identity, start.seed, start.now, start.wall, saved);
    machine.observe(clock.now(), Observation::Started);
    fetchers(&machine, &handle);
    tokio::spawn(users(Arc::clone(&machine), handle, numbers));
    let world = World {
        transport: transport::SimTransport::bind(Arc::clone(&machine)).await?,
        multicast: multicast::SimMulticast::bind(Arc::clone(&machine)).await?,
        store: store::SimStore::new(Arc::clone(&machine)),
        traces: traces::SimTraces::new(Arc::clone(&machine)),
        inference: inference::SimInference::new(Arc::clone(&machine)),
        blobs: blobs::SimBlobs::new(Arc::clone(&machine)),
        host: SimHost { machine: Arc::clone(&machine), asked: false },
        clock,
        journal: SimJournal { machine: Arc::clone(&machine) },
    };
    driver::run(engine, world, asks).await;
    machine.observe(SimClock.now(), Observation::Stopped);
    future::pending().await
}

/// A health check that reports a healthy process on a host with the faults of the scenario.
struct SimHost {
    machine: Arc<Machine>,
    asked: bool,
}

impl Host for SimHost {
    fn examine(&mut self) {
        self.asked = true;
    }

    async fn next(&mut self) -> HostFacts {
        if !core::mem::take(&mut self.asked) {
            future::pending::<()>().await;
        }
        host_facts(machine_faults(&lock(&self.machine.machine_faults)))
    }
}

/// The users at one node.
async fn users(machine: Arc<Machine>, handle: Handle, mut numbers: mpsc::Receiver<u32>) {
    let waiting = lock(&machine.observer).clients.waiting_at(machine.node);
    for (number, task) in waiting {
        let (machine, handle) = (Arc::clone(&machine), handle.clone());
        tokio::spawn(async move {
            tokio::time::sleep(RETRY_INTERVAL).await;
            outcome(&machine, &handle, number, task).await;
        });
    }
    while let Some(number) = numbers.recv().await {
        let Some(request) = lock(&machine.observer).clients.submission(number, machine.node) else {
            continue;
        };
        let (machine, handle) = (Arc::clone(&machine), handle.clone());
        tokio::spawn(async move {
            let Ok(answer) = handle.ask(request).await else { return };
            if matches!(answer, Err(Rejection::QueueFull { .. })) {
                lock(&machine.observer).mark("queue_full");
            }
            let task = lock(&machine.observer).clients.submitted(number, machine.node, &answer);
            if let Some(task) = task {
                outcome(&machine, &handle, number, task).await;
            }
        });
    }
}

/// Starts the pending fetches of a node.
fn fetchers(machine: &Arc<Machine>, handle: &Handle) {
    let fetchers = lock(&machine.observer).clients.fetchers.clone();
    for (number, (fetcher, fetch)) in fetchers.into_iter().zip(&machine.scenario.fetches).enumerate() {
        if fetcher.node == machine.node && !fetcher.done {
            let pause = fetch.at.saturating_sub(turmoil::sim_elapsed().unwrap_or_default());
            tokio::spawn(fetch_file(Arc::clone(machine), handle.clone(), number, fetcher, pause));
        }
    }
}

/// Requests a file until it is complete, for as long as the node runs.
async fn fetch_file(machine: Arc<Machine>, handle: Handle, number: usize, fetcher: Fetcher, pause: Duration) {
    tokio::time::sleep(pause.max(RETRY_INTERVAL)).await;
    while let Ok(answer) = handle.ask(fetcher.request()).await {
        if answer.is_ok() {
            if let Some(fetcher) = lock(&machine.observer).clients.fetchers.get_mut(number) {
                fetcher.done = true;
            }
            return;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Awaits the outcome of a task for as long as the node runs.
async fn outcome(machine: &Machine, handle: &Handle, number: u32, task: TaskId) {
    while let Ok(answer) = handle.ask(Request::AwaitTask(task)).await {
        if lock(&machine.observer).clients.awaited(number, &answer).is_none() {
            return;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// The simulated time, the same on all hosts.
#[derive(Clone, Copy, Debug)]
struct SimClock;

impl SimClock {
    fn now(self) -> Instant {
        // Hosts only run within the simulation.
        Instant::ZERO.after(turmoil::sim_elapsed().unwrap_or_default())
    }
}

/// The clocks of one host. Only its wall clock may be set.
struct WallClock {
    machine: Arc<Machine>,
}

impl Clock for WallClock {
    fn now(&self) -> Instant {
        SimClock.now()
    }

    fn wall(&self) -> UnixMillis {
        let ahead = clock_ahead(machine_faults(&lock(&self.machine.machine_faults)));
        UnixMillis(cluster::wall(self.now().as_micros()).0.saturating_add_signed(ahead))
    }
}

struct SimJournal {
    machine: Arc<Machine>,
}

impl Journal for SimJournal {
    fn input(&mut self, now: Instant, input: &Input) {
        self.machine.observe(now, Observation::Input(input));
    }

    fn output(&mut self, now: Instant, output: &Output, _node: &Node) {
        self.machine.observe(now, Observation::Output(output));
    }
}

fn machine_faults(of: &[(usize, MachineFault)]) -> impl Iterator<Item = (usize, &MachineFault)> {
    of.iter().map(|(fault, what)| (*fault, what))
}

/// Everything runs on one thread, so a lock is never contended; state left behind by a panic is only read.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most segments and packets queued per socket. turmoil panics if more connections wait for one listener.
const SEGMENTS_MAX: usize = 4_096;

/// The most tasks that users may submit to one node in one step.
const SUBMISSIONS_MAX: usize = 1_024;
