//! The event queue under a real clock: requests from outside, jobs that real models compute, and faults that a user
//! injects.
//!
//! The caller moves the simulated time forward with [`EventQueue::advance`], and carries out the orders to the models
//! that [`EventQueue::poll_order`] returns. A violation does not end the simulation, and a node that panics is killed.

use super::{EventQueue, PendingRequest, Scheduled};
use crate::cluster::{self, Cluster};
use crate::disk::{Disk, Results};
use crate::faults::machine::job_delay;
use crate::faults::{Faults, Step, Stop};
use crate::invariant::Violation;
use crate::live::history::History;
use crate::live::{InjectError, LiveNode, LiveReport, LiveStatus};
use crate::node_set::NodeIndex;
use crate::observer::Observer;
use crate::scenario::{FaultKind, INJECTIONS_MAX, Scenario, Target};
use core::any::Any;
use core::fmt;
use core::mem;
use core::time::Duration;
use engine::input::ModelState;
use engine::output::InferenceJob;
use engine::request::{Answer, Request, Response};
use engine::task::{TaskKind, TaskOutput};
use engine::{Event, Fingerprint, InferenceError, Input, Instant, JobId, Node, RequestId, UnixMillis};
use runtime::driver::Ask;
use runtime::ports::InferenceEvent;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use tokio::sync::{oneshot, watch};

/// The result of a job: one item for each of its tasks, or one error for all.
type JobResult = Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>;

/// Sees the events of one node.
pub(crate) type Watcher = Box<dyn FnMut(Instant, &Event) + Send>;

/// What a live simulation has besides that of a scenario.
#[derive(Debug)]
pub(super) struct LiveState {
    orders: VecDeque<ModelOrder>,
    /// Each job that the models compute, by its number there.
    jobs: BTreeMap<JobId, LiveJob>,
    /// The number of each job of a node at the models.
    numbers: BTreeMap<(NodeIndex, JobId), JobId>,
    next_job: u64,
    /// Each model with its fingerprint and state.
    models: BTreeMap<(String, TaskKind), (Option<Fingerprint>, ModelState)>,
    replies: BTreeMap<(NodeIndex, RequestId), oneshot::Sender<Answer>>,
    /// When a user last asked something.
    asked_at: Instant,
    watchers: Watchers,
    /// The first violation of each invariant.
    violations: Vec<Violation>,
    history: History,
    /// Injections that the scenario plans; all later ones are those of users.
    planned: usize,
    /// The injections of users before this one are not carried out any more, because a heal came first.
    void_until: usize,
    /// Counts the changes of nodes, faults and violations.
    changes: watch::Sender<u64>,
    /// By how many milliseconds the wall clock is ahead of that of other simulations.
    wall_ahead: i64,
}

#[derive(Default)]
struct Watchers(BTreeMap<NodeIndex, Vec<Watcher>>);

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A job of a node that the models compute.
#[derive(Clone, Copy, Debug)]
struct LiveJob {
    node: NodeIndex,
    incarnation: u32,
    job: JobId,
    /// How much later than the models are done the node gets the result.
    delay: Duration,
}

/// A job that has ended, on its way to its node.
#[derive(Debug)]
pub(super) struct JobReport {
    node: NodeIndex,
    incarnation: u32,
    job: JobId,
    micros: u64,
    result: JobResult,
}

/// An order to the models.
#[derive(Debug)]
pub(crate) enum ModelOrder {
    Cancel(JobId),
    Start { job: JobId, model: String, fingerprint: Fingerprint, work: InferenceJob },
}

impl LiveState {
    fn new(planned: usize, wall: UnixMillis, changes: watch::Sender<u64>) -> Self {
        Self {
            orders: VecDeque::new(),
            jobs: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_job: 0,
            models: BTreeMap::new(),
            replies: BTreeMap::new(),
            asked_at: Instant::ZERO,
            watchers: Watchers::default(),
            violations: Vec::new(),
            history: History::default(),
            planned,
            void_until: planned,
            changes,
            wall_ahead: ahead(wall, Instant::ZERO),
        }
    }

