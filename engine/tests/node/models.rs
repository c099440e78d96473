//! A name is not an identity: requests when nodes use one name for different models.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use engine::event::Event;
use engine::input::ModelState;
use engine::model::{ModelConflict, ModelOffer};
use engine::request::ModelWish;
use engine::task::{TaskInput, TaskKind, TaskSpec, TaskStatus};
use engine::testing::{MODEL, Network, offer};
use engine::{Fingerprint, NodeId, Rejection, Request, Response, TaskId};
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const ONE: Fingerprint = Fingerprint([1; 16]);
const OTHER: Fingerprint = Fingerprint([2; 16]);

fn offers(fingerprint: Fingerprint) -> Vec<ModelOffer> {
    vec![ModelOffer { fingerprint: Some(fingerprint), ..offer(MODEL, TaskKind::Embedding) }]
}

fn spec(text: &str) -> TaskSpec {
    let input = TaskInput::from_text(TaskKind::Embedding, text.to_owned());
    TaskSpec { input, model: Some(MODEL.to_owned()), timeout: Duration::from_secs(30) }
}

/// Submits tasks, and returns the nodes that completed them and the results of those that failed.
fn workers(
    network: &mut Network,
    origin: usize,
    requests: Vec<Request>,
) -> (BTreeSet<NodeId>, Vec<TaskStatus>) {
    let requests: Vec<_> = requests.into_iter().map(|request| network.ask(origin, request)).collect();
    network.run(SECOND * 5);
    let tasks: Vec<TaskId> = requests
        .into_iter()
        .map(|request| match network.answer(origin, request) {
            Some(Ok(Response::Submitted(task))) => *task,
            other => panic!("not accepted: {other:?}"),
        })
        .collect();
    let (mut workers, mut bad) = (BTreeSet::new(), Vec::new());
    for event in network.events(origin) {
        if let Event::TaskFinished { task, status, worker, .. } = event
            && tasks.contains(task)
        {
            workers.extend(*worker);
            bad.extend((*status != TaskStatus::Completed).then_some(*status));
        }
    }
    (workers, bad)
}

fn many(count: usize) -> Vec<Request> {
    (0..count).map(|number| Request::Submit(spec(&number.to_string()))).collect()
}

#[test]
fn a_node_uses_its_own_model_and_another_one_that_most_have() {
    let mut network = Network::default();
    let asker = network.add(|config| config.models.clear());
    let of_one: Vec<usize> = (0..2).map(|_| network.add(|config| config.models = offers(ONE))).collect();
    let of_other: Vec<usize> = (0..3).map(|_| network.add(|config| config.models = offers(OTHER))).collect();
    network.run(SECOND);
    let (found, bad) = workers(&mut network, asker, many(40));
    let others: BTreeSet<NodeId> = of_other.iter().map(|&place| network.id(place)).collect();
    assert_eq!((found, bad), (others, vec![]));
    let (found, bad) = workers(&mut network, of_one[0], many(40));
    let ones: BTreeSet<NodeId> = of_one.iter().map(|&place| network.id(place)).collect();
    assert_eq!((found, bad), (ones, vec![]));
}

#[test]
fn a_conflict_is_told_once_and_listed_with_the_nodes() {
    let mut network = Network::default();
    let [one, other] = [ONE, OTHER].map(|which| network.add(|config| config.models = offers(which)));
    network.run(SECOND * 3);
    for place in [one, other] {
        let told: Vec<&Event> = network
            .events(place)
            .iter()
            .filter(|event| matches!(event, Event::ModelConflict { .. }))
            .collect();
        let conflict = Event::ModelConflict { model: MODEL.to_owned(), fingerprints: vec![ONE, OTHER] };
        assert_eq!(told, [&conflict]);
        let request = network.ask(place, Request::Diagnosis);
        network.run(Duration::ZERO);
        let Some(Ok(Response::Diagnosis(view))) = network.answer(place, request) else { panic!() };
        let models = vec![(ONE, vec![network.id(one)]), (OTHER, vec![network.id(other)])];
        assert_eq!(view.conflicts, [ModelConflict { name: MODEL.to_owned(), models }]);
    }
}

