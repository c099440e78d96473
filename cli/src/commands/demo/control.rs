//! Carries out the requests to a demo, the same way for simulated and for real nodes.

use super::backend::{Backend, FaultSpec, Healed, NodeView};
use super::batch::{Batch, lock};
use super::names;
use super::tally::Total;
use api::{
    Demo, DemoChange, DemoKill, DemoNode, DemoNodeState, DemoPartition, DemoSummary, DemoTaskLine,
    ErrorDetail, NewDemoFault, NewDemoTasks,
};
use engine::NodeId;
use runtime::host;
use runtime::http::DemoControl;
use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::JoinSet;

/// The control of a demo.
pub(super) struct Control<B> {
    backend: Arc<B>,
    address: SocketAddr,
    scenario: Option<String>,
    begun: Instant,
    /// How long it took until all nodes knew each other.
    met: watch::Sender<Option<Duration>>,
    total: Arc<Mutex<Total>>,
    /// Every fault so far, in words.
    faults: Mutex<Vec<String>>,
    /// Held while something changes, so that changes follow one another.
    changing: tokio::sync::Mutex<()>,
    summary: OnceCell<DemoSummary>,
    stopped: watch::Sender<bool>,
}

/// Why a request to a demo is refused, whatever runs the nodes.
pub(super) enum Refusal {
    /// The node that is to be killed does not run.
    AlreadyStopped { node: u32, reason: Option<String>, running: Vec<u32> },
    /// A partition needs two groups without a common node.
    PartitionInvalid(&'static str),
    /// Too many tasks, or none.
    TaskCount,
    /// The demo is stopping.
    Stopping,
}

impl Refusal {
    const fn code(&self) -> &'static str {
        match self {
            Self::AlreadyStopped { .. } => "demo_node_stopped",
            Self::PartitionInvalid(_) => "demo_partition_invalid",
            Self::TaskCount => "demo_tasks_too_many",
            Self::Stopping => "demo_not_running",
        }
    }
}

impl From<Refusal> for ErrorDetail {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code().to_owned();
        let (message, hint) = match refusal {
            Refusal::AlreadyStopped { node, reason, running } => {
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let hint = match running.as_slice() {
                    [] => "no node runs; start all again with: p2p-ai-agents demo heal".to_owned(),
                    [one] => format!("{} runs", names::name(*one)),
                    several => format!("{} run", names::list(several)),
                };
                (format!("{} does not run{reason}", names::name(node)), hint)
            }
            Refusal::PartitionInvalid(why) => (
                why.to_owned(),
                "name the groups like this: p2p-ai-agents demo partition amber birch,cedar".to_owned(),
            ),
            Refusal::TaskCount => {
                (format!("one request takes 1 to {TASKS_MAX} tasks"), "give a smaller number".to_owned())
            }
            Refusal::Stopping => {
                ("The demo is stopping".to_owned(), "start another one: p2p-ai-agents demo start".to_owned())
            }
        };
        Self { code, message, hint: Some(hint) }
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<B: Backend> Control<B> {
    /// Creates the control of nodes that were started at `begun`, and watches until they know each other.
    pub(super) fn start(
        backend: Arc<B>,
        address: SocketAddr,
        scenario: Option<String>,
        begun: Instant,
    ) -> Arc<Self> {
        let control = Arc::new(Self {
            backend,
            address,
            scenario,
            begun,
            met: watch::Sender::new(None),
            total: Arc::new(Mutex::new(Total::new())),
            faults: Mutex::new(Vec::new()),
            changing: tokio::sync::Mutex::new(()),
            summary: OnceCell::new(),
            stopped: watch::Sender::new(false),
        });
        let watching = Arc::clone(&control);
        tokio::spawn(async move { watching.await_meeting().await });
        control
    }

    /// Returns how long it took until all nodes knew each other, once they do.
    pub(super) fn met(&self) -> watch::Receiver<Option<Duration>> {
        self.met.subscribe()
    }

    /// Returns whether the demo has stopped.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    async fn await_meeting(&self) {
        let count = u32::try_from(self.backend.nodes().len()).unwrap_or(u32::MAX);
        while !*self.stopped.borrow() {
            let statuses = self.statuses(self.backend.nodes()).await;
            if statuses.iter().all(|node| node.members >= count) {
                self.met.send_replace(Some(self.begun.elapsed()));
                return;
            }
            let soon = self.begun.elapsed() < MEETING_EXPECTED;
            tokio::time::sleep(if soon { MEETING_POLL_INTERVAL } else { MEETING_POLL_INTERVAL_MAX }).await;
        }
    }

