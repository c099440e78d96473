//! A few nodes on one network: they find each other, share tasks, survive failures, and leave.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use engine::error::PeerFault;
use engine::event::{Event, LinkDownReason, ReassignReason, RefuseReason};
use engine::identity::Domain;
use engine::input::ModelState;
use engine::request::HopView;
use engine::request::{Cursor, TaskFilter, TaskUpdate};
use engine::task::{Classification, InputFault, TaskFailure, TaskInput, TaskKind, TaskSpec, TaskStatus};
use engine::testing::{MODEL, Network, offer};
use engine::wire::{Advert, Beat, Hello, Message, SharedBytes, Signature, SignedAdvert};
use engine::{NodeId, NodeName, Rejection, Request, Response, TaskId, UnixMillis};
use std::cmp::Reverse;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn embedding(text: &str) -> TaskInput {
    TaskInput::from_text(TaskKind::Embedding, text.to_owned())
}

fn spec(input: &str) -> TaskSpec {
    TaskSpec { input: embedding(input), model: None, timeout: Duration::from_secs(30) }
}

/// Submits a task and waits until it is accepted.
fn submit(network: &mut Network, place: usize, input: &str) -> TaskId {
    submit_input(network, place, embedding(input))
}

fn submit_input(network: &mut Network, place: usize, input: TaskInput) -> TaskId {
    let request = network.ask(place, Request::Submit(TaskSpec { input, ..spec("") }));
    network.run(Duration::from_millis(3));
    match network.answer(place, request) {
        Some(Ok(Response::Submitted(task))) => *task,
        other => panic!("not accepted: {other:?}"),
    }
}

fn finished(network: &Network, place: usize) -> Vec<(TaskId, TaskStatus, usize)> {
    let place_of = |id| (0..10).find(|&at| network.id(at) == id).unwrap();
    let event = |event: &Event| {
        let Event::TaskFinished { task, status, worker, .. } = event else { return None };
        Some((*task, *status, place_of((*worker)?)))
    };
    network.events(place).iter().filter_map(event).collect()
}

#[test]
fn nodes_meet_within_a_second_and_keep_one_link() {
    let mut network = Network::default();
    let places: Vec<usize> = (0..5).map(|_| network.add(|_| {})).collect();
    network.run(SECOND);
    for &place in &places {
        let peers = network.ask(place, Request::Peers);
        let members = network.ask(place, Request::Members);
        network.run(Duration::ZERO);
        assert!(matches!(network.answer(place, peers), Some(Ok(Response::Peers(peers))) if peers.len() == 4));
        let members = network.answer(place, members).unwrap().clone();
        assert!(matches!(members, Ok(Response::Members(members)) if members.len() == 5));
    }
    network.run(SECOND * 600);
    let downs = |place: &usize| {
        let events = network.events(*place).iter();
        events.filter(|event| matches!(event, Event::LinkDown { .. } | Event::PeerSlow { .. })).count()
    };
    assert_eq!(places.iter().map(downs).collect::<Vec<_>>(), vec![0; 5], "links are steady");
}

#[test]
fn work_is_shared_and_ends_once() {
    let mut network = Network::default();
    let [origin, _] = [network.add(|_| {}), network.add(|_| {})];
    network.run(SECOND);
    let tasks: Vec<TaskId> = (0..20).map(|at| submit(&mut network, origin, &format!("text {at}"))).collect();
    network.run(SECOND);
    let mut done = finished(&network, origin);
    let elsewhere = done.iter().filter(|(_, _, worker)| *worker != origin).count();
    assert!((1..20).contains(&elsewhere), "{elsewhere} of 20 ran elsewhere");
    done.sort();
    let mut expected = tasks.clone();
    expected.sort();
    assert_eq!(done.iter().map(|(task, ..)| *task).collect::<Vec<_>>(), expected);
    assert!(done.iter().all(|(_, status, _)| *status == TaskStatus::Completed));
    let (here, none) = (network.id(origin), NodeId([9; 16]));
    let mut list = |filter, limit, offset| {
        let listed = network.ask(origin, Request::Tasks { filter, limit, offset });
        network.run(Duration::ZERO);
        let Some(Ok(Response::Tasks { total, tasks })) = network.answer(origin, listed) else {
            panic!("not listed")
        };
        (*total, tasks.clone())
    };
    let (total, listed) = list(TaskFilter::default(), 3, 1);
    let ids: Vec<TaskId> = listed.iter().map(|view| view.id).collect();
    assert_eq!((total, ids), (20, vec![tasks[18], tasks[17], tasks[16]]));
    let by = |worker, status| TaskFilter { id: None, worker: Some(worker), status: Some(status) };
    let (total, all) = list(by(here, TaskStatus::Completed), 100, 0);
    assert_eq!((total as usize, all.len()), (20 - elsewhere, 20 - elsewhere));
    assert!(all.iter().all(|view| view.worker == Some(here)));
    assert!(all.is_sorted_by_key(|view| Reverse(view.submitted_at)));
    let (part, ids) = list(by(here, TaskStatus::Completed), 1, 1);
    assert_eq!((part, &ids[..]), (total, &all[1..2]));
    for nothing in [by(here, TaskStatus::Failed), by(none, TaskStatus::Completed)] {
        assert_eq!(list(nothing, 100, 0), (0, vec![]));
    }
}

