//! Settings in the files of a Llama model: tokens at the start and end, templates, and features that are not supported.
//!
//! The weights only map each token to the next token of a given row.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor, safetensors};
use engine::task::{ChatMessage, ChatRole, FinishReason, Generation, Prompt};
use runtime::inference::decoder::{Generator, Options, Step, inspect};
use serde_json::{Map, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// The length of a vector, and the largest vocabulary.
const HIDDEN: usize = 32;

/// Returns weights by their names in a folder: token `next[i]` follows token `i`.
fn weights(tokens: usize, next: &[usize]) -> BTreeMap<String, Tensor> {
    let matrix = |rows: usize, columns: usize, at: &dyn Fn(usize) -> usize| {
        let mut numbers = vec![0_f32; rows * columns];
        for column in 0..columns {
            if at(column) < rows {
                numbers[at(column) * columns + column] = 1.0;
            }
        }
        Tensor::from_vec(numbers, (rows, columns), &Device::Cpu).unwrap()
    };
    let none = |_: usize| usize::MAX;
    let ones = || Tensor::from_vec(vec![1_f32; HIDDEN], HIDDEN, &Device::Cpu).unwrap();
    let mut tensors = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), matrix(tokens, HIDDEN, &|column| column)),
        (
            "lm_head.weight".to_owned(),
            matrix(tokens, HIDDEN, &|token| next.get(token).copied().unwrap_or(usize::MAX)),
        ),
        ("model.norm.weight".to_owned(), ones()),
    ]);
    for part in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"] {
        tensors.insert(format!("model.layers.0.{part}.weight"), matrix(HIDDEN, HIDDEN, &none));
    }
    for part in ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] {
        tensors.insert(format!("model.layers.0.{part}.weight"), matrix(HIDDEN, HIDDEN, &none));
    }
    for part in ["input_layernorm", "post_attention_layernorm"] {
        tensors.insert(format!("model.layers.0.{part}.weight"), ones());
    }
    tensors
}

