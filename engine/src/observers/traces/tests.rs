//! Tests of the fold, its bounds, and prefixes of ids.

#![allow(clippy::wildcard_enum_match_arm, reason = "only some events and steps are looked for")]

use super::*;
use crate::event::PayloadKind;
use crate::ids::{MessageId, NodeId};

const TRACE: TraceContext = TraceContext { id: TraceId([1; 16]), sampled: true };
const TASK: TaskId = TaskId([2; 16]);

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1_000)
}

fn recovered(trace: TraceContext) -> Event {
    Event::TaskRecovered { task: TASK, kind: TaskKind::Embedding, trace }
}

#[test]
fn steps_wait_for_two_seconds_and_go_to_the_store_with_their_times() {
    let mut traces = Traces::default();
    traces.handle_event(at(10), 1_000, &recovered(TRACE));
    let message = MessageId([3; 16]);
    let sent = Event::MessageForwarded {
        message,
        next: NodeId([4; 16]),
        ttl: 3,
        payload: PayloadKind::Sealed,
        trace: TRACE,
    };
    traces.handle_event(at(15), 6_000, &sent);
    assert_eq!(traces.poll_parts(at(2_009), false), []);
    let step = |after_micros, step| TimedStep { after_micros, step };
    let part = TracePart {
        begun_micros: 1_000,
        steps: vec![
            step(0, Step::Recovered { task: TASK, kind: TaskKind::Embedding }),
            step(5_000, Step::Forwarded { message: SpanId::of_message(message), next: NodeId([4; 16]) }),
        ],
        lost: 0,
    };
    assert_eq!(traces.poll_parts(at(2_010), false), [(TRACE.id, part)]);
    assert_eq!(traces.poll_parts(at(9_000), true), []);
}

#[test]
fn what_is_not_sampled_or_belongs_to_no_trace_is_not_kept() {
    let mut traces = Traces::default();
    traces.handle_event(at(0), 0, &recovered(TraceContext { sampled: false, ..TRACE }));
    traces.handle_event(at(0), 0, &recovered(TraceContext::NONE));
    traces.handle_event(at(0), 0, &Event::DiscoveryAvailable);
    assert_eq!(traces.poll_parts(at(9_000), true), []);
}

#[test]
fn an_attempt_that_waited_for_its_model_says_how_long() {
    let mut traces = Traces::default();
    let (kind, model) = (TaskKind::Embedding, "m".to_owned());
    let started = |queued_micros| Event::TaskStarted {
        task: TASK,
        origin: NodeId([4; 16]),
        attempt: 1,
        kind,
        model: model.clone(),
        queued_micros,
        batch: 1,
        trace: TRACE,
    };
    traces.handle_event(at(100), 0, &Event::ModelChanged { model: model.clone(), kind, ready: true });
    traces.handle_event(at(101), 0, &started(41_000));
    traces.handle_event(at(200), 0, &started(10));
    let parts = traces.poll_parts(at(200), true);
    let loads: Vec<Option<u64>> = parts[0]
        .1
        .steps
        .iter()
        .map(|step| match step.step {
            Step::Started { load_micros, .. } => load_micros,
            _ => None,
        })
        .collect();
    assert_eq!(loads, [Some(40_000), None]);
}

#[test]
fn memory_is_bounded_and_what_is_lost_is_counted() {
    let mut traces = Traces::default();
    for n in 0..PART_STEPS_MAX + 5 {
        traces.handle_event(at(n as u64), 0, &recovered(TRACE));
    }
    let parts = traces.poll_parts(at(9_000), true);
    assert_eq!((parts[0].1.steps.len(), parts[0].1.lost), (PART_STEPS_MAX, 5));
    for n in 0..STEPS_MAX + 5 {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        traces.handle_event(at(9_000), 0, &recovered(TraceContext { id: TraceId(id), sampled: true }));
    }
    assert!(traces.occupancy().iter().all(|place| place.current <= place.limit));
    assert_eq!(traces.poll_parts(at(9_000), false).len(), STEPS_MAX, "a full memory is due at once");
}

#[test]
fn a_prefix_matches_ids_with_and_without_hyphens() {
    let id = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 1, 2, 3, 4, 5, 6, 0xff];
    for text in ["0123", "01234", "01234567-89AB", "0123456789abcdef00010203040506ff"] {
        let prefix = IdPrefix::parse(text).unwrap();
        assert!(prefix.matches(&id) && prefix.matches(&id[..8]), "{text}");
        assert!(!prefix.matches(&[1; 16]), "{text}");
    }
    assert!(!IdPrefix::parse("01235").unwrap().matches(&id));
    for text in ["", "012", "01-2", "xyz01", "0123456789abcdef00010203040506ff0"] {
        assert_eq!(IdPrefix::parse(text), None, "{text:?}");
    }
}