#[test]
fn a_worker_that_dies_loses_nothing() {
    let mut network = Network::default();
    let [origin, worker] = [network.add(|_| {}), network.add(|_| {})];
    network.run(SECOND);
    for at in 0..20 {
        submit(&mut network, origin, &format!("text {at}"));
    }
    network.kill(worker);
    network.run(SECOND);
    assert_eq!(finished(&network, origin).len(), 20);
    let moved =
        |event: &&Event| matches!(event, Event::TaskReassigned { reason: ReassignReason::Unreachable, .. });
    assert!(network.events(origin).iter().any(|event| moved(&event)));
}

#[test]
fn a_worker_that_acknowledges_nothing_gets_each_task_at_most_once_and_then_nothing() {
    let mut network = Network::default();
    let [origin, worker] = [network.add(|_| {}), network.add(|_| {})];
    network.run(SECOND);
    // Heartbeats pass, so the link stays up.
    network.shed(origin, usize::MAX);
    let mut swallowed = Vec::new();
    for round in 0..2 {
        for at in 0..8 {
            submit(&mut network, origin, &format!("text {round} {at}"));
        }
        network.run(SECOND * 30);
        assert_eq!(finished(&network, origin).len(), 8 * (round + 1));
        let of = network.id(worker);
        let to_it = |event: &&Event| matches!(event, Event::TaskAssigned { worker, .. } if *worker == of);
        swallowed.push(network.events(origin).iter().filter(to_it).count());
    }
    assert!((1..8).contains(&swallowed[0]), "{swallowed:?}");
    assert_eq!(swallowed[0], swallowed[1], "it has shown that it is slow");
}

#[test]
fn an_origin_that_dies_after_it_accepted_a_task_completes_it_when_it_is_back() {
    let mut network = Network::default();
    let origin = network.add(|_| {});
    network.run(SECOND);
    let task = submit(&mut network, origin, "hello");
    network.kill(origin);
    network.run(SECOND * 100);
    network.start(origin);
    network.run(SECOND);
    assert_eq!(finished(&network, origin), vec![(task, TaskStatus::Completed, origin)]);
    let recovered = |event: &Event| matches!(event, Event::TaskRecovered { task: of, .. } if *of == task);
    assert!(network.events(origin).iter().any(recovered));
}

/// A task is not blamed when a node is killed. Models run in processes of their own, and only crashes of these count.
#[test]
fn a_node_may_be_killed_more_often_than_a_task_may_kill_models() {
    let mut network = Network::default();
    let node = network.add(|_| {});
    network.run(SECOND);
    let task = submit(&mut network, node, "hello");
    for kill in 1..=5 {
        let running = (0..100).find_map(|_| {
            let request = network.ask(node, Request::Task(task));
            network.run(Duration::from_millis(1));
            match network.answer(node, request) {
                Some(Ok(Response::Task(view))) if view.status == TaskStatus::Running => Some(view.clone()),
                _ => None,
            }
        });
        let Some(view) = running else { panic!("the task does not run before kill {kill}") };
        // The time before a restart counts.
        let before = (kill - 1) * 1000;
        assert!((before..before + 1000).contains(&view.elapsed_millis), "{kill}: {view:?}");
        network.kill(node);
        network.run(SECOND);
        network.start(node);
    }
    network.run(SECOND);
    assert_eq!(finished(&network, node), vec![(task, TaskStatus::Completed, node)]);
}

