//! Text generation by the real program, with a small Llama whose greedy continuations PyTorch has computed.

use crate::harness::{Node, Sandbox, signal, until, write};
use crate::openai::{ask, head, post};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

/// The greedy continuation of PyTorch.
#[derive(Deserialize)]
struct Expected {
    text: String,
    ids: Vec<u32>,
    greedy_24: Vec<u32>,
    greedy_text: String,
}

const LLAMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/data/llama");
/// Renders every message unchanged, so that a prompt continues as its text does.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}";

/// A text in the middle of one continuation.
const STOP: &str = " la)";

/// Prompts whose continuations end only at the maximum number of tokens.
fn expected() -> Vec<Expected> {
    let rows: Vec<Expected> =
        serde_json::from_slice(&fs::read(format!("{LLAMA}/expected.json")).unwrap()).unwrap();
    rows.into_iter().filter(|row| row.greedy_24.len() == 24).collect()
}

/// A node with the small Llama as `tiny`, and with a model that exceeds the memory limit.
fn start_with_llama(sandbox: &Sandbox, node: &Node<'_>) -> String {
    let folder = sandbox.path("llama");
    fs::create_dir(&folder).unwrap();
    for name in ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(Path::new(LLAMA).join(name), folder.join(name)).unwrap();
    }
    let config = json!({"chat_template": TEMPLATE, "bos_token": "<s>", "add_bos_token": true});
    write(&folder.join("tokenizer_config.json"), &config.to_string());
    let models =
        json!([{"model": folder, "name": "tiny"}, {"model": folder, "name": "huge", "memory_mb": 2000}]);
    write(&node.home.config_file(), &json!({"models": models}).to_string());
    node.start()
}

/// Requests a stream and returns all of its events.
fn stream(node: &Node<'_>, path: &str, body: &Value) -> Vec<Value> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(node.api()).unwrap();
    stream.write_all(format!("{}{body}", head(node, "POST", path, body.len())).as_bytes()).unwrap();
    let mut bytes = Vec::new();
    until("the end of the stream", || {
        let mut some = [0; 4096];
        let count = stream.read(&mut some).unwrap();
        bytes.extend_from_slice(&some[..count]);
        bytes.windows(12).any(|window| window == b"data: [DONE]").then_some(())
    });
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("text/event-stream"), "{text}");
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[test]
fn a_llama_writes_what_pytorch_does_on_whichever_node_it_is() {
    let sandbox = Sandbox::new();
    let (with, without) = (sandbox.node("with"), sandbox.node("without"));
    let (id, other) = (start_with_llama(&sandbox, &with), without.start_bare());
    with.await_peers(&[&other]);
    without.await_peers(&[&id]);
    until("the other node knows of the model", || {
        let (_, listed) = ask(&without, "GET", "/v1/models", b"");
        listed["data"].as_array()?.iter().any(|model| model["id"] == "tiny").then_some(())
    });
    for (node, row) in [&with, &without].into_iter().cycle().zip(expected().iter().take(6)) {
        let submit = ["task", "submit", "--type", "generation", "--temperature", "0", "--max-tokens", "24"];
        let submit = [&submit[..], &["--model", "tiny", "--wait", "--json", "--input", &row.text]].concat();
        let result = node.json(&submit);
        let output = json!({
            "text": row.greedy_text, "prompt_tokens": row.ids.len(), "tokens": 24, "finish_reason": "length"
        });
        let found = json!({
            "text": result["output"]["text"], "prompt_tokens": result["output"]["prompt_tokens"],
            "tokens": result["output"]["tokens"], "finish_reason": result["output"]["finish_reason"],
        });
        assert_eq!(found, output, "{result}");
        assert_eq!((&result["model"], &result["worker"]), (&json!("tiny"), &json!(id)), "{result}");
    }
    // Just the text, while it is written, on whichever node it is.
    let (row, texts) = (&expected()[0], ["--temperature", "0", "--max-tokens", "24", "--model", "tiny"]);
    let text = format!("{}\n", row.greedy_text.trim_end_matches('\n'));
    for node in [&with, &without] {
        assert_eq!(node.run(&[&["run", &row.text][..], &texts].concat()).good(), text);
    }
    let submit =
        [&["task", "submit", "--type", "generation", "--input", &row.text, "--wait"][..], &texts].concat();
    assert_eq!(with.run(&[&submit[..], &["-q"]].concat()).good(), text);
    let whole = with.run(&submit).good();
    assert!(whole.contains(&format!(")\n{text}\nTask:")) && whole.contains("COMPLETED"), "{whole}");
    let list =
        |worker: &str| without.run(&["task", "list", "--worker", &worker[..6], "--status", "completed"]);
    assert_eq!(list(&id).good().matches(" COMPLETED ").count(), 4, "those that it was given");
    assert_eq!(list(&other).good(), "No tasks\n");
    for (model, said) in
        [("tiny", "State:         ready"), ("huge", "Reason:        it needs about 2000 MiB")]
    {
        let info = with.run(&["model", "info", model]).good();
        assert!(info.contains(said) && info.contains("Architecture:  LlamaForCausalLM"), "{info}");
    }
    let submit = ["task", "submit", "--type", "generation", "--input", "hi", "--model", "huge"];
    let said = with.run(&submit).bad(1);
    assert!(said.contains("it needs about 2000 MiB of memory"), "{said}");
    assert!(said.contains("hint: raise max_memory_mb to 2526, "), "{said}");
    let huge = json!({"model": "huge", "prompt": "hi"});
    let (status, refused) = post(&with, "/v1/completions", &huge);
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("model_unusable")), "{refused}");

    with.kill();
    until("the worker has left", || {
        let members = without.json(&["node", "members", "--json"]);
        (members["former"][0]["id"] == *id).then_some(())
    });
    let ran = without.run(&["run", "hi", "--timeout", "2"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("waiting: no node in reach runs the model\n"), "{ran:?}");
}

