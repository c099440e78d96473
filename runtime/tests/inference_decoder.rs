//! Llama models in every weight format, compared with PyTorch and candle on the same weights; requests and damaged
//! files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor, safetensors};
use candle_transformers::models::quantized_llama::ModelWeights;
use engine::task::{ChatMessage, ChatRole, FinishReason, Generation, Prompt};
use runtime::inference::Precision;
use runtime::inference::decoder::{Generator, Options, Step};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Expected {
    text: String,
    ids: Vec<u32>,
    last_logits: Vec<f32>,
    greedy_24: Vec<u32>,
    greedy_text: String,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn expected(name: &str) -> Vec<Expected> {
    serde_json::from_slice(&fs::read(data(name).join("expected.json")).unwrap()).unwrap()
}

fn options() -> Options {
    Options { threads: 1, ..Options::default() }
}

fn load(path: &Path) -> Generator {
    Generator::load(path, &options()).unwrap()
}

fn greedy(max_tokens: u32) -> Generation {
    let prompt = Prompt::Text(String::new());
    Generation { max_tokens, temperature_thousandths: 0, ..Generation::from_prompt(prompt) }
}

/// Runs a session to its end.
fn run(generator: &mut Generator, tokens: Vec<u32>, request: &Generation) -> (String, u32, FinishReason) {
    let mut session = generator.begin_with(tokens, request).unwrap();
    let mut all = String::new();
    loop {
        match generator.step(&mut session).unwrap() {
            Step::Going { text } => all.push_str(&text),
            Step::Done { text, finish } => {
                all.push_str(&text);
                let tokens = session.tokens();
                generator.end(session);
                return (all, tokens, finish);
            }
        }
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().zip(0..).max_by(|a, b| a.0.total_cmp(b.0));
    best.map(|(_, token)| token).unwrap()
}

fn furthest(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn folders_compute_what_pytorch_does() {
    for name in ["llama", "llama-tied"] {
        let mut generator = load(&data(name));
        for row in expected(name) {
            let furthest = furthest(&generator.predict(&row.ids).unwrap(), &row.last_logits);
            assert!(furthest < 1e-3, "{name} {:?}: off by {furthest}", row.text);
            let mut tokens = row.ids.clone();
            for &next in &row.greedy_24[..row.greedy_24.len().min(8)] {
                assert_eq!(likeliest(&generator.predict(&tokens).unwrap()), next, "{name} {:?}", row.text);
                tokens.push(next);
            }
            let (text, _, _) = run(&mut generator, row.ids.clone(), &greedy(24));
            assert_eq!(text, row.greedy_text, "{name} {:?}", row.text);
        }
    }
}

#[test]
fn texts_become_the_tokens_that_the_model_was_trained_on() {
    let mut generator = load(&data("llama"));
    for row in expected("llama").iter().filter(|row| row.ids.len() < 49) {
        let session = generator.begin(&Generation::from_prompt(Prompt::Text(row.text.clone()))).unwrap();
        assert_eq!(session.prompt_tokens() as usize, row.ids.len(), "{:?}", row.text);
    }
}

/// Returns the golden weights by their GGUF names, with the rows of queries and keys in GGUF's order.
fn golden(name: &str) -> HashMap<String, Tensor> {
    let tensors = safetensors::load(data(name).join("model.safetensors"), &Device::Cpu).unwrap();
    let mut renamed = HashMap::new();
    for (name, tensor) in tensors {
        let name = name
            .replace("model.layers.", "blk.")
            .replace("self_attn.q_proj", "attn_q")
            .replace("self_attn.k_proj", "attn_k")
            .replace("self_attn.v_proj", "attn_v")
            .replace("self_attn.o_proj", "attn_output")
            .replace("mlp.gate_proj", "ffn_gate")
            .replace("mlp.up_proj", "ffn_up")
            .replace("mlp.down_proj", "ffn_down")
            .replace("input_layernorm", "attn_norm")
            .replace("post_attention_layernorm", "ffn_norm")
            .replace("model.embed_tokens", "token_embd")
            .replace("model.norm", "output_norm")
            .replace("lm_head", "output");
        let turned = name.contains("attn_q") || name.contains("attn_k");
        let tensor = if turned { side_by_side(&tensor, 16) } else { tensor };
        renamed.insert(name, tensor);
    }
    renamed
}

/// Interleaves the two halves of each head, so that the rows of a rotated pair are adjacent.
fn side_by_side(tensor: &Tensor, head: usize) -> Tensor {
    let (rows, columns) = tensor.dims2().unwrap();
    let halves = tensor.reshape((rows / head, 2, head / 2, columns)).unwrap();
    halves.transpose(1, 2).unwrap().reshape((rows, columns)).unwrap().contiguous().unwrap()
}

struct Sizes {
    hidden: u32,
    inner: u32,
    heads: u32,
    kv_heads: u32,
    layers: u32,
    context: u32,
    theta: f32,
}

const TINY: Sizes =
    Sizes { hidden: 64, inner: 128, heads: 4, kv_heads: 2, layers: 3, context: 128, theta: 10_000.0 };
const WIDE: Sizes =
    Sizes { hidden: 256, inner: 512, heads: 4, kv_heads: 2, layers: 2, context: 512, theta: 10_000.0 };

/// Returns a GGUF file with the golden vocabulary. Only matrices are quantised to `dtype`.
fn gguf(sizes: &Sizes, tensors: &HashMap<String, Tensor>, dtype: GgmlDType) -> Vec<u8> {
    let quantised: Vec<(&String, QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let dtype = if tensor.rank() == 1 { GgmlDType::F32 } else { dtype };
            (name, QTensor::quantize(tensor, dtype).unwrap())
        })
        .collect();
    let tokenizer: serde_json::Value =
        serde_json::from_slice(&fs::read(data("llama/tokenizer.json")).unwrap()).unwrap();
    let mut tokens = vec![String::new(); 400];
    for (token, id) in tokenizer["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let text = |text: &str| Value::String(text.to_owned());
    let merge = |merge: &serde_json::Value| match merge.as_str() {
        Some(both) => both.to_owned(),
        None => format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()),
    };
    let merges = tokenizer["model"]["merges"].as_array().unwrap().iter().map(merge);
    let types = (0..400).map(|id| Value::I32(if id < 2 { 3 } else { 1 })).collect();
    let metadata = [
        ("general.architecture", text("llama")),
        ("llama.embedding_length", Value::U32(sizes.hidden)),
        ("llama.feed_forward_length", Value::U32(sizes.inner)),
        ("llama.attention.head_count", Value::U32(sizes.heads)),
        ("llama.attention.head_count_kv", Value::U32(sizes.kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.block_count", Value::U32(sizes.layers)),
        ("llama.context_length", Value::U32(sizes.context)),
        ("llama.rope.dimension_count", Value::U32(sizes.hidden / sizes.heads)),
        ("llama.rope.freq_base", Value::F32(sizes.theta)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|token| text(token)).collect())),
        ("tokenizer.ggml.merges", Value::Array(merges.map(Value::String).collect())),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        ("tokenizer.ggml.bos_token_id", Value::U32(0)),
        ("tokenizer.ggml.eos_token_id", Value::U32(1)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        (
            "tokenizer.chat_template",
            text(
                "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:",
            ),
        ),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(name, value)| (*name, value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        quantised.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut bytes = Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &metadata, &tensors).unwrap();
    bytes.into_inner()
}

/// Returns random weights with rows of whole 256-number superblocks.
fn wide() -> HashMap<String, Tensor> {
    let mut state = 5_u64;
    let mut random = |rows: usize, columns: usize| {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let scale = if rows == 1 { 0.1 } else { 2.0 / (columns as f32).sqrt() };
        let numbers: Vec<f32> =
            (0..rows * columns).map(|_| next() * scale + if rows == 1 { 1.0 } else { 0.0 }).collect();
        let tensor = Tensor::from_vec(numbers, (rows, columns), &Device::Cpu).unwrap();
        if rows == 1 { tensor.flatten_all().unwrap() } else { tensor }
    };
    let mut tensors = HashMap::new();
    for layer in 0..2 {
        let parts = [
            ("attn_q", 256, 256),
            ("attn_k", 128, 256),
            ("attn_v", 128, 256),
            ("attn_output", 256, 256),
            ("ffn_gate", 512, 256),
            ("ffn_up", 512, 256),
            ("ffn_down", 256, 512),
            ("attn_norm", 1, 256),
            ("ffn_norm", 1, 256),
        ];
        for (part, rows, columns) in parts {
            tensors.insert(format!("blk.{layer}.{part}.weight"), random(rows, columns));
        }
    }
    for (name, rows) in [("token_embd", 400), ("output", 400), ("output_norm", 1)] {
        tensors.insert(format!("{name}.weight"), random(rows, 256));
    }
    tensors
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Returns the logits that candle computes from a GGUF file.
fn candle(bytes: &[u8], tokens: &[u32]) -> Vec<f32> {
    let mut reader = Cursor::new(bytes);
    let content = Content::read(&mut reader).unwrap();
    let mut model = ModelWeights::from_gguf(content, &mut reader, &Device::Cpu).unwrap();
    let tokens = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let logits = model.forward(&tokens, 0).unwrap();
    logits.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

#[test]
fn a_gguf_file_of_plain_numbers_computes_what_pytorch_does() {
    for name in ["llama", "llama-tied"] {
        let tied = name == "llama-tied";
        let sizes = if tied { Sizes { kv_heads: 4, theta: 500_000.0, ..TINY } } else { TINY };
        let (_folder, path) = written(&gguf(&sizes, &golden(name), GgmlDType::F32));
        let mut generator = load(&path);
        for row in expected(name) {
            let furthest = furthest(&generator.predict(&row.ids).unwrap(), &row.last_logits);
            assert!(furthest < 1e-3, "{name} {:?}: off by {furthest}", row.text);
            let (text, _, _) = run(&mut generator, row.ids.clone(), &greedy(24));
            assert_eq!(text, row.greedy_text, "{name} {:?}", row.text);
        }
    }
}

#[test]
fn every_format_computes_what_candle_does() {
    let tokens: Vec<u32> = (0..100).map(|at| (at * 37 + 11) % 400).collect();
    let plain = candle(&gguf(&WIDE, &wide(), GgmlDType::F32), &tokens);
    // The least cosine to candle, which rounds activations differently, and to the unquantised weights.
    let formats = [
        (GgmlDType::F32, 0.999_999, 0.999_999),
        (GgmlDType::F16, 0.999_999, 0.999_99),
        (GgmlDType::BF16, 0.999_99, 0.999),
        (GgmlDType::Q8_0, 0.998, 0.998),
        (GgmlDType::Q6K, 0.998, 0.997),
        (GgmlDType::Q5K, 0.998, 0.97),
        (GgmlDType::Q4K, 0.998, 0.92),
        (GgmlDType::Q5_0, 0.998, 0.97),
        (GgmlDType::Q4_1, 0.998, 0.92),
        (GgmlDType::Q4_0, 0.998, 0.92),
    ];
    for (dtype, near_candle, near_plain) in formats {
        let bytes = gguf(&WIDE, &wide(), dtype);
        let (_folder, path) = written(&bytes);
        let found = load(&path).predict(&tokens).unwrap();
        let (candle, plain) = (cosine(&found, &candle(&bytes, &tokens)), cosine(&found, &plain));
        assert!(candle > near_candle, "{dtype:?}: cosine {candle} to candle");
        assert!(plain > near_plain, "{dtype:?}: cosine {plain} to plain numbers");
    }
}

#[test]
fn plain_numbers_can_be_rounded_to_eight_bits() {
    let (_folder, path) = written(&gguf(&WIDE, &wide(), GgmlDType::BF16));
    let tokens: Vec<u32> = (0..100).collect();
    let mut rounded = Generator::load(&path, &Options { precision: Precision::Int8, ..options() }).unwrap();
    let (plain, rounded) = (load(&path).predict(&tokens).unwrap(), rounded.predict(&tokens).unwrap());
    assert_ne!(plain, rounded);
    assert!(cosine(&plain, &rounded) > 0.999);
}

#[test]
fn a_prompt_of_several_passes_is_continued_correctly() {
    let bytes = gguf(&WIDE, &wide(), GgmlDType::F32);
    let (_folder, path) = written(&bytes);
    let mut generator = load(&path);
    let tokenizer: serde_json::Value =
        serde_json::from_slice(&fs::read(data("llama/tokenizer.json")).unwrap()).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    // A token of plain ASCII letters has the same text in the vocabulary and in the output.
    let prompts = (0..20_u32).map(|seed| (0..300).map(|at| (at * 91 + 7 * seed) % 398 + 2).collect());
    let mut followed = prompts.filter_map(|tokens: Vec<u32>| {
        let next = likeliest(&candle(&bytes, &tokens));
        let (word, _) = vocabulary.iter().find(|(_, id)| id.as_u64() == Some(next.into())).unwrap();
        word.chars().all(|letter| letter.is_ascii_alphanumeric()).then(|| (tokens, word.clone()))
    });
    let (tokens, word) = followed.next().unwrap();
    let (text, count, finish) = run(&mut generator, tokens.clone(), &greedy(8));
    assert!(text.starts_with(&word), "{text:?} does not begin with {word:?}");
    assert_eq!((count, finish), (8, FinishReason::Length));
    // The generator now uses longer passes.
    assert_eq!(run(&mut generator, tokens, &greedy(8)).0, text);
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_one_another() {
    let mut generator = Generator::load(&data("llama"), &Options { threads: 2, ..options() }).unwrap();
    let mut of = |seed| {
        let request = Generation { seed: Some(seed), max_tokens: 40, ..greedy(40) };
        let request =
            Generation { temperature_thousandths: 1500, top_p_thousandths: 900, top_k: 50, ..request };
        run(&mut generator, vec![0, 300, 20], &request).0
    };
    let first = of(1);
    assert_eq!(first, of(1));
    assert_ne!(first, of(2));
}

#[test]
fn sessions_take_turns_without_touching_each_other() {
    let mut generator = load(&data("llama"));
    let rows = expected("llama");
    let mut sessions: Vec<_> = rows[..3]
        .iter()
        .map(|row| (generator.begin_with(row.ids.clone(), &greedy(24)).unwrap(), String::new(), false))
        .collect();
    while sessions.iter().any(|(_, _, done)| !done) {
        for (session, all, done) in sessions.iter_mut().filter(|(_, _, done)| !done) {
            match generator.step(session).unwrap() {
                Step::Going { text } => all.push_str(&text),
                Step::Done { text, .. } => {
                    all.push_str(&text);
                    *done = true;
                }
            }
        }
    }
    for ((_, text, _), row) in sessions.iter().zip(&rows) {
        assert_eq!(*text, row.greedy_text);
    }
}

#[test]
fn a_text_ends_at_a_stop_text_or_a_limit() {
    let mut generator = load(&data("llama"));
    let row = expected("llama").remove(0);
    assert!(row.greedy_text.chars().count() > 8);
    let stop: String = row.greedy_text.chars().skip(4).take(3).collect();
    let at = row.greedy_text.find(&stop).unwrap();
    let request = Generation { stop: vec![stop], ..greedy(24) };
    let (text, _, finish) = run(&mut generator, row.ids.clone(), &request);
    assert_eq!((text.as_str(), finish), (&row.greedy_text[..at], FinishReason::Stop));
    let (_, tokens, finish) = run(&mut generator, row.ids.clone(), &greedy(3));
    assert_eq!((tokens, finish), (3, FinishReason::Length));
    // The context of 128 tokens has room for two more.
    let (_, tokens, finish) = run(&mut generator, vec![5; 126], &greedy(1000));
    assert_eq!((tokens, finish), (2, FinishReason::Length));
    let error = generator.begin_with(vec![5; 128], &greedy(1)).err().unwrap().to_string();
    assert!(error.contains("128 tokens"), "{error}");
    for (tokens, reason) in [(vec![], "no tokens"), (vec![400], "no row for token 400")] {
        let error = generator.begin_with(tokens, &greedy(1)).err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let long = Generation::from_prompt(Prompt::Text("word ".repeat(1_000_000)));
    assert!(generator.begin(&long).err().unwrap().to_string().contains("5000000 bytes"));
}

#[test]
fn a_conversation_goes_through_the_template_of_the_model() {
    let messages = vec![ChatMessage { role: ChatRole::User, content: "hi".to_owned() }];
    let request = Generation::from_prompt(Prompt::Chat(messages));
    let (_folder, path) = written(&gguf(&TINY, &golden("llama"), GgmlDType::F32));
    let mut generator = load(&path);
    let chat = generator.begin(&request).unwrap().prompt_tokens();
    let text = Generation::from_prompt(Prompt::Text("user: hi\nassistant:".to_owned()));
    assert_eq!(chat, generator.begin(&text).unwrap().prompt_tokens());
    let error = load(&data("llama")).begin(&request).err().unwrap().to_string();
    assert!(error.contains("no chat template") && error.contains("hint: "), "{error}");
}

/// Files with changed bytes or a cut end give an error or a model, never a panic.
#[test]
fn a_damaged_file_is_an_error() {
    let bytes = gguf(&TINY, &golden("llama"), GgmlDType::Q8_0);
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for round in 0..150 {
        let mut damaged = bytes.clone();
        match round % 3 {
            0 => damaged.truncate(random(bytes.len())),
            1 => {
                let at = random(2000);
                damaged[at] ^= 1 << random(8);
            }
            _ => {
                let at = random(bytes.len() - 8);
                damaged[at..at + 8].fill(0xff);
            }
        }
        let (_folder, path) = written(&damaged);
        match Generator::load(&path, &options()) {
            Ok(mut generator) => {
                let _ = generator.predict(&[1, 2, 3]);
            }
            Err(error) => {
                assert!(error.to_string().len() < 2000, "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 60, "{refused} were refused");
}

#[test]
fn missing_and_mismatched_parts_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |folder: &Path| Generator::load(folder, &options()).err().unwrap().to_string();
    assert!(refusal(folder.path()).contains("config.json is missing"));
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(data("llama").join(name), folder.path().join(name)).unwrap();
    }
    assert!(Generator::load(folder.path(), &options()).is_ok());
    let config = fs::read_to_string(folder.path().join("config.json")).unwrap();
    fs::write(
        folder.path().join("config.json"),
        config.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"),
    )
    .unwrap();
    assert!(refusal(folder.path()).contains("model.layers.3.self_attn.q_proj.weight is missing"));
    fs::write(
        folder.path().join("config.json"),
        config.replace("\"intermediate_size\": 128", "\"intermediate_size\": 96"),
    )
    .unwrap();
    assert!(refusal(folder.path()).contains("(128, 64)"));
    fs::write(folder.path().join("config.json"), &config).unwrap();
    let weights = fs::read(folder.path().join("model.safetensors")).unwrap();
    fs::write(folder.path().join("model.safetensors"), &weights[..weights.len() - 1]).unwrap();
    assert!(refusal(folder.path()).contains("cut short"));
    let mut endless = weights.clone();
    endless[weights.len() - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(folder.path().join("model.safetensors"), &endless).unwrap();
    assert!(refusal(folder.path()).contains("not finite"));
}
