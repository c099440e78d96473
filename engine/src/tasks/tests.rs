//! Tests of one origin with simulated workers.

use super::*;
use crate::ids::TraceId;
use crate::task::{EmbeddingInput, TaskKind, TaskSpec, Truncation};

const TASK: TaskId = TaskId([1; 16]);
const A: NodeId = NodeId([0xa; 16]);
const B: NodeId = NodeId([0xb; 16]);
const WALL: UnixMillis = UnixMillis(1_000);

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn accepted() -> Tasks {
    let limits = Limits { tasks: 1, bytes: 100, retention: Duration::from_secs(60) };
    let mut tasks = Tasks::new(limits);
    tasks.admit(at(0), stored(), false).unwrap();
    tasks.handle_stored(TASK);
    tasks
}

fn stored() -> StoredTask {
    let spec = TaskSpec {
        input: TaskInput::from_text(TaskKind::Embedding, "hello".to_owned()),
        model: Some("m".to_owned()),
        timeout: Duration::from_secs(300),
    };
    StoredTask {
        id: TASK,
        spec,
        submitted_at: WALL,
        trace: TraceId([2; 16]),
        attempts: 0,
        choice: Some(CHOICE),
        caller: None,
    }
}

const CHOICE: ModelChoice = ModelChoice { fingerprint: Fingerprint([7; 16]), required: false };

fn computed(micros: u64, result: Result<TaskOutput, InferenceError>) -> Computed {
    Computed { fingerprint: CHOICE.fingerprint, micros, result }
}

fn output() -> TaskOutput {
    TaskOutput::Embedding { vectors: vec![vec![1.0]], tokens: 1, truncated: Vec::new() }
}

fn attempt(number: u32) -> Attempt {
    Attempt { task: TASK, number }
}

fn endings(tasks: &mut Tasks) -> Vec<TaskStatus> {
    let actions = tasks.poll_actions();
    actions
        .iter()
        .filter_map(
            |action| if let Action::Ending(result) = action { Some(result.summary.status) } else { None },
        )
        .collect()
}

/// Lets time pass, with each deadline on time.
fn run_until(tasks: &mut Tasks, seconds: u64) {
    while let Some(due) = tasks.poll_timeout().filter(|due| *due <= at(seconds)) {
        tasks.handle_timeout(due, WALL);
    }
}

#[test]
fn the_first_outcome_wins_whatever_its_attempt() {
    let mut tasks = accepted();
    tasks.assign(at(0), TASK, A).unwrap();
    run_until(&mut tasks, 30);
    let reassigned = Action::Reassigned(attempt(1), A, ReassignReason::LeaseExpired);
    let check = || Action::Check(A, vec![attempt(1)]);
    assert_eq!(tasks.poll_actions(), vec![check(), check(), reassigned, Action::Progressed(TASK)]);
    assert!(!tasks.assign(at(31), TASK, B).unwrap().alone, "nothing died");
    assert_eq!(tasks.handle_outcome(at(32), WALL, A, attempt(1), computed(5, Ok(output()))), Verdict::Ends);
    assert_eq!(
        tasks.handle_outcome(at(33), WALL, B, attempt(2), computed(5, Ok(output()))),
        Verdict::Nothing
    );
    let actions = tasks.poll_actions();
    assert!(
        matches!(&actions[..], [Action::Release(left, B), Action::Ending(_)] if *left == attempt(2)),
        "{actions:?}"
    );
}

#[test]
fn nobody_ends_a_task_that_was_not_given_to_it() {
    let mut tasks = accepted();
    tasks.assign(at(0), TASK, A).unwrap();
    assert_eq!(tasks.handle_outcome(at(1), WALL, B, attempt(1), computed(5, Ok(output()))), Verdict::Nothing);
    let wrong = TaskOutput::Embedding { vectors: vec![vec![f32::NAN]], tokens: 1, truncated: Vec::new() };
    assert_eq!(tasks.handle_outcome(at(1), WALL, A, attempt(1), computed(5, Ok(wrong))), Verdict::Retries);
}

#[test]
fn an_output_must_be_what_was_asked_for() {
    let text = |text: &str| EmbeddingInput::Text(text.to_owned());
    let input = TaskInput::Embedding { inputs: vec![text("a"), text("b")] };
    let of = |vectors: Vec<Vec<f32>>| TaskOutput::Embedding { vectors, tokens: 2, truncated: Vec::new() };
    assert!(check(&input, of(vec![vec![1.0], vec![2.0]])).is_ok());
    for vectors in [
        vec![],
        vec![vec![1.0]],
        vec![vec![1.0]; 3],
        vec![vec![], vec![]],
        vec![vec![1.0], vec![1.0, 2.0]],
        vec![vec![1.0], vec![f32::INFINITY]],
    ] {
        assert!(check(&input, of(vectors.clone())).is_err(), "{vectors:?}");
    }
    assert!(check(&TaskInput::from_text(TaskKind::Generation, "a".to_owned()), of(vec![vec![1.0]])).is_err());
    let cut = |inputs: &[u32]| {
        let truncated = inputs.iter().map(|&input| Truncation { input, dropped: 1 }).collect();
        check(&input, TaskOutput::Embedding { vectors: vec![vec![1.0]; 2], tokens: 2, truncated })
    };
    assert!([&[][..], &[0], &[1], &[0, 1]].into_iter().all(|inputs| cut(inputs).is_ok()));
    assert!([&[2][..], &[1, 0], &[0, 0], &[0, 1, 1]].into_iter().all(|inputs| cut(inputs).is_err()));
}