    /// Asks all running nodes for their status.
    async fn statuses(&self, views: Vec<NodeView>) -> Vec<DemoNode> {
        let mut asked = JoinSet::new();
        for (index, view) in (0_u32..).zip(&views) {
            let (backend, runs) = (Arc::clone(&self.backend), view.state == DemoNodeState::Running);
            asked.spawn(async move {
                let status = if runs { backend.status(index).await } else { None };
                (index, status)
            });
        }
        let mut nodes: Vec<(u32, Option<api::Status>)> = asked.join_all().await;
        nodes.sort_by_key(|(index, _)| *index);
        let total = lock(&self.total);
        let node = |((index, status), view): ((u32, Option<api::Status>), NodeView)| DemoNode {
            name: names::name(index),
            id: view.id,
            state: view.state,
            reason: view.reason,
            api_address: view.api_address,
            health: status.as_ref().and_then(|status| status.health.as_ref()).map(|health| health.status),
            peers: status.as_ref().map_or(0, |status| status.peers),
            members: status.as_ref().map_or(0, |status| status.members),
            tasks_queued: status.as_ref().map_or(0, |status| status.tasks_queued),
            tasks_running: status.as_ref().map_or(0, |status| status.tasks_running),
            tasks_run: total.of_worker(index),
        };
        nodes.into_iter().zip(views).map(node).collect()
    }

    fn ids(&self) -> Vec<NodeId> {
        self.backend.nodes().into_iter().map(|node| node.id).collect()
    }

    fn resolve(&self, word: &str) -> Result<u32, ErrorDetail> {
        Ok(names::resolve(word, &self.ids())?)
    }

    /// Reads names that are separated by commas.
    fn resolve_all(&self, words: &str) -> Result<Vec<u32>, ErrorDetail> {
        words.split(',').map(|word| self.resolve(word)).collect()
    }

    fn change(&self, message: String) -> DemoChange {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        DemoChange {
            message,
            running: count(self.backend.running().len()),
            nodes: count(self.backend.nodes().len()),
        }
    }