#[test]
fn requests_are_refused_with_their_reason() {
    let mut network = Network::default();
    let place = network.add(|config| config.queue_tasks_max = 1);
    network.run(SECOND);
    let unknown = TaskId([9; 16]);
    let with = |change: fn(&mut TaskSpec)| {
        let mut spec = spec("hello");
        change(&mut spec);
        Request::Submit(spec)
    };
    let asked = [
        (
            with(|spec| spec.input = TaskInput::from_text(TaskKind::Classification, String::new())),
            Rejection::Input(InputFault::Empty),
        ),
        (
            with(|spec| spec.input = embedding(&"x".repeat(262_145))),
            Rejection::InputTooLong { bytes: 262_145, limit: 262_144 },
        ),
        (
            with(|spec| spec.input = TaskInput::from_text(TaskKind::Generation, "x".to_owned())),
            Rejection::KindUnsupported(TaskKind::Generation),
        ),
        (with(|spec| spec.model = Some("none".to_owned())), Rejection::ModelUnknown("none".into())),
        (with(|spec| spec.timeout = Duration::ZERO), Rejection::TimeoutOutOfRange(Duration::ZERO)),
        (Request::Task(unknown), Rejection::TaskNotFound(unknown)),
        (Request::AwaitTask(unknown), Rejection::TaskNotFound(unknown)),
        (Request::Cancel(unknown), Rejection::TaskNotFound(unknown)),
    ];
    for (request, rejection) in asked {
        let id = network.ask(place, request);
        network.run(Duration::ZERO);
        assert_eq!(network.answer(place, id), Some(&Err(rejection)));
    }
    submit(&mut network, place, "fills the queue");
    let id = network.ask(place, Request::Submit(spec("one too many")));
    network.run(Duration::ZERO);
    assert_eq!(network.answer(place, id), Some(&Err(Rejection::QueueFull { retry_after: SECOND })));
}

#[test]
fn a_cancelled_task_says_so_to_all_who_wait() {
    let mut network = Network::default();
    let place = network.add(|_| {});
    network.run(SECOND);
    let task = submit(&mut network, place, "hello");
    let waits = network.ask(place, Request::AwaitTask(task));
    let cancels = network.ask(place, Request::Cancel(task));
    network.run(SECOND);
    for request in [waits, cancels] {
        let Some(Ok(Response::Task(view))) = network.answer(place, request) else { panic!("no answer") };
        assert_eq!(view.status, TaskStatus::Cancelled);
    }
    let again = network.ask(place, Request::Cancel(task));
    network.run(SECOND);
    assert_eq!(network.answer(place, again), Some(&Err(Rejection::TaskFinished(task))));
}

#[test]
fn a_route_is_explained_with_its_times_and_the_other_paths() {
    let mut network = Network::default();
    let [from, to, _] = [network.add(|_| {}), network.add(|_| {}), network.add(|_| {})];
    network.run(SECOND);
    let [known, own, unknown] =
        [network.id(to), network.id(from), NodeId([9; 16])].map(|id| network.ask(from, Request::Route(id)));
    network.run(Duration::from_millis(2));
    let Some(Ok(Response::Route(route))) = network.answer(from, known) else { panic!("not explained") };
    assert_eq!(route.hops, vec![HopView { node_id: network.id(to), round_trip_micros: Some(2000) }]);
    assert_eq!(route.alternatives, vec![vec![network.id(2), network.id(to)]]);
    let Some(Ok(Response::Route(route))) = network.answer(from, own) else { panic!("not explained") };
    assert_eq!((route.hops.len(), route.alternatives.len()), (0, 0));
    assert_eq!(network.answer(from, unknown), Some(&Err(Rejection::NodeUnknown(NodeId([9; 16])))));
}