#[test]
fn a_lease_is_renewed_by_its_worker_only() {
    let mut tasks = accepted();
    tasks.assign(at(0), TASK, A).unwrap();
    tasks.handle_renewed(at(20), A, attempt(1), true);
    tasks.handle_renewed(at(40), B, attempt(1), true);
    assert_eq!(tasks.poll_actions(), vec![Action::Progressed(TASK), Action::Release(attempt(1), B)]);
    for seconds in [34, 48] {
        tasks.handle_timeout(at(seconds), WALL);
        assert_eq!(tasks.poll_actions(), vec![Action::Check(A, vec![attempt(1)])]);
    }
    tasks.handle_timeout(at(50), WALL);
    let reassigned = Action::Reassigned(attempt(1), A, ReassignReason::LeaseExpired);
    assert_eq!(tasks.poll_actions(), vec![reassigned, Action::Progressed(TASK)]);
}

#[test]
fn a_node_that_did_not_run_asks_before_a_lease_is_over() {
    let mut tasks = accepted();
    tasks.assign(at(0), TASK, A).unwrap();
    tasks.handle_timeout(at(40), WALL);
    assert_eq!(tasks.poll_actions(), vec![Action::Check(A, vec![attempt(1)])]);
    run_until(&mut tasks, 53);
    assert_eq!(tasks.poll_actions(), vec![]);
    tasks.handle_timeout(at(54), WALL);
    let reassigned = Action::Reassigned(attempt(1), A, ReassignReason::LeaseExpired);
    assert_eq!(tasks.poll_actions(), vec![reassigned, Action::Progressed(TASK)]);
}

#[test]
fn three_deaths_make_a_task_poison() {
    let mut tasks = accepted();
    for number in 1..=3 {
        let assignment = tasks.assign(at(number.into()), TASK, A).unwrap();
        assert_eq!(assignment.alone, number > 1);
        let verdict =
            tasks.handle_outcome(at(9), WALL, A, attempt(number), computed(0, Err(InferenceError::Crashed)));
        assert_eq!(verdict == Verdict::Ends, number == 3);
    }
    assert_eq!(endings(&mut tasks), vec![TaskStatus::Failed]);
}

#[test]
fn time_ends_a_task_and_frees_its_worker() {
    let mut tasks = accepted();
    tasks.assign(at(0), TASK, A).unwrap();
    (1..15).for_each(|step| tasks.handle_renewed(at(step * 20), A, attempt(1), true));
    tasks.handle_timeout(at(300), WALL);
    let actions = tasks.poll_actions();
    assert!(
        matches!(&actions[..], [Action::Progressed(TASK), Action::Release(left, A), Action::Ending(_)] if *left == attempt(1)),
        "{actions:?}"
    );
    assert_eq!(
        tasks.handle_outcome(at(301), WALL, A, attempt(1), computed(5, Ok(output()))),
        Verdict::Nothing
    );
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let mut tasks = accepted();
    assert!(matches!(tasks.admit(at(0), stored(), false), Err(Rejection::QueueFull { .. })));
    tasks.cancel(at(1), WALL, TASK);
    assert_eq!(endings(&mut tasks), vec![TaskStatus::Cancelled]);
    assert!(!tasks.cancel(at(1), WALL, TASK));
    tasks.handle_ended(TASK);
    assert_eq!(tasks.admit(at(2), stored(), false), Ok(()));
}

#[test]
fn an_outcome_of_another_model_is_none_and_one_without_a_result_calls_for_another_attempt() {
    let mut tasks = accepted();
    tasks.assign(at(0), TASK, A).unwrap();
    let other = Computed { fingerprint: Fingerprint([8; 16]), ..computed(5, Ok(output())) };
    assert_eq!(tasks.handle_outcome(at(1), WALL, A, attempt(1), other), Verdict::Nothing);
    let changed = computed(5, Err(InferenceError::ModelChanged));
    assert_eq!(tasks.handle_outcome(at(1), WALL, A, attempt(1), changed), Verdict::Retries);
    let reassigned = Action::Reassigned(attempt(1), A, ReassignReason::ModelChanged);
    assert_eq!(tasks.poll_actions(), vec![reassigned, Action::Progressed(TASK)]);
    assert_eq!(tasks.assign(at(1), TASK, B).unwrap().fingerprint, CHOICE.fingerprint);
}
