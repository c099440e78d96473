//! The worker process behind the inference port: results, crashes, cancellation and exit.
//!
//! This program has its own `main`. Like a node's program, it runs as the worker if started with
//! `inference-worker MODEL`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

#[path = "support/own_main.rs"]
mod own_main;

use engine::ids::JobId;
use engine::input::ModelState;
use engine::output::InferenceJob;
use engine::task::{Classification, EmbeddingInput, Generation, Prompt, TaskKind, TaskOutput};
use engine::{Fingerprint, InferenceError};
use runtime::inference::{
    EMBEDDED_MODEL, Precision, ProcessInference, WORKER_COMMAND, WorkerOptions, worker_main,
};
use runtime::ports::{Inference, InferenceEvent};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::time::timeout;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, model] = arguments.as_slice()
        && command == WORKER_COMMAND
    {
        return worker_main(model.as_ref());
    }
    own_main::run(&TESTS, &arguments)
}

/// The fingerprint of all jobs: a worker has one model.
const FINGERPRINT: Fingerprint = Fingerprint([7; 16]);
const TESTS: [(&str, own_main::Test); 20] = [
    ("a_llama_continues_texts", |it| it.block_on(a_llama_continues_texts())),
    ("generations_take_turns_and_can_be_cancelled", |it| {
        it.block_on(generations_take_turns_and_can_be_cancelled());
    }),
    ("texts_for_which_there_is_no_memory_wait_or_are_refused", |it| {
        it.block_on(texts_for_which_there_is_no_memory_wait_or_are_refused());
    }),
    ("a_text_gets_the_label_that_fits", |it| it.block_on(a_text_gets_the_label_that_fits())),
    ("a_folder_with_a_head_classifies", |it| it.block_on(a_folder_with_a_head_classifies())),
    ("a_tokenizer_that_panics_fails_its_jobs", |it| it.block_on(a_tokenizer_that_panics_fails_its_jobs())),
    ("hostile_texts_get_a_result_and_leave_the_worker_alive", |it| {
        it.block_on(hostile_texts_get_a_result_and_leave_the_worker_alive());
    }),
    ("batched_texts_return_to_their_jobs", |it| it.block_on(batched_texts_return_to_their_jobs())),
    ("unsupported_tasks_are_rejected_with_a_reason", |it| {
        it.block_on(unsupported_tasks_are_rejected_with_a_reason())
    }),
    ("a_killed_worker_ends_its_jobs_and_is_replaced", |it| {
        it.block_on(a_killed_worker_ends_its_jobs_and_is_replaced());
    }),
    ("a_job_that_waits_outlives_a_crash", |it| it.block_on(a_job_that_waits_outlives_a_crash())),
    ("a_cancelled_job_stops", |it| it.block_on(a_cancelled_job_stops())),
    ("a_worker_that_does_not_stop_is_killed", |it| it.block_on(a_worker_that_does_not_stop_is_killed())),
    ("a_damaged_model_fails_its_jobs", |it| it.block_on(a_damaged_model_fails_its_jobs())),
    ("a_model_that_kills_its_loader_fails_its_jobs", |it| {
        it.block_on(a_model_that_kills_its_loader_fails_its_jobs());
    }),
    ("a_program_that_is_no_worker_fails_its_jobs", |it| {
        it.block_on(a_program_that_is_no_worker_fails_its_jobs());
    }),
    ("dropping_the_port_kills_the_worker", |it| it.block_on(dropping_the_port_kills_the_worker())),
    ("a_worker_without_a_node_exits", |_| a_worker_without_a_node_exits()),
    ("a_worker_exits_on_an_invalid_first_message", |_| a_worker_exits_on_an_invalid_first_message()),
    ("jobs_beyond_the_limit_are_refused", |it| it.block_on(jobs_beyond_the_limit_are_refused())),
];

/// The timeout for each step, with room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> WorkerOptions {
    WorkerOptions::own_program(EMBEDDED_MODEL).unwrap()
}

fn embed(texts: &[&str]) -> InferenceJob {
    InferenceJob::Embed {
        inputs: texts.iter().map(|&text| vec![EmbeddingInput::Text(text.to_owned())]).collect(),
    }
}

/// Starts a worker with the small Llama and waits until it is ready.
async fn llama() -> ProcessInference {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/llama");
    let kinds = vec![TaskKind::Generation];
    let mut port =
        ProcessInference::start(WorkerOptions { kinds, ..WorkerOptions::own_program(folder).unwrap() });
    let (name, kind) = (folder.to_owned(), TaskKind::Generation);
    assert_eq!(
        next(&mut port).await,
        InferenceEvent::Model { name, kind, fingerprint: None, state: ModelState::Ready }
    );
    port
}

