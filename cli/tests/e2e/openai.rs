//! The compatible APIs of a node, with plain HTTP.

use crate::harness::{Node, Sandbox, exchange, run, until, write};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// Sends a request and returns the status and, if it is JSON, the body.
pub(crate) fn ask(node: &Node<'_>, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let answer = exchange(node.api(), &[head(node, method, path, body.len()).as_bytes(), body].concat());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

pub(crate) fn head(node: &Node<'_>, method: &str, path: &str, length: usize) -> String {
    let token = fs::read_to_string(node.home.token_file()).unwrap();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: \
         application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        node.api()
    )
}

pub(crate) fn post(node: &Node<'_>, path: &str, body: &Value) -> (u16, Value) {
    ask(node, "POST", path, body.to_string().as_bytes())
}

fn numbers(vector: &Value) -> Vec<f64> {
    vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(x, y)| x * y).sum()
}

#[test]
fn embeddings_by_openais_route_are_those_of_tasks() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let (id_a, id_b) = (a.start(), b.start());
    a.await_peers(&[&id_b]);
    b.await_peers(&[&id_a]);
    let id = a.submit("hello world");
    a.await_task(&id);
    let task = a.json(&["task", "result", &id, "--json"]);
    let texts: Vec<String> =
        (0..100).map(|number| format!("hello world {}", "and all ".repeat(number))).collect();
    let mut input = vec!["hello world".to_owned()];
    input.extend(texts);
    let (status, body) = post(&a, "/v1/embeddings", &json!({"input": input, "model": "all-MiniLM-L6-v2"}));
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["data"].as_array().unwrap().len(), 101);
    let first = numbers(&body["data"][0]["embedding"]);
    let alone = numbers(&task["output"]["vector"]);
    assert!(dot(&first, &alone) > 0.999, "the same text, the same vector");
    let tokens = body["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens > 101 * 4, "{tokens}");
    let workers: Vec<Value> = a.json(&["task", "list", "--limit", "10", "--json"])["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["worker"].clone())
        .collect();
    assert!(workers.contains(&json!(id_b)), "both nodes take part: {workers:?}");

    // The tokens of `hello world` in this model's vocabulary.
    let (_, body) = post(&a, "/v1/embeddings", &json!({"input": [7592, 2088], "dimensions": 128}));
    let short = numbers(&body["data"][0]["embedding"]);
    assert_eq!((short.len(), &body["usage"]["prompt_tokens"]), (128, &json!(4)));
    assert!((dot(&short, &short) - 1.0).abs() < 1e-3);
    let cut = &first[..128];
    assert!(dot(&short, cut) / dot(cut, cut).sqrt() > 0.999);

    let (status, body) = ask(&b, "GET", "/v1/models", b"");
    assert_eq!((status, &body["data"][0]["id"]), (200, &json!("all-MiniLM-L6-v2")));
    let (status, body) = post(&b, "/v1/embeddings", &json!({"input": "a", "model": "nobody/nothing"}));
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));
}

