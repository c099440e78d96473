//! Traces across nodes: the whole story of a task behind a relay, with an attempt that was lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::wildcard_enum_match_arm, reason = "only some spans and answers are looked for")]

use engine::event::{PayloadKind, ReassignReason};
use engine::observers::traces::IdPrefix;
use engine::observers::traces::timeline::{ClockSource, NodeAnswer, Span, SpanKind, Timeline};
use engine::request::TracedTask;
use engine::task::{TaskInput, TaskKind, TaskSpec, TaskStatus};
use engine::testing::Network;
use engine::trace::{Caller, TraceParent};
use engine::{NodeId, Rejection, Request, Response, SpanId, TaskId, TraceId};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn spec() -> TaskSpec {
    let input = TaskInput::from_text(TaskKind::Embedding, "hello".to_owned());
    TaskSpec { input, model: None, timeout: Duration::from_secs(60) }
}

fn submit(network: &mut Network, place: usize, request: Request) -> TaskId {
    let request = network.ask(place, request);
    network.run(Duration::from_millis(3));
    match network.answer(place, request) {
        Some(Ok(Response::Submitted(task))) => *task,
        other => panic!("not accepted: {other:?}"),
    }
}

fn traced(spec: TaskSpec, sampled: bool) -> Request {
    let TraceParent { trace, caller } = TraceParent::parse(CLIENT).unwrap();
    let caller = Caller { sampled, ..caller };
    Request::SubmitTraced(Box::new(TracedTask { spec, required: None, trace, caller }))
}

fn search(network: &mut Network, place: usize, id: &str) -> Result<Timeline, Rejection> {
    let request = network.ask(place, Request::Trace(IdPrefix::parse(id).unwrap()));
    network.run(SECOND * 2);
    match network.answer(place, request).unwrap().clone() {
        Ok(Response::Trace(view)) => Ok(Timeline::new(view.trace, &view.nodes)),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Err(rejection),
    }
}

fn count(timeline: &Timeline, is: impl Fn(&Span) -> bool) -> usize {
    timeline.spans.iter().filter(|span| is(span)).count()
}

/// An origin without a model, a relay without one, and two workers behind the relay. A fifth node could have a link with
/// the relay.
fn mesh() -> (Network, [usize; 4]) {
    let mut network = Network::with_lines([(0, 1), (1, 2), (1, 3), (1, 4)]);
    let alone = |config: &mut engine::Config| config.models.clear();
    let places = [network.add(alone), network.add(alone), network.add(|_| {}), network.add(|_| {})];
    network.run(SECOND * 3);
    (network, places)
}