#[test]
fn a_node_leaves_in_order() {
    let mut network = Network::default();
    let [leaver, stayer] = [network.add(|_| {}), network.add(|_| {})];
    network.run(SECOND);
    let left = network.id(leaver);
    network.ask(leaver, Request::Shutdown);
    network.run(Duration::from_millis(100));
    assert_eq!(network.exit(leaver), Some(0));
    let after: Vec<&Event> = network.events(stayer).iter().rev().take(3).collect();
    assert!(after.contains(&&Event::MemberLeft { member: left }), "{after:?}");
    let goodbye = |event: &Event| matches!(event, Event::LinkDown { peer, reason: LinkDownReason::Goodbye, .. } if *peer == left);
    assert!(network.events(stayer).iter().any(goodbye));
    let late = network.ask(stayer, Request::Submit(spec("the rest goes on")));
    network.run(SECOND);
    assert!(matches!(network.answer(stayer, late), Some(Ok(Response::Submitted(_)))));
}

#[test]
fn strangers_that_break_the_protocol_are_told_or_closed_and_nobody_else_notices() {
    let mut network = Network::default();
    let [place, other] = [network.add(|_| {}), network.add(|_| {})];
    network.run(SECOND);
    let mut other_version = vec![0];
    other_version.extend_from_slice(b"p2pa\x00\x09whatever follows");
    let garbage = [vec![0xff; 40], vec![], vec![7, 0], vec![0; 9000], other_version];
    for (at, bytes) in (100..).zip(garbage) {
        let link = network.connect_stranger(place, [at; 32]);
        network.frame_from_stranger(place, link, bytes);
    }
    let silent = network.connect_stranger(place, [200; 32]);
    let self_link = network.connect_stranger(place, [1; 32]);
    network.run(SECOND * 10);
    let seen = |wanted: &Event| network.events(place).iter().filter(|event| *event == wanted).count();
    let stranger = |secret| engine::Identity::from_secret(&[secret; 32]).node_id();
    let fault = |secret, fault| Event::PeerFault { peer: stranger(secret), fault };
    assert_eq!(seen(&fault(100, PeerFault::FrameMalformed)), 1);
    assert_eq!(seen(&fault(101, PeerFault::FrameMalformed)), 1);
    assert_eq!(seen(&fault(102, PeerFault::FrameMalformed)), 1);
    assert_eq!(seen(&fault(103, PeerFault::FrameTooLarge)), 1);
    let refused = |secret, reason| Event::LinkRefused { peer: stranger(secret), reason, by_us: true };
    assert_eq!(seen(&refused(104, RefuseReason::OtherVersion)), 1);
    assert_eq!(seen(&refused(1, RefuseReason::SameIdentity)), 1);
    assert_eq!(seen(&fault(200, PeerFault::HelloLate)), 1);
    assert_eq!(network.frames_to_stranger(silent).len(), 1, "it gets a hello and no more");
    assert_eq!(network.frames_to_stranger(self_link).len(), 1, "it is told why");
    let peers = network.ask(place, Request::Peers);
    network.run(Duration::ZERO);
    let Some(Ok(Response::Peers(peers))) = network.answer(place, peers) else { panic!("no answer") };
    assert_eq!(peers.iter().map(|peer| peer.node_id).collect::<Vec<_>>(), vec![network.id(other)]);
}

/// Returns a valid hello of a stranger.
fn hello(identity: &engine::Identity, incarnation: u64) -> Message {
    let advert = Advert {
        key: identity.public_key(),
        sequence: 1,
        incarnation,
        session_key: [0; 32],
        addresses: Vec::new(),
        name: NodeName::default(),
        version: "1".to_owned(),
        max_links: 32,
        slots: 0,
        models: Vec::new(),
        links: Vec::new(),
    };
    let body = advert.encode();
    let signature = identity.sign(Domain::Advert, &body);
    let advert = SignedAdvert { body: SharedBytes(body.into()), signature: Signature(signature) };
    let (network, sent_at) = ("local".to_owned(), UnixMillis(1_700_000_000_000));
    Message::Hello(Box::new(Hello { network, incarnation, sent_at, advert }))
}