#[test]
fn whatever_is_sent_gets_its_status_and_the_next_request_its_answer() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let huge = "words ".repeat((10 << 20) / 6);
    let long = "word ".repeat(60_000);
    for (body, expected) in [
        (json!({"input": ""}).to_string().into_bytes(), 400),
        (json!({"input": " \t\n\u{2003}"}).to_string().into_bytes(), 200),
        (json!({"input": ["a", ""]}).to_string().into_bytes(), 400),
        (json!({"input": ["one", "\n", "three"]}).to_string().into_bytes(), 200),
        (json!({"input": "\0"}).to_string().into_bytes(), 200),
        (br#"{"input": "\udfff\ud800"}"#.to_vec(), 400),
        (b"{\"input\": \"\xc3\x28\"}".to_vec(), 400),
        (json!({"input": huge}).to_string().into_bytes(), 413),
        (json!({"input": long}).to_string().into_bytes(), 413),
        (json!({"input": "👩‍👩‍👧‍👦 שלום עליכם \u{202e}abc"}).to_string().into_bytes(), 200),
        (json!({"input": "a".repeat(100_000)}).to_string().into_bytes(), 200),
        (json!({"input": [4_000_000_000_u32]}).to_string().into_bytes(), 400),
        (json!({"input": [[1, 2], []]}).to_string().into_bytes(), 400),
        (b"[[[[[[[[".repeat(10_000), 400),
        (Vec::new(), 400),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let (status, answer) = ask(&node, "POST", "/v1/embeddings", &body);
        assert_eq!(status, expected, "{shown}: {answer}");
        assert_eq!(answer.get("error").is_some(), expected != 200, "{shown}: {answer}");
        let (status, answer) = post(&node, "/v1/embeddings", &json!({"input": "still there?"}));
        assert_eq!(status, 200, "after {shown}: {answer}");
    }
    let (status, answer) =
        post(&node, "/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "hi"}]}));
    assert_eq!(
        (status, &answer["error"]["code"]),
        (404, &json!("model_not_found")),
        "no model generates here"
    );
}

#[test]
fn what_is_cut_off_is_told_by_every_route_and_over_neighbours() {
    let sandbox = Sandbox::new();
    let (origin, worker) = (sandbox.node("a"), sandbox.node("b"));
    origin.start_bare();
    let id_worker = worker.start();
    origin.await_peers(&[&id_worker]);
    // A model that takes 256 tokens, including [CLS] and [SEP].
    let long = "word ".repeat(300);
    let input = json!(["short", long, "short", format!("{long} and more")]);
    let cut = json!([{"index": 1, "dropped_tokens": 46}, {"index": 3, "dropped_tokens": 48}]);
    let told = "x-truncated-inputs: 1;dropped=46, 3;dropped=48\r\n";
    for (path, body, field) in [
        ("/v1/embeddings", json!({ "input": input }), Some(&cut)),
        ("/embed", json!({ "inputs": input }), None),
        ("/", json!({ "inputs": input, "truncate": true }), None),
        ("/v1/rerank", json!({"query": "a word", "documents": input}), Some(&cut)),
        ("/v2/rerank", json!({"query": "a word", "documents": input}), Some(&cut)),
        ("/rerank", json!({"query": "a word", "texts": input}), None),
    ] {
        let text = body.to_string();
        let answer = exchange(
            origin.api(),
            &[head(&origin, "POST", path, text.len()).as_bytes(), text.as_bytes()].concat(),
        );
        let (head, answer) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains(told), "{path}: {head} {answer}");
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer.get("truncated"), field, "{path}");
        let mut whole = body.clone();
        whole["truncate"] = json!(false);
        let (status, answer) = post(&origin, path, &whole);
        assert!(status == 400 || status == 413, "{path}: {status} {answer}");
        assert!(answer.to_string().contains("input 1 (the first is 0)"), "{path}: {answer}");
        assert!(answer.to_string().contains("it has 302 tokens, the model takes 256"), "{path}: {answer}");
    }
    let submit = ["task", "submit", "--type", "embedding", "--input", &long, "--wait"];
    let said = origin.run(&submit).good();
    assert!(said.contains("256 read, 46 dropped from 1 input: the model takes no more of one"), "{said}");
    let result = origin.json(&[submit.as_slice(), &["--json"]].concat());
    assert_eq!(result["output"]["dropped_tokens"], 46, "{result}");
    assert_eq!(result["output"]["truncated"], json!([{"index": 0, "dropped_tokens": 46}]));
    assert_eq!(result["worker"], json!(id_worker));
    // A failed task was still submitted: its result gives the reason.
    let ran = origin.run(&[submit.as_slice(), &["--no-truncate"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stdout.contains("it has 302 tokens, the model takes 256 (input_rejected)"), "{ran:?}");
    // Log lines are written asynchronously.
    until("the log tells of what was cut", || {
        let logs = origin.run(&["node", "logs", "--lines", "1000"]).good();
        logs.contains("input truncated").then_some(())
    });
}

#[test]
fn a_cross_encoder_ranks_texts_where_there_is_one() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let models = json!([
        "all-MiniLM-L6-v2",
        {"model": data("cross-encoder"), "name": "ranker", "precision": "f32"},
        {"model": data("bert"), "name": "judge"},
    ]);
    let mut start = node.command(&["node", "start"]);
    start.env("P2P_AI_MODELS", models.to_string());
    run(start, b"").good();
    let texts = ["the cat sleeps on the sofa", "a ship sails"];
    let (_, body) = post(&node, "/rerank", &json!({"query": "who sleeps?", "texts": texts}));
    let near = |found: &Value, exact: f64| (found.as_f64().unwrap() - exact).abs() < 1e-5;
    assert_eq!([&body[0]["index"], &body[1]["index"]], [&json!(1), &json!(0)], "{body}");
    // The sigmoids of the values that 64-bit numpy computes.
    assert!(near(&body[0]["score"], 0.043_335_3) && near(&body[1]["score"], 0.039_005_5), "{body}");
    let asked = json!({"query": "who sleeps?", "texts": texts, "raw_scores": true});
    let (_, body) = post(&node, "/rerank", &asked);
    let logit = |share: f64| (share / (1.0 - share)).ln();
    assert!(near(&body[0]["score"], logit(0.043_335_3)), "{body}");
    let asked = json!({"query": "who sleeps?", "documents": [{"text": texts[0]}], "return_documents": true});
    let (_, body) = post(&node, "/v1/rerank", &asked);
    let first = &body["results"][0];
    assert!(near(&first["relevance_score"], 0.039_005_5), "{body}");
    assert_eq!((&body["model"], &first["document"]["text"]), (&json!("ranker"), &json!(texts[0])));
    // Only the cross-encoder has labels of its own; other models compare embeddings.
    let submit = ["task", "submit", "--type", "classification", "--wait", "--input", "some text"];
    assert!(node.run(&submit).good().contains("Model:      judge"));
    let said = node.run(&[submit.as_slice(), &["--label", "one", "--label", "two"]].concat()).good();
    assert!(said.contains("Model:      all-MiniLM-L6-v2"), "{said}");
    let (_, body) = post(&node, "/predict", &json!({"inputs": "some text"}));
    assert_eq!(body.as_array().map(Vec::len), Some(3), "{body}");
    node.run(&["node", "stop"]).good();
}