/// A folder and a GGUF file of the same model continue a text as PyTorch does.
#[test]
fn a_qwen2_writes_what_pytorch_does_from_a_folder_and_from_a_file() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let decoders = Path::new(LLAMA).with_file_name("decoders");
    let models = json!([
        {"model": decoders.join("qwen2"), "name": "folder"}, {"model": decoders.join("gguf/qwen2.gguf"), "name": "file"},
    ]);
    write(&node.home.config_file(), &json!({"models": models}).to_string());
    node.start();
    for model in ["folder", "file"] {
        let submit =
            ["task", "submit", "--type", "generation", "--input", "a", "--temperature", "0", "--wait", "-q"];
        let submit = [&submit[..], &["--max-tokens", "24", "--model", model]].concat();
        assert_eq!(node.run(&submit).good(), format!("{}\n", "a".repeat(24)), "{model}");
    }
    let info = node.run(&["model", "info", "folder"]).good();
    assert!(info.contains("Architecture:  Qwen2ForCausalLM") && info.contains("512 tokens"), "{info}");
}

#[test]
fn a_generation_is_watched_as_it_is_written() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    start_with_llama(&sandbox, &node);
    // Control characters are replaced on the terminal.
    let row = expected().into_iter().find(|row| !row.greedy_text.contains(char::is_control)).unwrap();
    let model = until("the model's process is there", || crate::crashes::child_of(node.pid()?));
    until("it is loaded", || node.run(&["model", "list"]).good().contains("  yes").then_some(()));
    signal(model, Signal::SIGSTOP);
    let submit =
        ["task", "submit", "--quiet", "--type", "generation", "--temperature", "0", "--max-tokens", "24"];
    let id = node.run(&[&submit[..], &["--input", &row.text]].concat()).good();
    let id = id.trim_end();
    let begun = until("it has begun", || {
        Some(node.run(&["task", "status", id]).good()).filter(|said| said.contains("RUNNING"))
    });
    assert!(begun.contains("Tokens:     0 of at most 24"), "{begun}");
    let said = node.run(&["task", "result", id]).bad(1);
    assert!(said.contains(&format!("hint: p2p-ai-agents task watch {id} waits for it")), "{said}");
    let watch = |more: &[&str]| {
        let mut command = node.command(&[&["task", "watch", id], more].concat());
        let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(watch.stdout.take().unwrap());
        let mut first = String::new();
        told.read_line(&mut first).unwrap();
        (watch, told, first)
    };
    let (mut people, mut said, first) = watch(&[]);
    assert!(first.contains("RUNNING  on "), "{first}");
    let (mut program, mut lines, line) = watch(&["--json"]);
    signal(model, Signal::SIGCONT);
    let (mut text, mut more) = (first, line);
    said.read_to_string(&mut text).unwrap();
    lines.read_to_string(&mut more).unwrap();
    assert!(people.wait().unwrap().success() && program.wait().unwrap().success());
    assert_eq!(text.matches(&row.greedy_text).count(), 1, "{text}");
    assert!(text.contains("COMPLETED  on ") && text.contains("24 written"), "{text}");
    let events: Vec<Value> = more.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends = [events.first(), events.last()].map(|event| &event.unwrap()["event"]);
    assert_eq!(ends, [&json!("status"), &json!("end")], "{more}");
    let written: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert!(row.greedy_text.starts_with(&written), "{written:?}");
}

