//! When the wall clock is set while the node runs, only displayed times change; no timeout does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::wildcard_enum_match_arm, reason = "only these outputs are looked for")]

use core::time::Duration;
use engine::record::{Record, Saved};
use engine::testing::completed;
use engine::{
    Config, Event, Identity, Input, Instant, Node, Output, Request, RequestId, Response, TaskId, UnixMillis,
};

const WALL: UnixMillis = UnixMillis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const RESULT: TaskId = TaskId([7; 16]);

/// Creates a node with one result that expires in an hour.
fn node() -> Node {
    let result = completed(RESULT, WALL, WALL.after(HOUR));
    let saved = Saved { results: vec![result], ..Saved::default() };
    let identity = Identity::from_secret(&[1; 32]);
    Node::new(Config::default(), identity, [1; 32], Instant::ZERO, WALL, saved)
}

fn drain(node: &mut Node) -> Vec<Output> {
    core::iter::from_fn(|| node.poll_output()).collect()
}

/// Returns the time until the node deletes the result.
fn result_goes(node: &mut Node) -> Duration {
    loop {
        let due = node.poll_timeout().unwrap().at;
        assert!(due.since(Instant::ZERO) < HOUR * 3, "the result stays for ever");
        node.handle_input(due, Input::Tick);
        let goes = |output: &Output| match output {
            Output::Write { records, .. } => records.contains(&Record::RemoveResult(RESULT)),
            _ => false,
        };
        if drain(node).iter().any(goes) {
            return due.since(Instant::ZERO);
        }
    }
}

#[test]
fn results_stay_for_their_time_however_the_clock_is_set() {
    for wall in [WALL.after(HOUR * 48), UnixMillis(WALL.0 - 1_000_000_000), UnixMillis(0)] {
        let mut node = node();
        drain(&mut node);
        let now = Instant::ZERO.after(Duration::from_secs(10));
        node.handle_input(now, Input::ClockSet(wall));
        let by_millis = i64::try_from(wall.0).unwrap() - i64::try_from(WALL.0 + 10_000).unwrap();
        assert_eq!(drain(&mut node), [Output::Event(Event::ClockSet { by_millis })]);
        let gone = result_goes(&mut node);
        assert!(
            (HOUR - Duration::from_secs(60)..HOUR + Duration::from_secs(120)).contains(&gone),
            "{gone:?}"
        );
    }
}

#[test]
fn the_time_that_is_shown_is_the_clock_s() {
    let mut node = node();
    drain(&mut node);
    let second = |second| Instant::ZERO.after(Duration::from_secs(second));
    let wall = WALL.after(HOUR * 48);
    node.handle_input(second(10), Input::ClockSet(wall));
    node.handle_input(second(15), Input::Request { id: RequestId(1), request: Request::Status });
    let shown = drain(&mut node).into_iter().find_map(|output| match output {
        Output::Reply { answer: Ok(Response::Status(status)), .. } => Some(status.timestamp),
        _ => None,
    });
    assert_eq!(shown, Some(wall.after(Duration::from_secs(5))));
}