    /// Shows a node's event to its watchers.
    pub(super) fn watch(&mut self, now: Instant, node: NodeIndex, event: &Event) {
        if matches!(event, Event::StateChanged { .. }) {
            self.changed();
        }
        let watchers = self.watchers.0.get_mut(&node);
        watchers.into_iter().flatten().for_each(|watcher| watcher(now, event));
    }

    /// Announces a change of a node or a fault, or a violation.
    fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Passes an answer on to the user.
    pub(super) fn reply(&mut self, node: NodeIndex, id: RequestId, answer: Answer) {
        // The client may be gone.
        let _ = self.replies.remove(&(node, id)).map(|reply| reply.send(answer));
    }

    /// Ends everything that a stopped process was doing for others.
    pub(super) fn stopped(&mut self, node: NodeIndex) {
        self.forget_jobs(node);
        // Dropping a reply tells the client that the node has stopped.
        self.replies.retain(|(of, _), _| *of != node);
        self.changed();
    }

    /// Cancels all jobs of a node at the models, whose results nobody awaits any more.
    pub(super) fn forget_jobs(&mut self, node: NodeIndex) -> Vec<JobId> {
        let all = (node, JobId(0))..=(node, JobId(u64::MAX));
        let numbers: Vec<_> = self.numbers.range(all).map(|(&(_, job), &number)| (job, number)).collect();
        for (job, number) in &numbers {
            self.numbers.remove(&(node, *job));
            self.jobs.remove(number);
            self.orders.push_back(ModelOrder::Cancel(*number));
        }
        numbers.into_iter().map(|(job, _)| job).collect()
    }

    pub(super) fn cancel(&mut self, node: NodeIndex, job: JobId) {
        // A job without a number ends with an error already.
        if let Some(number) = self.numbers.get(&(node, job)) {
            self.orders.push_back(ModelOrder::Cancel(*number));
        }
    }

    pub(super) const fn wall_ahead(&self) -> i64 {
        self.wall_ahead
    }

    /// Notes a step of the faults that took effect.
    pub(super) fn note_step(&mut self, now: Instant, step: Step, faults: &Faults) {
        match step {
            Step::Inject(fault) => {
                let injected = faults.last_injected();
                injected.iter().for_each(|it| self.history.fault(fault, &it.kind, now, faults.lasts(fault)));
            }
            Step::Clear(fault) => self.history.cleared(fault, now),
            Step::HealAll => self.history.network_healed(now),
        }
        self.changed();
    }

    /// Notes a task that the scenario submits.
    pub(super) fn note_task(&mut self, now: Instant, node: NodeIndex, request: &Request) {
        self.history.request(now, node, request);
    }

    /// Returns whether a fault was healed before it was injected.
    pub(super) fn is_void(&self, step: Step) -> bool {
        matches!(step, Step::Inject(fault) if (self.planned..self.void_until).contains(&fault))
    }
}

impl EventQueue {
    /// Creates a live simulation of a scenario, whose nodes offer the models of `cluster`. `wall` is the wall-clock
    /// time at its start. The results on each node's disk go into `results`.
    pub(crate) fn live(
        scenario: &Scenario,
        cluster: Arc<Cluster>,
        wall: UnixMillis,
        results: &[Arc<Mutex<Results>>],
        changes: watch::Sender<u64>,
    ) -> Self {
        let mut observer = Observer::new(scenario, Arc::clone(&cluster));
        observer.bounded = true;
        let mut world = Self::with(scenario, cluster, observer);
        let live = LiveState::new(world.faults.planned(), wall, changes);
        for (host, results) in world.hosts.iter_mut().zip(results) {
            host.disk = Disk::with_results(Arc::clone(results));
            host.machine.clock.set_ahead(live.wall_ahead);
        }
        world.live = Some(Box::new(live));
        world
    }

    /// Simulates up to a moment, whatever happens.
    pub(crate) fn advance(&mut self, end: Instant) {
        loop {
            let ran = panic::catch_unwind(AssertUnwindSafe(|| {
                while let Some((at, scheduled)) = self.next.pop_until(end.as_micros()) {
                    self.now = self.now.max(at);
                    self.dispatch(scheduled);
                    self.keep_violation();
                }
            }));
            let Err(panic) = ran else { break };
            self.recover(&*panic);
        }
        self.now = self.now.max(end.as_micros());
    }

