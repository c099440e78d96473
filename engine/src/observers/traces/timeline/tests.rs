//! Tests of the correction of clocks, and of spans across nodes.

use super::*;
use crate::observers::traces::{Step, TimedStep};

const TRACE: TraceId = TraceId([1; 16]);
const TASK: TaskId = TaskId([2; 16]);
const ORIGIN: NodeId = NodeId([3; 16]);
const RELAY: NodeId = NodeId([4; 16]);
const WORKER: NodeId = NodeId([5; 16]);
const ASSIGN: SpanId = SpanId([6; 8]);
const OUTCOME: SpanId = SpanId([7; 8]);
/// Late enough for a clock that is some seconds behind.
const START_MICROS: u64 = 60_000_000;

/// Makes the steps of a node whose clock is ahead. Times are true ones, in milliseconds.
fn node(node: NodeId, ahead_millis: i64, steps: Vec<(u64, Step)>) -> NodeTrace {
    let clock = |millis: u64| (START_MICROS + millis * 1_000).saturating_add_signed(ahead_millis * 1_000);
    let mut before = None;
    let mut part = TracePart { begun_micros: clock(steps[0].0), steps: Vec::new(), lost: 0 };
    for (millis, step) in steps {
        let after_micros = clock(millis) - before.replace(clock(millis)).unwrap_or(part.begun_micros);
        part.steps.push(TimedStep { after_micros, step });
    }
    NodeTrace { node, answer: NodeAnswer::Answered, parts: vec![part], clock: None }
}

fn sent(message: SpanId, payload: PayloadKind, destination: NodeId, next: NodeId) -> Step {
    Step::Sent { message, payload, destination, next: Some(next), retry: 0 }
}

fn delivered(message: SpanId, payload: PayloadKind, origin: NodeId) -> Step {
    Step::Delivered { message, payload, origin, hops: 2 }
}

/// A task that is computed behind a relay. Each link takes 2 ms.
fn nodes(relay_ahead: i64, worker_ahead: i64) -> Vec<NodeTrace> {
    let (attempt, origin) = (1, ORIGIN);
    let forwarded = |message, next| Step::Forwarded { message, next };
    vec![
        node(RELAY, relay_ahead, vec![(2, forwarded(ASSIGN, WORKER)), (26, forwarded(OUTCOME, ORIGIN))]),
        node(
            ORIGIN,
            0,
            vec![
                (
                    0,
                    Step::Accepted {
                        task: TASK,
                        kind: TaskKind::Embedding,
                        model: "m".to_owned(),
                        parent: None,
                    },
                ),
                (
                    0,
                    Step::Assigned {
                        task: TASK,
                        attempt,
                        worker: WORKER,
                        candidates: Vec::new(),
                        considered: 1,
                    },
                ),
                (0, sent(ASSIGN, PayloadKind::Assign, WORKER, RELAY)),
                (28, delivered(OUTCOME, PayloadKind::Outcome, WORKER)),
                (
                    30,
                    Step::Finished {
                        task: TASK,
                        status: TaskStatus::Completed,
                        worker: Some(WORKER),
                        elapsed_micros: 30_000,
                        attempts: 1,
                        store_micros: 2_000,
                        waiters: 1,
                    },
                ),
            ],
        ),
        node(
            WORKER,
            worker_ahead,
            vec![
                (4, delivered(ASSIGN, PayloadKind::Assign, ORIGIN)),
                (
                    14,
                    Step::Started {
                        task: TASK,
                        attempt,
                        origin,
                        queued_micros: 10_000,
                        load_micros: Some(9_000),
                        batch: 1,
                    },
                ),
                (
                    24,
                    Step::Ended {
                        task: TASK,
                        attempt,
                        origin,
                        model: "m".to_owned(),
                        ending: AttemptEnding::Completed,
                        queued_micros: 10_000,
                        run_micros: Some(10_000),
                        compute_micros: 9_500,
                        batch: 1,
                        input_tokens: 7,
                        output_tokens: 0,
                        first_token_micros: None,
                    },
                ),
                (24, sent(OUTCOME, PayloadKind::Outcome, ORIGIN, RELAY)),
            ],
        ),
    ]
}

