//! Tests of the OpenAI and TEI routes in front of a fake node that embeds, classifies and generates one text.

#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else is asked is the same mistake")]

mod clients;

use super::tests::{AUTHORIZED, Server};
use super::*;
use crate::store::Damage;
use engine::model::{ModelConflict, ModelOffer};
use engine::request::{
    Answer, Cursor, DiagnosisView, MemberView, ModelWish, Request, Response, TaskUpdate, TaskView,
};
use engine::task::{
    EmbeddingInput, FinishReason, Outcome, Prompt, ResultSummary, TaskFailure, TaskInput, TaskKind,
    TaskOutput, TaskResult, TaskSpec, TaskStatus, Truncation,
};
use engine::{Fingerprint, NodeId, Rejection, TaskId, TraceId, UnixMillis, testing};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests to the fake node, and its behaviour.
#[derive(Default)]
struct FakeNodeState {
    tasks: BTreeMap<TaskId, TaskSpec>,
    cancelled: Vec<TaskId>,
    /// Submissions to reject because the queue is full.
    full_for: u32,
    /// Results to return as those of tasks whose model was replaced.
    replaced: u32,
}

#[derive(Clone, Default)]
struct FakeNode(Arc<Mutex<FakeNodeState>>);

/// Fingerprint of the model of every task.
const FINGERPRINT: Fingerprint = Fingerprint([7; 16]);
/// Another model that some node has under the same name.
const OTHER: Fingerprint = Fingerprint([9; 16]);
const STORY: &str = "once upon a time";
/// Prompts with this prefix are echoed.
const ECHO: &str = "say ";
/// Maximum bytes of texts that must not be truncated.
const WHOLE_BYTES_MAX: usize = 10;
/// Texts with this prefix are truncated.
const LONG: &str = "long";

impl FakeNode {
    async fn open(&self) -> Server {
        let fake = self.clone();
        Server::before(Box::new(move |request| fake.answer(request)), Arc::new(self.clone())).await
    }

    fn node(&self) -> MutexGuard<'_, FakeNodeState> {
        self.0.lock().unwrap()
    }

    fn answer(&self, request: &Request) -> Option<Answer> {
        let mut node = self.node();
        let alone;
        let request = match request {
            Request::SubmitFor(spec, fingerprint) => {
                assert_eq!(*fingerprint, FINGERPRINT);
                alone = Request::Submit(spec.clone());
                &alone
            }
            other => other,
        };
        Some(match request {
            Request::Choose(ModelWish { model: Some(model), .. })
                if model.ends_with("nobody") || model.starts_with("sentence-transformers/") =>
            {
                Err(Rejection::ModelUnknown(model.clone().into()))
            }
            // A cross-encoder makes no embeddings.
            Request::Choose(ModelWish { kind: TaskKind::Embedding, model: Some(model), .. })
                if model == "cross" =>
            {
                Err(Rejection::ModelUnknown(model.clone().into()))
            }
            Request::Choose(ModelWish { kind: TaskKind::Reranking, model: None, .. }) => {
                Err(Rejection::KindUnsupported(TaskKind::Reranking))
            }
            Request::Choose(wish) => {
                let name = wish.model.clone().unwrap_or_else(|| "m".to_owned());
                Ok(Response::Chosen(name, Some(FINGERPRINT)))
            }
            Request::Diagnosis => {
                let models = vec![(FINGERPRINT, vec![NodeId([7; 16])]), (OTHER, vec![NodeId([8; 16])])];
                let conflict = ModelConflict { name: "org/large".to_owned(), models };
                let (heard, issues) = (0, Vec::new());
                Ok(Response::Diagnosis(DiagnosisView { heard, issues, conflicts: vec![conflict] }))
            }
            Request::Submit(TaskSpec { model: Some(model), .. })
                if model.ends_with("nobody") || model.starts_with("sentence-transformers/") =>
            {
                Err(Rejection::ModelUnknown(model.clone().into()))
            }
            Request::Submit(TaskSpec { input: TaskInput::Reranking(_), model: None, .. }) => {
                Err(Rejection::KindUnsupported(TaskKind::Reranking))
            }
            Request::Submit(_) if node.full_for > 0 => {
                node.full_for -= 1;
                Err(Rejection::QueueFull { retry_after: Duration::from_secs(1) })
            }
            Request::Submit(spec) => spec.input.check().map_err(Rejection::Input).map(|()| {
                let id = TaskId([u8::try_from(node.tasks.len() + 1).unwrap(); 16]);
                node.tasks.insert(id, spec.clone());
                Response::Submitted(id)
            }),
            Request::Cancel(task) => {
                node.cancelled.push(*task);
                Err(Rejection::TaskFinished(*task))
            }
            Request::Task(task) => Ok(Response::Task(Box::new(view(*task, TaskStatus::Running)))),
            Request::AwaitTask(task) => {
                if node.tasks[task].input.texts() == ["for ever"] {
                    return None;
                }
                Ok(Response::Task(Box::new(view(*task, TaskStatus::Completed))))
            }
            Request::Watch { task, seen } => {
                let prompt = node.tasks.get(task).map_or("", |spec| spec.input.texts()[0]).to_owned();
                return news(*task, *seen, &prompt);
            }
            Request::FormerMembers => Ok(Response::Members(Vec::new())),
            Request::Members => Ok(Response::Members(vec![member()])),
            Request::Status => Ok(Response::Status(Box::new(testing::status()))),
            other => panic!("nobody asks this here: {other:?}"),
        })
    }
}

