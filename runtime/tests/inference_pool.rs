//! The worker pool: models are loaded on demand and evicted, within the limits on memory and CPU time.
//!
//! This program has its own `main`. Like a node's program, it runs as the worker if started with
//! `inference-worker MODEL`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

#[path = "support/own_main.rs"]
mod own_main;

use engine::ids::JobId;
use engine::input::ModelState;
use engine::output::InferenceJob;
use engine::task::{Classification, EmbeddingInput, TaskKind};
use engine::{Fingerprint, InferenceError};
use runtime::inference::{
    CpuShare, EMBEDDED_MODEL, ModelFile, ModelSpec, Precision, WORKER_COMMAND, WorkerPool, WorkerPoolHandle,
    WorkerPoolOptions, bound_own_memory, worker_main,
};
use runtime::ports::{Inference, InferenceEvent};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::time::timeout;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [command, model] if command == WORKER_COMMAND && model == GREEDY => return be_greedy(),
        [command, model] if command == WORKER_COMMAND => return worker_main(model.as_ref()),
        _ => {}
    }
    own_main::run(&TESTS, &arguments)
}

const TESTS: [(&str, own_main::Test); 9] = [
    ("replaced_files_end_running_jobs_and_are_another_model", |it| {
        it.block_on(replaced_files_end_running_jobs_and_are_another_model());
    }),
    ("a_model_is_loaded_when_its_first_job_comes", |it| {
        it.block_on(a_model_is_loaded_when_its_first_job_comes());
    }),
    ("the_least_recently_used_model_makes_room", |it| {
        it.block_on(the_least_recently_used_model_makes_room())
    }),
    ("an_unusable_model_stays_withdrawn_when_others_are_loaded", |it| {
        it.block_on(an_unusable_model_stays_withdrawn_when_others_are_loaded());
    }),
    ("a_busy_model_stays_and_the_next_one_waits", |it| {
        it.block_on(a_busy_model_stays_and_the_next_one_waits())
    }),
    ("a_model_that_does_not_fit_is_rejected_with_its_size", |it| {
        it.block_on(a_model_that_does_not_fit_is_rejected_with_its_size());
    }),
    ("a_worker_has_no_more_memory_than_it_may", |it| it.block_on(a_worker_has_no_more_memory_than_it_may())),
    ("a_killed_worker_is_back_within_two_seconds_and_alone", |it| {
        it.block_on(a_killed_worker_is_back_within_two_seconds_and_alone());
    }),
    ("models_come_and_go_and_keep_to_their_share", |it| {
        it.block_on(models_come_and_go_and_keep_to_their_share());
    }),
];

/// The timeout for each step, with room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

fn options() -> WorkerPoolOptions {
    WorkerPoolOptions {
        program: std::env::current_exe().unwrap(),
        arguments: vec![WORKER_COMMAND.into()],
        memory_bytes_max: 250 * MIB,
        cpu: CpuShare::new(2, 1, 100),
    }
}

/// Returns the built-in model under another name. It claims to need 100 MiB.
fn model(name: &str) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        source: vec![EMBEDDED_MODEL.into()],
        kinds: KINDS.to_vec(),
        bytes: 23 * MIB,
        memory_bytes: 100 * MIB,
        fingerprint: Some(FINGERPRINT),
        files: Vec::new(),
        precision: Precision::Auto,
        eager: false,
        place: "here".to_owned(),
    }
}

/// The fingerprint of all models here.
const FINGERPRINT: Fingerprint = Fingerprint([7; 16]);
/// The task kinds of the built-in model.
const KINDS: [TaskKind; 3] = [TaskKind::Embedding, TaskKind::Classification, TaskKind::Reranking];

fn embed(text: &str) -> InferenceJob {
    InferenceJob::Embed { inputs: vec![vec![EmbeddingInput::Text(text.to_owned())]] }
}

/// Returns a job that takes one core several seconds.
fn long_work() -> InferenceJob {
    let text = "a ".repeat(300);
    InferenceJob::Embed { inputs: vec![vec![EmbeddingInput::Text(text)]; 1000] }
}

async fn next(pool: &mut WorkerPool) -> InferenceEvent {
    timeout(PATIENCE, pool.next()).await.expect("the pool says nothing")
}