#[test]
fn the_settings_of_a_models_files_are_followed_or_refused_by_name() {
    let sandbox = Sandbox::new();
    let copy = |name: &str, changes: &[(&str, &str)]| {
        let folder = sandbox.path(name);
        fs::create_dir_all(&folder).unwrap();
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            fs::copy(Path::new(&data("sentence")).join(file), folder.join(file)).unwrap();
        }
        for (file, content) in changes {
            write(&folder.join(file), content);
        }
        json!({"model": folder, "name": name, "precision": "f32"})
    };
    let modules = r#"[{"path":"","type":"sentence_transformers.models.Transformer"},
        {"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]"#;
    let prompts = r#"{"prompts":{"query":"query: "},"default_prompt_name":"query"}"#;
    let mean = ("1_Pooling/config.json", r#"{"pooling_mode":"mean"}"#);
    let settings = "config_sentence_transformers.json";
    let models = json!([
        copy("prompted", &[("modules.json", modules), mean, (settings, prompts)]),
        copy("plain", &[("modules.json", modules), mean]),
        copy("odd", &[("modules.json", modules), mean, (settings, r#"{"default_prompt_name":"none"}"#)]),
    ]);
    let node = sandbox.node("a");
    let mut start = node.command(&["node", "start"]);
    start.env("P2P_AI_MODELS", models.to_string());
    run(start, b"").good();
    let vector = |model: &str, text: &str| {
        let (status, body) = post(&node, "/v1/embeddings", &json!({"model": model, "input": text}));
        assert_eq!(status, 200, "{body}");
        (numbers(&body["data"][0]["embedding"]), body["usage"]["prompt_tokens"].clone())
    };
    assert_eq!(vector("prompted", "cat sat"), vector("plain", "query: cat sat"));
    let (found, _) = vector("plain", "cat sat");
    assert!((dot(&found, &found) - 1.0).abs() > 1e-3, "nothing says that its vectors have unit length");
    let listed: Value = serde_json::from_str(&node.run(&["model", "list", "--json"]).good()).unwrap();
    let odd = listed["models"].as_array().unwrap().iter().find(|row| row["name"] == "odd").unwrap();
    let reason = odd["reason"].as_str().unwrap();
    assert!(reason.contains(r#"default_prompt_name is "none""#), "{reason}");
    node.run(&["node", "stop"]).good();
}

/// Models of other families than BERT answer as PyTorch does, and their prompts are used by name.
#[test]
fn models_of_every_family_embed_rank_and_classify() {
    let sandbox = Sandbox::new();
    let family = |name: &str| {
        let (from, to) = (PathBuf::from(data("encoders")).join(name), sandbox.path(name));
        fs::create_dir_all(to.join("1_Pooling")).unwrap();
        for file in [
            "config.json",
            "model.safetensors",
            "tokenizer_config.json",
            "modules.json",
            "config_sentence_transformers.json",
            "sentence_bert_config.json",
            "1_Pooling/config.json",
        ] {
            let _ = fs::copy(from.join(file), to.join(file));
        }
        let map = fs::read_to_string(data("encoders/nmt_nfkc.txt")).unwrap();
        let tokenizer = fs::read_to_string(from.join("tokenizer.json")).unwrap();
        write(&to.join("tokenizer.json"), &tokenizer.replace("\"nmt_nfkc\"", &format!("{map:?}")));
        json!({"model": to, "name": name, "precision": "f32"})
    };
    let golden = |file: &str| -> Vec<Value> {
        let json = fs::read(PathBuf::from(data("encoders")).join(file)).unwrap();
        serde_json::from_slice(&json).unwrap()
    };
    let near =
        |found: &Value, exact: &Value| (found.as_f64().unwrap() - exact.as_f64().unwrap()).abs() < 1e-4;
    let models = ["mpnet", "roberta", "xlm-roberta-e5", "xlm-roberta-reranker"].map(family);
    let node = sandbox.node("a");
    let mut start = node.command(&["node", "start"]);
    start.env("P2P_AI_MODELS", json!(models).to_string());
    run(start, b"").good();
    for model in ["mpnet", "xlm-roberta-e5"] {
        for row in golden(&format!("{model}/expected.json")).iter().rev().step_by(6) {
            let asked = json!({"model": model, "inputs": row["text"], "prompt_name": row["prompt_name"], "normalize": false});
            let (status, body) = post(&node, "/embed", &asked);
            assert_eq!(status, 200, "{body}");
            let vector = body[0].as_array().unwrap();
            assert!(
                vector.iter().zip(row["embedding"].as_array().unwrap()).all(|(it, exact)| near(it, exact)),
                "{row}"
            );
        }
    }
    let asked = json!({"model": "xlm-roberta-e5", "input": "a", "prompt_name": "document"});
    let plain = json!({"model": "xlm-roberta-e5", "input": "a"});
    let vector = |asked: &Value| post(&node, "/v1/embeddings", asked).1["data"][0]["embedding"].clone();
    assert_eq!(
        vector(&asked),
        vector(&plain),
        "as in sentence-transformers, the prompt of this name is empty"
    );
    let (status, body) =
        post(&node, "/embed", &json!({"model": "xlm-roberta-e5", "inputs": "a", "prompt_name": "title"}));
    assert_eq!(status, 422);
    assert!(
        body["error"].as_str().unwrap().contains("has these prompts: document, passage, query"),
        "{body}"
    );
    for row in golden("xlm-roberta-reranker/pairs.json").iter().filter(|row| row["second"] != "") {
        let asked = json!({"model": "xlm-roberta-reranker", "query": row["first"], "texts": [row["second"]]});
        let (_, body) = post(&node, "/rerank", &asked);
        assert!(near(&body[0]["score"], &row["sigmoid"]), "{row}: {body}");
    }
    for row in golden("roberta/expected.json").iter().step_by(6) {
        let (_, body) = post(&node, "/predict", &json!({"model": "roberta", "inputs": row["text"]}));
        assert_eq!(body[0]["label"], row["label"], "{row}");
        let largest = row["probabilities"]
            .as_array()
            .unwrap()
            .iter()
            .max_by(|one, other| one.as_f64().unwrap().total_cmp(&other.as_f64().unwrap()));
        assert!(near(&body[0]["score"], largest.unwrap()), "{row}: {body}");
    }
    node.run(&["node", "stop"]).good();
}

/// The path of a small published model.
fn data(name: &str) -> String {
    format!("{}/../runtime/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn text_embeddings_inferences_routes_and_a_tasks_events() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    node.start();
    let (status, body) = post(&node, "/embed", &json!({"inputs": ["one", "two"]}));
    assert_eq!((status, body[1].as_array().unwrap().len()), (200, 384), "{body}");
    let texts = json!(["The cat sleeps on the sofa.", "Interest rates rose again.", "A kitten naps."]);
    let (_, body) = post(&node, "/rerank", &json!({"query": "sleeping cats", "texts": texts}));
    assert_eq!(body[2]["index"], 1, "what is about something else comes last: {body}");
    assert_eq!(ask(&node, "GET", "/info", b"").1["model_id"], "all-MiniLM-L6-v2");
    let asked =
        json!({"model": "all-MiniLM-L6-v2", "query": "sleeping cats", "documents": texts, "top_n": 2});
    let (_, body) = post(&node, "/v1/rerank", &asked);
    let found: Vec<&Value> = body["results"].as_array().unwrap().iter().map(|it| &it["index"]).collect();
    assert!(found.len() == 2 && !found.contains(&&json!(1)), "{body}");

    let id = node.submit("how does it go on?");
    let mut stream = TcpStream::connect(node.api()).unwrap();
    stream.write_all(head(&node, "GET", &format!("/api/v1/tasks/{id}/events"), 0).as_bytes()).unwrap();
    let mut text = String::new();
    until("the end of the events", || {
        let mut some = [0; 4096];
        let count = stream.read(&mut some).unwrap();
        text.push_str(&String::from_utf8_lossy(&some[..count]));
        text.contains("event: end").then_some(())
    });
    assert!(text.contains("text/event-stream") && text.contains(r#""status":"COMPLETED""#), "{text}");
}