/// Streams the text. Its first worker is lost on the way, and the next one starts again.
fn news(task: TaskId, seen: Cursor, prompt: &str) -> Option<Answer> {
    if prompt.starts_with(ECHO) {
        let news = TaskUpdate { attempt: 1, offset: seen.bytes, text: String::new() };
        return Some(Ok(Response::TaskUpdate(Box::new(view(task, TaskStatus::Completed)), news)));
    }
    let begun = if prompt == "two minds" { "once there" } else { "once" };
    let (status, news) = match (seen.attempt, seen.bytes) {
        (0, 0) => (TaskStatus::Running, (1, 0, begun)),
        (1, _) if prompt == "for ever" => return None,
        (1, _) => (TaskStatus::Running, (2, 0, "once upon a")),
        _ => (TaskStatus::Completed, (2, seen.bytes, "")),
    };
    let (attempt, offset, text) = news;
    let news = TaskUpdate { attempt, offset, text: text.to_owned() };
    Some(Ok(Response::TaskUpdate(Box::new(view(task, status)), news)))
}

impl ResultSource for FakeNode {
    fn result(&self, id: TaskId) -> Result<Option<TaskResult>, ResultReadError> {
        // Not in the condition, which would hold the lock during the block.
        let left = self.node().replaced.checked_sub(1);
        if let Some(left) = left {
            self.node().replaced = left;
            let outcome = Outcome::Failed(TaskFailure::ModelChanged);
            return Ok(Some(TaskResult { summary: summary(id), outcome, fingerprint: None }));
        }
        let output = match &self.node().tasks[&id].input {
            TaskInput::Embedding { inputs } if inputs.iter().any(too_long) => {
                return Ok(Some(refused(id, inputs.iter().position(too_long).unwrap(), inputs.len())));
            }
            TaskInput::Embedding { inputs } => TaskOutput::Embedding {
                vectors: inputs.iter().map(|input| vec![input.bytes() as f32, 1.0]).collect(),
                tokens: u32::try_from(inputs.len()).unwrap(),
                truncated: truncations(inputs.iter().filter_map(EmbeddingInput::text)),
            },
            TaskInput::Classification(input) if !input.truncate && is_long(&input.text) => {
                return Ok(Some(refused(id, 0, 1)));
            }
            TaskInput::Classification(input) => TaskOutput::Classification {
                label: "good".to_owned(),
                scores: vec![("good".to_owned(), 0.75), ("bad".to_owned(), 0.25)],
                truncated: truncations([input.text.as_str()].into_iter()),
            },
            TaskInput::Reranking(input)
                if !input.truncate && input.texts.iter().any(|text| is_long(text)) =>
            {
                let place = input.texts.iter().position(|text| is_long(text)).unwrap();
                return Ok(Some(refused(id, place, input.texts.len())));
            }
            TaskInput::Reranking(input) => TaskOutput::Ranking {
                logits: input.texts.iter().map(|text| text.len() as f32 / 10.0).collect(),
                scores: input.texts.iter().map(|text| text.len() as f32 / 100.0).collect(),
                tokens: 7,
                truncated: truncations(input.texts.iter().map(String::as_str)),
            },
            TaskInput::Generation(generation) => TaskOutput::Generation {
                text: match &generation.prompt {
                    Prompt::Text(text) => text.strip_prefix(ECHO).unwrap_or(STORY).to_owned(),
                    Prompt::Chat(_) => STORY.to_owned(),
                },
                prompt_tokens: 3,
                tokens: 4,
                finish: FinishReason::Stop,
            },
        };
        Ok(Some(TaskResult { summary: summary(id), outcome: Outcome::Completed(output), fingerprint: None }))
    }

