//! Tests what a worker runs, declines, reports and drops.

use super::*;
use crate::ids::TraceId;
use crate::testing::{FINGERPRINT, offer};

const ME: NodeId = NodeId([1; 16]);
const OTHER: NodeId = NodeId([2; 16]);

const TRACE: TraceContext = TraceContext { id: TraceId([9; 16]), sampled: true };

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

impl Worker {
    /// Returns the queued actions without the reports about ends.
    fn orders(&mut self) -> Vec<Action> {
        let mut actions = self.poll_actions();
        actions.retain(|action| !matches!(action, Action::Ended(_)));
        actions
    }
}

fn failed(origin: NodeId, attempt: Attempt, error: InferenceError) -> Action {
    let (fingerprint, result) = (FINGERPRINT, Err(error));
    Action::Outcome { origin, attempt, fingerprint, micros: 0, result, trace: TRACE }
}

fn begun(queued_since: Instant, batch: u32) -> Begun {
    Begun { kind: TaskKind::Embedding, model: "m".to_owned(), queued_since, batch, trace: TRACE }
}

fn assignment(id: u8, number: u32) -> Assignment {
    Assignment {
        attempt: Attempt { task: TaskId([id; 16]), number },
        model: "m".to_owned(),
        fingerprint: FINGERPRINT,
        input: TaskInput::from_text(TaskKind::Embedding, format!("text {id}")),
        remaining_millis: 60_000,
        trace: TRACE,
        alone: false,
    }
}

fn set(worker: &mut Worker, kind: TaskKind, state: ModelState) {
    let model = Model { fingerprint: Some(FINGERPRINT), state };
    worker.handle_model(kind, "m".to_owned(), model, true);
}

fn worker() -> Worker {
    let mut worker = Worker::new(ME, 2, &[offer("m", TaskKind::Embedding)]);
    set(&mut worker, TaskKind::Embedding, ModelState::Ready);
    worker
}

fn jobs(actions: &[Action]) -> Vec<usize> {
    actions
        .iter()
        .filter_map(|action| if let Action::Infer(_, _, _, job) = action { Some(job.len()) } else { None })
        .collect()
}

#[test]
fn waiting_texts_run_together_unless_a_model_may_have_died_of_one() {
    let mut worker = worker();
    (0..20).for_each(|id| worker.handle_assignment(at(0), OTHER, assignment(id, 1)));
    worker.handle_timeout(at(0));
    assert_eq!(jobs(&worker.orders()), vec![16, 4]);
    worker.handle_assignment(at(0), OTHER, Assignment { alone: true, ..assignment(30, 2) });
    (31..34).for_each(|id| worker.handle_assignment(at(0), OTHER, assignment(id, 2)));
    worker.handle_done(JobId(0), 160, Err(InferenceError::Crashed));
    worker.handle_done(JobId(1), 40, Err(InferenceError::Crashed));
    assert_eq!(worker.orders().len(), 20);
    worker.handle_timeout(at(0));
    assert_eq!(jobs(&worker.orders()), vec![1, 3], "a second attempt loses no batch");
}

#[test]
fn a_job_takes_tasks_of_many_texts_up_to_its_limit() {
    let mut worker = worker();
    let inputs = |id: u8, count: usize| TaskInput::Embedding {
        inputs: vec![crate::task::EmbeddingInput::Text(format!("text {id}")); count],
    };
    for (id, count) in [(0, 32), (1, 31), (2, 2), (3, 1)] {
        worker.handle_assignment(at(0), OTHER, Assignment { input: inputs(id, count), ..assignment(id, 1) });
    }
    worker.handle_timeout(at(0));
    assert_eq!(jobs(&worker.orders()), vec![2, 2]);
}

#[test]
fn an_output_that_no_frame_could_carry_is_refused() {
    let mut worker = worker();
    worker.handle_assignment(at(0), OTHER, assignment(1, 1));
    worker.handle_timeout(at(0));
    worker.orders();
    let huge = TaskOutput::Embedding { vectors: vec![vec![0.5; 200_000]], tokens: 1, truncated: Vec::new() };
    worker.handle_done(JobId(0), 1, Ok(vec![Ok(huge)]));
    let actions = worker.orders();
    let [Action::Outcome { origin: OTHER, micros: 1, result: Err(InferenceError::InputRejected(why)), .. }] =
        actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    assert!(why.contains("800004 bytes"), "{why}");
}

