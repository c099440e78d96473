//! Tests of live simulations, with models that answer at once.

use super::*;
use crate::inference;
use crate::scenario::MachineFault;
use core::future::poll_fn;
use core::task::Poll;
use engine::input::ModelState;
use engine::model::ModelOffer;
use engine::output::InferenceJob;
use engine::request::{Request, Response, TaskView};
use engine::task::{TaskInput, TaskOutput, TaskSpec, TaskStatus};
use engine::{Fingerprint, InferenceError, JobId};
use runtime::driver::Stopped;
use runtime::ports::InferenceEvent;
use std::collections::VecDeque;
use tokio::time::{sleep, timeout};

/// Models that answer at once, or never.
#[derive(Default)]
struct Models {
    events: VecDeque<InferenceEvent>,
    never: bool,
}

impl Models {
    fn new(never: bool) -> Self {
        let offers = inference::all(inference::DEFAULT_MODEL, false).into_iter();
        let ready = offers.map(|ModelOffer { name, kind, fingerprint }| InferenceEvent::Model {
            name,
            kind,
            fingerprint,
            state: ModelState::Ready,
        });
        Self { events: ready.collect(), never }
    }
}

impl Inference for Models {
    fn start(&mut self, job: JobId, _model: String, fingerprint: Fingerprint, work: InferenceJob) {
        if !self.never {
            let result = Ok(inference::outputs(fingerprint, &work));
            self.events.push_back(InferenceEvent::Done { job, micros: 1_000, result });
        }
    }

    fn cancel(&mut self, job: JobId) {
        let result = Err(InferenceError::Cancelled);
        self.events.push_back(InferenceEvent::Done { job, micros: 0, result });
    }

    async fn next(&mut self) -> InferenceEvent {
        poll_fn(|_| self.events.pop_front().map_or(Poll::Pending, Poll::Ready)).await
    }
}

fn start(nodes: u32, never: bool) -> Live {
    let config = Config { models: inference::all(inference::DEFAULT_MODEL, false), ..Config::default() };
    let options = LiveOptions { scenario: playground(nodes), seed: 3, config };
    Live::start(options, Models::new(never)).unwrap()
}