    fn damage(&self) -> Damage {
        Damage::default()
    }
}

fn too_long(input: &EmbeddingInput) -> bool {
    match input {
        EmbeddingInput::WholeText(text) => text.len() > WHOLE_BYTES_MAX,
        EmbeddingInput::WholeTokens(tokens) => tokens.len() > WHOLE_BYTES_MAX,
        EmbeddingInput::Text(_) | EmbeddingInput::Tokens(_) => false,
    }
}

fn is_long(text: &str) -> bool {
    text.len() > WHOLE_BYTES_MAX && text.starts_with(LONG)
}

/// Reports all but the first bytes of long texts as truncated.
fn truncations<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<Truncation> {
    let long = texts.enumerate().filter(|(_, text)| is_long(text));
    long.map(|(input, text)| Truncation {
        input: u32::try_from(input).unwrap(),
        dropped: u32::try_from(text.len() - WHOLE_BYTES_MAX).unwrap(),
    })
    .collect()
}

fn refused(id: TaskId, part: usize, of: usize) -> TaskResult {
    let reason = "it has 11 tokens, the model takes 10".into();
    let part = u32::try_from(part).unwrap();
    let failure =
        if of > 1 { TaskFailure::PartRejected { part, reason } } else { TaskFailure::InputRejected(reason) };
    TaskResult { summary: summary(id), outcome: Outcome::Failed(failure), fingerprint: None }
}

fn summary(id: TaskId) -> ResultSummary {
    ResultSummary {
        id,
        kind: TaskKind::Embedding,
        model: "tiny".to_owned(),
        status: TaskStatus::Completed,
        failure: None,
        worker: Some(NodeId([7; 16])),
        execution_micros: 1,
        attempts: 1,
        submitted_at: UnixMillis(5_000),
        completed_at: UnixMillis(6_000),
        expires_at: UnixMillis(7_000),
        output_bytes: 1,
        preview: String::new(),
        output_preview: String::new(),
        trace: TraceId([3; 16]),
    }
}

fn view(id: TaskId, status: TaskStatus) -> TaskView {
    TaskView {
        id,
        kind: TaskKind::Generation,
        model: "tiny".to_owned(),
        status,
        submitted_at: UnixMillis(5_000),
        elapsed_millis: 1,
        attempts: 1,
        worker: None,
        worker_name: engine::NodeName::default(),
        preview: String::new(),
        waits_for: None,
        tokens: None,
        remaining_millis: None,
        result: None,
    }
}

fn member() -> MemberView {
    let models = ["tiny", "org/large", "tiny"].map(|name| ModelOffer {
        name: name.to_owned(),
        kind: TaskKind::Generation,
        fingerprint: Some(FINGERPRINT),
    });
    MemberView {
        node_id: NodeId([7; 16]),
        name: engine::NodeName::new("cedar").unwrap(),
        addresses: Vec::new(),
        version: "1".to_owned(),
        hops: 0,
        links: Vec::new(),
        models: models.into(),
        slots: 1,
        load: None,
        link: None,
        unreachable_millis: None,
    }
}

impl Server {
    async fn post(&self, path: &str, body: &Value) -> (u16, String, Value) {
        let headers = format!("{AUTHORIZED}Content-Type: application/json\r\n");
        self.request("POST", path, &headers, body.to_string().as_bytes()).await
    }

    /// Sends a request, and returns the data of each event of the response.
    async fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let (status, head, text) = self.post(path, body).await;
        assert!(status == 200 && head.contains("content-type: text/event-stream"), "{status} {head}");
        data(text.as_str().unwrap())
    }
}

/// Returns the data of each event; HTTP chunk lengths stand between them.
fn data(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect()
}