#[test]
fn a_peer_that_floods_is_closed_and_one_that_is_busy_is_not() {
    let mut network = Network::default();
    let place = network.add(|_| {});
    network.run(SECOND);
    for (secret, frames, exceeded) in [(60, 9_000, 0), (61, 11_000, 1)] {
        let link = network.connect_stranger(place, [secret; 32]);
        let identity = engine::Identity::from_secret(&[secret; 32]);
        network.frame_from_stranger(place, link, hello(&identity, 1).encode());
        network.frame_from_stranger(place, link, Message::Welcome.encode());
        for number in 0..frames {
            let beat = Beat { number, digest: 0, load: 0 };
            network.frame_from_stranger(place, link, Message::Ping(beat).encode());
        }
        network.run(Duration::from_millis(2));
        let peer = identity.node_id();
        let fault = Event::PeerFault { peer, fault: PeerFault::RateExceeded };
        assert_eq!(network.events(place).iter().filter(|event| **event == fault).count(), exceeded);
    }
}

#[test]
fn the_place_of_a_peer_that_comes_back_is_nobody_elses() {
    let mut network = Network::default();
    let place = network.add(|config| config.max_peers = 1);
    network.run(SECOND);
    let [returning, late] = [70, 71].map(|secret| engine::Identity::from_secret(&[secret; 32]));
    let pause = Duration::from_millis(5);
    let before = network.connect_stranger(place, [70; 32]);
    network.frame_from_stranger(place, before, hello(&returning, 1).encode());
    network.frame_from_stranger(place, before, Message::Welcome.encode());
    network.run(pause);
    let after = network.connect_stranger(place, [70; 32]);
    network.frame_from_stranger(place, after, hello(&returning, 2).encode());
    network.run(pause);
    network.frame_from_stranger(place, before, vec![0xff; 40]);
    let other = network.connect_stranger(place, [71; 32]);
    network.frame_from_stranger(place, other, hello(&late, 1).encode());
    network.frame_from_stranger(place, other, Message::Welcome.encode());
    network.run(pause);
    network.frame_from_stranger(place, after, Message::Welcome.encode());
    network.run(SECOND * 3);
    let peers = network.ask(place, Request::Peers);
    network.run(Duration::ZERO);
    let Some(Ok(Response::Peers(peers))) = network.answer(place, peers) else { panic!("no answer") };
    assert_eq!(peers.iter().map(|peer| peer.node_id).collect::<Vec<_>>(), vec![returning.node_id()]);
    let full = Event::LinkRefused { peer: late.node_id(), reason: RefuseReason::Full, by_us: true };
    assert_eq!(network.events(place).iter().filter(|event| **event == full).count(), 1);
}

#[test]
fn nodes_of_other_networks_stay_apart() {
    let mut network = Network::default();
    let home = network.add(|config| config.discovery = false);
    let away = network.add(|config| {
        config.network = "other".to_owned();
        config.bootstrap_peers = vec!["10.0.0.0:9000".parse().unwrap()];
    });
    network.run(SECOND * 120);
    let refused = |place: usize| {
        let by_network = |event: &&Event| {
            matches!(event, Event::LinkRefused { reason: RefuseReason::OtherNetwork, by_us: true, .. })
        };
        network.events(place).iter().filter(by_network).count()
    };
    assert_eq!((refused(home), refused(away)), (1, 1), "refused once and not tried again");
}

#[test]
fn the_model_of_the_tests_is_advertised() {
    let mut network = Network::default();
    let [asker, _] = [network.add(|config| config.models.clear()), network.add(|_| {})];
    network.run(SECOND);
    let request =
        network.ask(asker, Request::Submit(TaskSpec { model: Some(MODEL.to_owned()), ..spec("x") }));
    network.run(SECOND);
    assert!(matches!(network.answer(asker, request), Some(Ok(Response::Submitted(_)))));
    assert_eq!(finished(&network, asker).len(), 1);
}

/// Makes the model of a node unusable.
fn spoil(network: &mut Network, place: usize) {
    network.set_model(place, MODEL, TaskKind::Embedding, ModelState::Unusable("it is cut short".into()));
}

fn failure(network: &mut Network, place: usize, task: TaskId) -> Option<TaskFailure> {
    let request = network.ask(place, Request::Task(task));
    network.run(Duration::ZERO);
    let Some(Ok(Response::Task(view))) = network.answer(place, request) else { panic!("not known") };
    view.result.clone().and_then(|summary| summary.failure)
}