#[test]
fn a_trace_shows_all_hops_and_both_attempts_whatever_the_clocks_say() {
    let (mut network, [origin, relay, one, other]) = mesh();
    network.set_clock_ahead(relay, 90_000);
    network.set_clock_ahead(one, 5_000);
    network.set_compute(SECOND * 4);
    let task = submit(&mut network, origin, traced(spec(), true));
    network.run(Duration::from_millis(200));
    let id = |place: usize, network: &Network| network.id(place);
    let before = search(&mut network, origin, &task.to_string()[..8]).unwrap();
    let first = before.spans.iter().find_map(|span| match span.what {
        SpanKind::Attempt { worker, .. } => Some(worker),
        _ => None,
    });
    let (lost, rest) = if first == Some(id(one, &network)) { (one, other) } else { (other, one) };
    assert_eq!(first, Some(id(lost, &network)));
    network.kill(lost);
    network.run(SECOND * 7);
    let (lost_id, relay_id) = (network.id(lost), network.id(relay));
    let (origin_id, worker_id) = (network.id(origin), network.id(rest));
    // Any node can be asked, for the task or for the trace.
    let of_task = search(&mut network, origin, &task.to_string()).unwrap();
    let timeline = search(&mut network, rest, &CLIENT[3..35]).unwrap();
    assert_eq!(timeline.trace.to_string(), CLIENT[3..35]);
    assert_eq!(of_task.spans, timeline.spans);
    let root = &timeline.spans[0];
    let client: SpanId = CLIENT[36..52].parse().unwrap();
    assert_eq!((root.id, root.parent), (SpanId::of_task(timeline.trace, task), Some(client)));
    let SpanKind::Task { status, attempts, worker, .. } = root.what else { panic!("{root:?}") };
    assert_eq!((status, attempts, worker), (Some(TaskStatus::Completed), 2, Some(worker_id)));

    let attempt = |number, worker: NodeId, taken: Option<ReassignReason>| {
        count(&timeline, |span| {
            span.attempt == Some(number) && span.what == SpanKind::Attempt { worker, taken }
        })
    };
    assert_eq!(attempt(1, lost_id, Some(ReassignReason::Unreachable)), 1);
    assert_eq!(attempt(2, worker_id, None), 1);
    let hops: Vec<(u32, NodeId, NodeId)> = timeline
        .spans
        .iter()
        .filter_map(|span| match &span.what {
            SpanKind::Hop { number, to, message: PayloadKind::Assign } => Some((*number, span.node, *to)),
            _ => None,
        })
        .collect();
    let both = [
        (1, origin_id, relay_id),
        (2, relay_id, lost_id),
        (1, origin_id, relay_id),
        (2, relay_id, worker_id),
    ];
    assert_eq!(hops, both);
    let outcome =
        |span: &Span| matches!(span.what, SpanKind::Message { kind: PayloadKind::Outcome, hops: 2, .. });
    assert_eq!(count(&timeline, outcome), 1);
    assert_eq!(
        count(&timeline, |span| matches!(span.what, SpanKind::Compute { .. }) && span.node == worker_id),
        1
    );
    assert_eq!(count(&timeline, |span| matches!(span.what, SpanKind::Store)), 1);
    let candidates = timeline.spans.iter().find_map(|span| match &span.what {
        SpanKind::Schedule { candidates, considered, .. } => Some((candidates.len(), *considered)),
        _ => None,
    });
    assert_eq!(candidates, Some((2, 2)));

    // Clocks that are seconds apart change neither order nor durations.
    let clock = |node: NodeId| timeline.clocks.iter().find(|clock| clock.node == node).unwrap();
    assert_eq!(timeline.clocks[0].node, origin_id);
    assert!((clock(relay_id).ahead_micros - 90_000_000).abs() < 2_000, "{:?}", clock(relay_id));
    assert_eq!(clock(relay_id).source, ClockSource::Messages);
    let end = root.end_micros.unwrap();
    for span in &timeline.spans {
        assert!((root.start_micros..=end + 2_000).contains(&span.start_micros), "{span:?} {root:?}");
    }
}

#[test]
fn a_relay_that_knows_no_task_tells_its_steps_to_whoever_asks_for_the_task() {
    let (mut network, [origin, relay, ..]) = mesh();
    let bystander = network.add(|config| config.models.clear());
    network.run(SECOND * 3);
    let task = submit(&mut network, origin, traced(spec(), true));
    network.run(SECOND * 3);
    let relay_id = network.id(relay);
    for asked in [bystander, relay, origin] {
        let timeline = search(&mut network, asked, &task.to_string()).unwrap();
        let hops =
            count(&timeline, |span| matches!(span.what, SpanKind::Hop { .. }) && span.node == relay_id);
        assert!(hops >= 2, "asked at {asked}: {:?}", timeline.spans);
    }
}

#[test]
fn a_node_that_does_not_answer_is_named() {
    let (mut network, [origin, _, one, other]) = mesh();
    let task = submit(&mut network, origin, Request::Submit(spec()));
    network.run(SECOND * 3);
    network.lose_power(one);
    network.lose_power(other);
    let request = network.ask(origin, Request::Trace(IdPrefix::parse(&task.to_string()).unwrap()));
    network.run(SECOND * 2);
    let Some(Ok(Response::Trace(view))) = network.answer(origin, request) else { panic!("no answer") };
    let late: Vec<&NodeId> =
        view.nodes.iter().filter(|node| node.answer == NodeAnswer::Late).map(|node| &node.node).collect();
    assert_eq!(late.len(), 1, "{view:?}");
    assert!([network.id(one), network.id(other)].contains(late[0]));
}

#[test]
fn a_trace_that_is_not_sampled_or_unknown_is_not_found() {
    let (mut network, [origin, ..]) = mesh();
    let task = submit(&mut network, origin, traced(spec(), false));
    network.run(SECOND * 3);
    assert_eq!(search(&mut network, origin, &task.to_string()), Err(Rejection::TraceNotFound));
    assert_eq!(search(&mut network, origin, "ffffffff"), Err(Rejection::TraceNotFound));
    let one = submit(&mut network, origin, Request::Submit(spec()));
    network.run(SECOND * 3);
    let TraceId(id) = search(&mut network, origin, &one.to_string()).unwrap().trace;
    assert_ne!(id, [0; 16]);
}