/// Waits for the end of a job. Skips events of models.
async fn end(pool: &mut WorkerPool, wanted: u64) -> Result<usize, InferenceError> {
    loop {
        if let InferenceEvent::Done { job, result, .. } = next(pool).await {
            assert_eq!(job, JobId(wanted));
            return result.map(|outputs| outputs.len());
        }
    }
}

async fn run(pool: &mut WorkerPool, job: u64, model: &str) -> Result<usize, InferenceError> {
    Inference::start(pool, JobId(job), model.to_owned(), FINGERPRINT, embed("a text"));
    end(pool, job).await
}

/// Waits until all kinds of a model are announced as ready, or as not ready.
async fn announced(pool: &mut WorkerPool, model: &str, wanted: bool) {
    let mut left: BTreeSet<TaskKind> = KINDS.into();
    while !left.is_empty() {
        if let InferenceEvent::Model { name, kind, state, .. } = next(pool).await
            && name == model
            && (state == ModelState::Ready) == wanted
        {
            left.remove(&kind);
        }
    }
}

fn loaded(pool: &WorkerPool) -> Vec<&'static str> {
    ["one", "two", "three"].into_iter().filter(|name| pool.worker_pid(name).is_some()).collect()
}

fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits until a process has used some CPU time, so that its job is running.
async fn wait_until_busy(pool: &mut WorkerPool, pid: u32) {
    let (deadline, before) = (Instant::now() + PATIENCE, ticks(pid));
    while ticks(pid) < before + 3 {
        assert!(Instant::now() < deadline);
        // The pool makes progress only when polled.
        let _ = timeout(Duration::from_millis(5), pool.next()).await;
    }
}

/// Returns the CPU time of a process in the kernel's ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn reason(result: Result<usize, InferenceError>) -> String {
    let error = result.unwrap_err();
    let InferenceError::ModelFailed(reason) = error else { panic!("{error:?}") };
    reason.to_string()
}