fn generate(port: &mut ProcessInference, job: u64, seed: u64, max_tokens: u32) {
    let prompt = Prompt::Text("A heartbeat that is".to_owned());
    let generation = Generation { seed: Some(seed), max_tokens, ..Generation::from_prompt(prompt) };
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/llama").to_owned();
    Inference::start(port, JobId(job), model, FINGERPRINT, InferenceJob::Generate(Box::new(generation)));
}

async fn a_llama_continues_texts() {
    let mut port = llama().await;
    let mut texts = Vec::new();
    for (job, seed) in [(1, 7), (2, 7), (3, 8)] {
        generate(&mut port, job, seed, 30);
        let (mut pieces, mut counts) = (String::new(), Vec::new());
        let output = loop {
            match next(&mut port).await {
                InferenceEvent::Progress { job: of, text, tokens } => {
                    assert_eq!(of, JobId(job));
                    pieces.push_str(&text);
                    counts.push(tokens);
                }
                InferenceEvent::Done { result, .. } => break result.unwrap().remove(0).unwrap(),
                InferenceEvent::Model { .. } => panic!("the worker was replaced"),
            }
        };
        let TaskOutput::Generation { text, prompt_tokens, tokens, .. } = output else { panic!("{output:?}") };
        assert_eq!(pieces, text);
        assert!(counts.is_sorted() && counts.len() > 5 && tokens <= 30 && prompt_tokens > 5, "{counts:?}");
        texts.push(text);
    }
    assert_eq!(texts[0], texts[1], "the same seed");
    assert_ne!(texts[0], texts[2], "another seed");
    // Other task kinds and prompts that are too long are rejected with a reason.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/llama").to_owned();
    Inference::start(&mut port, JobId(4), model.clone(), FINGERPRINT, embed(&["a"]));
    assert_eq!(reason(next_done(&mut port).await.1), "the model does generation, not embedding");
    let long = Generation::from_prompt(Prompt::Text("word ".repeat(1000)));
    Inference::start(&mut port, JobId(5), model, FINGERPRINT, InferenceJob::Generate(Box::new(long)));
    let refused = next_done(&mut port).await.1.unwrap().remove(0).unwrap_err();
    assert!(matches!(&refused, InferenceError::InputRejected(why) if why.contains("tokens")), "{refused:?}");
}

async fn generations_take_turns_and_can_be_cancelled() {
    let mut port = llama().await;
    let worker = port.worker_pid().unwrap();
    for job in 0..8 {
        generate(&mut port, job, job, 100);
    }
    // Four run at a time. Cancel one that runs and one that waits.
    port.cancel(JobId(7));
    port.cancel(JobId(1));
    let (mut written, mut ended) = (Vec::new(), Vec::new());
    while ended.len() < 8 {
        match next(&mut port).await {
            InferenceEvent::Progress { job, .. } => written.push(job.0),
            InferenceEvent::Done { job, result, .. } => {
                let wanted = job.0 != 1 && job.0 != 7;
                // Job 1 may have ended before the cancellation arrives.
                let cancelled = result == Err(InferenceError::Cancelled);
                assert!(if wanted { result.is_ok() } else { cancelled || job.0 == 1 }, "{job:?}: {result:?}");
                ended.push(job.0);
            }
            InferenceEvent::Model { .. } => panic!("the worker was replaced"),
        }
    }
    // The first job may end before the others arrive; the later ones overlap.
    written.dedup();
    let took_turns = |job: &u64| written.iter().filter(|of| *of == job).count() > 1;
    assert!(written.iter().any(took_turns), "nobody took turns: {written:?}");
    ended.sort_unstable();
    assert_eq!(ended, (0..8).collect::<Vec<_>>());
    assert_eq!(port.worker_pid(), Some(worker));
}