#[test]
fn conversations_are_continued_whole_and_streamed() {
    let sandbox = Sandbox::new();
    let (with, without) = (sandbox.node("with"), sandbox.node("without"));
    let (id, other) = (start_with_llama(&sandbox, &with), without.start_bare());
    with.await_peers(&[&other]);
    without.await_peers(&[&id]);
    let row = expected().into_iter().rfind(|row| row.greedy_text.contains(STOP)).unwrap();
    let (first, rest) = row.text.split_at(5);
    let messages = json!([{"role": "system", "content": first}, {"role": "user", "content": rest}]);
    let asked = json!({"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 24});
    let usage = json!({
        "prompt_tokens": row.ids.len(), "completion_tokens": 24, "total_tokens": row.ids.len() + 24
    });
    for node in [&with, &without] {
        let (status, whole) = until("the model is known", || {
            let (status, whole) = post(node, "/v1/chat/completions", &asked);
            (status != 404).then_some((status, whole))
        });
        assert_eq!((status, &whole["usage"]), (200, &usage), "{whole}");
        let choice = &whole["choices"][0];
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!(row.greedy_text), &json!("length"))
        );
        let mut streamed = asked.clone();
        (streamed["stream"], streamed["stream_options"]) = (json!(true), json!({"include_usage": true}));
        let chunks = stream(node, "/v1/chat/completions", &streamed);
        let text: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, row.greedy_text);
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "length");
        assert_eq!(chunks[chunks.len() - 1]["usage"], usage);
    }
    let body = json!({"model": "tiny", "prompt": row.text, "temperature": 0, "stop": STOP, "max_tokens": 24});
    let (_, stopped) = post(&without, "/v1/completions", &body);
    let choice = &stopped["choices"][0];
    let expected = (&json!(row.greedy_text.split(STOP).next()), &json!("stop"));
    assert_eq!((&choice["text"], &choice["finish_reason"]), expected, "{stopped}");
}

/// A GGUF file of another architecture, with a tensor of four numbers.
fn foreign() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend([1_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat());
    bytes.extend([text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text("gemma3")].concat());
    bytes.extend([text("token_embd.weight"), 1_u32.to_le_bytes().to_vec()].concat());
    bytes.extend([&4_u64.to_le_bytes()[..], &[0; 4], &[0; 8]].concat());
    bytes.resize(bytes.len().next_multiple_of(32) + 32, 0);
    bytes
}

#[test]
fn one_bad_part_costs_what_needs_it_and_what_cannot_run_is_said_at_once() {
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let path = |name: &str| sandbox.path(name);
    fs::create_dir(path("broken")).unwrap();
    for name in ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(Path::new(LLAMA).join(name), path("broken").join(name)).unwrap();
    }
    write(
        &path("broken").join("tokenizer_config.json"),
        r#"{"chat_template": "{% unheard of %}", "bos_token": "<s>", "add_bos_token": true}"#,
    );
    fs::write(path("foreign.gguf"), foreign()).unwrap();
    let models = json!([
        {"model": path("broken"), "name": "broken"}, {"model": path("foreign.gguf"), "name": "foreign"}
    ]);
    write(&node.home.config_file(), &json!({"models": models}).to_string());
    node.start();
    let row = expected().remove(0);
    let asked = json!({"model": "broken", "prompt": row.text, "temperature": 0, "max_tokens": 24});
    let (status, completed) = post(&node, "/v1/completions", &asked);
    assert_eq!((status, &completed["choices"][0]["text"]), (200, &json!(row.greedy_text)), "{completed}");
    let messages = json!([{"role": "user", "content": "hi"}]);
    for _ in 0..2 {
        let (status, refused) =
            post(&node, "/v1/chat/completions", &json!({"model": "broken", "messages": messages}));
        let said = refused["error"]["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && said.contains("chat template") && said.contains("unheard"),
            "{status} {refused}"
        );
    }
    let (_, listed) = ask(&node, "GET", "/v1/models", b"");
    let names: Vec<&str> =
        listed["data"].as_array().unwrap().iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!(names, ["broken"], "{listed}");
    let reason = "general.architecture: \"gemma3\" is not supported";
    let said = node.run(&["model", "list"]).stdout;
    assert!(said.contains(reason), "{said}");
    let said = node.run(&["doctor"]).stdout;
    assert!(said.contains("The model foreign cannot be used."), "{said}");
    for _ in 0..2 {
        let (status, refused) = post(&node, "/v1/completions", &json!({"model": "foreign", "prompt": "hi"}));
        assert!((400..500).contains(&status) && refused.to_string().contains("gemma3"), "{status} {refused}");
    }
}
