//! Lines of nodes, with relays in the middle: they forward messages and learn nothing about their contents.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use engine::event::{DropReason, Event};
use engine::task::{TaskInput, TaskKind, TaskSpec, TaskStatus};
use engine::testing::{MODEL, Network};
use engine::wire::{Bytes, Envelope, Message, Payload, Seal};
use engine::{MessageId, NodeId, Request, Response, TaskId, TraceContext, UnixMillis};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Starts a line of nodes; only the last one has a model.
fn line(nodes: usize) -> Network {
    let mut network = Network::with_lines((1..nodes).map(|at| (at - 1, at)));
    for at in 0..nodes {
        network.add(|config| {
            if at + 1 < nodes {
                config.models.clear();
            }
        });
    }
    network.run(SECOND * 5);
    network
}

fn submit(network: &mut Network, place: usize, input: &str) -> TaskId {
    let spec = TaskSpec {
        input: TaskInput::from_text(TaskKind::Embedding, input.to_owned()),
        model: Some(MODEL.to_owned()),
        timeout: SECOND * 120,
    };
    let request = network.ask(place, Request::Submit(spec));
    network.run(Duration::from_millis(3));
    match network.answer(place, request) {
        Some(Ok(Response::Submitted(task))) => *task,
        other => panic!("not accepted: {other:?}"),
    }
}

fn completed(network: &Network, place: usize) -> Vec<TaskId> {
    let event = |event: &Event| {
        let Event::TaskFinished { task, status: TaskStatus::Completed, .. } = event else { return None };
        Some(*task)
    };
    network.events(place).iter().filter_map(event).collect()
}

fn dropped(network: &Network, place: usize, wanted: DropReason) -> usize {
    let is = |event: &&Event| matches!(event, Event::MessageDropped { reason, .. } if *reason == wanted);
    network.events(place).iter().filter(is).count()
}

/// Runs until a node has completed this many tasks, and returns how long that took.
fn run_until(network: &mut Network, place: usize, tasks: usize) -> Duration {
    let step = Duration::from_millis(10);
    let mut passed = Duration::ZERO;
    while completed(network, place).len() < tasks && passed < SECOND * 60 {
        network.run(step);
        passed += step;
    }
    assert_eq!(completed(network, place).len(), tasks);
    passed
}

#[test]
fn lines_of_three_and_five_complete_tasks() {
    for nodes in [3, 5] {
        let mut network = line(nodes);
        let tasks: Vec<TaskId> = (0..20).map(|at| submit(&mut network, 0, &format!("text {at}"))).collect();
        assert!(run_until(&mut network, 0, tasks.len()) < SECOND, "no message had to be sent again");
        let mut done = completed(&network, 0);
        done.sort();
        let mut expected = tasks;
        expected.sort();
        assert_eq!(done, expected);
    }
}

#[test]
fn what_passes_a_relay_shows_nothing_of_the_work_and_its_outcome() {
    const SECRET: &str = "an input that is nobody else's business";
    let mut network = line(3);
    network.keep_frames();
    submit(&mut network, 0, SECRET);
    run_until(&mut network, 0, 1);
    network.run(SECOND);
    let shows = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    // The output of the test model consists of the input's bytes, as numbers.
    let output: Vec<u8> = SECRET.bytes().take(4).flat_map(|byte| f32::from(byte).to_le_bytes()).collect();
    let mut kinds = [0; 3];
    for frame in network.frames() {
        assert!(!shows(&frame.bytes, &SECRET.as_bytes()[..12]) && !shows(&frame.bytes, &output));
        let Ok(Message::Routed(envelope)) = Message::decode(&frame.bytes) else { continue };
        match envelope.seal {
            Seal::First { .. } => kinds[0] += 1,
            Seal::Answer { .. } => kinds[1] += 1,
            Seal::Session { .. } => kinds[2] += 1,
            Seal::None => panic!("unsealed: {envelope:?}"),
        }
    }
    assert!(kinds.iter().all(|count| *count >= 2), "each kind went over two links: {kinds:?}");
    // Without a relay, the same text is sent in the clear, inside the link's own encryption.
    let mut pair = line(2);
    pair.keep_frames();
    submit(&mut pair, 0, SECRET);
    run_until(&mut pair, 0, 1);
    assert!(pair.frames().iter().any(|frame| shows(&frame.bytes, SECRET.as_bytes())));
}

