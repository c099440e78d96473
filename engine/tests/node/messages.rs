//! Pings over several links: messages are acknowledged, and retransmitted if they are lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use engine::event::{DropReason, Event};
use engine::request::{PingSpec, PingView};
use engine::testing::Network;
use engine::wire::{Advert, Beat, Hello, Message, SharedBytes, Signature, SignedAdvert};
use engine::{NodeName, Request, Response, UnixMillis};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn line(nodes: usize) -> Network {
    let mut network = Network::with_lines((1..nodes).map(|at| (at - 1, at)));
    for _ in 0..nodes {
        network.add(|_| {});
    }
    network.run(SECOND * 5);
    network
}

fn ping(network: &mut Network, to: usize, count: u32, at_once: u32, within: Duration) -> PingView {
    let spec = PingSpec { destination: network.id(to), count, bytes: 256, at_once };
    let request = network.ask(0, Request::Ping(spec));
    network.run(within);
    match network.answer(0, request) {
        Some(Ok(Response::Ping(view))) => **view,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_over_three_relays_are_all_acknowledged() {
    let mut network = line(5);
    let view = ping(&mut network, 4, 100, 10, SECOND);
    assert_eq!((view.hops, view.answered, view.lost), (4, 100, 0));
    let took = view.round_trips.unwrap();
    // Eight links with a latency of 1 ms each.
    assert_eq!((took.least, took.median, took.p99, took.most), (8_000, 8_000, 8_000, 8_000));
    assert_eq!(view.elapsed_micros, 80_000);
}

#[test]
fn a_message_without_room_on_a_link_is_sent_again() {
    for place in [0, 1] {
        let mut network = line(3);
        network.shed(place, 5);
        let view = ping(&mut network, 2, 10, 10, SECOND);
        assert_eq!((view.answered, view.lost), (10, 0), "no room at {place}");
        let dropped =
            |event: &&Event| matches!(event, Event::MessageDropped { reason: DropReason::Overload, .. });
        assert_eq!(network.events(place).iter().filter(dropped).count(), 5);
        let again = |event: &&Event| matches!(event, Event::MessageSent { retry: 1, .. });
        assert_eq!(network.events(0).iter().filter(again).count(), 5);
    }
}

#[test]
fn messages_to_a_node_that_leaves_are_lost() {
    let mut network = line(3);
    network.shed(1, usize::MAX);
    let spec = PingSpec { destination: network.id(2), count: 50, bytes: 0, at_once: 3 };
    let request = network.ask(0, Request::Ping(spec));
    network.run(SECOND);
    assert_eq!(network.answer(0, request), None);
    network.kill(2);
    network.run(SECOND * 40);
    let Some(Ok(Response::Ping(view))) = network.answer(0, request) else { panic!("no answer") };
    assert_eq!((view.answered, view.lost, view.hops, view.round_trips), (0, 50, 0, None));
}

#[test]
fn frames_that_come_together_count_one_after_the_other() {
    let mut network = Network::default();
    let place = network.add(|_| {});
    network.run(SECOND);
    let link = network.connect_stranger(place, [77; 32]);
    let beat = Beat { number: 5, digest: 0, load: 0 };
    let frames =
        [hello([77; 32]), Message::Welcome, Message::Ping(beat), Message::Goodbye, Message::Ping(beat)];
    network.frames_from_stranger(place, link, frames.iter().map(Message::encode).collect());
    network.run(Duration::from_millis(3));
    let answers: Vec<Message> =
        network.frames_to_stranger(link).iter().map(|frame| Message::decode(frame).unwrap()).collect();
    let pongs = answers.iter().filter(|answer| matches!(answer, Message::Pong(pong) if pong.number == 5));
    assert_eq!(pongs.count(), 1, "one while the link was up: {answers:?}");
}

fn hello(secret: [u8; 32]) -> Message {
    let identity = engine::Identity::from_secret(&secret);
    let advert = Advert {
        key: identity.public_key(),
        sequence: 1,
        incarnation: 1,
        addresses: Vec::new(),
        name: NodeName::default(),
        version: engine::Config::default().version,
        max_links: 4,
        slots: 1,
        models: Vec::new(),
        links: Vec::new(),
        session_key: [1; 32],
    };
    let body = advert.encode();
    let signature = Signature(identity.sign(engine::identity::Domain::Advert, &body));
    let advert = SignedAdvert { body: SharedBytes(body.into()), signature };
    let (network, sent_at) = ("local".to_owned(), UnixMillis(1_700_000_000_000));
    Message::Hello(Box::new(Hello { network, incarnation: 1, advert, sent_at }))
}