#[test]
fn a_task_whose_model_nobody_can_use_fails_with_the_reason() {
    let because = Some(TaskFailure::ModelFailed("it is cut short".into()));
    for remote in [false, true] {
        let mut network = Network::default();
        let asker = network.add(|config| config.models.truncate(usize::from(!remote)));
        let has_it = if remote { network.add(|_| {}) } else { asker };
        network.run(SECOND);
        network.set_model(has_it, MODEL, TaskKind::Embedding, ModelState::Away);
        let task = submit(&mut network, asker, "waits for the model");
        network.run(SECOND);
        assert_eq!(failure(&mut network, asker, task), None, "it may come");
        spoil(&mut network, has_it);
        network.run(SECOND);
        assert_eq!(failure(&mut network, asker, task), because, "remote: {remote}");
        let later = network.ask(asker, Request::Submit(spec("a later one")));
        network.run(SECOND);
        let refused = Err(Rejection::KindUnsupported(TaskKind::Embedding));
        assert_eq!(network.answer(asker, later), Some(&refused), "remote: {remote}");
        network.set_model(has_it, MODEL, TaskKind::Embedding, ModelState::Ready);
        network.run(SECOND);
        submit(&mut network, asker, "it was mended");
        network.run(SECOND);
        assert_eq!(finished(&network, asker).last().map(|end| end.1), Some(TaskStatus::Completed));
    }
}

#[test]
fn a_task_that_names_no_model_gets_another_where_its_first_cannot_be_used() {
    for named in [false, true] {
        let mut network = Network::default();
        let asker = network.add(|config| config.models.push(offer("other", TaskKind::Embedding)));
        network.run(SECOND);
        network.set_model(asker, MODEL, TaskKind::Embedding, ModelState::Away);
        let model = named.then(|| MODEL.to_owned());
        let request = network.ask(asker, Request::Submit(TaskSpec { model, ..spec("any will do") }));
        network.run(SECOND);
        let Some(&Ok(Response::Submitted(task))) = network.answer(asker, request) else { panic!("refused") };
        assert_eq!(finished(&network, asker), [], "its model may come");
        spoil(&mut network, asker);
        network.run(SECOND);
        let completed = (task, TaskStatus::Completed, asker);
        let (ends, failure) = (finished(&network, asker), failure(&mut network, asker, task));
        if named {
            assert_eq!((ends, failure), (vec![], Some(TaskFailure::ModelFailed("it is cut short".into()))));
        } else {
            assert_eq!((ends, failure), (vec![completed], None));
        }
    }
}

#[test]
fn a_task_whose_model_cannot_be_used_here_runs_where_it_can() {
    let mut network = Network::default();
    let [asker, other] = [network.add(|_| {}), network.add(|_| {})];
    network.run(SECOND);
    spoil(&mut network, asker);
    let task = submit(&mut network, asker, "elsewhere");
    network.run(SECOND);
    assert_eq!(finished(&network, asker), [(task, TaskStatus::Completed, other)]);
}

#[test]
fn a_classification_without_labels_is_for_a_model_that_has_some() {
    let mut network = Network::default();
    let place = network.add(|config| {
        let models = [("embeds", TaskKind::Embedding), ("embeds", TaskKind::Classification)];
        config.models = models.map(|(name, kind)| offer(name, kind)).to_vec();
    });
    network.run(SECOND);
    let chosen = |network: &mut Network, labels: &[&str]| {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let input =
            TaskInput::Classification(Classification { text: "x".to_owned(), labels, truncate: true });
        let task = submit_input(network, place, input);
        let request = network.ask(place, Request::Task(task));
        network.run(Duration::ZERO);
        let Some(Ok(Response::Task(view))) = network.answer(place, request) else { panic!("not known") };
        view.model.clone()
    };
    assert_eq!(chosen(&mut network, &[]), "embeds", "there is no other");
    network.set_model(place, "compares", TaskKind::Classification, ModelState::Ready);
    network.set_model(place, "compares", TaskKind::Reranking, ModelState::Ready);
    network.run(SECOND);
    assert_eq!(chosen(&mut network, &[]), "compares");
    network.set_model(place, "judges", TaskKind::Classification, ModelState::Ready);
    network.run(SECOND);
    assert_eq!(chosen(&mut network, &[]), "judges");
    assert_eq!(chosen(&mut network, &["a", "b"]), "embeds");
}