/// Returns the name, node and times of each span, in milliseconds.
fn story(timeline: &Timeline) -> Vec<(String, NodeId, u64, u64)> {
    let millis = |micros: u64| (micros - START_MICROS) / 1_000;
    let line = |span: &Span| {
        let name = format!("{:?}", span.what);
        let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
        (name, span.node, millis(span.start_micros), millis(span.end_micros.unwrap_or_default()))
    };
    timeline.spans.iter().map(line).collect()
}

#[test]
fn clocks_that_differ_by_seconds_give_the_same_story_as_equal_ones() {
    let timeline = Timeline::new(TRACE, &nodes(-4_000, 7_000));
    let clock =
        |node, ahead_micros, error_micros, source| NodeClock { node, ahead_micros, error_micros, source };
    let clocks = [
        clock(ORIGIN, 0, 0, ClockSource::Base),
        clock(RELAY, -4_000_000, 2_000, ClockSource::Messages),
        clock(WORKER, 7_000_000, 4_000, ClockSource::Messages),
    ];
    assert_eq!(timeline.clocks, clocks);
    let expected = [
        ("Task", ORIGIN, 0, 30),
        ("Queue", ORIGIN, 0, 0),
        ("Schedule", ORIGIN, 0, 0),
        ("Attempt", ORIGIN, 0, 28),
        ("Message", ORIGIN, 0, 4),
        ("Hop", ORIGIN, 0, 2),
        ("Hop", RELAY, 2, 4),
        ("Wait", WORKER, 4, 14),
        ("Load", WORKER, 4, 13),
        ("Compute", WORKER, 14, 24),
        ("Message", WORKER, 24, 28),
        ("Hop", WORKER, 24, 26),
        ("Hop", RELAY, 26, 28),
        ("Store", ORIGIN, 28, 30),
        ("Return", ORIGIN, 30, 30),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(name, node, start, end)| (name.to_owned(), node, start, end)).collect();
    assert_eq!(story(&timeline), expected);
    assert_eq!(story(&Timeline::new(TRACE, &nodes(0, 0))), expected);
}

#[test]
fn spans_form_a_tree_whose_root_is_the_task() {
    let timeline = Timeline::new(TRACE, &nodes(0, 0));
    let ids: std::collections::BTreeSet<SpanId> = timeline.spans.iter().map(|span| span.id).collect();
    assert_eq!(ids.len(), timeline.spans.len(), "ids are unique");
    let root = SpanId::of_task(TRACE, TASK);
    for span in &timeline.spans {
        assert!(span.parent.map_or(span.id == root, |parent| ids.contains(&parent)), "{span:?}");
    }
    let assign = timeline.spans.iter().find(|span| span.id == ASSIGN).unwrap();
    assert_eq!(assign.parent, Some(SpanId::of_attempt(TRACE, TASK, 1)));
}

#[test]
fn a_node_without_messages_both_ways_is_corrected_by_the_query() {
    let mut nodes = nodes(0, 0);
    nodes[0].parts[0].steps.truncate(1);
    let zero = ClockReading { ahead_micros: 0, error_micros: 0 };
    nodes[1].clock = Some(zero);
    nodes[0].clock = Some(ClockReading { ahead_micros: 300, error_micros: 40 });
    let clocks = Timeline::new(TRACE, &nodes).clocks;
    let relay = NodeClock { node: RELAY, ahead_micros: 300, error_micros: 40, source: ClockSource::Query };
    assert_eq!(clocks[1], relay);
    nodes[0].clock = None;
    assert_eq!(Timeline::new(TRACE, &nodes).clocks[1].source, ClockSource::Unknown);
}

#[test]
fn what_has_not_ended_has_no_end() {
    let mut nodes = nodes(0, 0);
    nodes.remove(0);
    nodes[0].parts[0].steps.truncate(3);
    nodes[1].parts[0].steps.truncate(2);
    let timeline = Timeline::new(TRACE, &nodes);
    let open: Vec<_> = timeline.spans.iter().filter(|span| span.end_micros.is_none()).collect();
    let is = |kind: fn(&SpanKind) -> bool| open.iter().any(|span| kind(&span.what));
    assert!(is(|what| matches!(what, SpanKind::Task { status: None, .. })));
    assert!(is(|what| matches!(what, SpanKind::Attempt { .. })));
    assert!(is(|what| matches!(what, SpanKind::Compute { ending: None, .. })));
    assert_eq!(open.len(), 3, "{open:?}");
}