fn in_gguf(name: &str) -> String {
    let names = [
        ("model.layers.0.", "blk.0."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
    ];
    names.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Returns a GGUF file with a SentencePiece vocabulary: each token is followed by the next one of `row`. Tokens in
/// angle brackets have the type `types`, or control by default.
fn gguf(row: &[&str], types: Option<i32>, more: &[(&str, Value)], tensors: &[&str]) -> Vec<u8> {
    let mut tokens = vec!["<unk>", "<s>", "</s>", "▁"];
    tokens.extend(row.iter().filter(|token| !["</s>", "▁"].contains(*token)));
    let place = |token: &&str| tokens.iter().position(|known| known == token).unwrap();
    let mut next: Vec<usize> = vec![2; tokens.len()];
    for pair in row.windows(2) {
        next[place(&pair[0])] = place(&pair[1]);
    }
    let mut weights: Vec<(String, QTensor)> = weights(tokens.len(), &next)
        .iter()
        .map(|(name, tensor)| (in_gguf(name), QTensor::quantize(tensor, GgmlDType::F32).unwrap()))
        .collect();
    for name in tensors {
        let zeros = Tensor::from_vec(vec![0_f32; HIDDEN], HIDDEN, &Device::Cpu).unwrap();
        weights.push(((*name).to_owned(), QTensor::quantize(&zeros, GgmlDType::F32).unwrap()));
    }
    let type_of = |token: &&str| if token.starts_with('<') { types.unwrap_or(3) } else { 1 };
    let number = |number: u32| Value::U32(number);
    let mut metadata = vec![
        ("general.architecture", text("llama")),
        ("llama.embedding_length", number(HIDDEN as u32)),
        ("llama.feed_forward_length", number(HIDDEN as u32)),
        ("llama.attention.head_count", number(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.block_count", number(1)),
        ("llama.context_length", number(128)),
        ("tokenizer.ggml.model", text("llama")),
        ("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|token| text(token)).collect())),
        ("tokenizer.ggml.token_type", Value::Array(tokens.iter().map(type_of).map(Value::I32).collect())),
        ("tokenizer.ggml.scores", Value::Array(tokens.iter().map(|_| Value::F32(-1.0)).collect())),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
    ];
    metadata.extend(more.iter().cloned());
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(name, value)| (*name, value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        weights.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut bytes = Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &metadata, &tensors).unwrap();
    bytes.into_inner()
}

fn generator(path: &Path) -> Generator {
    assert_eq!(inspect(path), Ok(()));
    Generator::load(path, &Options { threads: 1, ..Options::default() }).unwrap()
}

/// Returns the generated text, the finish reason and the number of tokens of the prompt.
fn continued(generator: &mut Generator, prompt: Prompt) -> Result<(String, FinishReason, u32), String> {
    let request = Generation { max_tokens: 8, temperature_thousandths: 0, ..Generation::from_prompt(prompt) };
    let mut session = generator.begin(&request).map_err(|error| error.to_string())?;
    let mut all = String::new();
    loop {
        match generator.step(&mut session).unwrap() {
            Step::Going { text } => all.push_str(&text),
            Step::Done { text, finish } => return Ok((all + &text, finish, session.prompt_tokens())),
        }
    }
}

fn completed(generator: &mut Generator, prompt: &str) -> Result<(String, FinishReason, u32), String> {
    continued(generator, Prompt::Text(prompt.to_owned()))
}

fn answered(generator: &mut Generator, content: &str) -> Result<(String, FinishReason, u32), String> {
    let message = ChatMessage { role: ChatRole::User, content: content.to_owned() };
    continued(generator, Prompt::Chat(vec![message]))
}

fn stopped(text: &str, prompt_tokens: u32) -> Result<(String, FinishReason, u32), String> {
    Ok((text.to_owned(), FinishReason::Stop, prompt_tokens))
}

#[test]
fn a_text_ends_with_a_token_that_ends_a_turn_whether_a_file_names_it_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let ends = [
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|endoftext|>",
        "<end_of_turn>",
        "<|end|>",
    ];
    for end in ends {
        // A control, a user-defined and a normal token: llama.cpp stops at each.
        for kind in [3, 4, 1] {
            fs::write(&path, gguf(&["h", "i", end, "J", "K", "</s>"], Some(kind), &[], &[])).unwrap();
            assert_eq!(completed(&mut generator(&path), "h"), stopped("i", 3), "{end} of type {kind}");
        }
    }
    fs::write(&path, gguf(&["h", "i", "<|im_start|>", "J", "</s>"], None, &[], &[])).unwrap();
    assert_eq!(completed(&mut generator(&path), "h"), stopped("iJ", 3));
    // A token whose id the file names ends the turn, whatever its text is.
    let named = [("tokenizer.ggml.eot_token_id", Value::U32(6))];
    fs::write(&path, gguf(&["h", "i", "<|mine|>", "J", "</s>"], None, &named, &[])).unwrap();
    assert_eq!(completed(&mut generator(&path), "h"), stopped("i", 3));
}

#[test]
fn a_completion_keeps_its_first_space_and_a_text_ends_where_the_prompt_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let template = [("tokenizer.chat_template", text("{% for m in messages %}{{ m.content }}{% endfor %}"))];
    fs::write(&path, gguf(&["h", "▁world", "▁again", "</s>"], None, &template, &[])).unwrap();
    let mut it = generator(&path);
    assert_eq!(completed(&mut it, "h"), stopped(" world again", 3));
    // A chat template writes the start of a conversation itself, so no token is added.
    assert_eq!(answered(&mut it, "h"), stopped(" world again", 2));
}

#[test]
fn unsupported_contents_of_a_gguf_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |more: &[(&str, Value)], tensors: &[&str], bytes: Option<Vec<u8>>| {
        let path = folder.path().join(format!("{}.gguf", fs::read_dir(folder.path()).unwrap().count()));
        fs::write(&path, bytes.unwrap_or_else(|| gguf(&["h", "i"], None, more, tensors))).unwrap();
        let said = inspect(&path).unwrap_err();
        let loaded = Generator::load(&path, &Options::default()).err().unwrap().to_string();
        assert!(loaded.contains(&said), "{loaded} is not {said}");
        said
    };
    for tensor in ["blk.0.attn_q_norm.weight", "blk.0.ffn_up_exps.weight", "blk.1.attn_q.bias", "output.bias"]
    {
        assert!(refusal(&[], &[tensor], None).contains(tensor));
    }
    let keys = [
        ("llama.attention.clamp_kqv", Value::F32(8.0)),
        ("llama.residual_scale", Value::F32(0.5)),
        ("split.count", Value::U16(2)),
        ("tokenizer.ggml.add_bos_token", Value::U32(1)),
    ];
    for (key, value) in keys {
        let said = refusal(&[(key, value)], &[], None);
        assert!(said.contains(key) || said.contains("split"), "{said}");
    }
    let pre = [("tokenizer.ggml.pre", text("kimi-k2"))];
    // The pre-tokenizer does not apply to SentencePiece vocabularies.
    let path = folder.path().join("pieces.gguf");
    fs::write(&path, gguf(&["h", "i"], None, &pre, &[])).unwrap();
    assert_eq!(inspect(&path), Ok(()));
}

/// Creates a model folder with a byte-level vocabulary: `a`, `b`, a new line, `<s>` and `</s>`. The model continues
/// a new line with `a`, `b` and `</s>`.
fn folder(files: &[(&str, serde_json::Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary: Map<String, serde_json::Value> = ["a", "b", "Ċ", "<s>", "</s>"]
        .into_iter()
        .zip(0..)
        .map(|(token, id): (_, u32)| (token.to_owned(), id.into()))
        .collect();
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false})
    };
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let mut all = HashMap::from([
        (
            "config.json",
            json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
            "intermediate_size": HIDDEN, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 5,
            "max_position_embeddings": 128, "bos_token_id": 3, "eos_token_id": 4}),
        ),
        (
            "tokenizer.json",
            json!({"added_tokens": [added(3, "<s>"), added(4, "</s>"), added(5, "<pad>")],
            "pre_tokenizer": bytes, "decoder": bytes,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}),
        ),
        ("tokenizer_config.json", json!({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})),
    ]);
    for (name, changes) in files {
        let file = all.entry(name).or_insert_with(|| json!({}));
        for (key, value) in changes.as_object().unwrap() {
            file[key] = value.clone();
        }
    }
    for (name, content) in all {
        fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    // The prompt "b\n" is continued with "a", "b" and the end.
    let weights: HashMap<String, Tensor> = weights(5, &[1, 4, 0, 0, 0]).into_iter().collect();
    safetensors::save(&weights, folder.path().join("model.safetensors")).unwrap();
    folder
}