/// Returns how often a node reported that another one uses its key, and whether it isolated itself.
fn copies(network: &Network, place: usize) -> (usize, bool) {
    let told = network.events(place).iter().filter_map(|event| {
        if let Event::IdentityCopied { fenced, .. } = event { Some(*fenced) } else { None }
    });
    told.fold((0, false), |(times, any), fenced| (times + 1, any | fenced))
}

/// Returns the number of links and of members that a node has lost.
fn departures(network: &Network, place: usize) -> (usize, usize) {
    let count = |is: fn(&&Event) -> bool| network.events(place).iter().filter(is).count();
    (
        count(|event| matches!(event, Event::LinkDown { .. })),
        count(|event| matches!(event, Event::MemberLeft { .. })),
    )
}

#[test]
fn two_nodes_with_one_key_are_both_told_and_the_others_see_one_steady_node() {
    for discovery in [true, false] {
        let mut network = Network::default();
        let set = |config: &mut engine::Config| {
            config.discovery = discovery;
            config.bootstrap_peers = [1, 2].map(|place| ([10, 0, 0, place], 9000).into()).to_vec();
        };
        let [original, first, second] = [0; 3].map(|_| network.add(set));
        network.run(SECOND * 10);
        let before = [original, first, second].map(|place| departures(&network, place));
        let copy = network.add_copy(original, set);
        network.run(SECOND * 60);
        assert!(copies(&network, original).0 > 0, "the original is told");
        assert!(!copies(&network, original).1, "the one that was there first stays");
        let told = |event: &Event| {
            matches!(event, Event::LinkRefused { reason: RefuseReason::IdentityCopied, by_us: false, .. })
        };
        assert!(network.events(copy).iter().any(told), "the copy is told");
        network.run(SECOND * 600);
        let after = [original, first, second].map(|place| departures(&network, place));
        assert_eq!(after, before, "nobody loses a link");
    }
}

#[test]
fn a_node_that_lost_its_power_is_taken_in_again_at_once() {
    let mut network = Network::default();
    let [stayer, other] = [0; 2].map(|_| network.add(|_| {}));
    network.run(SECOND * 10);
    network.lose_power(other);
    network.run(SECOND);
    network.start(other);
    network.run(SECOND * 2);
    let up = |event: &&Event| matches!(event, Event::LinkUp { .. });
    assert_eq!(network.events(stayer).iter().filter(up).count(), 2, "before the old link was given up");
    assert_eq!(copies(&network, stayer), (0, false));
    network.run(SECOND * 60);
    assert_eq!(departures(&network, stayer), (1, 0), "the old link went, and no member");
}

#[test]
fn who_breaks_the_protocol_is_left_alone_for_longer_each_time() {
    let mut network = Network::default();
    let place = network.add(|_| {});
    network.run(SECOND);
    let refused = |network: &mut Network| {
        let link = network.connect_stranger(place, [60; 32]);
        network.run(Duration::from_millis(10));
        network.frames_to_stranger(link) == [Message::Refuse(RefuseReason::Quarantined).encode()]
    };
    for pause in [5, 10, 20] {
        assert!(!refused(&mut network));
        let link = network.connect_stranger(place, [60; 32]);
        network.frame_from_stranger(place, link, vec![0xff; 40]);
        network.run(Duration::from_millis(10));
        assert!(refused(&mut network));
        network.run(SECOND * (pause - 1));
        assert!(refused(&mut network), "not for {pause} s");
        network.run(SECOND);
    }
}