/// Writes a Llama of 9 MB with a key-value cache of 64 KiB a token. It always generates the same letter.
fn write_forgetful_llama(folder: &Path) {
    const LAYERS: usize = 16;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/llama");
    std::fs::copy(source.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(source.join("config.json")).unwrap()).unwrap();
    for (name, number) in [
        ("head_dim", 256),
        ("max_position_embeddings", 4096),
        ("num_attention_heads", 2),
        ("num_hidden_layers", LAYERS),
    ] {
        config[name] = number.into();
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();

    let (hidden, inner, query, vocabulary) = (64, 128, 512, 400);
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
        ("lm_head.weight".to_owned(), vec![vocabulary, hidden]),
    ];
    for layer in 0..LAYERS {
        for (part, shape) in [
            ("self_attn.q_proj", vec![query, hidden]),
            ("self_attn.k_proj", vec![query, hidden]),
            ("self_attn.v_proj", vec![query, hidden]),
            ("self_attn.o_proj", vec![hidden, query]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
        ] {
            tensors.push((format!("model.layers.{layer}.{part}.weight"), shape));
        }
    }
    let (mut header, mut numbers) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = numbers.len();
        numbers.resize(start + shape.iter().product::<usize>(), 0.0_f32);
        match name.as_str() {
            "model.embed_tokens.weight" | "model.norm.weight" => numbers[start..].fill(1.0),
            "lm_head.weight" => numbers[start + 40 * hidden..][..hidden].fill(1.0),
            _ => {}
        }
        let offsets = [4 * start, 4 * numbers.len()];
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": offsets});
        header.insert(name, entry);
    }
    let header = serde_json::Value::from(header).to_string();
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes().chain(numbers));
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

async fn texts_for_which_there_is_no_memory_wait_or_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_forgetful_llama(folder.path());
    let model = folder.path().to_str().unwrap().to_owned();
    let mut port = ProcessInference::start(WorkerOptions {
        kinds: vec![TaskKind::Generation],
        memory_bytes: Some(260 << 20),
        ..WorkerOptions::own_program(&model).unwrap()
    });
    assert!(matches!(next(&mut port).await, InferenceEvent::Model { state: ModelState::Ready, .. }));
    let worker = port.worker_pid().unwrap();
    let generate = |port: &mut ProcessInference, job, max_tokens| {
        let prompt = Prompt::Text("A heartbeat that is".to_owned());
        let generation =
            Generation { temperature_thousandths: 0, max_tokens, ..Generation::from_prompt(prompt) };
        Inference::start(
            port,
            JobId(job),
            model.clone(),
            FINGERPRINT,
            InferenceJob::Generate(Box::new(generation)),
        );
    };
    // Two texts of 94 MiB fit.
    for job in 1..=3 {
        generate(&mut port, job, 1_500);
    }
    let mut written = Vec::new();
    while written.len() < 30 {
        let InferenceEvent::Progress { job, .. } = next(&mut port).await else { panic!("a text ended") };
        written.push(job.0);
    }
    written.sort_unstable();
    written.dedup();
    assert_eq!(written, [1, 2]);
    port.cancel(JobId(1));
    loop {
        match next(&mut port).await {
            InferenceEvent::Progress { job: JobId(3), .. } => break,
            InferenceEvent::Progress { .. } => {}
            InferenceEvent::Done { job, result, .. } => {
                assert_eq!((job, result), (JobId(1), Err(InferenceError::Cancelled)));
            }
            InferenceEvent::Model { .. } => panic!("the worker was replaced"),
        }
    }
    port.cancel(JobId(2));
    port.cancel(JobId(3));
    for _ in 0..2 {
        assert_eq!(next_done(&mut port).await.1, Err(InferenceError::Cancelled));
    }
    // A text that can never fit is rejected, and the next one runs.
    generate(&mut port, 4, 4_000);
    let refused = next_done(&mut port).await.1.unwrap().remove(0);
    let Err(InferenceError::InputRejected(reason)) = refused else { panic!("it was written") };
    assert!(
        reason.contains("enough memory for a text of 40") && reason.contains("max_memory_mb"),
        "{reason}"
    );
    generate(&mut port, 5, 10);
    let output = next_done(&mut port).await.1.unwrap().remove(0).unwrap();
    assert!(matches!(&output, TaskOutput::Generation { text, .. } if text == "GGGGGGGGGG"), "{output:?}");
    assert_eq!(port.worker_pid(), Some(worker));
}

/// Returns a job that takes one core about ten seconds.
fn long_work() -> InferenceJob {
    let text = |index| EmbeddingInput::Text(format!("{index} ").repeat(300));
    InferenceJob::Embed { inputs: (0..300).map(|index| vec![text(index)]).collect() }
}

async fn next(port: &mut ProcessInference) -> InferenceEvent {
    timeout(PATIENCE, port.next()).await.expect("an event in time")
}

/// Starts a job of the embedded model.
fn begin(port: &mut ProcessInference, job: u64, work: InferenceJob) {
    Inference::start(port, JobId(job), EMBEDDED_MODEL.to_owned(), FINGERPRINT, work);
}