#[test]
fn a_generation_tells_its_origin_what_it_writes_now_and_then() {
    let mut worker = Worker::new(ME, 2, &[offer("m", TaskKind::Generation)]);
    set(&mut worker, TaskKind::Generation, ModelState::Ready);
    let input = TaskInput::from_text(TaskKind::Generation, "once".to_owned());
    worker.handle_assignment(at(0), OTHER, Assignment { input: input.clone(), ..assignment(1, 1) });
    worker.handle_timeout(at(0));
    worker.orders();
    let told = |worker: &mut Worker, now: Instant| {
        worker.handle_timeout(now);
        let pieces = worker.orders().into_iter().map(|action| {
            let Action::Progress(OTHER, piece, TRACE) = action else { panic!("{action:?}") };
            (piece.attempt.number, piece.offset, piece.text)
        });
        pieces.collect::<Vec<_>>()
    };
    worker.handle_progress(at(0), JobId(0), "upon", 1);
    assert_eq!(told(&mut worker, at(1)), [(1, 0, "upon".to_owned())]);
    worker.handle_progress(at(0), JobId(0), " a", 2);
    worker.handle_progress(at(0), JobId(0), " time", 3);
    assert_eq!(told(&mut worker, at(1)), []);
    let due = worker.poll_timeout().unwrap();
    assert_eq!(due, at(1).after(progress::CHUNK_INTERVAL));
    assert_eq!(told(&mut worker, due), [(1, 4, " a time".to_owned())]);
    worker.handle_assignment(at(2), OTHER, Assignment { input, ..assignment(1, 2) });
    worker.orders();
    assert_eq!(told(&mut worker, at(2)), [(2, 0, "upon a time".to_owned())]);
    worker.handle_done(JobId(0), 1, Err(InferenceError::Cancelled));
    assert_eq!(worker.occupancy()[3].current, 0);
}

#[test]
fn a_release_stops_a_job_of_which_nothing_is_left() {
    let mut worker = worker();
    worker.handle_assignment(at(0), OTHER, assignment(1, 1));
    worker.handle_assignment(at(0), OTHER, assignment(2, 1));
    worker.handle_timeout(at(0));
    worker.orders();
    worker.handle_release(OTHER, assignment(1, 1).attempt);
    assert_eq!(worker.orders(), vec![]);
    worker.handle_release(OTHER, assignment(2, 1).attempt);
    assert_eq!(worker.orders(), vec![Action::Cancel(JobId(0))]);
}

#[test]
fn a_late_release_leaves_the_next_attempt_alone() {
    let mut worker = worker();
    worker.handle_assignment(at(0), OTHER, assignment(1, 2));
    worker.handle_release(OTHER, assignment(1, 1).attempt);
    assert_eq!(worker.len(), 1);
    worker.handle_release(OTHER, assignment(1, 2).attempt);
    assert_eq!(worker.len(), 0);
}

#[test]
fn one_origin_gets_a_quarter_of_the_queue() {
    let mut worker = worker();
    (0..65).for_each(|id| worker.handle_assignment(at(0), OTHER, assignment(id, 1)));
    let declined = Action::Declined(OTHER, Attempt { task: TaskId([64; 16]), number: 1 }, TRACE);
    assert_eq!(worker.orders(), vec![declined]);
    worker.handle_assignment(at(0), ME, assignment(99, 1));
    assert_eq!(worker.len(), 65);
}

#[test]
fn nothing_runs_before_its_model_is_loaded() {
    let mut worker = Worker::new(ME, 2, &[offer("m", TaskKind::Embedding)]);
    worker.handle_assignment(at(0), ME, assignment(1, 1));
    worker.handle_timeout(at(0));
    assert_eq!(worker.orders(), vec![]);
    set(&mut worker, TaskKind::Embedding, ModelState::Ready);
    worker.handle_timeout(at(0));
    assert_eq!(jobs(&worker.orders()), vec![1]);
}

#[test]
fn what_waits_for_a_model_that_cannot_be_used_fails_and_so_does_what_comes_later() {
    let mut worker = Worker::new(ME, 2, &[offer("m", TaskKind::Embedding)]);
    worker.handle_assignment(at(0), OTHER, assignment(1, 1));
    set(&mut worker, TaskKind::Embedding, ModelState::Unusable("cut short".into()));
    worker.handle_assignment(at(0), ME, assignment(2, 1));
    let actions = worker.orders();
    let cut_short = |origin, id| {
        let attempt = assignment(id, 1).attempt;
        failed(origin, attempt, InferenceError::ModelFailed("cut short".into()))
    };
    assert_eq!(actions, [cut_short(OTHER, 1), cut_short(ME, 2)]);
    assert_eq!((worker.len(), worker.unusable(TaskKind::Embedding, "m")), (0, Some(&"cut short".into())));
    set(&mut worker, TaskKind::Embedding, ModelState::Ready);
    assert_eq!(worker.unusable(TaskKind::Embedding, "m"), None);
}