async fn a_model_is_loaded_when_its_first_job_comes() {
    let eager = ModelSpec { eager: true, ..model("one") };
    let (mut pool, handle) = WorkerPool::start(options(), vec![eager, model("two")]);
    announced(&mut pool, "one", true).await;
    assert_eq!(loaded(&pool), ["one"]);
    assert_eq!(run(&mut pool, 1, "two").await, Ok(1));
    assert_eq!(loaded(&pool), ["one", "two"]);
    assert_ne!(pool.worker_pid("one"), pool.worker_pid("two"));
    let status = handle.status();
    let ready: Vec<(&str, bool, bool)> =
        status.iter().map(|model| (model.name.as_str(), model.ready, model.loaded_at.is_some())).collect();
    assert_eq!(ready, [("one", true, true), ("two", true, true)]);
    let said = reason(run(&mut pool, 2, "llama").await);
    assert_eq!(said, r#"no model named "llama" here; this node runs one, two"#);
}

async fn the_least_recently_used_model_makes_room() {
    let (mut pool, _handle) = WorkerPool::start(options(), ["one", "two", "three"].map(model).to_vec());
    for (job, (name, then)) in [
        ("one", vec!["one"]),
        ("two", vec!["one", "two"]),
        ("one", vec!["one", "two"]),
        ("three", vec!["one", "three"]),
        ("two", vec!["two", "three"]),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(run(&mut pool, job as u64, name).await, Ok(1));
        assert_eq!(loaded(&pool), then, "after {name}");
    }
}

async fn an_unusable_model_stays_withdrawn_when_others_are_loaded() {
    let broken = ModelSpec { source: vec!["/nowhere".into()], ..model("broken") };
    let (mut pool, handle) =
        WorkerPool::start(options(), vec![broken, model("one"), model("two"), model("three")]);
    announced(&mut pool, "broken", true).await;
    run(&mut pool, 1, "broken").await.unwrap_err();
    for (job, name) in (2..).zip(["one", "two", "three"]) {
        assert_eq!(run(&mut pool, job, name).await, Ok(1));
    }
    assert_eq!(loaded(&pool), ["two", "three"], "what is broken takes no room");
    let status = handle.status().into_iter().find(|model| model.name == "broken").unwrap();
    assert!(status.reason.unwrap().contains("/nowhere"), "it is known why");
    let refused = run(&mut pool, 5, "broken").await.unwrap_err();
    assert!(matches!(refused, InferenceError::ModelFailed(_)), "{refused:?}");
}

async fn a_busy_model_stays_and_the_next_one_waits() {
    let options = WorkerPoolOptions { memory_bytes_max: 150 * MIB, ..options() };
    let (mut pool, _handle) = WorkerPool::start(options, ["one", "two"].map(model).to_vec());
    assert_eq!(run(&mut pool, 1, "one").await, Ok(1));
    Inference::start(&mut pool, JobId(2), "one".to_owned(), FINGERPRINT, long_work());
    Inference::start(&mut pool, JobId(3), "two".to_owned(), FINGERPRINT, embed("a text"));
    Inference::start(&mut pool, JobId(4), "two".to_owned(), FINGERPRINT, embed("a text"));
    assert_eq!(loaded(&pool), ["one"]);
    pool.cancel(JobId(3));
    assert_eq!(end(&mut pool, 3).await, Err(InferenceError::Cancelled));
    pool.cancel(JobId(2));
    assert_eq!(end(&mut pool, 2).await, Err(InferenceError::Cancelled));
    assert_eq!(end(&mut pool, 4).await, Ok(1));
    assert_eq!(loaded(&pool), ["two"]);
}

async fn a_model_that_does_not_fit_is_rejected_with_its_size() {
    let large = ModelSpec { memory_bytes: 2000 * MIB, ..model("two") };
    let (mut pool, handle) = WorkerPool::start(options(), vec![model("one"), large.clone()]);
    assert!(!options().fits(&large));
    announced(&mut pool, "two", false).await;
    let said = reason(run(&mut pool, 1, "two").await);
    assert_eq!(said, "it needs about 2000 MiB of memory, at most 250 MiB of max_memory_mb are for models");
    let status = &handle.status()[1];
    assert_eq!(status.reason.as_ref(), Some(&said));
    assert!(status.hint.as_ref().unwrap().starts_with("raise max_memory_mb to 2526, "), "{status:?}");
    assert_eq!(run(&mut pool, 2, "one").await, Ok(1));
}

async fn a_worker_has_no_more_memory_than_it_may() {
    let greedy = ModelSpec { source: vec![GREEDY.into()], kinds: vec![TaskKind::Embedding], ..model("one") };
    let (mut pool, _handle) = WorkerPool::start(options(), vec![greedy, model("two")]);
    let said = reason(run(&mut pool, 1, "one").await);
    assert!(said.contains("its worker ends while it loads"), "{said}");
    assert_eq!(run(&mut pool, 2, "two").await, Ok(1), "the others go on");
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", pool.worker_pid("two").unwrap())).unwrap();
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(data.contains(&(314 * MIB).to_string()), "{data}");
}

/// Runs a worker that allocates 1 GiB and then reports that it is ready.
fn be_greedy() -> ExitCode {
    bound_own_memory();
    let mut input = std::io::stdin().lock();
    let mut asked = [0; 13];
    input.read_exact(&mut asked).unwrap();
    let mut output = std::io::stdout().lock();
    output.write_all(&asked).unwrap();
    output.flush().unwrap();
    // `black_box`, or the compiler could remove the allocation.
    let taken = std::hint::black_box(vec![1_u8; 1 << 30]);
    // `Ready { kinds: [Embedding] }`, which must not be reached.
    output.write_all(&[3, 0, 0, 0, 3, 1, taken[taken.len() / 2]]).unwrap();
    output.flush().unwrap();
    let mut rest = Vec::new();
    input.read_to_end(&mut rest).unwrap();
    ExitCode::SUCCESS
}

const GREEDY: &str = "greedy";

async fn a_killed_worker_is_back_within_two_seconds_and_alone() {
    let (mut pool, _handle) = WorkerPool::start(options(), ["one", "two"].map(model).to_vec());
    assert_eq!(run(&mut pool, 1, "one").await, Ok(1));
    assert_eq!(run(&mut pool, 2, "two").await, Ok(1));
    let [first, other] = ["one", "two"].map(|name| pool.worker_pid(name).unwrap());
    Inference::start(&mut pool, JobId(3), "one".to_owned(), FINGERPRINT, long_work());
    wait_until_busy(&mut pool, first).await;
    kill(first, "KILL");
    assert_eq!(end(&mut pool, 3).await, Err(InferenceError::Crashed));
    let deadline = Instant::now() + PATIENCE;
    while pool.worker_pid("one").is_none_or(|pid| pid == first) {
        assert!(Instant::now() < deadline);
        let _ = timeout(Duration::from_millis(5), pool.next()).await;
    }
    assert_eq!(run(&mut pool, 4, "one").await, Ok(1));
    assert_eq!(pool.worker_pid("two"), Some(other));
}

async fn models_come_and_go_and_keep_to_their_share() {
    let (mut pool, handle) = start_with_a_quarter_of_a_core();
    announced(&mut pool, "one", true).await;
    handle.list(vec![model("one"), model("two")]).await;
    announced(&mut pool, "two", true).await;
    assert_eq!(run(&mut pool, 1, "two").await, Ok(1));
    handle.list(vec![model("two")]).await;
    announced(&mut pool, "one", false).await;
    assert!(reason(run(&mut pool, 2, "one").await).contains("this node runs two"));

    Inference::start(&mut pool, JobId(3), "two".to_owned(), FINGERPRINT, long_work());
    let pid = pool.worker_pid("two").unwrap();
    wait_until_busy(&mut pool, pid).await;
    let (begun, before) = (Instant::now(), ticks(pid));
    while begun.elapsed() < Duration::from_millis(1500) {
        let _ = timeout(Duration::from_millis(50), pool.next()).await;
    }
    let used = Duration::from_millis(10 * (ticks(pid) - before));
    assert!(used < begun.elapsed() / 2, "{used:?} of {:?}", begun.elapsed());
    pool.cancel(JobId(3));
    assert_eq!(end(&mut pool, 3).await, Err(InferenceError::Cancelled));
    drop(pool);
    let deadline = Instant::now() + PATIENCE;
    let exists =
        || Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    while exists().success() {
        assert!(Instant::now() < deadline, "the worker outlives its pool");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn start_with_a_quarter_of_a_core() -> (WorkerPool, WorkerPoolHandle) {
    let options = WorkerPoolOptions { cpu: CpuShare::new(1, 1, 25), ..options() };
    WorkerPool::start(options, vec![model("one")])
}

async fn replaced_files_end_running_jobs_and_are_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let weights = folder.path().join("model.safetensors");
    let spec = |fingerprint| ModelSpec {
        source: vec![folder.path().into()],
        kinds: vec![TaskKind::Classification],
        fingerprint: Some(fingerprint),
        files: vec![ModelFile::at("model.safetensors".to_owned(), weights.clone()).unwrap()],
        precision: Precision::F32,
        ..model("mine")
    };
    let other = Fingerprint([8; 16]);
    let (mut pool, handle) = WorkerPool::start(options(), vec![spec(FINGERPRINT)]);
    let classify = |pool: &mut WorkerPool, job, which| {
        let input = Classification { text: "a text".to_owned(), labels: Vec::new(), truncate: true };
        let work = InferenceJob::Classify { inputs: vec![input] };
        Inference::start(pool, JobId(job), "mine".to_owned(), which, work);
    };
    classify(&mut pool, 1, FINGERPRINT);
    assert_eq!(end(&mut pool, 1).await, Ok(1));

    std::fs::write(&weights, std::fs::read(&weights).unwrap()).unwrap();
    classify(&mut pool, 2, FINGERPRINT);
    // The model is withdrawn before the job ends, so that nobody retries with it.
    let (name, kind) = ("mine".to_owned(), TaskKind::Classification);
    let away = InferenceEvent::Model { name, kind, fingerprint: None, state: ModelState::Away };
    assert_eq!(next(&mut pool).await, away);
    assert_eq!(end(&mut pool, 2).await, Err(InferenceError::ModelChanged));
    assert_eq!(handle.status()[0].fingerprint, None);

    handle.list(vec![spec(other)]).await;
    let (name, state) = ("mine".to_owned(), ModelState::Ready);
    assert_eq!(next(&mut pool).await, InferenceEvent::Model { name, kind, fingerprint: Some(other), state });
    classify(&mut pool, 3, FINGERPRINT);
    assert_eq!(end(&mut pool, 3).await, Err(InferenceError::ModelChanged));
    classify(&mut pool, 4, other);
    assert_eq!(end(&mut pool, 4).await, Ok(1));
}