/// Waits until each kind of the embedded model is announced as ready, or as not ready.
async fn model_is(port: &mut ProcessInference, ready: bool) {
    for kind in [TaskKind::Embedding, TaskKind::Classification, TaskKind::Reranking] {
        let event = next(port).await;
        let InferenceEvent::Model { name, kind: of, state, .. } = event else { panic!("{event:?}") };
        assert_eq!((name.as_str(), of, state == ModelState::Ready), (EMBEDDED_MODEL, kind, ready));
    }
}

type Done = (JobId, Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>);

async fn next_done(port: &mut ProcessInference) -> Done {
    loop {
        if let InferenceEvent::Done { job, result, .. } = next(port).await {
            return (job, result);
        }
    }
}

fn vectors(result: Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>) -> Vec<(Vec<f32>, u32)> {
    let outputs = result.unwrap().into_iter();
    outputs
        .map(|output| {
            let output = output.unwrap();
            let TaskOutput::Embedding { mut vectors, tokens, .. } = output else { panic!("{output:?}") };
            (vectors.remove(0), tokens)
        })
        .collect()
}

fn reason<T: std::fmt::Debug>(result: Result<T, InferenceError>) -> String {
    let error = result.unwrap_err();
    let InferenceError::ModelFailed(reason) = error else { panic!("{error:?}") };
    reason.to_string()
}

fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(status.success());
}

fn exists(pid: u32) -> bool {
    let probe = Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status();
    probe.unwrap().success()
}