    /// Does something at the current moment, whatever happens.
    pub(crate) fn act(&mut self, act: impl FnOnce(&mut Self)) {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| act(self))) {
            self.recover(&*panic);
        }
        self.keep_violation();
    }

    /// Notes a panic, and kills the node that panicked.
    fn recover(&mut self, panic: &(dyn Any + Send)) {
        // An earlier violation must not hide the panic, nor which node it is of.
        self.keep_violation();
        self.observer.panicked(self.now(), panic);
        let node = self.observer.violation.as_ref().and_then(|violation| violation.node);
        self.keep_violation();
        if let Some(node) = node {
            self.hosts[node as usize].draining = false;
            // It stops below in any case.
            let _ = self.inject(&FaultKind::Kill { node: Target::Node(node), restart_after: None });
            self.stop(node, Stop::Kill);
        }
    }

    fn keep_violation(&mut self) {
        let Some(violation) = self.observer.violation.take() else { return };
        let Some(live) = &mut self.live else { return };
        if live.violations.iter().all(|known| known.invariant != violation.invariant) {
            live.violations.push(violation);
            live.changed();
        }
    }

    /// Returns when something happens next; `None` if nothing is scheduled.
    pub(crate) fn next_at(&mut self) -> Option<Instant> {
        self.next.next_at().map(Instant::from_micros)
    }

    /// Returns the next order to the models.
    pub(crate) fn poll_order(&mut self) -> Option<ModelOrder> {
        self.live.as_mut()?.orders.pop_front()
    }

    /// Returns whether a user waits for an answer.
    pub(crate) fn is_asked(&self) -> bool {
        self.live.as_ref().is_some_and(|live| !live.replies.is_empty())
    }

    /// Returns whether a node waits for the models, or a user has just asked something.
    pub(crate) fn is_busy(&self) -> bool {
        let asked = |live: &LiveState| self.now().since(live.asked_at) < HASTE && !live.replies.is_empty();
        self.live.as_ref().is_some_and(|live| !live.jobs.is_empty() || asked(live))
    }

    /// Sets the wall-clock time of all nodes.
    pub(crate) fn set_wall(&mut self, wall: UnixMillis) {
        let now = self.now();
        if let Some(live) = &mut self.live {
            live.wall_ahead = ahead(wall, now);
        }
        (0..self.scenario.nodes).for_each(|node| self.apply_machine_faults(node));
    }

    /// Shows the events of a node to a watcher, from now on.
    pub(crate) fn add_watcher(&mut self, node: NodeIndex, watcher: Watcher) {
        if let Some(live) = &mut self.live {
            live.watchers.0.entry(node).or_default().push(watcher);
        }
    }

    /// Hands a request of a user to a node, or to the first one that runs. A node that does not run drops it.
    pub(crate) fn handle_ask(&mut self, node: Option<NodeIndex>, ask: Ask) {
        let running = || (0..self.scenario.nodes).find(|&node| self.hosts[node as usize].node.is_some());
        let Some(node) = node.or_else(running) else { return };
        let (host, now) = (&mut self.hosts[node as usize], Instant::from_micros(self.now));
        let Some(live) = self.live.as_mut().filter(|_| host.node.is_some()) else { return };
        let Ask { request, reply } = ask;
        if request == Request::Shutdown {
            let leave = FaultKind::Leave { node: Target::Node(node), restart_after: None };
            // Without an answer, the client learns that the node has stopped.
            let _ = self.inject(&leave).map(|()| reply.send(Ok(Response::ShuttingDown)));
            return;
        }
        let id = RequestId(host.requests);
        host.requests += 1;
        host.pending.insert(id, PendingRequest::Live);
        live.replies.insert((node, id), reply);
        live.history.request(now, node, &request);
        live.asked_at = now;
        self.handle(node, Input::Request { id, request });
    }

    /// Drops the requests whose clients are gone.
    pub(crate) fn drop_abandoned_requests(&mut self) {
        let Some(live) = &mut self.live else { return };
        let abandoned = |(key, reply): (&(NodeIndex, RequestId), &oneshot::Sender<Answer>)| {
            reply.is_closed().then_some(*key)
        };
        let abandoned: Vec<_> = live.replies.iter().filter_map(abandoned).collect();
        for (node, id) in abandoned {
            if let Some(live) = &mut self.live {
                live.replies.remove(&(node, id));
            }
            self.hosts[node as usize].pending.remove(&id);
            self.handle(node, Input::RequestDropped { id });
        }
    }

    /// Injects a fault now.
    ///
    /// # Errors
    /// [`InjectError`] if it concerns a node that does not run, or too many were injected.
    pub(crate) fn inject(&mut self, kind: &FaultKind) -> Result<(), InjectError> {
        if self.faults.planned() >= INJECTIONS_MAX as usize {
            return Err(InjectError::TooMany);
        }
        let at = Duration::from_micros(self.now);
        let changes =
            self.faults.plan_another(&self.scenario, kind, at).ok_or_else(|| match kind.target() {
                Some(Target::Node(node)) => InjectError::NotRunning(node),
                Some(Target::Any) | None => InjectError::NoneRuns,
            })?;
        for change in changes {
            if change.at <= at {
                self.step(change.step);
            } else {
                self.next.push(engine::time::micros(change.at), Scheduled::Change(self.changes.len()));
                self.changes.push(change);
            }
        }
        Ok(())
    }

    /// Clears all faults in effect and those of users that are still to come, and starts what was stopped. Returns the
    /// number of cleared faults and the nodes that started.
    pub(crate) fn heal(&mut self) -> (usize, Vec<NodeIndex>) {
        let stopped: Vec<_> = (0..self.scenario.nodes)
            .filter(|&node| {
                self.hosts[node as usize].node.is_none() && self.hosts[node as usize].incarnation > 0
            })
            .collect();
        if let Some(live) = &mut self.live {
            live.void_until = self.faults.planned();
        }
        let faults: Vec<usize> = self.faults.in_effect().into_iter().map(|(fault, _)| fault).collect();
        faults.iter().for_each(|&fault| self.step(Step::Clear(fault)));
        // A node may also have stopped by itself.
        for &node in &stopped {
            if self.hosts[node as usize].node.is_none() {
                self.start(node);
            }
        }
        (faults.len(), stopped)
    }

    /// Lets the models compute a job, unless a fault ends it.
    pub(super) fn infer_live(
        &mut self,
        node: NodeIndex,
        job: JobId,
        (model, wanted): (String, Fingerprint),
        work: InferenceJob,
    ) {
        let delay = job_delay(self.faults.machine_faults(node), self.job_draw(node, job));
        if !delay.is_zero() {
            self.observer.mark("inference_slow");
        }
        let error = self.job_error(node, job, &work);
        let host = &self.hosts[node as usize];
        let incarnation = host.incarnation;
        let fingerprint = if host.machine.is_replaced() { replaced(wanted) } else { wanted };
        let Some(live) = &mut self.live else { return };
        if let Some(error) = error {
            let report = JobReport { node, incarnation, job, micros: 0, result: Err(error) };
            return self.after(delay, Scheduled::JobReported(Box::new(report)));
        }
        let number = JobId(live.next_job);
        live.next_job += 1;
        live.jobs.insert(number, LiveJob { node, incarnation, job, delay });
        live.numbers.insert((node, job), number);
        live.orders.push_back(ModelOrder::Start { job: number, model, fingerprint, work });
    }

    /// Handles a report of the models.
    pub(crate) fn handle_report(&mut self, report: InferenceEvent) {
        let Some(live) = &mut self.live else { return };
        match report {
            InferenceEvent::Done { job: number, micros, result } => {
                let Some(LiveJob { node, incarnation, job, delay }) = live.jobs.remove(&number) else {
                    return;
                };
                live.numbers.remove(&(node, job));
                live.history.job(micros);
                let report = JobReport { node, incarnation, job, micros, result };
                if delay.is_zero() {
                    self.job_reported(report);
                } else {
                    self.after(delay, Scheduled::JobReported(Box::new(report)));
                }
            }
            InferenceEvent::Model { name, kind, fingerprint, state } => {
                live.models.insert((name, kind), (fingerprint, state));
                for node in 0..self.scenario.nodes {
                    let host = &self.hosts[node as usize];
                    if host.node.is_some() && !host.machine.is_unready() {
                        self.notify_models(node, &ModelState::Ready);
                    }
                }
            }
            InferenceEvent::Progress { job: number, text, tokens } => {
                let Some(&LiveJob { node, incarnation, job, .. }) = live.jobs.get(&number) else { return };
                if self.is_running(node, incarnation) {
                    self.handle(node, Input::InferenceProgress { job, text, tokens });
                }
            }
        }
    }

    pub(super) fn job_reported(&mut self, report: JobReport) {
        let JobReport { node, incarnation, job, micros, result } = report;
        if self.is_running(node, incarnation) {
            self.handle(node, Input::InferenceDone { job, micros, result });
        }
    }

    /// Tells a node which real models it has. If its machine's are not ready, neither are these.
    pub(super) fn notify_live_models(&mut self, node: NodeIndex, state: &ModelState) {
        let Some(live) = &self.live else { return };
        let other = self.hosts[node as usize].machine.is_replaced();
        let inputs: Vec<Input> = live
            .models
            .iter()
            .map(|((name, kind), (fingerprint, real))| Input::Model {
                name: name.clone(),
                kind: *kind,
                fingerprint: fingerprint.map(|real| if other { replaced(real) } else { real }),
                state: if *state == ModelState::Ready { real.clone() } else { state.clone() },
            })
            .collect();
        inputs.into_iter().for_each(|input| self.handle(node, input));
    }

    /// Describes the simulation at this moment.
    pub(crate) fn status(&self) -> LiveStatus {
        let faults = self.faults.in_effect();
        let describe = |node: NodeIndex| {
            let engine = self.hosts[node as usize].node.as_ref();
            LiveNode {
                node,
                id: self.cluster.id(node),
                state: engine.map(Node::state),
                suspended: self.hosts[node as usize].machine.is_suspended(),
            }
        };
        LiveStatus {
            now: self.now(),
            nodes: (0..self.scenario.nodes).map(describe).collect(),
            faults: faults.into_iter().map(|(_, kind)| kind.clone()).collect(),
            violations: self.live.as_ref().map(|live| live.violations.clone()).unwrap_or_default(),
        }
    }

    /// Returns what happened so far as a scenario, and notes about what it leaves out.
    pub(crate) fn recorded(&self, original: &Scenario, seed: u64) -> (Scenario, Vec<String>) {
        let now = Duration::from_micros(self.now);
        let nothing = History::default();
        let history = self.live.as_ref().map_or(&nothing, |live| &live.history);
        history.to_scenario(original, seed, now)
    }

    /// Ends the simulation.
    pub(crate) fn into_report(self) -> LiveReport {
        let violations = self.live.as_ref().map(|live| live.violations.clone()).unwrap_or_default();
        let mut faults = BTreeMap::new();
        for fault in self.faults.into_injected() {
            *faults.entry(fault.kind.name()).or_default() += 1;
        }
        let mut observer = self.observer;
        LiveReport {
            ran: Duration::from_micros(self.now),
            faults,
            events: mem::take(&mut observer.marks),
            checks: observer.invariants.iter().map(|invariant| invariant.checks()).sum(),
            violations,
        }
    }
}