#[test]
fn a_request_that_needs_one_model_for_all_tasks_gets_it_or_fails() {
    let mut network = Network::default();
    let asker = network.add(|config| config.models.clear());
    let [one, other] = [ONE, OTHER].map(|which| network.add(|config| config.models = offers(which)));
    network.run(SECOND);
    let wish = || ModelWish { kind: TaskKind::Embedding, labels: false, model: Some(MODEL.to_owned()) };
    let request = network.ask(asker, Request::Choose(wish()));
    network.run(Duration::ZERO);
    let chosen = Ok(Response::Chosen(MODEL.to_owned(), Some(ONE)));
    assert_eq!(network.answer(asker, request), Some(&chosen), "equals: the lowest");
    let for_other = |text: &str| Request::SubmitFor(spec(text), OTHER);
    let (found, bad) = workers(&mut network, asker, (0..9).map(|n| for_other(&n.to_string())).collect());
    assert_eq!((found, bad), (BTreeSet::from([network.id(other)]), vec![]));
    // Its files are replaced: the new model must not compute the next task of the request.
    network.set_offer(other, offers(ONE)[0].clone(), ModelState::Ready);
    network.run(SECOND * 2);
    let (found, bad) = workers(&mut network, asker, vec![for_other("late")]);
    assert_eq!((found, bad), (BTreeSet::new(), vec![TaskStatus::Failed]));
    // A task that no other relies on goes to the new model.
    let (found, bad) = workers(&mut network, asker, many(30));
    assert_eq!((found, bad), ([one, other].map(|place| network.id(place)).into(), vec![]));
}

#[test]
fn a_task_whose_model_is_replaced_before_it_was_answered_gets_the_new_one() {
    let mut network = Network::default();
    let asker = network.add(|config| config.models = offers(ONE));
    network.run(SECOND);
    network.set_offer(asker, offers(ONE)[0].clone(), ModelState::Away);
    network.run(SECOND);
    let request = network.ask(asker, Request::Submit(spec("waits")));
    network.run(SECOND);
    network.set_offer(asker, offers(OTHER)[0].clone(), ModelState::Ready);
    network.run(SECOND);
    let Some(&Ok(Response::Submitted(task))) = network.answer(asker, request) else { panic!("refused") };
    let ended = network.events(asker).iter().find_map(|event| {
        let Event::TaskFinished { task: of, status, .. } = event else { return None };
        (*of == task).then_some(*status)
    });
    assert_eq!(ended, Some(TaskStatus::Completed));
}

#[test]
fn a_model_whose_files_are_being_hashed_is_known_and_waited_for() {
    let mut network = Network::default();
    let asker = network.add(|config| {
        config.models = vec![ModelOffer { fingerprint: None, ..offer(MODEL, TaskKind::Embedding) }];
    });
    network.run(SECOND);
    let hashed = |fingerprint| ModelOffer { fingerprint, ..offer(MODEL, TaskKind::Embedding) };
    network.set_offer(asker, hashed(None), ModelState::Away);
    network.run(SECOND);
    let wish = ModelWish { kind: TaskKind::Embedding, labels: false, model: None };
    let chosen = network.ask(asker, Request::Choose(wish));
    let request = network.ask(asker, Request::Submit(TaskSpec { model: None, ..spec("early") }));
    network.run(SECOND);
    assert_eq!(network.answer(asker, chosen), Some(&Ok(Response::Chosen(MODEL.to_owned(), None))));
    let Some(&Ok(Response::Submitted(task))) = network.answer(asker, request) else { panic!("refused") };
    network.set_offer(asker, hashed(Some(ONE)), ModelState::Ready);
    network.run(SECOND);
    let finished = |event: &Event| matches!(event, Event::TaskFinished { task: of, status: TaskStatus::Completed, .. } if *of == task);
    assert!(network.events(asker).iter().any(finished));
    let unknown = TaskSpec { model: Some("other".to_owned()), ..spec("x") };
    let request = network.ask(asker, Request::Submit(unknown));
    network.run(Duration::ZERO);
    let refused = Err(Rejection::ModelUnknown("other".into()));
    assert_eq!(network.answer(asker, request), Some(&refused));
}