#[test]
fn the_files_of_a_folder_decide_which_tokens_are_added() {
    let tokens = |files: &[(&str, serde_json::Value)]| {
        completed(&mut generator(folder(files).path()), "b\n").unwrap().2
    };
    let of = |config: serde_json::Value| ("tokenizer_config.json", config);
    let processor = json!({"post_processor": {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}}});
    let processor = ("tokenizer.json", processor);
    // `tokenizer.json` decides, unless `tokenizer_config.json` sets the field.
    assert_eq!(tokens(&[]), 2);
    assert_eq!(tokens(&[of(json!({"add_bos_token": null}))]), 2);
    assert_eq!(tokens(std::slice::from_ref(&processor)), 3);
    assert_eq!(tokens(&[processor.clone(), of(json!({"add_bos_token": false}))]), 2);
    assert_eq!(tokens(&[of(json!({"add_bos_token": true}))]), 3);
    assert_eq!(tokens(&[of(json!({"add_bos_token": true, "add_eos_token": true}))]), 4);
    assert_eq!(tokens(&[of(json!({"add_bos_token": true, "bos_token": null}))]), 2);
    // Without `tokenizer_config.json`, the class is taken to be Llama's, which adds `<s>`.
    let bare = folder(&[]);
    fs::remove_file(bare.path().join("tokenizer_config.json")).unwrap();
    assert_eq!(completed(&mut generator(bare.path()), "b\n").unwrap().2, 3);
}