async fn batched_texts_return_to_their_jobs() {
    #[derive(serde::Deserialize)]
    struct Golden {
        text: String,
        tokens: u32,
        embedding: Vec<f32>,
    }
    let golden: Vec<Golden> = serde_json::from_str(include_str!("data/minilm.json")).unwrap();
    let mut port = ProcessInference::start(options());
    // Jobs with one text, several texts and no text.
    for (index, row) in golden.iter().enumerate() {
        begin(&mut port, index as u64, embed(&[&row.text]));
    }
    let all: Vec<&str> = golden.iter().map(|row| row.text.as_str()).collect();
    begin(&mut port, 100, embed(&all));
    begin(&mut port, 101, embed(&[]));
    model_is(&mut port, true).await;
    let mut ended = Vec::new();
    for _ in 0..golden.len() + 2 {
        let InferenceEvent::Done { job, micros, result } = next(&mut port).await else { panic!() };
        ended.push(job.0);
        let outputs = vectors(result);
        let rows = match job.0 {
            100 => golden.as_slice(),
            101 => &[],
            index => &golden[index as usize..][..1],
        };
        assert_eq!(outputs.len(), rows.len());
        assert!(micros > 0 || rows.is_empty());
        for ((vector, tokens), row) in outputs.iter().zip(rows) {
            let cosine: f32 = vector.iter().zip(&row.embedding).map(|(one, other)| one * other).sum();
            assert!(cosine > 0.99, "{cosine} for {:?}", row.text);
            assert_eq!(*tokens, row.tokens);
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, (0..golden.len() as u64).chain([100, 101]).collect::<Vec<_>>());
}

async fn unsupported_tasks_are_rejected_with_a_reason() {
    let mut port = ProcessInference::start(options());
    Inference::start(&mut port, JobId(1), "llama".to_owned(), FINGERPRINT, embed(&["a"]));
    let (job, result) = next_done(&mut port).await;
    assert_eq!(job, JobId(1));
    assert_eq!(reason(result), r#"no model named "llama" here; this node runs "all-MiniLM-L6-v2""#);

    begin(&mut port, 2, classify("a", &[]));
    let outputs = next_done(&mut port).await.1.unwrap();
    assert_eq!(
        outputs,
        [Err(InferenceError::InputRejected(
            "the model has no labels of its own; say which ones to choose from, with labels or --label"
                .into()
        ))]
    );
    let generate = InferenceJob::Generate(Box::new(Generation::from_prompt(Prompt::Text("a".to_owned()))));
    begin(&mut port, 3, generate);
    let said = reason(next_done(&mut port).await.1);
    assert_eq!(said, "the model does embedding and classification and reranking, not generation");

    // A text that is rejected does not affect the others.
    let unknown = EmbeddingInput::Tokens(vec![99_999_999]);
    let work =
        InferenceJob::Embed { inputs: vec![vec![unknown], vec![EmbeddingInput::Text("b".to_owned())]] };
    begin(&mut port, 4, work);
    let outputs = next_done(&mut port).await.1.unwrap();
    assert!(matches!(&outputs[0], Err(InferenceError::InputRejected(reason)) if reason.contains("99999999")));
    assert!(matches!(&outputs[1], Ok(TaskOutput::Embedding { tokens: 3, .. })));

    // Texts that are too long are truncated, with a count, or rejected. Other texts are not affected.
    let long = |count: usize| EmbeddingInput::Text("a ".repeat(count));
    let inputs = vec![
        vec![long(254), long(255), long(1_000)],
        vec![EmbeddingInput::Tokens(vec![7; 300]), EmbeddingInput::Text(String::new())],
        vec![long(1), long(300).whole()],
        vec![EmbeddingInput::WholeTokens(vec![7; 300])],
    ];
    Inference::start(
        &mut port,
        JobId(6),
        EMBEDDED_MODEL.to_owned(),
        FINGERPRINT,
        InferenceJob::Embed { inputs },
    );
    let outputs = next_done(&mut port).await.1.unwrap();
    let told = |output: &Result<TaskOutput, InferenceError>| match output {
        Ok(TaskOutput::Embedding { tokens, truncated, .. }) => {
            Ok((*tokens, truncated.iter().map(|cut| (cut.input, cut.dropped)).collect::<Vec<_>>()))
        }
        Ok(output) => panic!("{output:?}"),
        Err(error) => Err(error.clone()),
    };
    let too_long = || "it has 302 tokens, the model takes 256".into();
    let expected = [
        Ok((768, vec![(1, 1), (2, 746)])),
        Ok((258, vec![(0, 46)])),
        Err(InferenceError::PartRejected { part: 1, reason: too_long() }),
        Err(InferenceError::InputRejected(too_long())),
    ];
    assert_eq!(outputs.iter().map(told).collect::<Vec<_>>(), expected);

    let too_many = InferenceJob::Embed { inputs: vec![vec![EmbeddingInput::Text(String::new()); 50]; 100] };
    begin(&mut port, 5, too_many);
    assert!(reason(next_done(&mut port).await.1).contains("at most 1024 texts"));
}

fn classify(text: &str, labels: &[&str]) -> InferenceJob {
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    InferenceJob::Classify { inputs: vec![Classification { text: text.to_owned(), labels, truncate: true }] }
}

async fn a_text_gets_the_label_that_fits() {
    let mut port = ProcessInference::start(options());
    let labels = ["sport", "cooking", "computers"];
    // Repeated, so that labels are also read from the cache.
    for (job, (text, expected)) in (0..).zip([
        ("The keeper saved a penalty in the last minute of the match.", "sport"),
        ("Stir the onions in butter until they are golden.", "cooking"),
        ("The compiler rejects the program: a borrow lives too long.", "computers"),
        ("She won the marathon in a little over two hours.", "sport"),
    ]) {
        begin(&mut port, job, classify(text, &labels));
        let output = next_done(&mut port).await.1.unwrap().remove(0).unwrap();
        let TaskOutput::Classification { label, scores, .. } = output else { panic!("{output:?}") };
        assert_eq!(label, expected, "{text}: {scores:?}");
        assert_eq!(scores.len(), 3);
        assert!(scores.is_sorted_by(|one, other| one.1 >= other.1), "{scores:?}");
        assert!((scores.iter().map(|(_, score)| score).sum::<f32>() - 1.0).abs() < 1e-5, "{scores:?}");
    }
}

async fn a_folder_with_a_head_classifies() {
    #[derive(serde::Deserialize)]
    struct Golden {
        text: String,
        probabilities: Vec<f32>,
        label: String,
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/distilbert");
    let kinds = vec![TaskKind::Classification];
    let options = WorkerOptions { kinds, precision: Precision::F32, ..worker_for(folder.into()) };
    let mut port = ProcessInference::start(options);
    let golden: Vec<Golden> = serde_json::from_str(include_str!("data/distilbert/expected.json")).unwrap();
    for (job, row) in golden.iter().enumerate() {
        begin(&mut port, job as u64, classify(&row.text, &[]));
        let output = next_done(&mut port).await.1.unwrap().remove(0).unwrap();
        let TaskOutput::Classification { label, scores, .. } = output else { panic!("{output:?}") };
        assert_eq!(label, row.label);
        let most = row.probabilities.iter().copied().fold(0.0, f32::max);
        assert!((scores[0].1 - most).abs() < 1e-4, "{scores:?}");
    }
    begin(&mut port, 90, embed(&["a"]));
    assert_eq!(reason(next_done(&mut port).await.1), "the model does classification, not embedding");
    begin(&mut port, 91, classify("a", &["positive", "neutral"]));
    let output = next_done(&mut port).await.1.unwrap().remove(0).unwrap();
    assert!(matches!(&output, TaskOutput::Classification { scores, .. } if scores.len() == 2), "{output:?}");
    let other = InferenceJob::Classify {
        inputs: vec![Classification {
            text: "a".to_owned(),
            labels: vec!["neutral".to_owned(), "blue".to_owned()],
            truncate: true,
        }],
    };
    begin(&mut port, 92, other);
    let refused = next_done(&mut port).await.1.unwrap().remove(0);
    assert!(
        matches!(&refused, Err(InferenceError::InputRejected(why)) if why.contains("\"blue\"")),
        "{refused:?}"
    );
}

async fn a_tokenizer_that_panics_fails_its_jobs() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bert");
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(format!("{data}/{name}"), folder.path().join(name)).unwrap();
    }
    let whole = std::fs::read_to_string(format!("{data}/tokenizer.json")).unwrap();
    let hostile = whole.replacen(
        r#""type": "BertNormalizer""#,
        r#""type": "Precompiled", "precompiled_charsmap": "AAAA""#,
        1,
    );
    assert_ne!(hostile, whole);
    std::fs::write(folder.path().join("tokenizer.json"), hostile).unwrap();
    let kinds = vec![TaskKind::Classification];
    let options = WorkerOptions { kinds, ..worker_for(folder.path().into()) };
    let mut port = ProcessInference::start(options);
    begin(&mut port, 1, classify("a", &[]));
    let said = reason(next_done(&mut port).await.1);
    assert!(said.contains("tokenizer.json: the tokenizer cannot be used: the tokenizer panics"), "{said}");

    // A model with other task kinds than expected is not used.
    let options = worker_for(data.into());
    let mut port = ProcessInference::start(options);
    begin(&mut port, 1, embed(&["a"]));
    let said = reason(next_done(&mut port).await.1);
    assert!(said.ends_with("does classification, not embedding and classification and reranking"), "{said}");
}

async fn hostile_texts_get_a_result_and_leave_the_worker_alive() {
    let mut port = ProcessInference::start(options());
    model_is(&mut port, true).await;
    let worker = port.worker_pid();
    let large = 10 << 20;
    let texts = [
        String::new(),
        " \t\r\n".repeat(1000),
        "\u{0}".to_owned(),
        "a".repeat(large),
        " ".repeat(large),
        "\u{0}".repeat(large),
        "word ".repeat(large / 5),
        "antidisestablishmentarianism".repeat(100_000),
        format!("{}!", "a".repeat(50_000)),
        "((((((((((a+)+)+)+)+)+)+)+)+)+".repeat(1000),
        "👩‍👩‍👧‍👦🏳️‍🌈".repeat(1000),
        "مرحبا بالعالم \u{202e}dlrow olleh\u{202c}".to_owned(),
        "e\u{301}\u{301}\u{301}".repeat(100_000),
        "\u{FFFD}\u{FEFF}\u{200B}\u{E000}\u{10FFFF}".to_owned(),
        "中文".repeat(100_000),
    ];
    for (job, text) in (0..).zip(&texts) {
        let start: String = text.chars().take(10).collect();
        begin(&mut port, job, embed(&[text]));
        let vector = vectors(next_done(&mut port).await.1).remove(0).0;
        assert!(vector.len() == 384 && vector.iter().all(|number| number.is_finite()), "{start:?}");
        let labels = [start.as_str(), "something else"];
        if text.len() < large {
            begin(&mut port, job, classify(text, &labels));
            assert!(next_done(&mut port).await.1.unwrap().remove(0).is_ok(), "{start:?}");
        }
    }
    assert_eq!(port.worker_pid(), worker, "the worker is still the same");
}

async fn a_killed_worker_ends_its_jobs_and_is_replaced() {
    let mut port = ProcessInference::start(options());
    model_is(&mut port, true).await;
    for round in 0..2 {
        let first = port.worker_pid().unwrap();
        let job = JobId(round * 2);
        Inference::start(&mut port, job, EMBEDDED_MODEL.to_owned(), FINGERPRINT, long_work());
        wait_until_busy(first).await;
        kill(first, "KILL");
        model_is(&mut port, false).await;
        assert_eq!(next_done(&mut port).await, (job, Err(InferenceError::Crashed)));
        model_is(&mut port, true).await;
        assert_ne!(port.worker_pid(), Some(first));
        let job = JobId(round * 2 + 1);
        Inference::start(&mut port, job, EMBEDDED_MODEL.to_owned(), FINGERPRINT, embed(&["still there?"]));
        let (ended, result) = next_done(&mut port).await;
        assert_eq!((ended, vectors(result).len()), (job, 1));
    }
}

/// Waits until a process that is ready has used some CPU time, so that its job is running.
async fn wait_until_busy(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    let before = ticks(pid);
    while ticks(pid) < before + 3 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the CPU time of a process in the kernel's ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

async fn a_job_that_waits_outlives_a_crash() {
    let mut port = ProcessInference::start(options());
    model_is(&mut port, true).await;
    let worker = port.worker_pid().unwrap();
    for job in 0..17 {
        let work = if job < 16 { long_work() } else { embed(&["patience"]) };
        begin(&mut port, job, work);
    }
    wait_until_busy(worker).await;
    kill(worker, "KILL");
    for job in 0..16 {
        assert_eq!(next_done(&mut port).await, (JobId(job), Err(InferenceError::Crashed)));
    }
    let (job, result) = next_done(&mut port).await;
    assert_eq!((job, vectors(result).len()), (JobId(16), 1));
}

async fn a_cancelled_job_stops() {
    let mut port = ProcessInference::start(options());
    model_is(&mut port, true).await;
    let worker = port.worker_pid().unwrap();
    for job in 0..20 {
        begin(&mut port, job, long_work());
    }
    wait_until_busy(worker).await;
    // Cancels all jobs but one, both running and waiting ones.
    for job in (0..20).filter(|job| *job != 2) {
        port.cancel(JobId(job));
    }
    port.cancel(JobId(0));
    port.cancel(JobId(999));
    let mut ended = Vec::new();
    for _ in 0..19 {
        let (job, result) = next_done(&mut port).await;
        assert_eq!(result, Err(InferenceError::Cancelled));
        ended.push(job.0);
    }
    ended.sort_unstable();
    assert_eq!(ended, (0..20).filter(|job| *job != 2).collect::<Vec<_>>());
    port.cancel(JobId(2));
    assert_eq!(next_done(&mut port).await, (JobId(2), Err(InferenceError::Cancelled)));
    assert_eq!(port.worker_pid(), Some(worker), "no worker had to be killed");
}

async fn a_worker_that_does_not_stop_is_killed() {
    let mut port = ProcessInference::start(options());
    model_is(&mut port, true).await;
    let worker = port.worker_pid().unwrap();
    begin(&mut port, 1, long_work());
    begin(&mut port, 2, long_work());
    wait_until_busy(worker).await;
    kill(worker, "STOP");
    port.cancel(JobId(1));
    model_is(&mut port, false).await;
    assert_eq!(next_done(&mut port).await, (JobId(1), Err(InferenceError::Cancelled)));
    assert_eq!(next_done(&mut port).await, (JobId(2), Err(InferenceError::Crashed)));
    model_is(&mut port, true).await;
    assert!(!exists(worker));
}

async fn a_damaged_model_fails_its_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, [0xff; 100]).unwrap();
    let mut port = ProcessInference::start(worker_for(path.clone().into()));
    begin(&mut port, 1, embed(&["a"]));
    model_is(&mut port, false).await;
    let said = reason(next_done(&mut port).await.1);
    assert!(said.contains("the header claims 18446744073709551615 bytes"), "{said}");

    // After the file is repaired, the model becomes ready without a new job.
    let whole = concat!(env!("CARGO_MANIFEST_DIR"), "/models/all-MiniLM-L6-v2/model.safetensors");
    std::fs::copy(whole, folder.path().join("whole")).unwrap();
    std::fs::rename(folder.path().join("whole"), &path).unwrap();
    model_is(&mut port, true).await;
    begin(&mut port, 2, embed(&["a"]));
    assert_eq!(vectors(next_done(&mut port).await.1)[0].1, 3);
}

