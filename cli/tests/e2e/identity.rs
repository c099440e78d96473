//! Model identity: two models with one name in a network, and files that are replaced while in use.

use crate::harness::{Node, Sandbox, run, started_id, until, write};
use crate::openai::{ask, post};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Creates a small embedding model. The other variant has weights of the opposite sign.
fn model(sandbox: &Sandbox, name: &str, other: bool) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/data/bert");
    let folder = sandbox.path(name);
    let config = fs::read_to_string(from.join("config.json")).unwrap();
    write(&folder.join("config.json"), &config.replace("BertForSequenceClassification", "BertModel"));
    fs::copy(from.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    fs::write(folder.join("model.safetensors"), weights(&from, other)).unwrap();
    folder
}

fn weights(from: &Path, other: bool) -> Vec<u8> {
    let mut bytes = fs::read(from.join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    if other {
        // The sign is in the last byte of each number.
        bytes[header..].iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 0x80);
    }
    bytes
}

fn start(node: &Node<'_>, models: &Value, bootstrap: Option<&Node<'_>>) -> String {
    let mut command = node.command(&["node", "start"]);
    command.env("P2P_AI_MODELS", models.to_string());
    if let Some(other) = bootstrap {
        command.args(["--bootstrap-peer", &format!("127.0.0.1:{}", other.port)]);
    }
    started_id(&run(command, b"").good())
}

fn listed(folder: &Path, name: &str, precision: &str) -> Value {
    json!({"model": folder, "name": name, "precision": precision})
}

fn vectors(node: &Node<'_>, model: &str, texts: usize) -> Vec<Vec<f64>> {
    let input: Vec<&str> = vec!["machines find each other"; texts];
    let (status, body) = post(node, "/v1/embeddings", &json!({"model": model, "input": input}));
    assert_eq!(status, 200, "{body}");
    let numbers = |item: &Value| {
        let vector = item["embedding"].as_array().unwrap();
        vector.iter().map(|number| number.as_f64().unwrap()).collect()
    };
    body["data"].as_array().unwrap().iter().map(numbers).collect()
}

fn cosine(one: &[f64], other: &[f64]) -> f64 {
    let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(x, y)| x * y).sum::<f64>();
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

fn fingerprint(node: &Node<'_>, name: &str) -> String {
    until("the model is known", || {
        let models = node.json(&["model", "list", "--json"]);
        let found = models["models"].as_array()?.iter().find(|model| model["name"] == name)?.clone();
        found["fingerprint"].as_str().map(str::to_owned)
    })
}

#[test]
fn a_request_is_answered_by_one_of_two_models_of_a_name_and_everybody_is_told_of_both() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let [first, second] =
        [("first", false), ("second", true)].map(|(name, other)| model(&sandbox, name, other));
    let id_a = start(&a, &json!([listed(&first, "mine", "f32")]), None);
    let id_b = start(&b, &json!([listed(&second, "mine", "f32")]), Some(&a));
    a.await_peers(&[&id_b]);
    let [of_a, of_b] = [&a, &b].map(|node| fingerprint(node, "mine"));
    assert_ne!(of_a, of_b);

    // Many texts become many tasks; each node answers all of them with its own model.
    let [by_a, by_b] = [&a, &b].map(|node| vectors(node, "mine", 100));
    for (own, others) in [(&by_a, &by_b), (&by_b, &by_a)] {
        assert!(own.iter().all(|vector| cosine(vector, &own[0]) > 0.999_999));
        assert!(cosine(&own[0], &others[0]) < 0.99, "the two are different models");
    }

    let told = until("both know of the conflict", || {
        let said = a.run(&["doctor"]);
        said.stdout.contains("\"mine\"").then_some(said)
    });
    assert_eq!(told.code, 1, "{told:?}");
    for part in [&id_a, &id_b, &of_a, &of_b] {
        assert!(told.stdout.contains(part.as_str()), "{part}: {told:?}");
    }
    let warned = a.run(&["model", "list"]);
    assert!(warned.stderr.contains("different models under the name mine"), "{warned:?}");
    let (_, body) = ask(&a, "GET", "/api/v1/models", b"");
    let versions: BTreeSet<&str> = body["conflicts"][0]["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["fingerprint"].as_str().unwrap())
        .collect();
    assert_eq!(versions, BTreeSet::from([of_a.as_str(), of_b.as_str()]), "{body}");
    let (_, body) = ask(&a, "GET", "/v1/models", b"");
    assert_eq!(body["data"][0]["conflict"].as_array().map(Vec::len), Some(2), "{body}");
    a.await_log("model conflict");
}

#[test]
fn one_model_is_one_wherever_it_lies_and_its_precision_is_a_part_of_it() {
    let sandbox = Sandbox::new();
    let (a, b) = (sandbox.node("a"), sandbox.node("b"));
    let [here, there] = ["here", "there"].map(|name| model(&sandbox, name, false));
    start(&a, &json!([listed(&here, "mine", "f32"), listed(&here, "short", "auto")]), None);
    start(&b, &json!([listed(&there, "mine", "f32"), listed(&there, "short", "int8")]), None);
    let [[whole, short], others] = [&a, &b].map(|node| ["mine", "short"].map(|name| fingerprint(node, name)));
    assert_eq!(
        [&whole, &short],
        others.each_ref(),
        "what is computed unasked does not depend on the processor"
    );
    assert_ne!(whole, short);
    let said = a.run(&["doctor"]).stdout;
    assert!(!said.contains("different models"), "{said}");
}

#[test]
fn files_overwritten_while_they_are_in_use_are_the_old_or_the_new_ones_never_both() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let [live, before, after] = [("live", false), ("before", false), ("after", true)]
        .map(|(name, other)| model(&sandbox, name, other));
    let all = [(&live, "live"), (&before, "before"), (&after, "after")];
    let models: Vec<Value> = all.iter().map(|(folder, name)| listed(folder, name, "f32")).collect();
    start(&node, &json!(models), None);
    let one = |name: &str| vectors(&node, name, 1).remove(0);
    let [old, new] = ["before", "after"].map(one);
    assert!(cosine(&one("live"), &old) > 0.999_999);
    assert_eq!(fingerprint(&node, "live"), fingerprint(&node, "before"));
    // In place: it stays the same file, and its worker has it open.
    fs::write(live.join("model.safetensors"), fs::read(after.join("model.safetensors")).unwrap()).unwrap();
    for _ in 0..3 {
        let found = one("live");
        assert!(cosine(&found, &new) > 0.999_999, "{} {}", cosine(&found, &old), cosine(&found, &new));
    }
    assert_eq!(fingerprint(&node, "live"), fingerprint(&node, "after"));
    // Sends many texts in one request while the files are replaced repeatedly.
    for back in [true, false, true] {
        let source = if back { &before } else { &after };
        let content = fs::read(source.join("model.safetensors")).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| fs::write(live.join("model.safetensors"), content).unwrap());
            let found = vectors(&node, "live", 60);
            writer.join().unwrap();
            let near = |vector: &Vec<f64>| [&old, &new].map(|it| cosine(vector, it) > 0.999_999);
            let kinds: BTreeSet<[bool; 2]> = found.iter().map(near).collect();
            assert!(kinds.len() == 1 && !kinds.contains(&[false, false]), "{kinds:?}");
        });
    }
}
