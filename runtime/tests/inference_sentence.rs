//! Settings in the files beside a model's weights, compared with transformers and sentence-transformers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use runtime::inference::{Backend, Model, Precision};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The tokens of transformers for texts and pairs with each setting.
#[derive(Deserialize)]
struct Tokens {
    usual: Map<String, Value>,
    texts: Vec<String>,
    pairs: Vec<[String; 2]>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    what: String,
    /// Fields of `tokenizer_config.json`; "-" removes a field, and null removes the file.
    #[serde(default = "no_fields")]
    config: Option<Map<String, Value>>,
    special: Option<Map<String, Value>>,
    /// Fields of `tokenizer.json`.
    #[serde(default)]
    file: Map<String, Value>,
    /// Whether `vocab.txt` replaces it.
    #[serde(default)]
    words: bool,
    ids: Vec<Vec<u32>>,
    pair_ids: Vec<Vec<u32>>,
    pair_types: Option<Vec<Vec<u32>>>,
}

#[allow(clippy::unnecessary_wraps, reason = "absent is not null")]
fn no_fields() -> Option<Map<String, Value>> {
    Some(Map::new())
}

#[derive(Deserialize)]
struct Vectors {
    input: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sentence").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(data(name)).unwrap()).unwrap()
}

/// A copy of the model in which files can be replaced.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            fs::copy(data(name), folder.0.path().join(name)).unwrap();
        }
        folder
    }

    fn with(self, name: &str, content: &Value) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.to_string()).unwrap();
        self
    }

    /// Adds the modules of a sentence-transformers model with this pooling configuration.
    fn with_modules(self, pooling: &Value) -> Self {
        let module = |at: usize, class: &str, path: &str| json!({"idx": at, "name": at.to_string(), "path": path, "type": format!("sentence_transformers.models.{class}")});
        let modules = json!([
            module(0, "Transformer", ""),
            module(1, "Pooling", "1_Pooling"),
            module(2, "Normalize", "2_Normalize"),
        ]);
        self.with("modules.json", &modules).with("1_Pooling/config.json", pooling)
    }

    fn without(self, name: &str) -> Self {
        fs::remove_file(self.0.path().join(name)).unwrap();
        self
    }

    fn open(&self) -> Result<Model<'static>, String> {
        Model::open(self.0.path(), Backend::Kernels(Precision::F32)).map_err(|error| error.to_string())
    }
}

fn folder_of(case: &Case, usual: &Map<String, Value>) -> Folder {
    let mut folder = Folder::new();
    if case.words {
        let words: BTreeMap<u64, String> = read("tokenizer.json")["model"]["vocab"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(word, id)| (id.as_u64().unwrap(), word.clone()))
            .collect();
        let lines: String = words.values().map(|word| format!("{word}\n")).collect();
        folder = folder.without("tokenizer.json");
        fs::write(folder.0.path().join("vocab.txt"), lines).unwrap();
    } else {
        let mut file = read("tokenizer.json");
        file.as_object_mut().unwrap().extend(case.file.clone());
        folder = folder.with("tokenizer.json", &file);
    }
    if let Some(fields) = &case.config {
        let mut config = usual.clone();
        config.extend(fields.clone());
        config.retain(|_, value| *value != "-");
        folder = folder.with("tokenizer_config.json", &config.into());
    }
    match &case.special {
        Some(special) => folder.with("special_tokens_map.json", &special.clone().into()),
        None => folder,
    }
}