/// Returns the options of a worker for another model. Its jobs still name the embedded one.
fn worker_for(model: std::ffi::OsString) -> WorkerOptions {
    WorkerOptions { arguments: vec![WORKER_COMMAND.into(), model], ..options() }
}

async fn a_model_that_kills_its_loader_fails_its_jobs() {
    // A worker that greets correctly and then exits before it is ready.
    let script = r"printf '\011\000\000\000p2pworkr\003'; exit 7";
    let mut port = ProcessInference::start(shell(script));
    begin(&mut port, 1, embed(&["a"]));
    model_is(&mut port, false).await;
    let said = reason(next_done(&mut port).await.1);
    assert!(said.contains("its worker ends while it loads: it exited"), "{said}");
}

fn shell(script: &str) -> WorkerOptions {
    WorkerOptions {
        program: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".into(), script.into()],
        ..options()
    }
}

async fn a_program_that_is_no_worker_fails_its_jobs() {
    let missing = WorkerOptions { program: PathBuf::from("/nonexistent/worker"), ..options() };
    let garbled = r"printf '\011\000\000\000p2pworkr\003\001\000\000\000\077'; cat > /dev/null";
    let hostile = r"printf '\377\377\377\377'; cat > /dev/null";
    let other = r"printf '\011\000\000\000p2pworkr\004'; cat > /dev/null";
    for (options, expected) in [
        (missing, "/nonexistent/worker cannot be started"),
        (shell(garbled), "its message is invalid"),
        (shell(hostile), "a message of 4294967295 bytes"),
        (shell(other), "it uses another protocol"),
        (shell("echo hello"), "its message is invalid"),
        (shell("true"), "it exited before its first message"),
    ] {
        let mut port = ProcessInference::start(options);
        begin(&mut port, 1, embed(&["a"]));
        model_is(&mut port, false).await;
        let said = reason(next_done(&mut port).await.1);
        assert!(said.contains(expected), "{said:?} does not say {expected:?}");
    }
}