/// Returns by how many milliseconds a wall clock is ahead of that of other simulations.
fn ahead(wall: UnixMillis, now: Instant) -> i64 {
    let millis = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    millis(wall.0) - millis(cluster::wall(now.as_micros()).0)
}

/// Returns the fingerprint of a model that replaces another one, or of that other one.
const fn replaced(Fingerprint(mut bytes): Fingerprint) -> Fingerprint {
    bytes[0] = !bytes[0];
    Fingerprint(bytes)
}

/// How long after a request its user awaits the answer impatiently. Later, a few milliseconds do not matter.
const HASTE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::NO_PANIC;
    use crate::live::playground;
    use crate::scenario::Range;

    fn world(nodes: u32) -> (EventQueue, watch::Receiver<u64>) {
        let (mut world, changes) = before_start(nodes);
        world.advance(Instant::from_micros(1_000_000));
        (world, changes)
    }

    fn before_start(nodes: u32) -> (EventQueue, watch::Receiver<u64>) {
        let scenario = playground(nodes);
        let cluster = Arc::new(Cluster::new(&scenario, 3, None));
        let results: Vec<_> = (0..nodes).map(|_| Arc::default()).collect();
        let (change, changes) = watch::channel(0);
        (EventQueue::live(&scenario, cluster, UnixMillis(0), &results, change), changes)
    }

    fn violate(world: &mut EventQueue, invariant: &'static str) {
        world.observer.violated(world.now(), 0, invariant, "in a test".to_owned());
    }

    fn violations(world: &EventQueue) -> Vec<&'static str> {
        world.status().violations.iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn members_that_join_are_not_announced() {
        let (mut world, changes) = before_start(3);
        let counts = Arc::new(Mutex::new((0, 0)));
        for node in 0..3 {
            let counts = Arc::clone(&counts);
            let count = move |_, event: &Event| {
                let mut counts = counts.lock().unwrap();
                counts.0 += u64::from(matches!(event, Event::StateChanged { .. }));
                counts.1 += u64::from(matches!(event, Event::MemberJoined { .. }));
            };
            world.add_watcher(node, Box::new(count));
        }
        world.advance(Instant::from_micros(5_000_000));
        let (states, joined) = *counts.lock().unwrap();
        assert!(joined >= 6, "{joined}");
        assert_eq!(*changes.borrow(), states);
    }

    #[test]
    fn nothing_is_kept_for_a_report_that_nobody_makes() {
        let (mut world, _changes) = world(2);
        assert_eq!(world.inject(&FaultKind::Kill { node: Target::Node(1), restart_after: None }), Ok(()));
        world.advance(Instant::from_micros(9_000_000));
        assert!(world.observer.narrative.lines.is_empty());
        violate(&mut world, "one");
        assert!(world.observer.last_events().iter().all(|of| of.events.is_empty()));
    }

    #[test]
    fn a_heal_forestalls_the_faults_before_it() {
        let (mut world, _changes) = world(2);
        let away = Range { from: Duration::from_millis(10), to: Duration::from_millis(20) };
        let (every, lasts) = (Duration::from_secs(1), Duration::from_secs(4));
        let restarts = FaultKind::RollingRestart { every, away, lasts };
        let starts = |world: &EventQueue| world.hosts.iter().map(|host| host.incarnation).sum::<u32>();
        assert_eq!(world.inject(&restarts), Ok(()));
        world.heal();
        let healed = starts(&world);
        world.advance(Instant::from_micros(10_000_000));
        assert_eq!(starts(&world), healed);
        assert_eq!(world.inject(&restarts), Ok(()));
        world.advance(Instant::from_micros(20_000_000));
        assert!(starts(&world) > healed);
    }

    #[test]
    fn the_first_violation_of_an_invariant_is_announced() {
        let (mut world, mut changes) = world(1);
        for (invariant, announced) in [("one", true), ("one", false), ("other", true)] {
            changes.mark_unchanged();
            world.act(|world| violate(world, invariant));
            assert_eq!(changes.has_changed().unwrap(), announced, "{invariant}");
        }
        assert_eq!(violations(&world), ["one", "other"]);
    }

    #[test]
    fn a_violation_does_not_hide_a_panic_after_it() {
        let (mut world, _changes) = world(1);
        assert!(world.hosts[0].node.is_some());
        world.act(|world| {
            world.hosts[0].draining = true;
            violate(world, "one");
            panic!("a broken node");
        });
        assert_eq!(violations(&world), ["one", NO_PANIC]);
        assert!(world.hosts[0].node.is_none() && !world.hosts[0].draining);
    }
}