#[test]
fn two_nodes_with_one_key_that_no_peer_sees_both_of_settle_it_by_their_adverts() {
    let mut network = Network::default();
    let address = |place: u8| std::net::SocketAddr::from(([10, 0, 0, place], 9000));
    let to = |place: u8, max_peers: u16| {
        move |config: &mut engine::Config| {
            config.discovery = false;
            config.max_peers = max_peers;
            config.bootstrap_peers = vec![address(place)];
        }
    };
    let first = network.add(|config| config.discovery = false);
    network.add(to(0, 32));
    let original = network.add(to(0, 1));
    network.run(SECOND);
    let copy = network.add_copy(original, to(1, 1));
    network.run(SECOND * 60);
    assert!(copies(&network, original).0 > 0 && !copies(&network, original).1, "the earlier one stays");
    assert!(copies(&network, copy).1, "the later one gives way");
    assert_eq!(departures(&network, first).1, 0, "the node was always there");
    let peers = network.ask(copy, Request::Peers);
    network.run(Duration::ZERO);
    assert_eq!(network.answer(copy, peers), Some(&Ok(Response::Peers(Vec::new()))));
}

/// Returns what a node replies to a watcher that has seen this much; `None` if there is no reply yet.
fn watch(
    network: &mut Network,
    place: usize,
    task: TaskId,
    seen: Cursor,
) -> Option<(TaskStatus, TaskUpdate)> {
    let request = network.ask(place, Request::Watch { task, seen });
    for _ in 0..200 {
        network.run(Duration::from_millis(1));
        match network.answer(place, request) {
            None => {}
            Some(Ok(Response::TaskUpdate(view, news))) => return Some((view.status, news.clone())),
            Some(other) => panic!("no news: {other:?}"),
        }
    }
    None
}

#[test]
fn what_a_generation_writes_is_told_while_it_does_wherever_it_runs() {
    for elsewhere in [false, true] {
        let mut network = Network::default();
        let with = |models: &mut engine::Config| models.models = vec![offer("story", TaskKind::Generation)];
        let origin = network.add(|config| if elsewhere { config.models.clear() } else { with(config) });
        network.add(|config| if elsewhere { with(config) } else { config.models.clear() });
        network.run(SECOND);
        let input = TaskInput::from_text(TaskKind::Generation, "tell".to_owned());
        let task = submit_input(&mut network, origin, input);
        let mut seen = Cursor { status: TaskStatus::Queued, attempt: 0, bytes: 0 };
        let (mut text, mut pieces) = (String::new(), 0);
        while !seen.status.is_terminal() {
            let (status, news) = watch(&mut network, origin, task, seen).expect("there is more");
            assert_eq!(usize::try_from(news.offset).unwrap(), text.len());
            text.push_str(&news.text);
            pieces += usize::from(!news.text.is_empty());
            assert!("once upon a time".starts_with(&text), "{text:?}");
            seen = Cursor { status, attempt: news.attempt, bytes: u32::try_from(text.len()).unwrap() };
        }
        assert_eq!(seen.status, TaskStatus::Completed);
        // A remote worker sends one piece at once and the next after an interval, when the task has ended.
        assert!(
            if elsewhere { pieces == 1 && text == "once " } else { text == "once upon a time" },
            "{text:?}"
        );
        let last = watch(&mut network, origin, task, Cursor { status: TaskStatus::Running, ..seen });
        assert_eq!(
            last.map(|(status, news)| (status, news.text)),
            Some((TaskStatus::Completed, String::new()))
        );
    }
}

#[test]
fn a_watcher_hears_of_nothing_but_news_and_of_a_cancellation() {
    let mut network = Network::default();
    let place = network.add(|config| config.models = vec![offer("story", TaskKind::Generation)]);
    network.run(SECOND);
    let input = TaskInput::from_text(TaskKind::Generation, "tell".to_owned());
    let task = submit_input(&mut network, place, input);
    let all = Cursor { status: TaskStatus::Running, attempt: 1, bytes: 99 };
    let request = network.ask(place, Request::Watch { task, seen: all });
    network.ask(place, Request::Cancel(task));
    network.run(Duration::from_millis(5));
    let Some(Ok(Response::TaskUpdate(view, news))) = network.answer(place, request) else {
        panic!("not told")
    };
    assert_eq!((view.status, news.text.as_str()), (TaskStatus::Cancelled, ""));
    let unknown = network.ask(place, Request::Watch { task: TaskId([9; 16]), seen: all });
    network.run(Duration::ZERO);
    assert_eq!(network.answer(place, unknown), Some(&Err(Rejection::TaskNotFound(TaskId([9; 16])))));
}