#[test]
fn generations_leave_a_place_to_what_takes_no_time() {
    let kinds = [TaskKind::Generation, TaskKind::Embedding];
    let mut worker = Worker::new(ME, 3, &kinds.map(|kind| offer("m", kind)));
    for kind in kinds {
        set(&mut worker, kind, ModelState::Ready);
    }
    for id in 0..4 {
        let input = TaskInput::from_text(TaskKind::Generation, "once".to_owned());
        worker.handle_assignment(at(0), OTHER, Assignment { input, ..assignment(id, 1) });
    }
    worker.handle_timeout(at(0));
    assert_eq!(jobs(&worker.orders()), [1, 1]);
    worker.handle_assignment(at(0), OTHER, assignment(9, 1));
    worker.handle_timeout(at(0));
    assert_eq!(jobs(&worker.orders()), [1]);
    worker.handle_done(JobId(0), 1, Err(InferenceError::Cancelled));
    worker.handle_timeout(at(0));
    assert_eq!(jobs(&worker.orders()), [1]);
    // A node without other models has all slots for generations.
    let mut worker = Worker::new(ME, 1, &[offer("m", TaskKind::Generation)]);
    set(&mut worker, TaskKind::Generation, ModelState::Ready);
    let input = TaskInput::from_text(TaskKind::Generation, "once".to_owned());
    worker.handle_assignment(at(0), OTHER, Assignment { input, ..assignment(1, 1) });
    worker.handle_timeout(at(0));
    assert_eq!(jobs(&worker.orders()), [1]);
}

#[test]
fn every_origin_hears_every_ten_seconds_of_its_own_and_this_node_too() {
    let mut worker = worker();
    (1..=40).for_each(|id| worker.handle_assignment(at(0), ME, assignment(id, 1)));
    worker.handle_assignment(at(0), OTHER, assignment(99, 1));
    worker.handle_timeout(at(0));
    worker.orders();
    for seconds in [10, 20, 30] {
        worker.handle_timeout(at(seconds));
        // Running and queued attempts.
        let own = (1..=40).map(|id| assignment(id, 1).attempt).collect();
        let others = vec![assignment(99, 1).attempt];
        assert_eq!(worker.orders(), vec![Action::Renew(ME, own, TRACE), Action::Renew(OTHER, others, TRACE)]);
    }
}

#[test]
fn what_runs_for_a_lost_origin_goes_on_for_a_while_and_what_waits_does_not() {
    let mut worker = worker();
    (0..33).for_each(|id| worker.handle_assignment(at(0), OTHER, assignment(id, 1)));
    worker.handle_timeout(at(0));
    worker.orders();
    worker.handle_origin_unreachable(at(1), OTHER);
    assert_eq!((worker.len(), worker.orders()), (32, vec![]));
    worker.handle_timeout(at(10));
    assert_eq!(worker.orders(), vec![], "nobody is there to hear of it");
    worker.handle_origin_reachable(OTHER);
    let left: Vec<Attempt> = (0..32).map(|id| assignment(id, 1).attempt).collect();
    assert_eq!(worker.orders(), vec![Action::Renew(OTHER, left, TRACE)]);
    worker.handle_origin_unreachable(at(20), OTHER);
    worker.handle_timeout(at(49));
    assert_eq!(worker.len(), 32);
    worker.handle_timeout(at(50));
    assert_eq!(
        (worker.len(), worker.orders()),
        (0, vec![Action::Cancel(JobId(0)), Action::Cancel(JobId(1))])
    );
    worker.handle_origin_reachable(OTHER);
    assert_eq!(
        worker.orders(),
        vec![Action::Renew(OTHER, vec![], TraceContext::NONE)],
        "it is told that nothing is left"
    );
    worker.handle_origin_reachable(OTHER);
    assert_eq!(worker.orders(), vec![]);
}