    fn note(&self, fault: &str) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < FAULTS_MAX {
            faults.push(fault.to_owned());
        }
        tracing::info!(component = "demo", "{fault}");
    }

    fn check_running(&self) -> Result<(), ErrorDetail> {
        if self.summary.initialized() { Err(Refusal::Stopping.into()) } else { Ok(()) }
    }

    async fn kill_node(&self, word: &str) -> Result<DemoChange, ErrorDetail> {
        let _turn = self.changing.lock().await;
        self.check_running()?;
        let node = self.resolve(word)?;
        let view = self.backend.nodes().into_iter().nth(usize::try_from(node).unwrap_or(usize::MAX));
        if let Some(view) = view.filter(|view| view.state == DemoNodeState::Stopped) {
            let refusal =
                Refusal::AlreadyStopped { node, reason: view.reason, running: self.backend.running() };
            return Err(refusal.into());
        }
        self.backend.kill(node).await?;
        let fault = format!("killed {}", names::name(node));
        self.note(&fault);
        Ok(self.change(capitalized(&fault)))
    }

    async fn heal_all(&self) -> Result<DemoChange, ErrorDetail> {
        let _turn = self.changing.lock().await;
        self.check_running()?;
        let Some(what) = in_words(&self.backend.heal().await?) else {
            return Ok(self.change("Nothing to heal".to_owned()));
        };
        self.note(&format!("healed ({what})"));
        Ok(self.change(capitalized(&what)))
    }

    async fn divide(&self, groups: Vec<Vec<String>>) -> Result<DemoChange, ErrorDetail> {
        let _turn = self.changing.lock().await;
        self.check_running()?;
        let resolve = |words: &Vec<String>| words.iter().map(|word| self.resolve(word)).collect();
        let groups: Vec<Vec<u32>> = groups.iter().map(resolve).collect::<Result<_, ErrorDetail>>()?;
        check_groups(&groups)?;
        self.backend.partition(&groups).await?;
        let sides: Vec<String> = groups.iter().map(|group| names::list(group)).collect();
        let fault = format!("divided the network: {}", sides.join(" | "));
        self.note(&fault);
        Ok(self.change(capitalized(&fault)))
    }

    async fn inject(&self, fault: NewDemoFault) -> Result<DemoChange, ErrorDetail> {
        let _turn = self.changing.lock().await;
        self.check_running()?;
        let mut spec = FaultSpec { kind: fault.kind, ..FaultSpec::default() };
        for (key, value) in fault.settings {
            match key.as_str() {
                "node" => spec.node = Some(self.resolve(&value)?),
                "from" => spec.from = self.resolve_all(&value)?,
                "to" => spec.to = self.resolve_all(&value)?,
                "groups" => {
                    let groups = value.split('|').map(|group| self.resolve_all(group));
                    spec.groups = groups.collect::<Result<_, _>>()?;
                    check_groups(&spec.groups)?;
                }
                _ => {
                    spec.settings.insert(key, value);
                }
            }
        }
        let fault = self.backend.fault(&spec).await?;
        self.note(&fault);
        Ok(self.change(capitalized(&fault)))
    }

    async fn end(&self) -> DemoSummary {
        let _turn = self.changing.lock().await;
        let end = async {
            let nodes = u32::try_from(self.backend.nodes().len()).unwrap_or(u32::MAX);
            let tasks = lock(&self.total).tasks();
            let uptime_ms = millis(self.begun.elapsed());
            let violations = self.backend.stop().await;
            let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
            DemoSummary { kind: self.backend.kind(), uptime_ms, nodes, tasks, faults, violations }
        };
        let summary = self.summary.get_or_init(|| end).await.clone();
        self.stopped.send_replace(true);
        summary
    }
}

impl<B: Backend> DemoControl for Control<B> {
    fn demo(&self) -> Answer<'_, Demo> {
        Box::pin(async {
            let nodes = self.statuses(self.backend.nodes()).await;
            let memory = tokio::task::spawn_blocking(|| host::memory_bytes(std::process::id())).await;
            let met = *self.met.borrow();
            Demo {
                kind: self.backend.kind(),
                pid: std::process::id(),
                address: self.address,
                uptime_ms: millis(self.begun.elapsed()),
                met_ms: met.map(millis),
                scenario: self.scenario.clone(),
                nodes,
                faults: self.backend.faults(),
                violations: self.backend.violations(),
                tasks: lock(&self.total).tasks(),
                memory_bytes: memory.unwrap_or_default(),
            }
        })
    }

    fn run_tasks(&self, tasks: NewDemoTasks) -> Result<mpsc::Receiver<DemoTaskLine>, ErrorDetail> {
        self.check_running()?;
        if !(1..=TASKS_MAX).contains(&tasks.count) {
            return Err(Refusal::TaskCount.into());
        }
        let node = tasks.node.as_deref().map(|word| self.resolve(word)).transpose()?;
        let (lines, inbox) = mpsc::channel(LINES_MAX);
        let (backend, total, stopped) =
            (Arc::clone(&self.backend), Arc::clone(&self.total), self.stopped.subscribe());
        tokio::spawn(Batch { backend, total, stopped, tasks, node, lines }.run());
        Ok(inbox)
    }

    fn kill(&self, kill: DemoKill) -> Answer<'_, Result<DemoChange, ErrorDetail>> {
        Box::pin(async move { self.kill_node(&kill.node).await })
    }

    fn heal(&self) -> Answer<'_, Result<DemoChange, ErrorDetail>> {
        Box::pin(self.heal_all())
    }

    fn partition(&self, partition: DemoPartition) -> Answer<'_, Result<DemoChange, ErrorDetail>> {
        Box::pin(self.divide(partition.groups))
    }

    fn fault(&self, fault: NewDemoFault) -> Answer<'_, Result<DemoChange, ErrorDetail>> {
        Box::pin(self.inject(fault))
    }

    fn record(&self) -> Answer<'_, Result<String, ErrorDetail>> {
        Box::pin(async { Ok(self.backend.record().await?) })
    }

    fn stop(&self) -> Answer<'_, DemoSummary> {
        Box::pin(self.end())
    }
}