#[tokio::test]
async fn embeddings_are_split_into_tasks_and_come_back_in_order() {
    let fake = FakeNode::default();
    let server = fake.open().await;
    let input: Vec<String> = (1..=40).map(|length| "x".repeat(length)).collect();
    let (status, _, body) = server.post("/v1/embeddings", &json!({"input": input, "model": "tiny"})).await;
    assert_eq!((status, &body["object"], &body["model"]), (200, &json!("list"), &json!("tiny")));
    let lengths: Vec<f64> =
        body["data"].as_array().unwrap().iter().map(|one| one["embedding"][0].as_f64().unwrap()).collect();
    assert_eq!(lengths, (1..=40).map(f64::from).collect::<Vec<_>>());
    assert_eq!(body["data"][39]["index"], 39);
    assert_eq!(body["usage"], json!({"prompt_tokens": 40, "total_tokens": 40}));
    assert_eq!(fake.node().tasks.values().map(|spec| spec.input.parts()).collect::<Vec<_>>(), [16, 16, 8]);
}

#[tokio::test]
async fn embeddings_have_the_form_that_was_asked_for() {
    let server = FakeNode::default().open().await;
    let ask =
        async |fields: Value| server.post("/v1/embeddings", &fields).await.2["data"][0]["embedding"].clone();
    assert_eq!(ask(json!({"input": "xyz"})).await, json!([3.0, 1.0]));
    assert_eq!(ask(json!({"input": [1, 2]})).await, json!([8.0, 1.0]));
    assert_eq!(ask(json!({"input": [[1], [2]], "encoding_format": "base64"})).await, json!("AACAQAAAgD8="));
    assert_eq!(ask(json!({"input": "xyz", "dimensions": 1})).await, json!([1.0]));
    let nulls =
        json!({"input": "xyz", "model": null, "encoding_format": null, "dimensions": null, "user": null});
    assert_eq!(ask(nulls).await, json!([3.0, 1.0]), "null is not given");
    // More than the 2 MiB of a control request.
    let long = vec!["ab ".repeat(1_024); 1_000];
    assert_eq!(ask(json!({ "input": long })).await, json!([3072.0, 1.0]));
}

#[tokio::test]
async fn errors_have_openais_shape_and_the_right_status() {
    let fake = FakeNode::default();
    let server = fake.open().await;
    let long = "x".repeat(10 << 20);
    for (path, body, status, code) in [
        ("/v1/embeddings", json!({"input": "a", "model": "nobody"}), 404, "model_not_found"),
        ("/v1/embeddings", json!({"input": ""}), 400, "input_empty"),
        ("/v1/embeddings", json!({"input": ["a", ""]}), 400, "input_empty"),
        ("/v1/embeddings", json!({"input": []}), 400, "invalid_value"),
        ("/v1/embeddings", json!({"input": vec!["a"; 2049]}), 400, "invalid_value"),
        ("/v1/embeddings", json!({"input": {"a": 1}}), 400, "body_malformed"),
        ("/v1/embeddings", json!({"input": "a", "dimensions": 3}), 400, "invalid_value"),
        ("/v1/embeddings", json!({"input": long}), 413, "body_too_large"),
        ("/v1/chat/completions", json!({"messages": []}), 400, "messages_out_of_range"),
        ("/v1/chat/completions", json!({}), 400, "invalid_value"),
        ("/v1/completions", json!({"prompt": "a", "n": 65}), 400, "invalid_value"),
        ("/v1/completions", json!({"prompt": [1, 2]}), 400, "invalid_value"),
        ("/v1/completions", json!({"prompt": ["a", ""]}), 400, "input_empty"),
        ("/v1/responses", json!({}), 404, "route_unknown"),
        ("/v1/models", json!({}), 405, "method_not_allowed"),
        ("/v1/completions", json!({"prompt": "a", "max_tokens": 0}), 400, "invalid_value"),
        (
            "/v1/completions",
            json!({"prompt": "a", "model": "nobody", "stream": true}),
            404,
            "model_not_found",
        ),
    ] {
        let (found, _, answer) = server.post(path, &body).await;
        let detail = &answer["error"];
        assert_eq!((found, &detail["code"]), (status, &json!(code)), "{path}: {answer}");
        assert_eq!(detail["type"], "invalid_request_error");
        assert!(!detail["message"].as_str().unwrap().is_empty() && detail.get("param").is_some());
    }
    let (_, _, answer) = server.post("/v1/embeddings", &json!({"input": [1.5]})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("embeddings: input: the input must be a text, a list of texts, "), "{message}");
    let (_, _, answer) = server.post("/v1/responses", &json!({})).await;
    assert_eq!(answer["error"]["message"], "there is no POST /v1/responses");
    let (_, _, answer) = server.post("/v1/embeddings", &json!({"input": "a", "model": "org/nobody"})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("(fetch it with: p2p-ai-agents model pull org/nobody)"), "{message}");
    // Half of a surrogate pair in UTF-16, and nothing in UTF-8.
    let headers = format!("{AUTHORIZED}Content-Type: application/json\r\n");
    for (body, code) in
        [(&br#"{"input": "\ud800"}"#[..], "body_malformed"), (b"{\"input\": \"\xff\"}", "input_not_utf8")]
    {
        let (status, _, answer) = server.request("POST", "/v1/embeddings", &headers, body).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)));
    }
    let (status, head, answer) = server.request("GET", "/v1/models", "", b"").await;
    assert_eq!((status, &answer["error"]["type"]), (401, &json!("authentication_error")));
    assert!(head.contains("www-authenticate: bearer"));
    for text in ["\0", "🙂 שלום", " \u{2003}\n"] {
        assert_eq!(server.post("/v1/embeddings", &json!({"input": text})).await.0, 200, "{text:?}");
    }
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_then_reported_with_a_time() {
    let fake = FakeNode::default();
    let server = fake.open().await;
    fake.node().full_for = 5;
    assert_eq!(server.post("/v1/embeddings", &json!({"input": "a"})).await.0, 200);
    fake.node().full_for = u32::MAX;
    let (status, head, answer) = server.post("/v1/embeddings", &json!({"input": "a"})).await;
    assert_eq!((status, &answer["error"]["type"]), (429, &json!("rate_limit_error")));
    assert!(head.contains("retry-after: 1"), "{head}");
}