async fn until(live: &LiveHandle, holds: impl Fn(&LiveStatus) -> bool) -> LiveStatus {
    let wait = async {
        loop {
            let status = live.status().await.unwrap();
            if holds(&status) {
                return status;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), wait).await.expect("it takes too long")
}

/// Waits until every node is active and knows all others.
async fn until_whole(live: &LiveHandle) {
    let nodes = until(live, |status| status.nodes.iter().all(|node| node.state == Some(State::Active))).await;
    let all = nodes.nodes.len();
    let wait = async {
        for LiveNode { node, .. } in nodes.nodes {
            while members(&live.node(node).unwrap()).await != all {
                sleep(Duration::from_millis(10)).await;
            }
        }
    };
    timeout(Duration::from_secs(60), wait).await.expect("it takes too long");
}

/// Returns how many nodes a node knows, with itself.
async fn members(node: &Handle) -> usize {
    match node.ask(Request::Status).await {
        Ok(Ok(Response::Status(status))) => status.members as usize,
        other => panic!("{other:?}"),
    }
}

async fn submit(node: &Handle, text: &str) -> TaskId {
    let input = TaskInput::from_text(TaskKind::Embedding, text.to_owned());
    let spec = TaskSpec { input, model: None, timeout: Duration::from_secs(30) };
    match node.ask(Request::Submit(spec)).await {
        Ok(Ok(Response::Submitted(task))) => task,
        other => panic!("{other:?}"),
    }
}

async fn outcome(node: &Handle, task: TaskId) -> TaskView {
    match node.ask(Request::AwaitTask(task)).await {
        Ok(Ok(Response::Task(view))) => *view,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nodes_find_each_other_and_compute_with_real_models() {
    let live = start(3, false);
    let handle = live.handle();
    until_whole(&handle).await;
    let nodes = [handle.node(1).unwrap(), handle.front()];
    for (number, node) in nodes.iter().enumerate() {
        let task = submit(node, &format!("text {number}")).await;
        let view = outcome(node, task).await;
        assert_eq!(view.status, TaskStatus::Completed);
        let result = handle.result(None, task).unwrap();
        let engine::task::Outcome::Completed(TaskOutput::Embedding { vectors, .. }) = result.outcome else {
            panic!("{result:?}")
        };
        assert_eq!(vectors.len(), 1);
    }
    assert!(handle.node(3).is_none());
    let report = live.stop();
    assert_eq!(report.violations, []);
    assert!(report.checks > 0 && report.events["task_finished"] >= 2, "{report:?}");
    assert_eq!(handle.status().await.unwrap_err(), LiveStopped);
    assert_eq!(nodes[0].ask(Request::Status).await, Err(Stopped));
}

#[tokio::test]
async fn a_killed_node_starts_again_and_what_happened_can_be_repeated() {
    let live = start(3, false);
    let handle = live.handle();
    until_whole(&handle).await;
    let kill = FaultKind::Kill { node: Target::Node(0), restart_after: None };
    assert_eq!(handle.inject(kill.clone()).await, Ok(Ok(())));
    assert_eq!(handle.inject(kill).await, Ok(Err(InjectError::NotRunning(0))));
    let status = handle.status().await.unwrap();
    assert_eq!((status.nodes[0].state, status.faults.len()), (None, 1));
    assert_eq!(handle.node(0).unwrap().ask(Request::Status).await, Err(Stopped));
    let task = submit(&handle.front(), "while one is gone").await;
    assert_eq!(outcome(&handle.front(), task).await.status, TaskStatus::Completed);
    let partition = FaultKind::Partition { groups: vec![vec![1], vec![2]], heal_after: None };
    assert_eq!(handle.inject(partition).await, Ok(Ok(())));
    let healed = handle.heal().await.unwrap();
    assert_eq!(healed, Healed { faults: 2, started: vec![0] });
    until_whole(&handle).await;
    let (scenario, notes) = handle.recorded().await.unwrap();
    assert_eq!(live.stop().violations, []);

    let read = Scenario::parse("recorded.toml", &scenario.to_toml(&notes)).unwrap();
    assert_eq!((read.faults.len(), read.seed), (2, Some(3)));
    let lasted = read.faults[1].kind.lasts().unwrap();
    assert!(lasted < Duration::from_secs(5), "{lasted:?}");
    let report = crate::run(&read, 3);
    assert!(report.passed(), "{report}");
    assert_eq!((report.outcomes.len(), report.faults["kill"]), (1, 1));
}

#[tokio::test]
async fn a_cancelled_task_ends_its_job_and_a_stopped_node_its_tasks() {
    let live = start(1, true);
    let handle = live.handle();
    until_whole(&handle).await;
    let node = handle.node(0).unwrap();
    let task = submit(&node, "never").await;
    let waits = tokio::spawn({
        let node = node.clone();
        async move { outcome(&node, task).await.status }
    });
    // A client that goes away harms nobody.
    let impatient = timeout(Duration::from_millis(50), node.ask(Request::AwaitTask(task))).await;
    assert!(impatient.is_err());
    assert!(matches!(node.ask(Request::Cancel(task)).await, Ok(Ok(Response::Task(_)))));
    assert_eq!(waits.await.unwrap(), TaskStatus::Cancelled);
    let task = submit(&node, "never again").await;
    let waiting = tokio::spawn({
        let node = node.clone();
        async move { node.ask(Request::AwaitTask(task)).await }
    });
    assert!(matches!(node.ask(Request::Shutdown).await, Ok(Ok(Response::ShuttingDown))));
    until(&handle, |status| status.nodes[0].state.is_none()).await;
    drop(waiting.await.unwrap());
    assert_eq!(handle.front().ask(Request::Status).await, Err(Stopped));
    assert_eq!(handle.heal().await.unwrap().started, [0]);
    assert_eq!(live.stop().violations, []);
}

#[tokio::test]
async fn faults_of_models_apply_to_real_ones() {
    let live = start(1, false);
    let handle = live.handle();
    until_whole(&handle).await;
    let what = MachineFault::InferenceError { per_million: 1_000_000 };
    let fault = FaultKind::Machine { node: Target::Node(0), what, heal_after: None };
    assert_eq!(handle.inject(fault).await, Ok(Ok(())));
    let node = handle.node(0).unwrap();
    let task = submit(&node, "a").await;
    assert_eq!(outcome(&node, task).await.status, TaskStatus::Failed);
    assert_eq!(handle.heal().await.unwrap(), Healed { faults: 1, started: Vec::new() });
    let task = submit(&node, "b").await;
    assert_eq!(outcome(&node, task).await.status, TaskStatus::Completed);
}

#[tokio::test]
async fn a_panic_kills_its_node_and_is_shown() {
    let live = start(2, false);
    let handle = live.handle();
    until_whole(&handle).await;
    let panics = |_, event: &Event| assert!(!matches!(event, Event::TaskAccepted { .. }), "a broken watcher");
    handle.watch(1, panics).await.unwrap();
    let input = TaskInput::from_text(TaskKind::Embedding, "a".to_owned());
    let spec = TaskSpec { input, model: None, timeout: Duration::from_secs(30) };
    assert_eq!(handle.node(1).unwrap().ask(Request::Submit(spec)).await, Err(Stopped));
    let status = until(&handle, |status| status.nodes[1].state.is_none()).await;
    assert_eq!(status.violations.iter().map(|one| one.invariant).collect::<Vec<_>>(), ["no_panic"]);
    let task = submit(&handle.front(), "b").await;
    assert_eq!(outcome(&handle.front(), task).await.status, TaskStatus::Completed);
}