async fn dropping_the_port_kills_the_worker() {
    let mut port = ProcessInference::start(options());
    model_is(&mut port, true).await;
    let worker = port.worker_pid().unwrap();
    begin(&mut port, 1, long_work());
    wait_until_busy(worker).await;
    drop(port);
    let deadline = Instant::now() + PATIENCE;
    while exists(worker) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A killed node closes the only other end of the pipe, so the worker reads the end of its standard input.
fn a_worker_without_a_node_exits() {
    let mut worker = start_worker();
    let mut input = worker.stdin.take().unwrap();
    let mut output = worker.stdout.take().unwrap();
    input.write_all(&[&HELLO[..], &LOAD[..]].concat()).unwrap();
    let mut greeting = [0; 13];
    output.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, HELLO);
    let mut ready = [0; 8];
    output.read_exact(&mut ready).unwrap();
    input.write_all(&long_job()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let before = ticks(worker.id());
    while ticks(worker.id()) < before + 3 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(input);
    let begun = Instant::now();
    assert!(worker.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited for its job");
}

fn start_worker() -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args([WORKER_COMMAND, EMBEDDED_MODEL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Returns the bytes of `Start { job: 1, work: Embed { inputs: 300 × [Text(600 bytes)] } }`.
fn long_job() -> Vec<u8> {
    let mut body = vec![2, 1, 1, 0xac, 0x02];
    for _ in 0..300 {
        body.extend_from_slice(&[1, 0, 0xd8, 0x04]);
        body.extend_from_slice("a ".repeat(300).as_bytes());
    }
    [&(body.len() as u32).to_le_bytes(), body.as_slice()].concat()
}

fn a_worker_exits_on_an_invalid_first_message() {
    let mut no_hello = start_worker();
    no_hello.stdin.take().unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(!no_hello.wait().unwrap().success());
    let mut no_load = start_worker();
    no_load.stdin.take().unwrap().write_all(&[&HELLO[..], &long_job()].concat()).unwrap();
    assert!(!no_load.wait().unwrap().success());
    let mut nothing = start_worker();
    drop(nothing.stdin.take());
    assert!(nothing.wait().unwrap().success());
}

const HELLO: [u8; 13] = *b"\x09\0\0\0p2pworkr\x03";
/// `Load { threads: 1, precision: Auto, files: [] }`.
const LOAD: [u8; 8] = [4, 0, 0, 0, 1, 1, 0, 0];

async fn jobs_beyond_the_limit_are_refused() {
    // The program never answers, so all jobs stay open.
    let mut port = ProcessInference::start(shell("cat > /dev/null"));
    for job in 0..1025 {
        begin(&mut port, job, embed(&["a"]));
    }
    let (job, result) = next_done(&mut port).await;
    assert_eq!((job, reason(result)), (JobId(1024), "1024 jobs wait already".to_owned()));
    for job in 0..1024 {
        port.cancel(JobId(job));
    }
    for job in 0..1024 {
        assert_eq!(next_done(&mut port).await, (JobId(job), Err(InferenceError::Cancelled)));
    }
}
