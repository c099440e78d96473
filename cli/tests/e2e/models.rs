//! Models in the real program: pulled from a hub on loopback into a cache, listed, used and removed.

use crate::harness::{Node, Ran, Sandbox, run, until};
use crate::test_hub::{Fault, Special, TestHub, hash};
use serde_json::{Value, json};
use std::process::Stdio;

const MODEL: &str = "owner/model";

struct Scene {
    sandbox: Sandbox,
    hub: TestHub,
    weights: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { sandbox: Sandbox::new(), hub: TestHub::start(), weights: vec![7; 2_000_000] };
        let files: [(&str, &[u8]); 3] = [
            ("config.json", br#"{"architectures": ["BertModel"]}"#),
            ("model.safetensors", &scene.weights),
            ("tokenizer.json", b"{}"),
        ];
        scene.hub.add(MODEL, Special::default(), &files);
        scene
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.command(arguments);
        command
            .env("HF_HOME", self.sandbox.path("hf"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments), b"")
    }

    /// Returns a command with the hub configured.
    fn ask(&self, node: &Node<'_>, more: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut command = node.command(arguments);
        command
            .env("HF_HOME", self.sandbox.path("hf"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .envs(more.iter().copied());
        run(command, b"")
    }

    fn names(&self) -> Vec<String> {
        let listed: Value = serde_json::from_str(&self.run(&["model", "list", "--json"]).good()).unwrap();
        let rows = listed["models"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_model_is_pulled_listed_shown_and_removed() {
    let scene = Scene::new();
    assert_eq!(scene.names(), ["all-MiniLM-L6-v2"]);
    let said = scene.run(&["model", "info", MODEL]).bad(1);
    assert!(said.contains("owner/model is not on this machine"), "{said}");
    assert!(said.contains("hint: ") && said.contains("p2p-ai-agents model pull owner/model"), "{said}");

    scene.hub.fail("model.safetensors", &[Fault::Cut(1_000_000), Fault::Stall(1000)]);
    let said = scene.run(&["model", "pull", MODEL]).good();
    assert!(said.starts_with("Pulled owner/model (2.0 MB, "), "{said}");
    let ranges = ["", " from 1000000", " from 1001000"];
    let expected = ranges.map(|range| format!("GET /storage/owner/model/model.safetensors{range}"));
    assert_eq!(scene.hub.transfers(), expected);
    assert!(scene.run(&["model", "pull", MODEL, "--offline"]).good().contains("is already on this machine"));

    assert_eq!(scene.names(), ["all-MiniLM-L6-v2", MODEL]);
    let info: Value = serde_json::from_str(&scene.run(&["model", "info", MODEL, "--json"]).good()).unwrap();
    assert_eq!(info["architecture"], "BertModel");
    assert_eq!(info["files"][1]["hash"], hash("model.safetensors", &scene.weights));
    let said = scene.run(&["model", "rm", MODEL]).good();
    assert_eq!(said, "Removed owner/model (2.0 MB freed)\n");
    assert_eq!(scene.names(), ["all-MiniLM-L6-v2"]);
    assert!(scene.run(&["model", "rm", MODEL]).bad(1).contains("is not on this machine"));
}

#[test]
fn a_pull_that_cannot_be_says_why_and_what_to_do() {
    let scene = Scene::new();
    let huge = Special { bytes: Some(1 << 39), ..Special::default() };
    scene.hub.add("owner/huge", huge, &[("m.gguf", b"GGUF")]);
    scene.hub.add(
        "owner/gated",
        Special { token: Some("hf_x"), ..Special::default() },
        &[("m.gguf", b"GGUF")],
    );
    let config = br#"{"architectures": ["T5ForConditionalGeneration"]}"#;
    let files: [(&str, &[u8]); 3] =
        [("model.safetensors", &scene.weights), ("config.json", config), ("tokenizer.json", b"{}")];
    scene.hub.add("owner/t5", Special::default(), &files);
    let t5 = "its architecture T5ForConditionalGeneration is not supported here; these are: bert";
    for (arguments, what, hint) in [
        (&["owner/t5"][..], t5, "nothing but its configuration was fetched"),
        (&["owner/none"], "it is private, gated, or does not exist", "set HF_TOKEN"),
        (&["owner/gated/m.gguf"], "it is private, gated, or does not exist", "set HF_TOKEN"),
        (&["owner/huge/m.gguf"], "33554432 of which stay free for others", "make room"),
        (&["owner/model", "--offline"], "nothing may be fetched in offline mode", "leave out --offline"),
        (&["owner/../x"], "\"owner/../x\" is no name of a model", ""),
        (&["./folder"], "only models of a hub can be pulled", "by its path"),
        (&["all-MiniLM-L6-v2"], "is built into this program", ""),
    ] {
        let said = scene.run(&[&["model", "pull"], arguments].concat()).bad(1);
        assert!(said.contains(what) && said.contains(hint), "{said:?} does not say {what:?} and {hint:?}");
    }
    assert!(scene.hub.transfers().is_empty(), "no weights were asked for");
    scene.hub.fail("model.safetensors", &[Fault::Flip]);
    let said = scene.run(&["model", "pull", MODEL]).bad(1);
    assert!(
        said.contains("model.safetensors arrived damaged: its hash is ") && said.contains("run it again"),
        "{said}"
    );
    scene.run(&["model", "pull", MODEL]).good();
    let mut away = scene.command(&["model", "pull", MODEL]);
    away.env("HF_ENDPOINT", "http://127.0.0.1:1");
    let said = run(away, b"").bad(1);
    assert!(said.contains("cannot reach http://127.0.0.1:1") && said.contains("check the network"), "{said}");
}

#[test]
fn a_pull_that_was_killed_goes_on_where_it_was() {
    let scene = Scene::new();
    scene.hub.fail("model.safetensors", &[Fault::Stall(1_500_000)]);
    let mut command = scene.command(&["model", "pull", MODEL]);
    command.env("HF_HUB_DOWNLOAD_TIMEOUT", "60").stdout(Stdio::null()).stderr(Stdio::null());
    let mut pull = command.spawn().unwrap();
    let blobs = scene.sandbox.path("hf/hub/models--owner--model/blobs");
    let incomplete = blobs.join(format!("{}.incomplete", hash("model.safetensors", &scene.weights)));
    until("most of the file has arrived", || {
        (std::fs::metadata(&incomplete).ok()?.len() == 1_500_000).then_some(())
    });
    pull.kill().unwrap();
    pull.wait().unwrap();
    scene.hub.requests();
    scene.run(&["model", "pull", MODEL]).good();
    assert_eq!(scene.hub.transfers(), ["GET /storage/owner/model/model.safetensors from 1500000"]);
}

/// A small published model and its files.
fn published() -> Vec<(&'static str, Vec<u8>)> {
    let read = |name: &str| std::fs::read(format!("{BERT}/{name}")).unwrap();
    ["config.json", "model.safetensors", "tokenizer.json"].map(|name| (name, read(name))).to_vec()
}

const BERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/data/bert");

/// Submits a text for a model and waits for the result.
fn classify(scene: &Scene, node: &Node<'_>, model: &str) -> Ran {
    let submit =
        ["task", "submit", "--type", "classification", "--input", "some text", "--wait", "--model", model];
    scene.ask(node, &[], &submit)
}

fn models(scene: &Scene, node: &Node<'_>) -> Vec<Value> {
    let listed = scene.ask(node, &[], &["model", "list", "--json"]).good();
    serde_json::from_str::<Value>(&listed).unwrap()["models"].as_array().unwrap().clone()
}

#[test]
fn a_node_runs_several_models_and_takes_on_those_that_are_pulled() {
    let scene = Scene::new();
    let files = published();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    scene.hub.add("owner/tiny", Special::default(), &files);
    let node = scene.sandbox.node("a");
    let listed = format!("all-MiniLM-L6-v2,{BERT}");
    scene.ask(&node, &[("P2P_AI_MODELS", &listed)], &["node", "start"]).good();
    let on_demand = "bert (classification; on demand)";
    assert!(scene.ask(&node, &[], &["node", "status"]).good().contains(on_demand));
    let standing = models(&scene, &node);
    let second = standing.iter().find(|model| model["name"] == "bert").unwrap();
    assert_eq!((&second["ready"], &second["state"]), (&json!(false), &json!("on_demand")));
    let said = classify(&scene, &node, BERT).good();
    assert!(said.contains("Model:      bert\n"), "a folder is called by its name: {said}");
    node.await_task(&node.submit("a text for the first of the list"));
    let standing = models(&scene, &node);
    let names: Vec<&str> = standing.iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["all-MiniLM-L6-v2", "bert"]);
    assert!(
        standing.iter().all(|model| model["ready"] == true && model["loaded_at"].is_string()),
        "{standing:?}"
    );

    let said = classify(&scene, &node, "owner/tiny").bad(1);
    assert!(said.contains("hint: fetch it with: p2p-ai-agents model pull owner/tiny"), "{said}");
    scene.ask(&node, &[], &["model", "pull", "owner/tiny"]).good();
    until("the node offers it", || (classify(&scene, &node, "owner/tiny").code == 0).then_some(()));

    // Another program damages a file: it is removed and fetched again.
    scene.ask(&node, &[], &["node", "stop"]).good();
    let blobs = scene.sandbox.path("hf/hub/models--owner--tiny/blobs");
    let weights = blobs.join(hash("model.safetensors", files[1].1));
    std::fs::write(&weights, &files[1].1[..1000]).unwrap();
    scene.hub.requests();
    scene.ask(&node, &[], &["node", "start"]).good();
    until("it is whole again", || (classify(&scene, &node, "owner/tiny").code == 0).then_some(()));
    assert_eq!(std::fs::read(&weights).unwrap(), files[1].1);
    scene.ask(&node, &[], &["model", "rm", "owner/tiny"]).good();
    until("the node no longer offers it", || {
        models(&scene, &node).iter().all(|model| model["name"] != "owner/tiny").then_some(())
    });
    assert!(
        classify(&scene, &node, "owner/tiny").bad(1).contains("no node of this network has a model called")
    );
    scene.ask(&node, &[], &["node", "stop"]).good();
}

#[test]
fn a_model_that_proves_damaged_fails_its_tasks_at_once_and_says_why() {
    let scene = Scene::new();
    let node = scene.sandbox.node("a");
    let folder = scene.sandbox.path("short");
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in published() {
        let end = if name == "model.safetensors" { 160_000 } else { content.len() };
        std::fs::write(folder.join(name), &content[..end]).unwrap();
    }
    let short = folder.to_str().unwrap();
    let listed = format!("all-MiniLM-L6-v2,{short}");
    scene.ask(&node, &[("P2P_AI_MODELS", &listed)], &["node", "start"]).good();
    let ended = classify(&scene, &node, short);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("FAILED") && ended.stdout.contains("it is cut short"), "{ended:?}");
    let said = classify(&scene, &node, short).bad(1);
    assert!(said.contains("cannot be used here") && said.contains("it is cut short"), "{said}");
    let status = scene.ask(&node, &[], &["node", "status"]).good();
    assert!(status.contains("not usable: short (") && !status.contains(short), "{status}");
    node.await_task(&node.submit("the node is as before"));
    scene.ask(&node, &[], &["node", "stop"]).good();
}

#[test]
fn a_node_fetches_what_a_task_names_where_it_may_and_says_what_does_not_fit() {
    let scene = Scene::new();
    let files = published();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    scene.hub.add("owner/tiny", Special::default(), &files);
    let node = scene.sandbox.node("a");
    let large = format!(r#"{{"models": [{{"model": "{BERT}", "name": "large", "memory_mb": 9000}}]}}"#);
    crate::harness::write(&node.home.config_file(), &large);
    scene.ask(&node, &[("P2P_AI_PULL_ON_DEMAND", "true")], &["node", "start"]).good();
    let said = classify(&scene, &node, "large").bad(1);
    assert!(said.contains("it needs about 9000 MiB of memory, at most 389 MiB of max_memory_mb"), "{said}");
    // The API reports that it is being fetched; the command waits for it.
    let task = serde_json::json!({"type": "classification", "input": "some text", "model": "owner/tiny"});
    let (status, body) = crate::openai::post(&node, "/api/v1/tasks", &task);
    assert_eq!((status, &body["error"]["code"]), (503, &serde_json::json!("model_pulling")), "{body}");
    scene.hub.add("owner/late", Special::default(), &files);
    let ended = classify(&scene, &node, "owner/late");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("fetching the model owner/late"), "{ended:?}");
    // The default revision may be given explicitly, for present and for missing models.
    scene.hub.add("owner/third", Special::default(), &files);
    for (asked, name) in [("owner/late@main", "owner/late"), ("owner/third@main", "owner/third")] {
        let said = classify(&scene, &node, asked).good();
        assert!(said.contains(&format!("Model:      {name}\n")), "{said}");
    }
    let damaged: [(&str, &[u8]); 2] = [("config.json", b"{nope"), ("junk-Q8_0.gguf", &[7; 100])];
    scene.hub.add("owner/junk", Special::default(), &[&files[1..], &damaged].concat());
    for part in ["owner/junk", "owner/junk:Q8_0"] {
        scene.ask(&node, &[], &["model", "pull", part]).good();
    }
    let reasons = until("the node has looked at what came", || {
        let listed = models(&scene, &node).into_iter();
        let reasons = listed.filter_map(|model| Some(model["reason"].as_str()?.to_owned()));
        let reasons: Vec<String> = reasons.filter(|reason| !reason.contains("MiB")).collect();
        (reasons.len() == 2).then_some(reasons)
    });
    assert!(reasons[0].contains("config.json is damaged"), "{reasons:?}");
    assert!(reasons[1].contains("it is no GGUF file"), "{reasons:?}");
    let said = classify(&scene, &node, "owner/none").bad(1);
    assert!(said.contains("the model owner/none cannot be fetched: "), "{said}");
    scene.ask(&node, &[], &["node", "stop"]).good();
}