#[test]
fn a_restart_of_either_end_heals_within_seconds() {
    for restarted in [0, 2] {
        let mut network = line(3);
        submit(&mut network, 0, "before");
        run_until(&mut network, 0, 1);
        submit(&mut network, 0, "amid");
        network.kill(restarted);
        network.run(SECOND / 10);
        network.start(restarted);
        let amid = run_until(&mut network, 0, 2);
        submit(&mut network, 0, "after");
        let after = run_until(&mut network, 0, 3);
        assert!(amid < SECOND && after < SECOND, "place {restarted}: {amid:?}, {after:?}");
    }
}

#[test]
fn idle_sessions_end_and_begin_again() {
    let mut network = line(3);
    for (round, count) in [(0, 1), (1, 2)] {
        submit(&mut network, 0, &format!("round {round}"));
        assert!(run_until(&mut network, 0, count) < SECOND);
        network.run(SECOND * 1_000);
    }
}

/// Encodes a message that its origin never sent.
fn forged(origin: NodeId, destination: NodeId, seal: Seal, payload: &Payload) -> Vec<u8> {
    let (message, trace, sent_at) = (FORGED, TraceContext::NONE, UnixMillis(0));
    let payload = payload.encode();
    let envelope = Envelope { ttl: 9, hops: 1, message, origin, destination, trace, sent_at, seal, payload };
    Message::Routed(Box::new(envelope)).encode()
}

const FORGED: MessageId = MessageId([9; 16]);

#[test]
fn a_relay_passes_nothing_on_in_its_own_name() {
    let mut network = line(3);
    let (relay, destination) = (network.id(1), network.id(2));
    let lie = forged(relay, destination, Seal::None, &Payload::Probe(Bytes(vec![])));
    network.inject(0, 1, lie);
    network.run(SECOND);
    assert_eq!(dropped(&network, 1, DropReason::Returned), 1);
    let heard = network
        .events(2)
        .iter()
        .any(|event| matches!(event, Event::MessageDelivered { message, .. } if *message == FORGED));
    assert!(!heard, "its last link would vouch for it");
}

#[test]
fn a_neighbour_can_neither_forge_nor_replay_what_others_send() {
    let mut network = line(3);
    network.keep_frames();
    submit(&mut network, 0, "hello");
    run_until(&mut network, 0, 1);
    let carried: Vec<Vec<u8>> = network
        .frames()
        .iter()
        .filter(|frame| (frame.from, frame.to) == (1, 2))
        .filter(|frame| matches!(Message::decode(&frame.bytes), Ok(Message::Routed(_))))
        .map(|frame| frame.bytes.clone())
        .collect();
    assert!(!carried.is_empty());
    for bytes in &carried {
        network.inject(1, 2, bytes.clone());
    }
    let (origin, destination) = (network.id(0), network.id(2));
    let payload = Payload::Ack(vec![MessageId([1; 16])]);
    for seal in [
        Seal::None,
        Seal::First { handshake: Bytes(vec![1; 136]), nonce: 0 },
        Seal::Session { session: 1, nonce: 1 },
    ] {
        network.inject(1, 2, forged(origin, destination, seal, &payload));
    }
    network.run(SECOND);
    assert_eq!(dropped(&network, 2, DropReason::Replayed), carried.len());
    assert_eq!(dropped(&network, 2, DropReason::Unauthentic), 2);
    assert_eq!(dropped(&network, 2, DropReason::SessionLost), 1);
    submit(&mut network, 0, "all goes on");
    assert!(run_until(&mut network, 0, 2) < SECOND);
}
