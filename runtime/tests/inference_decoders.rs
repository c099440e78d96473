//! The decoders that differ from Llama, compared with PyTorch: folders and GGUF files, texts and conversations.
//!
//! The models have random weights; `tests/data/decoders` has what transformers 5.24.0 computes with them in f32, and the
//! tokens of llama.cpp.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use engine::task::{ChatMessage, ChatRole, Prompt};
use runtime::inference::decoder::{self, Generator, Options};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Expected {
    rows: Vec<Row>,
    chats: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
    last_logits: Vec<f32>,
    greedy_24: Vec<u32>,
    /// So many tokens are not close to others.
    greedy_safe: usize,
    /// The logits of the weights in Q8_0.
    #[serde(default)]
    q8_0_logits: Vec<f32>,
    gguf_ids: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoders").join(name)
}

fn expected(name: &str) -> Expected {
    serde_json::from_slice(&fs::read(data(name).join("expected.json")).unwrap()).unwrap()
}

fn load(path: &Path) -> Generator {
    Generator::load(path, &Options { threads: 1, ..Options::default() }).unwrap()
}

fn chat(conversation: &Conversation) -> Prompt {
    let role = |role: &str| match role {
        "system" => ChatRole::System,
        "user" => ChatRole::User,
        "assistant" => ChatRole::Assistant,
        role => panic!("{role}"),
    };
    let message =
        |message: &Message| ChatMessage { role: role(&message.role), content: message.content.clone() };
    Prompt::Chat(conversation.messages.iter().map(message).collect())
}

fn likeliest(logits: &[f32]) -> u32 {
    logits.iter().zip(0..).max_by(|a, b| a.0.total_cmp(b.0)).map(|(_, token)| token).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn assert_computes(generator: &mut Generator, name: &str) {
    for row in expected(name).rows {
        let found = generator.predict(&row.ids).unwrap();
        assert_eq!(found.len(), row.last_logits.len());
        let furthest = found.iter().zip(&row.last_logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-3, "{name} {:?}: off by {furthest}", row.text);
        let mut tokens = row.ids;
        for &next in &row.greedy_24[..row.greedy_safe.min(row.greedy_24.len())] {
            assert_eq!(likeliest(&generator.predict(&tokens).unwrap()), next, "{name} {:?}", row.text);
            tokens.push(next);
        }
    }
}

const FOLDERS: [&str; 6] = ["granite", "llama-bias", "llama3-rope", "qwen2", "qwen3", "smollm3"];

#[test]
fn folders_compute_what_pytorch_does() {
    for name in FOLDERS {
        assert!(decoder::is_decoder(&data(name)), "{name}");
        assert_eq!(decoder::inspect(&data(name)), Ok(()), "{name}");
        assert_computes(&mut load(&data(name)), name);
    }
}

#[test]
fn texts_and_conversations_become_the_tokens_of_transformers() {
    for name in FOLDERS {
        let generator = load(&data(name));
        let Expected { rows, chats } = expected(name);
        for row in rows {
            let found = generator.prompt_tokens(&Prompt::Text(row.text.clone())).unwrap();
            let cut = found.len().min(row.ids.len());
            assert_eq!(found[..cut], row.ids[..cut], "{name} {:?}", row.text);
            assert!(found.len() == row.ids.len() || row.ids.len() >= 48, "{name} {:?}", row.text);
        }
        for conversation in chats {
            assert_eq!(generator.prompt_tokens(&chat(&conversation)).unwrap(), conversation.ids, "{name}");
        }
    }
}

/// Returns a copy of a folder.
fn copied(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(data(name)).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

/// A folder with the configuration as transformers 5 writes it.
#[test]
fn both_spellings_of_a_configuration_mean_the_same() {
    for name in FOLDERS {
        let folder = copied(name);
        fs::rename(folder.path().join("config.v5.json"), folder.path().join("config.json")).unwrap();
        assert_computes(&mut load(folder.path()), name);
    }
}

/// Products of 8-bit weights round the activations to 8 bits, as in llama.cpp.
#[test]
fn gguf_files_stay_near_pytorch_and_have_the_tokens_of_llama_cpp() {
    for name in FOLDERS.into_iter().filter(|name| *name != "llama3-rope") {
        let mut generator = load(&data("gguf").join(format!("{name}.gguf")));
        for row in expected(name).rows {
            let alike = cosine(&generator.predict(&row.ids).unwrap(), &row.q8_0_logits);
            assert!(alike > 0.997, "{name} {:?}: {alike}", row.text);
            if let Some(ids) = row.gguf_ids {
                let found = generator.prompt_tokens(&Prompt::Text(row.text.clone())).unwrap();
                assert_eq!(found, ids, "{name} {:?}", row.text);
            }
        }
    }
}

/// Returns a copy of a folder whose configuration has other fields.
fn changed(name: &str, fields: Value) -> tempfile::TempDir {
    let folder = copied(name);
    let mut config: Value =
        serde_json::from_slice(&fs::read(data(name).join("config.json")).unwrap()).unwrap();
    let fields: serde_json::Map<String, Value> = serde_json::from_value(fields).unwrap();
    config.as_object_mut().unwrap().extend(fields);
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn what_a_model_cannot_be_is_said() {
    let cases = [
        ("qwen2", json!({"num_attention_heads": 8}), "self_attn.k_proj.weight has (32, 64)"),
        ("qwen2", json!({"num_hidden_layers": 4}), "model.layers.3."),
        ("qwen2", json!({"use_sliding_window": true, "layer_types": ["other"]}), "layer_types"),
        ("qwen3", json!({"head_dim": 16}), "self_attn.q_proj.weight"),
        ("qwen3", json!({"attention_bias": true}), "self_attn.q_proj.bias is missing"),
        ("qwen3", json!({"architectures": ["Qwen3ForSequenceClassification"]}), "ForCausalLM"),
        ("smollm3", json!({"no_rope_layers": [1, 1]}), "no_rope_layers"),
        ("smollm3", json!({"no_rope_layers": [1, 1, 1, 7]}), "no_rope_layers"),
        ("granite", json!({"logits_scaling": 0}), "logits_scaling is 0"),
        ("granite", json!({"residual_multiplier": "x"}), "residual_multiplier"),
        ("llama-bias", json!({"mlp_bias": true}), "mlp.gate_proj.bias is missing"),
        ("llama-bias", json!({"embedding_multiplier": 2}), "embedding_multiplier"),
        ("llama3-rope", json!({"model_type": "gemma"}), "granite, llama, mistral, qwen2, qwen3, smollm3 are"),
    ];
    for (name, fields, reason) in cases {
        let folder = changed(name, fields.clone());
        let error = Generator::load(folder.path(), &Options::default()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error} for {fields}");
    }
    // A window that is used ends the context.
    let window = changed("qwen2", json!({"use_sliding_window": true, "sliding_window": 24}));
    assert_eq!(load(window.path()).context(), 24);
    // An embedding model of the same architecture generates no text.
    let embedder = changed("qwen3", json!({}));
    fs::write(embedder.path().join("modules.json"), "[]").unwrap();
    assert!(!decoder::is_decoder(embedder.path()));
}