#[tokio::test]
async fn a_request_whose_model_is_replaced_begins_again_with_the_new_one() {
    let fake = FakeNode::default();
    let server = fake.open().await;
    let texts: Vec<String> = (0..40).map(|number| format!("text {number}")).collect();
    fake.node().replaced = 1;
    let (status, _, body) = server.post("/v1/embeddings", &json!({"input": texts})).await;
    assert_eq!((status, body["data"].as_array().map(Vec::len)), (200, Some(40)), "{body}");
    // A model that is replaced again and again is given up, with an error that says to retry.
    fake.node().replaced = u32::MAX;
    let (status, _, body) = server.post("/v1/embeddings", &json!({"input": texts})).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("model_changed")), "{body}");
}

#[tokio::test]
async fn models_are_those_of_the_whole_mesh() {
    let server = FakeNode::default().open().await;
    let (status, body) = server.get("/v1/models").await;
    let model = |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "mesh"});
    let mut large = model("org/large");
    let version = |which: u8, node: u8| {
        json!({
            "fingerprint": Fingerprint([which; 16]).to_string(),
            "nodes": [NodeId([node; 16]).to_string()],
        })
    };
    large["conflict"] = json!([version(7, 7), version(9, 8)]);
    let data = json!([large, model("tiny")]);
    assert_eq!((status, body), (200, json!({"object": "list", "data": data})));
    assert_eq!(server.get("/v1/models/org/large").await, (200, large));
    let (status, body) = server.get("/v1/models/nobody").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn a_completion_is_whole_or_in_pieces_that_make_the_same_text() {
    let server = FakeNode::default().open().await;
    let messages = json!([{"role": "user", "content": "tell"}]);
    let (status, _, body) = server.post("/v1/chat/completions", &json!({"messages": messages})).await;
    let message = json!({"role": "assistant", "content": STORY, "refusal": null});
    assert_eq!((status, &body["choices"][0]["message"]), (200, &message));
    assert_eq!((&body["object"], &body["created"]), (&json!("chat.completion"), &json!(5)));
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    assert_eq!(body["usage"], usage);

    let asked = json!({"messages": messages, "stream": true, "stream_options": {"include_usage": true}});
    let events = server.events("/v1/chat/completions", &asked).await;
    let choices: Vec<&Value> = events.iter().map(|event| &event["choices"][0]).collect();
    let deltas: Vec<&Value> = choices.iter().map(|choice| &choice["delta"]).collect();
    let expected = [
        json!({"role": "assistant", "content": "once"}),
        // The second attempt caught up with the first and went further.
        json!({"content": " upon a"}),
        json!({"content": " time"}),
        json!({}),
    ];
    assert_eq!(deltas[..4], expected.iter().collect::<Vec<_>>());
    assert_eq!(choices[3]["finish_reason"], "stop");
    assert_eq!((&events[4]["choices"], &events[4]["usage"]), (&json!([]), &usage));
    assert_eq!(events[5..], [json!("[DONE]")]);
    assert!(
        events[..5]
            .iter()
            .all(|event| event["object"] == "chat.completion.chunk" && event["model"] == "tiny")
    );

    let events = server.events("/v1/completions", &json!({"prompt": "tell", "stream": true})).await;
    let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!((text.as_str(), events.last()), (STORY, Some(&json!("[DONE]"))));
}