#[test]
fn nulls_count_as_absent_and_a_bad_part_fails_only_its_users() {
    let nulls = json!({"attention_bias": null, "mlp_bias": null, "rope_scaling": null, "head_dim": null, "rms_norm_eps": null});
    let plain = folder(&[("config.json", nulls)]);
    let mut it = generator(plain.path());
    assert_eq!(completed(&mut it, "b\n"), stopped("ab", 2));
    // The tokenizer's last token has no row in the embedding table.
    let error = completed(&mut it, "b<pad>\n").unwrap_err();
    assert!(error.contains("no row for token 5 (\"<pad>\")"), "{error}");
    assert!(answered(&mut it, "b").unwrap_err().contains("no chat template"));
    let template = |template: &str| folder(&[("tokenizer_config.json", json!({"chat_template": template}))]);
    let broken = template("{% for m in messages %}{{ m.content }}{% endfo %}");
    let mut it = generator(broken.path());
    assert_eq!(completed(&mut it, "b\n"), stopped("ab", 2));
    let error = answered(&mut it, "b").unwrap_err();
    assert!(
        error.contains("chat template") && error.contains("endfo") && error.contains("hint: "),
        "{error}"
    );
    let marked =
        template("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}");
    assert_eq!(answered(&mut generator(marked.path()), "b\n"), stopped("ab", 2));
    // Added tokens that end a turn are recognised by their texts.
    let end = json!({"added_tokens": [{"id": 1, "content": "b", "special": false, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false}, {"id": 4, "content": "<|im_end|>", "special": true, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false}], "model": {"type": "BPE", "merges": [],
        "vocab": {"a": 0, "b": 1, "Ċ": 2, "<s>": 3, "<|im_end|>": 4}}});
    let unnamed = folder(&[
        ("tokenizer.json", end),
        ("config.json", json!({"eos_token_id": null})),
        ("tokenizer_config.json", json!({"eos_token": null})),
    ]);
    assert_eq!(completed(&mut generator(unnamed.path()), "b\n"), stopped("ab", 2));
}

#[test]
fn unsupported_settings_of_a_folder_are_named() {
    let cases = [
        ("config.json", json!({"architectures": ["LlamaForSequenceClassification"]}), "ForCausalLM"),
        ("config.json", json!({"attention_bias": "yes"}), "attention_bias"),
        ("config.json", json!({"rope_scaling": {"rope_type": "yarn"}}), "yarn"),
        ("config.json", json!({"quantization_config": {"quant_method": "gptq"}}), "quantization_config"),
        ("generation_config.json", json!({"eos_token_id": "x"}), "eos_token_id"),
        ("tokenizer_config.json", json!({"add_bos_token": 1}), "add_bos_token"),
        ("tokenizer_config.json", json!({"split_special_tokens": true}), "split_special_tokens"),
        (
            "tokenizer.json",
            json!({"model": {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 0}}),
            "\"Unigram\"",
        ),
    ];
    for (file, change, reason) in cases {
        let folder = folder(&[(file, change)]);
        let said = inspect(folder.path()).unwrap_err();
        assert!(said.contains(reason), "{said}");
        let loaded = Generator::load(folder.path(), &Options::default()).err().unwrap().to_string();
        assert_eq!(loaded, said);
    }
}