#[test]
fn an_origin_that_started_again_has_its_work_continued_and_its_time_begins_again() {
    let mut worker = worker();
    worker.handle_assignment(at(0), OTHER, assignment(1, 1));
    worker.handle_timeout(at(0));
    worker.orders();
    // It has forgotten that it assigned the task, so the number is the same.
    worker.handle_assignment(at(50), OTHER, assignment(1, 1));
    assert_eq!(worker.orders(), vec![Action::Begun(OTHER, assignment(1, 1).attempt, begun(at(0), 1))]);
    let cancelled =
        |worker: &mut Worker| worker.orders().iter().any(|action| matches!(action, Action::Cancel(_)));
    worker.handle_timeout(at(109));
    assert_eq!((worker.len(), cancelled(&mut worker)), (1, false));
    worker.handle_timeout(at(110));
    assert_eq!((worker.len(), cancelled(&mut worker)), (0, true));
    // It may also be for another model under that name now.
    worker.handle_assignment(at(200), OTHER, assignment(2, 1));
    worker.handle_timeout(at(200));
    worker.orders();
    let other = Fingerprint([8; 16]);
    let model = Model { fingerprint: Some(other), state: ModelState::Ready };
    worker.handle_model(TaskKind::Embedding, "m".to_owned(), model, true);
    worker.handle_assignment(at(201), OTHER, Assignment { fingerprint: other, ..assignment(2, 1) });
    worker.handle_timeout(at(201));
    assert_eq!(worker.jobs.values().count(), 2, "the first job's output would be another model's");
}

#[test]
fn the_lost_origin_whose_time_ends_first_is_forgotten_for_one_more() {
    let mut worker = worker();
    let origin = |number: usize| {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&u64::try_from(LOST_ORIGINS_MAX - number).unwrap().to_be_bytes());
        NodeId(id)
    };
    for number in 0..=LOST_ORIGINS_MAX {
        worker.handle_assignment(at(0), origin(number), assignment(1, 1));
        worker.handle_origin_unreachable(Instant::from_micros(number as u64), origin(number));
    }
    let known: Vec<bool> =
        [0, 1, LOST_ORIGINS_MAX].map(|number| worker.lost.contains_key(&origin(number))).into();
    assert_eq!((worker.lost.len(), known), (LOST_ORIGINS_MAX, vec![false, true, true]));
}

#[test]
fn a_check_says_what_is_here_and_the_origins_number_counts() {
    let mut worker = worker();
    worker.handle_assignment(at(0), OTHER, assignment(1, 3));
    worker.handle_timeout(at(0));
    worker.orders();
    let asked: Vec<Attempt> = [1, 2].map(|id| assignment(id, 1).attempt).into();
    assert_eq!(worker.handle_check(OTHER, asked.clone()), (asked[..1].to_vec(), asked[1..].to_vec()));
    worker.handle_timeout(at(10));
    assert_eq!(worker.orders(), vec![Action::Renew(OTHER, asked[..1].to_vec(), TRACE)]);
}

#[test]
fn what_leaves_is_handed_back() {
    let mut worker = worker();
    (0..33).for_each(|id| worker.handle_assignment(at(0), OTHER, assignment(id, 1)));
    worker.handle_timeout(at(0));
    worker.orders();
    worker.handle_leave();
    assert_eq!(worker.orders().len(), 1);
    assert_eq!(worker.handle_cut_off(), 32);
    let actions = worker.orders();
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Cancel(_))).count(), 2);
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::HandedBack(..))).count(), 32);
}

#[test]
fn what_is_for_another_model_of_the_name_is_declined_or_handed_back() {
    let mut worker = worker();
    let other = Fingerprint([8; 16]);
    let of_other = |id, number| Assignment { fingerprint: other, ..assignment(id, number) };
    worker.handle_assignment(at(0), OTHER, of_other(1, 1));
    assert_eq!(worker.orders(), [Action::Declined(OTHER, of_other(1, 1).attempt, TRACE)]);
    worker.handle_assignment(at(0), OTHER, assignment(2, 1));
    let model = Model { fingerprint: Some(other), state: ModelState::Ready };
    worker.handle_model(TaskKind::Embedding, "m".to_owned(), model, true);
    let changed = InferenceError::ModelChanged;
    let attempt = assignment(2, 1).attempt;
    assert_eq!(worker.orders(), [failed(OTHER, attempt, changed)]);
    worker.handle_assignment(at(0), OTHER, of_other(3, 1));
    worker.handle_timeout(at(0));
    let inferred = |action: &Action| matches!(action, Action::Infer(_, _, which, _) if *which == other);
    assert!(worker.orders().iter().any(inferred));
}

