//! Two nodes compare what they owe each other: the messages that they exchange, and the result.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use engine::event::Event;
use engine::task::{TaskInput, TaskKind, TaskSpec};
use engine::testing::Network;
use engine::wire::{Attempt, Bytes, Envelope, Message, Payload, Seal};
use engine::{MessageId, NodeId, Request, TaskId, TraceContext, UnixMillis};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Starts a node without models, which assigns tasks to a second node that takes a minute for each.
fn at_work(tasks: usize) -> Network {
    let mut network = Network::default();
    network.add(|config| config.models.clear());
    network.add(|config| config.max_concurrent_tasks = 8);
    network.set_compute(SECOND * 60);
    network.run(SECOND);
    for task in 0..tasks {
        let input = TaskInput::from_text(TaskKind::Embedding, format!("text {task}"));
        network.ask(0, Request::Submit(TaskSpec { input, model: None, timeout: SECOND * 600 }));
    }
    network.run(SECOND);
    network
}

fn begun(network: &Network) -> Vec<TaskId> {
    let task = |event: &Event| if let Event::TaskStarted { task, .. } = event { Some(*task) } else { None };
    network.events(1).iter().filter_map(task).collect()
}

/// Encodes a message from the first node to the second.
fn message(network: &Network, number: u8, payload: &Payload) -> Vec<u8> {
    let (origin, destination): (NodeId, NodeId) = (network.id(0), network.id(1));
    let (message, trace, sent_at) = (MessageId([number; 16]), TraceContext::NONE, UnixMillis(0));
    let (seal, payload) = (Seal::None, payload.encode());
    let envelope = Envelope { ttl: 9, hops: 1, message, origin, destination, trace, sent_at, seal, payload };
    Message::Routed(Box::new(envelope)).encode()
}

/// Returns the payloads that one node has sent to the other.
fn said(network: &Network, from: usize) -> Vec<Payload> {
    let payload = |bytes: &[u8]| match Message::decode(bytes) {
        Ok(Message::Routed(envelope)) => Payload::decode(&Bytes(envelope.payload.0)).ok(),
        _ => None,
    };
    network
        .frames()
        .iter()
        .filter(|frame| frame.from == from)
        .filter_map(|frame| payload(&frame.bytes))
        .collect()
}

#[test]
fn a_worker_that_is_asked_about_one_task_says_nothing_of_the_others() {
    let mut network = at_work(3);
    let tasks = begun(&network);
    assert_eq!(tasks.len(), 3);
    let gone = TaskId([7; 16]);
    let check = [tasks[0], gone].map(|task| Attempt { task, number: 1 });
    network.keep_frames();
    network.inject(0, 1, message(&network, 9, &Payload::Check(check.to_vec())));
    network.run(SECOND);
    let answers: Vec<Payload> =
        said(&network, 1).into_iter().filter(|payload| !matches!(payload, Payload::Ack(_))).collect();
    assert_eq!(answers, vec![Payload::Here(vec![check[0]]), Payload::Missing(vec![check[1]])]);
    let asked = said(&network, 0).iter().filter(|payload| matches!(payload, Payload::Check(_))).count();
    assert_eq!(asked, 0, "the answer is no list of all that is left, so that there is nothing to ask about");
}