#[tokio::test]
async fn each_prompt_gets_its_answers_in_order() {
    let fake = FakeNode::default();
    let server = fake.open().await;
    let prompts: Vec<String> = (0..20).map(|number| format!("{ECHO}{number}")).collect();
    let expected: Vec<(u64, String)> = (0..40).map(|index| (index, (index / 2).to_string())).collect();
    let choices = |choices: &[&Value]| -> Vec<(u64, String)> {
        let read = |choice: &&Value| {
            (choice["index"].as_u64().unwrap(), choice["text"].as_str().unwrap().to_owned())
        };
        choices.iter().map(read).filter(|(_, text)| !text.is_empty()).collect()
    };
    let mut asked = json!({"prompt": prompts, "n": 2, "seed": 7});
    let (status, _, body) = server.post("/v1/completions", &asked).await;
    let found: Vec<&Value> = body["choices"].as_array().unwrap().iter().collect();
    assert_eq!((status, choices(&found)), (200, expected.clone()));
    let usage = json!({"prompt_tokens": 60, "completion_tokens": 160, "total_tokens": 220});
    assert_eq!(body["usage"], usage, "a prompt counts once");
    let seeds: Vec<Option<u64>> = fake.node().tasks.values().map(seed).collect();
    assert_eq!((seeds.len(), &seeds[..3]), (40, &[Some(7), Some(8), Some(7)][..]));

    asked["stream"] = json!(true);
    asked["stream_options"] = json!({"include_usage": true});
    let events = server.events("/v1/completions", &asked).await;
    let found: Vec<&Value> = events.iter().map(|event| &event["choices"][0]).collect();
    let last = events.len() - 2;
    assert_eq!(choices(&found[..last]), expected);
    let ends: Vec<u64> = found
        .iter()
        .filter(|choice| choice["finish_reason"] == "stop")
        .map(|choice| choice["index"].as_u64().unwrap())
        .collect();
    assert_eq!(ends, (0..40).collect::<Vec<_>>());
    assert_eq!((&events[last]["usage"], &events[last + 1]), (&usage, &json!("[DONE]")));

    let messages = json!([{"role": "user", "content": "tell"}]);
    let (_, _, body) = server.post("/v1/chat/completions", &json!({"messages": messages, "n": 2})).await;
    assert_eq!(body["choices"][1]["message"]["content"], STORY);
}

fn seed(spec: &TaskSpec) -> Option<u64> {
    let TaskInput::Generation(generation) = &spec.input else { panic!("{spec:?}") };
    generation.seed
}

#[tokio::test]
async fn attempts_that_say_different_things_end_the_stream_with_an_error() {
    let server = FakeNode::default().open().await;
    let events = server.events("/v1/completions", &json!({"prompt": "two minds", "stream": true})).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0]["choices"][0]["text"], "once there");
    assert_eq!(events[1]["error"]["code"], "attempts_differ");
}