#[test]
fn an_attempt_for_another_model_takes_the_place_of_the_one_before() {
    let mut worker = worker();
    worker.handle_assignment(at(0), OTHER, assignment(1, 1));
    worker.handle_timeout(at(0));
    worker.orders();
    let other = Fingerprint([8; 16]);
    let model = Model { fingerprint: Some(other), state: ModelState::Ready };
    worker.handle_model(TaskKind::Embedding, "m".to_owned(), model, true);
    worker.handle_assignment(at(0), OTHER, Assignment { fingerprint: other, ..assignment(1, 2) });
    assert_eq!(worker.orders(), [Action::Cancel(JobId(0))]);
    let outputs =
        vec![Ok(TaskOutput::Embedding { vectors: vec![vec![0.5]], tokens: 1, truncated: Vec::new() })];
    worker.handle_done(JobId(0), 1, Ok(outputs));
    assert_eq!(worker.orders(), []);
}

/// Returns the reports about ends, as of the given time.
fn ends(worker: &mut Worker, now: Instant) -> Vec<AttemptEnd> {
    let ended = |action| if let Action::Ended(ended) = action { Some(ended.at(now)) } else { None };
    worker.poll_actions().into_iter().filter_map(ended).collect()
}

#[test]
fn every_end_of_an_attempt_is_reported_once_with_its_times() {
    let mut worker = Worker::new(ME, 1, &[offer("m", TaskKind::Embedding)]);
    set(&mut worker, TaskKind::Embedding, ModelState::Ready);
    for id in [1, 2] {
        worker.handle_assignment(at(1), OTHER, assignment(id, 1));
    }
    worker.handle_timeout(at(3));
    worker.handle_assignment(at(4), OTHER, assignment(3, 1));
    worker.handle_assignment(at(4), OTHER, assignment(4, 1));
    let output = TaskOutput::Embedding { vectors: vec![vec![0.5]], tokens: 7, truncated: Vec::new() };
    worker.handle_done(
        JobId(0),
        1_000,
        Ok(vec![Ok(output), Err(InferenceError::InputRejected("no".into()))]),
    );
    worker.handle_release(OTHER, assignment(3, 1).attempt);
    worker.handle_leave();
    let end = AttemptEnd {
        task: TaskId([1; 16]),
        attempt: 1,
        origin: OTHER,
        kind: TaskKind::Embedding,
        model: "m".to_owned(),
        ending: AttemptEnding::Completed,
        queued_micros: 2_000_000,
        run_micros: Some(2_000_000),
        compute_micros: 500,
        batch: 2,
        input_tokens: 7,
        output_tokens: 0,
        first_token_micros: None,
        trace: TRACE,
    };
    let ending = AttemptEnding::InputRejected;
    let rejected = AttemptEnd { task: TaskId([2; 16]), ending, input_tokens: 0, ..end.clone() };
    let waited = |id, ending| AttemptEnd {
        task: TaskId([id; 16]),
        ending,
        queued_micros: 1_000_000,
        run_micros: None,
        compute_micros: 0,
        batch: 0,
        input_tokens: 0,
        ..end.clone()
    };
    let (cancelled, returned) = (waited(3, AttemptEnding::Cancelled), waited(4, AttemptEnding::HandedBack));
    assert_eq!(ends(&mut worker, at(5)), [end.clone(), rejected, cancelled, returned]);
}

#[test]
fn the_first_token_of_a_generation_has_its_time() {
    let mut worker = Worker::new(ME, 1, &[offer("m", TaskKind::Generation)]);
    set(&mut worker, TaskKind::Generation, ModelState::Ready);
    let input = TaskInput::from_text(TaskKind::Generation, "once".to_owned());
    worker.handle_assignment(at(0), ME, Assignment { input, ..assignment(1, 1) });
    worker.handle_timeout(at(1));
    worker.handle_progress(at(3), JobId(0), "a", 1);
    worker.handle_progress(at(4), JobId(0), "b", 2);
    worker.handle_done(JobId(0), 9, Err(InferenceError::Crashed));
    let ends = ends(&mut worker, at(6));
    assert_eq!((ends[0].first_token_micros, ends[0].run_micros), (Some(2_000_000), Some(5_000_000)));
    assert_eq!(ends[0].ending, AttemptEnding::Crashed);
}