fn embed(model: &Model<'_>, text: &str) -> Vec<f32> {
    model.embed(&[&model.tokenize(text).unwrap()]).unwrap().remove(0)
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    assert_eq!(one.len(), other.len());
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

/// The rows of the model's embedding table.
const ROWS: u32 = 41;

#[test]
fn texts_and_pairs_have_the_tokens_of_transformers_by_every_setting() {
    let Tokens { usual, texts, pairs, cases } = serde_json::from_value(read("tokens.json")).unwrap();
    for case in &cases {
        let model = folder_of(case, &usual).open().unwrap_or_else(|error| panic!("{}: {error}", case.what));
        for (text, ids) in texts.iter().zip(&case.ids) {
            let what = format!("{}: {text:?}", case.what);
            let tokens = model.tokenize(text);
            if ids.iter().any(|id| *id >= ROWS) {
                // A token without a row is an error only in the texts that contain it.
                assert!(tokens.unwrap_err().contains(r#"("<x>") is not in the vocabulary"#), "{what}");
            } else if ids.is_empty() {
                assert!(tokens.unwrap_err().contains("no token"), "{what}");
            } else {
                assert_eq!(tokens.as_ref(), Ok(ids), "{what}");
            }
        }
        for (at, ([first, second], ids)) in pairs.iter().zip(&case.pair_ids).enumerate() {
            let pair = model.tokenize_pair(first, second).unwrap();
            let what = format!("{}: {first:?} {second:?}", case.what);
            assert_eq!(&pair.tokens, ids, "{what}");
            let types = case.pair_types.as_ref().map(|types| types[at].clone()).unwrap_or_default();
            let types = if types.contains(&1) { types } else { Vec::new() };
            assert_eq!(pair.types, types, "{what}");
        }
    }
}

#[test]
fn prompts_and_capitals_give_the_vectors_of_sentence_transformers() {
    let right: BTreeMap<String, Vectors> = serde_json::from_value(read("vectors.json")).unwrap();
    let mean = json!({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true});
    let plain = || Folder::new().with_modules(&mean);
    let config = |lower_case: bool| json!({"tokenizer_class": "BertTokenizer", "do_lower_case": lower_case});
    let prompts =
        json!({"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "query"});
    let mut small = read("tokenizer.json");
    small["normalizer"]["lowercase"] = false.into();
    let folders = [
        ("prompted", plain().with("config_sentence_transformers.json", &prompts)),
        ("cased", plain().with("tokenizer_config.json", &config(false))),
        ("uncased", plain().with("tokenizer.json", &small)),
        (
            "uncased",
            plain()
                .with("sentence_bert_config.json", &json!({"do_lower_case": true}))
                .with("tokenizer_config.json", &config(false)),
        ),
    ];
    for (name, folder) in folders {
        let model = folder.open().unwrap();
        for (text, vector) in right[name].input.iter().zip(&right[name].vectors) {
            let found = cosine(&embed(&model, text), vector);
            assert!(found > 0.9999, "{name}: cosine {found} for {text:?}");
        }
    }
}

#[test]
fn a_prompt_counts_among_the_tokens_and_may_be_left_out_of_the_mean() {
    let prompts = json!({"prompts": {"query": "query: "}, "default_prompt_name": "query"});
    let of = |pooling: Value| {
        let folder = Folder::new().with_modules(&pooling);
        folder.with("config_sentence_transformers.json", &prompts).open().unwrap()
    };
    let model = of(json!({"pooling_mode": "mean"}));
    assert_eq!(model.tokenize("cat").unwrap(), [2, 9, 11, 12, 3]);
    assert_eq!(model.wrap_tokens(&[12]).unwrap(), [2, 9, 11, 12, 3]);
    assert_eq!(model.tokenize_pair("cat", "sat").unwrap().tokens, [2, 9, 11, 12, 3, 13, 3]);
    let long = "cat ".repeat(40);
    assert_eq!(model.tokenize(&long).unwrap().len(), 32);
    // Without the prompt, the first token is the first word of the text.
    let of_first = of(json!({"pooling_mode": "cls", "include_prompt": false}));
    let plain = of(json!({"pooling_mode": ["cls", "lasttoken"]}));
    let both = embed(&plain, "cat");
    assert_eq!(both.len(), 64);
    assert!(cosine(&embed(&of_first, "cat"), &both[..32]) < 0.999);
    // The mean without the prompt is over the two tokens that follow it.
    let mean = of(json!({"pooling_mode": "mean", "include_prompt": false}));
    let two = of(json!({"pooling_mode": ["cls", "mean"], "include_prompt": false}));
    assert!(cosine(&embed(&mean, "cat"), &embed(&two, "cat")[32..]) > 0.999_99);
    assert!(cosine(&embed(&of_first, "cat"), &embed(&two, "cat")[..32]) > 0.999_99);
}

#[test]
fn what_contradicts_the_tokenizer_is_refused_by_name() {
    let told = |fields: &Value, file: &[(&str, Value)]| {
        let mut tokenizer = read("tokenizer.json");
        for (name, value) in file {
            tokenizer[*name] = value.clone();
        }
        let folder = Folder::new().with("tokenizer_config.json", fields).with("tokenizer.json", &tokenizer);
        folder.open().map(drop).unwrap_err()
    };
    let small = [("normalizer", json!({"type": "Lowercase"}))];
    let case = told(&json!({"do_lower_case": false}), &small);
    assert!(case.contains("do_lower_case is false, but its normaliser makes capitals small"), "{case}");
    let unknown = told(&json!({"unk_token": "[MASK]"}), &[]);
    assert!(unknown.contains(r#"unk_token is "[MASK]""#), "{unknown}");
    let first = told(&json!({"cls_token": "[MASK]"}), &[]);
    assert!(first.contains(r#"cls_token is "[MASK]", but a text has "[CLS]" there"#), "{first}");
    let class = told(&json!({"tokenizer_class": "BertJapaneseTokenizer"}), &[]);
    assert!(class.starts_with("tokenizer_config.json: tokenizer_class is"), "{class}");
    let missing = Folder::new().without("tokenizer.json").open().map(drop).unwrap_err();
    assert_eq!(missing, "tokenizer.json: is missing");
    // A token that is part of every text must have a row.
    let mut words = read("tokenizer.json");
    words["model"]["vocab"]["[SEP]"] = 99.into();
    words["added_tokens"][3]["id"] = 99.into();
    words["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json!([99]);
    let without = Folder::new().with("tokenizer.json", &words).open().map(drop).unwrap_err();
    assert!(without.contains(r#"token 99 ("[SEP]") is not in the vocabulary"#), "{without}");
}

#[test]
fn dropped_tokens_are_counted() {
    let model = Folder::new().open().unwrap();
    let dropped =
        |text: &str| model.sequence(&engine::task::EmbeddingInput::Text(text.to_owned())).unwrap().dropped;
    assert_eq!(dropped("cat sat"), 0);
    assert_eq!(dropped(&"cat ".repeat(30)), 0);
    assert_eq!(dropped(&"cat ".repeat(31)), 1);
    assert_eq!(dropped(&"cat ".repeat(100_000)), 100_000 - 30);
    let pair = model.tokenize_pair(&"cat ".repeat(20), &"sat ".repeat(20)).unwrap();
    assert_eq!((pair.tokens.len(), pair.dropped), (32, 11));
    // Of a text beyond the read limit, the kept end is right and the count is a lower bound.
    let left =
        Folder::new().with("tokenizer_config.json", &json!({"truncation_side": "left"})).open().unwrap();
    let text = format!("{}dog ran", "cat ".repeat(1 << 20));
    let sequence = left.sequence(&engine::task::EmbeddingInput::Text(text)).unwrap();
    assert_eq!(sequence.tokens[sequence.tokens.len() - 4..], [12, 16, 17, 3]);
    assert!(sequence.dropped > 200_000, "{}", sequence.dropped);
}