#[tokio::test]
async fn what_a_client_that_left_had_asked_for_is_cancelled() {
    for stream in [false, true] {
        let fake = FakeNode::default();
        let server = fake.open().await;
        let body = json!({"prompt": "for ever", "stream": stream}).to_string();
        let mut client = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nHost: localhost:{}\r\n{AUTHORIZED}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            server.address.port(),
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while fake.node().tasks.is_empty() {
            assert!(Instant::now() < deadline, "not submitted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if stream {
            let mut some = [0; 64];
            assert!(client.read(&mut some).await.unwrap() > 0);
        }
        drop(client);
        while fake.node().cancelled.is_empty() {
            assert!(Instant::now() < deadline, "not cancelled (stream: {stream})");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_tasks_events_tell_its_status_its_text_and_its_end() {
    let fake = FakeNode::default();
    let server = fake.open().await;
    server.post("/v1/completions", &json!({"prompt": "tell"})).await;
    let id = *fake.node().tasks.keys().next().unwrap();
    let (status, _, text) =
        server.request("GET", &format!("/api/v1/tasks/{id}/events"), AUTHORIZED, b"").await;
    let text = text.as_str().unwrap();
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((status, names), (200, vec!["status", "progress", "progress", "end"]));
    let data = data(text);
    assert_eq!((&data[0]["status"], &data[3]["status"]), (&json!("RUNNING"), &json!("COMPLETED")));
    assert_eq!(data[1], json!({"attempt": 1, "offset": 0, "text": "once"}));
    assert_eq!(data[2], json!({"attempt": 2, "offset": 0, "text": "once upon a"}));
}

#[tokio::test]
async fn a_body_of_megabytes_is_taken_and_a_larger_one_refused_in_the_routes_shape() {
    let server = FakeNode::default().open().await;
    let texts = |count: usize| vec!["x".repeat(3_000); count];
    let (status, _, body) = server.post("/v1/embeddings", &json!({"input": texts(1_000)})).await;
    assert_eq!((status, body["data"].as_array().map(Vec::len)), (200, Some(1_000)), "{}", body["error"]);
    let (status, _, body) = server.post("/embed", &json!({"inputs": texts(1_000)})).await;
    assert_eq!((status, body.as_array().map(Vec::len)), (200, Some(1_000)));
    let (status, _, body) = server.post("/v1/embeddings", &json!({"input": texts(2_000)})).await;
    assert_eq!((status, &body["error"]["type"]), (200, &json!(null)));
    let (status, _, body) = server.post("/v1/embeddings", &json!({"input": texts(3_000)})).await;
    assert_eq!((status, &body["error"]["type"]), (413, &json!("invalid_request_error")));
}

#[tokio::test]
async fn text_embeddings_inferences_routes_have_their_shapes() {
    let server = FakeNode::default().open().await;
    let (_, _, body) = server.post("/embed", &json!({"inputs": ["a", "bcd"]})).await;
    let near = |found: &Value, exact: f64| (found.as_f64().unwrap() - exact).abs() < 1e-6;
    assert!(near(&body[0][0], 0.5_f64.sqrt()) && near(&body[1][0], 0.9_f64.sqrt()), "of unit length: {body}");
    assert_eq!(server.post("/", &json!({"inputs": ["a", "bcd"]})).await.2, body);
    let asked = json!({"inputs": ["a", "bcd"], "normalize": false, "truncate": true});
    assert_eq!(
        server.post("/embed", &asked).await.2,
        json!([[1.0, 1.0], [3.0, 1.0]]),
        "as the model makes them"
    );
    let asked = json!({"input": "a", "normalized": true});
    let (_, _, body) = server.post("/v1/embeddings", &asked).await;
    assert!(near(&body["data"][0]["embedding"][0], 0.5_f64.sqrt()), "{body}");
    let good = json!([{"label": "good", "score": 0.75}, {"label": "bad", "score": 0.25}]);
    assert_eq!(server.post("/predict", &json!({"inputs": "a"})).await.2, good);
    assert_eq!(server.post("/predict", &json!({"inputs": [["a"], ["b"]]})).await.2, json!([good, good]));
    let asked = json!({"query": "xxx", "texts": ["", "xx", "xxxxx"], "return_text": true});
    assert_eq!(server.post("/rerank", &asked).await.0, 200, "an empty text is one");
    let asked = json!({"query": "xxx", "texts": ["x", "xx", "xxx"], "return_text": true});
    let (_, _, body) = server.post("/rerank", &asked).await;
    let order: Vec<&str> =
        body.as_array().unwrap().iter().map(|rank| rank["text"].as_str().unwrap()).collect();
    assert_eq!((order, &body[0]["index"]), (vec!["xxx", "xx", "x"], &json!(2)));
    assert!((body[0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    let asked = json!({"query": "xxx", "texts": ["xxxx", "x"], "model": "cross"});
    let (_, _, body) = server.post("/rerank", &asked).await;
    // A sigmoid, whatever the model's own scores are.
    assert_eq!(body.to_string(), r#"[{"index":0,"score":0.59868765},{"index":1,"score":0.5249792}]"#);
    let asked = json!({"query": "xxx", "texts": ["xxxx", "x"], "model": "cross", "raw_scores": true});
    let (_, _, body) = server.post("/rerank", &asked).await;
    assert_eq!(body.to_string(), r#"[{"index":0,"score":0.4},{"index":1,"score":0.1}]"#);
    let asked = json!({"query": "q", "texts": ["long texts"], "truncate": false});
    assert_eq!(server.post("/rerank", &asked).await.0, 200, "not too long");
    let asked = json!({"inputs": "bcd", "dimensions": 1, "prompt_name": null, "truncate": false});
    assert_eq!(server.post("/embed", &asked).await.2, json!([[1.0]]));
    for (path, body, status) in [
        ("/embed", json!({"inputs": "a", "dimensions": 3}), 422),
        ("/embed", json!({"inputs": "a", "prompt_name": "query"}), 422),
        ("/embed", json!({"inputs": "a", "truncation_direction": "Left"}), 422),
        ("/embed", json!({"inputs": ["a", "a longer text"], "truncate": false}), 413),
        ("/embed", json!({"inputs": vec![1; 11], "truncate": false}), 413),
        ("/embed", json!({"inputs": ["a", ""]}), 422),
        ("/embed", json!({"inputs": "a", "truncate": "START"}), 422),
        ("/predict", json!({"inputs": [["a"], ["long a text"]], "truncate": false}), 413),
        (
            "/rerank",
            json!({"query": "q", "texts": ["long texts!"], "truncate": false, "model": "cross"}),
            413,
        ),
        ("/rerank", json!({"query": "", "texts": ["a"]}), 422),
        ("/predict", json!({"inputs": ["a", "b"]}), 422),
        ("/embed", json!({"inputs": []}), 422),
        ("/embed", json!({}), 400),
    ] {
        let (found, _, answer) = server.post(path, &body).await;
        assert_eq!((found, &answer["error_type"]), (status, &json!("Validation")), "{path} {body}");
    }
}

#[tokio::test]
async fn information_has_all_fields_of_text_embeddings_inference() {
    let server = FakeNode::default().open().await;
    let (status, mut body) = server.get("/info").await;
    // The type depends on the processor.
    let number_type = body["model_dtype"].take();
    assert!(["int8", "bfloat16", "float32"].contains(&number_type.as_str().unwrap()), "{number_type}");
    let expected = json!({
        "model_id": "all-MiniLM-L6-v2",
        "model_sha": null,
        "model_dtype": null,
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_concurrent_requests": 1024,
        "max_input_length": 256,
        "max_batch_tokens": 512,
        "max_batch_requests": null,
        "max_client_batch_size": 2048,
        "auto_truncate": true,
        "tokenization_workers": 3,
        "version": "1",
        "sha": null,
        "docker_label": null,
    });
    assert_eq!((status, body), (200, expected));
}

#[tokio::test]
async fn a_request_keeps_the_trace_of_its_client_and_says_where_it_ran() {
    let fake = FakeNode::default();
    let server = fake.open().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let client = format!("00-{trace}-b7ad6b7169203331-01");
    for (path, body) in [
        ("/v1/embeddings", json!({"input": vec!["a"; 40]})),
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "hi"}], "stream": true})),
        ("/v1/completions", json!({"prompt": "once"})),
        ("/embed", json!({"inputs": "a"})),
        ("/api/v1/tasks", json!({"type": "embedding", "input": "a"})),
    ] {
        let send = async |headers: &str| {
            let headers = format!("{AUTHORIZED}Content-Type: application/json\r\n{headers}");
            let body = serde_json::to_vec(&body).unwrap();
            let (status, head, _) = server.request("POST", path, &headers, &body).await;
            assert!(status < 300, "{path}: {status}");
            head
        };
        let value = |head: &str, name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(": ").to_owned())
        };
        let head = send(&format!("traceparent: {client}\r\ntracestate: a=1\r\ntracestate: b=2\r\n")).await;
        let own = value(&head, "traceparent").unwrap();
        assert!(own.starts_with(&format!("00-{trace}-")) && own.ends_with("-01") && own != client, "{own}");
        assert_eq!(value(&head, "tracestate").as_deref(), Some("a=1,b=2"), "{path}");
        let waited = path.starts_with("/v1/e") || path == "/embed" || path == "/v1/completions";
        assert_eq!(value(&head, "x-p2p-worker").is_some(), waited, "{path}: {head}");
        let timing = value(&head, "server-timing").unwrap_or_default();
        assert_eq!(
            timing.contains("queue;dur=") && timing.contains("total;dur="),
            waited,
            "{path}: {timing}"
        );
        // An invalid one begins a new trace.
        let new = value(&send(&format!("traceparent: {}\r\n", client.to_uppercase())).await, "traceparent");
        assert!(!new.unwrap().contains(trace), "{path}");
    }
}