fn check_groups(groups: &[Vec<u32>]) -> Result<(), ErrorDetail> {
    let mut seen = BTreeSet::new();
    if groups.len() < 2 || groups.iter().any(Vec::is_empty) {
        return Err(Refusal::PartitionInvalid("a partition needs at least two groups of nodes").into());
    }
    if !groups.iter().flatten().all(|node| seen.insert(*node)) {
        return Err(Refusal::PartitionInvalid("a node is in two groups").into());
    }
    Ok(())
}

/// Says what a heal has changed, on one line; `None` if nothing.
fn in_words(Healed { started, ended }: &Healed) -> Option<String> {
    let mut done = Vec::new();
    match started.len() {
        0 => {}
        1..=STARTED_SHOWN => done.push(format!("started {}", names::list(started))),
        count => done.push(format!("started {count} nodes")),
    }
    done.extend(ended.iter().take(ENDED_SHOWN).map(|fault| format!("ended: {fault}")));
    match ended.len().saturating_sub(ENDED_SHOWN) {
        0 => {}
        1 => done.push("ended 1 more fault".to_owned()),
        rest => done.push(format!("ended {rest} more faults")),
    }
    (!done.is_empty()).then(|| done.join("; "))
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How often the nodes are asked whether they know each other.
const MEETING_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How often they are asked later: some may never meet, because a scenario stops one.
const MEETING_POLL_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// How long they are expected to take.
const MEETING_EXPECTED: Duration = Duration::from_secs(15);
/// Maximum tasks of one request.
const TASKS_MAX: u32 = 1_000_000;
/// Lines that are buffered for a client.
const LINES_MAX: usize = 64;
/// Nodes that a heal names; of more, it gives their number.
const STARTED_SHOWN: usize = 8;
/// Faults that a heal names.
const ENDED_SHOWN: usize = 3;
/// Faults that the summary lists.
const FAULTS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::demo::backend::testing::Stopped;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn the_summary_has_what_was_found_until_the_end() {
        let (backend, address) = (Arc::new(Stopped(None)), (Ipv4Addr::LOCALHOST, 1).into());
        let control = Control::start(backend, address, None, Instant::now());
        assert!(control.demo().await.violations.is_empty());
        for _ in 0..2 {
            assert_eq!(control.stop().await.violations, ["found at the end"]);
        }
        assert!(*control.stopped().borrow());
    }

    #[test]
    fn a_heal_of_much_is_told_on_a_short_line() {
        let told = |started: u32, ended: usize| {
            in_words(&Healed { started: (0..started).collect(), ended: vec!["flap".to_owned(); ended] })
        };
        assert_eq!(told(0, 0), None);
        assert_eq!(told(2, 1).unwrap(), "started amber and birch; ended: flap");
        assert_eq!(told(0, 4).unwrap(), "ended: flap; ended: flap; ended: flap; ended 1 more fault");
        assert_eq!(
            told(50, 9).unwrap(),
            "started 50 nodes; ended: flap; ended: flap; ended: flap; ended 6 more faults"
        );
    }

    #[test]
    fn groups_share_no_node() {
        assert!(check_groups(&[vec![0], vec![1, 2]]).is_ok());
        for bad in [vec![], vec![vec![0]], vec![vec![0], vec![]], vec![vec![0, 1], vec![1]]] {
            assert_eq!(check_groups(&bad).unwrap_err().code, "demo_partition_invalid", "{bad:?}");
        }
    }
}
