//! Model folders as published, compared with PyTorch, and folders that are damaged or incomplete.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod families;
mod published;

use engine::task::TaskKind;
use proptest::prelude::*;
use runtime::inference::{Backend, Model, Pair, Precision, Sequence, Workspace};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The results of PyTorch for one text.
#[derive(Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
    mean_pooled_l2: Vec<f32>,
    cls: Vec<f32>,
    logits: Vec<f32>,
    probabilities: Vec<f32>,
    label: String,
}

/// The logits of 64-bit numpy for a pair of texts, by activation function.
#[derive(Deserialize)]
struct GoldenPair {
    query: String,
    text: String,
    ids: Vec<u32>,
    types: Vec<u32>,
    logits: BTreeMap<String, Vec<f32>>,
}

/// The backends that compute in f32, as PyTorch does.
const EXACT: [Backend; 2] = [Backend::Candle, Backend::Kernels(Precision::F32)];

const ARCHITECTURES: [&str; 2] = ["bert", "distilbert"];

fn data(architecture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(architecture)
}

fn golden(architecture: &str) -> Vec<Golden> {
    serde_json::from_slice(&fs::read(data(architecture).join("expected.json")).unwrap()).unwrap()
}

/// A copy of a golden model that a test may change.
struct Copy(tempfile::TempDir);

impl Copy {
    fn of(architecture: &str) -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            copy.write(name, &fs::read(data(architecture).join(name)).unwrap());
        }
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Replaces the first occurrence of a text in a file.
    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).unwrap();
        assert!(text.contains(from), "{from}");
        self.write(name, text.replacen(from, to, 1).as_bytes());
    }

    /// Turns a classifier into an embedding model.
    fn without_head(&self) {
        self.replace("config.json", "ForSequenceClassification", "Model");
    }

    fn modules(&self, modules: &[&str]) {
        let list: Vec<String> = modules
            .iter()
            .enumerate()
            .map(|(at, class)| {
                let path = if at == 0 { String::new() } else { format!("{at}_{class}") };
                format!(r#"{{"idx":{at},"path":"{path}","type":"sentence_transformers.models.{class}"}}"#)
            })
            .collect();
        self.write("modules.json", format!("[{}]", list.join(",")).as_bytes());
    }

    /// Rewrites the weights with other names, numbers or types.
    fn rewrite(&self, change: impl Fn(&str, Vec<f32>) -> (String, Dtype, Vec<u8>)) {
        let bytes = self.read("model.safetensors");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let changed: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let (new, dtype, bytes) = change(&name, floats(view.data()));
                (new, dtype, view.shape().to_vec(), bytes)
            })
            .collect();
        self.write("model.safetensors", &serialized(&changed));
    }

    fn open(&self) -> Result<Model<'static>, String> {
        Model::open(self.0.path(), EXACT[1]).map_err(|error| error.to_string())
    }

    /// Opens the folder and returns the result as text, without the folder's path.
    fn told(&self) -> String {
        match self.open() {
            Ok(model) => format!("accepted: {:?}", model.kinds()),
            Err(error) => error.replace(&self.0.path().display().to_string(), "…"),
        }
    }
}

fn serialized(tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
}

fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn furthest(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

/// Embeds all golden texts in one batch.
fn vectors(model: &Model<'_>, golden: &[Golden]) -> Vec<Vec<f32>> {
    let ids: Vec<Vec<u32>> = golden.iter().map(|row| model.tokenize(&row.text).unwrap()).collect();
    let batch: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    for (ids, row) in batch.iter().zip(golden) {
        assert_eq!(*ids, row.ids, "{:?}", row.text);
    }
    model.embed(&batch).unwrap()
}

#[test]
fn heads_give_the_logits_probabilities_and_labels_of_pytorch() {
    for architecture in ARCHITECTURES {
        let golden = golden(architecture);
        for backend in EXACT {
            let model = Model::open(&data(architecture), backend).unwrap();
            assert_eq!(model.kinds(), [TaskKind::Classification]);
            let labels = model.labels().unwrap();
            for (scores, row) in vectors(&model, &golden).iter().zip(&golden) {
                assert!(furthest(scores, &row.probabilities) < 1e-4, "{architecture}: {:?}", row.text);
                let best = (0..3).max_by(|&one, &other| scores[one].total_cmp(&scores[other])).unwrap();
                assert_eq!(labels[best], row.label, "{architecture}: {:?}", row.text);
            }
            let plain = Copy::of(architecture);
            plain.replace("config.json", "{", r#"{"problem_type":"regression","#);
            let model = Model::open(plain.0.path(), backend).unwrap();
            for (logits, row) in vectors(&model, &golden).iter().zip(&golden) {
                assert!(furthest(logits, &row.logits) < 1e-4, "{architecture}: {:?}", row.text);
            }
        }
        for (precision, tolerance) in [(Precision::Bf16, 0.02), (Precision::Int8, 0.05)] {
            let model = Model::open(&data(architecture), Backend::Kernels(precision)).unwrap();
            for (scores, row) in vectors(&model, &golden).iter().zip(&golden) {
                let off = furthest(scores, &row.probabilities);
                assert!(off < tolerance, "{architecture} {precision:?}: off by {off}: {:?}", row.text);
            }
        }
        let several = Copy::of(architecture);
        several.replace("config.json", "{", r#"{"problem_type":"multi_label_classification","#);
        for (scores, row) in vectors(&several.open().unwrap(), &golden).iter().zip(&golden) {
            let sigmoids: Vec<f32> = row.logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
            assert!(furthest(scores, &sigmoids) < 1e-4, "{architecture}: {:?}", row.text);
        }
    }
}

/// Computes the outputs of all pairs in one batch.
fn outputs_of_pairs(model: &Model<'_>, golden: &[GoldenPair]) -> Vec<Vec<f32>> {
    let pairs: Vec<Pair> =
        golden.iter().map(|row| model.tokenize_pair(&row.query, &row.text).unwrap()).collect();
    for (pair, row) in pairs.iter().zip(golden) {
        assert_eq!((&pair.tokens, &pair.types), (&row.ids, &row.types), "{:?}", row.text);
    }
    let batch: Vec<Sequence<'_>> = pairs.iter().map(Pair::as_sequence).collect();
    model.compute(&mut Workspace::alone(), &batch, &AtomicBool::new(false)).unwrap()
}

fn golden_pairs(folder: &Path, name: &str) -> Vec<GoldenPair> {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn pairs_of_texts_and_every_activation_are_computed_exactly() {
    let golden = golden_pairs(&data("bert"), "pairs.json");
    for (activation, names) in [
        ("gelu", ["gelu", "gelu_python", "gelu"]),
        ("gelu_new", ["gelu_new", "gelu_fast", "gelu_pytorch_tanh"]),
        ("relu", ["relu"; 3]),
    ] {
        for (name, backend) in names.iter().flat_map(|name| EXACT.map(|backend| (name, backend))) {
            let copy = Copy::of("bert");
            copy.replace("config.json", "{", r#"{"problem_type":"regression","#);
            copy.replace("config.json", r#""hidden_act": "gelu""#, &format!(r#""hidden_act": "{name}""#));
            let model = Model::open(copy.0.path(), backend).unwrap();
            for (logits, row) in outputs_of_pairs(&model, &golden).iter().zip(&golden) {
                let off = furthest(logits, &row.logits[activation]);
                // Exact GELU and the tanh approximation differ by up to 4e-4 here.
                assert!(off < 5e-5, "{name} {backend:?}: off by {off}: {:?}", row.text);
            }
        }
    }
}

#[test]
fn a_cross_encoder_gives_each_pair_one_score() {
    let folder = data("cross-encoder");
    let golden = golden_pairs(&folder, "expected.json");
    for backend in EXACT {
        let model = Model::open(&folder, backend).unwrap();
        assert_eq!(model.kinds(), [TaskKind::Classification, TaskKind::Reranking]);
        for (logits, row) in outputs_of_pairs(&model, &golden).iter().zip(&golden) {
            assert!(furthest(logits, &row.logits["gelu_new"]) < 5e-5, "{:?}", row.text);
        }
    }
    // A model without token types gets none. A token type that the model lacks is an error.
    let distilled = Model::open(&data("distilbert"), EXACT[1]).unwrap();
    assert!(distilled.tokenize_pair("a", "b").unwrap().types.is_empty());
    let odd = Copy::of("bert");
    let tokenizer: serde_json::Value = serde_json::from_slice(&odd.read("tokenizer.json")).unwrap();
    let mut odd_tokenizer = tokenizer.clone();
    let pair = odd_tokenizer["post_processor"]["pair"].as_array_mut().unwrap();
    pair.iter_mut().filter_map(|part| part.get_mut("Sequence")).for_each(|part| part["type_id"] = 7.into());
    assert_ne!(odd_tokenizer, tokenizer);
    odd.write("tokenizer.json", odd_tokenizer.to_string().as_bytes());
    let model = odd.open().unwrap();
    assert_eq!(model.tokenize_pair("a", "b"), Err("the model has no tokens of type 7".to_owned()));
    assert!(model.tokenize("a").is_ok());
}

#[test]
fn vectors_are_pooled_and_scaled_as_the_models_files_say() {
    for architecture in ARCHITECTURES {
        let golden = golden(architecture);
        let silent = Copy::of(architecture);
        silent.without_head();
        let model = silent.open().unwrap();
        assert_eq!(model.kinds(), [TaskKind::Embedding, TaskKind::Classification, TaskKind::Reranking]);
        for (vector, row) in vectors(&model, &golden).iter().zip(&golden) {
            assert!(furthest(vector, &row.mean_pooled_l2) < 1e-4, "{architecture}: {:?}", row.text);
        }
        let cls = Copy::of(architecture);
        cls.without_head();
        cls.modules(&["Transformer", "Pooling"]);
        cls.write(
            "1_Pooling/config.json",
            br#"{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}"#,
        );
        for (vector, row) in vectors(&cls.open().unwrap(), &golden).iter().zip(&golden) {
            assert!(furthest(vector, &row.cls) < 1e-4, "{architecture}: {:?}", row.text);
        }
        cls.modules(&["Transformer", "Pooling", "Normalize"]);
        cls.write("sentence_bert_config.json", br#"{"max_seq_length":8}"#);
        let model = cls.open().unwrap();
        let cut = model.tokenize(&golden[0].text).unwrap();
        assert_eq!(cut, [&golden[0].ids[..7], &golden[0].ids[golden[0].ids.len() - 1..]].concat());
        let vector = model.embed(&[&cut]).unwrap().remove(0);
        assert!((vector.iter().map(|number| number * number).sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn names_without_prefix_older_names_and_16_bits_are_read() {
    for architecture in ARCHITECTURES {
        let golden = golden(architecture);
        let expected = vectors(&Model::open(&data(architecture), EXACT[1]).unwrap(), &golden);

        let older = Copy::of(architecture);
        older.rewrite(|name, numbers| {
            let name = if name.to_lowercase().contains("norm") {
                name.replace(".weight", ".gamma").replace(".bias", ".beta")
            } else {
                name.to_owned()
            };
            (name, Dtype::F32, bytes_of(&numbers))
        });
        assert_eq!(vectors(&older.open().unwrap(), &golden), expected);

        let bare = Copy::of(architecture);
        bare.without_head();
        let with_prefix = vectors(&bare.open().unwrap(), &golden);
        bare.rewrite(|name, numbers| {
            let name = name.strip_prefix(&format!("{architecture}.")).unwrap_or(name);
            (name.to_owned(), Dtype::F32, bytes_of(&numbers))
        });
        assert_eq!(vectors(&bare.open().unwrap(), &golden), with_prefix);

        for (dtype, tolerance) in [(Dtype::F16, 2e-3), (Dtype::BF16, 2e-2)] {
            let small = Copy::of(architecture);
            small.rewrite(|name, numbers| {
                let halved = numbers.iter().flat_map(|number| {
                    if dtype == Dtype::F16 {
                        half::f16::from_f32(*number).to_le_bytes()
                    } else {
                        half::bf16::from_f32(*number).to_le_bytes()
                    }
                });
                (name.to_owned(), dtype, halved.collect())
            });
            for (scores, exact) in vectors(&small.open().unwrap(), &golden).iter().zip(&expected) {
                assert!(furthest(scores, exact) < tolerance, "{architecture} {dtype:?}");
            }
        }
    }
}

#[test]
fn weights_may_be_in_several_files() {
    let golden = golden("bert");
    let expected = vectors(&Model::open(&data("bert"), EXACT[1]).unwrap(), &golden);
    let sharded = sharded();
    assert_eq!(vectors(&sharded.open().unwrap(), &golden), expected);
    let index = String::from_utf8(sharded.read(INDEX)).unwrap();
    let mut told = Vec::new();
    for (from, to) in [
        ("model-2.safetensors", "../model-2.safetensors"),
        ("model-2.safetensors", "/etc/passwd"),
        ("model-2.safetensors", "model-3.safetensors"),
        ("\"classifier.bias\"", "\"classifier.other\""),
        ("{", "["),
        ("weight_map", "other"),
    ] {
        sharded.write(INDEX, index.replacen(from, to, 1).as_bytes());
        told.push(sharded.told());
    }
    sharded.write(INDEX, br#"{"weight_map":{}}"#);
    told.push(sharded.told());
    insta::assert_snapshot!(told.join("\n"));
}

const INDEX: &str = "model.safetensors.index.json";

/// Returns the golden BERT with its weights in two files.
fn sharded() -> Copy {
    let copy = Copy::of("bert");
    let bytes = copy.read("model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut halves: [Vec<_>; 2] = [Vec::new(), Vec::new()];
    let mut map = BTreeMap::new();
    let mut named = tensors.tensors();
    named.sort_by(|one, other| one.0.cmp(&other.0));
    for (at, (name, view)) in named.into_iter().enumerate() {
        map.insert(name.clone(), format!("model-{}.safetensors", at % 2 + 1));
        halves[at % 2].push((name, view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    }
    for (number, half) in halves.iter().enumerate() {
        copy.write(&format!("model-{}.safetensors", number + 1), &serialized(half));
    }
    fs::remove_file(copy.path("model.safetensors")).unwrap();
    copy.write(INDEX, serde_json::json!({ "weight_map": map }).to_string().as_bytes());
    copy
}

/// A change to a folder before it is opened.
type Damage = fn(&Copy);

#[test]
fn damaged_folders_are_rejected_with_a_reason() {
    let damages: [(&str, Damage); 27] = [
        ("nothing", |_| {}),
        ("no configuration", |it| fs::remove_file(it.path("config.json")).unwrap()),
        ("no tokenizer", |it| fs::remove_file(it.path("tokenizer.json")).unwrap()),
        ("no weights", |it| fs::remove_file(it.path("model.safetensors")).unwrap()),
        ("weights of another kind", |it| {
            fs::rename(it.path("model.safetensors"), it.path("pytorch_model.bin")).unwrap();
        }),
        ("weights that are a folder", |it| {
            fs::remove_file(it.path("model.safetensors")).unwrap();
            fs::create_dir(it.path("model.safetensors")).unwrap();
        }),
        ("a configuration that is a folder", |it| {
            fs::remove_file(it.path("config.json")).unwrap();
            fs::create_dir(it.path("config.json")).unwrap();
        }),
        ("another architecture", |it| it.replace("config.json", "\"bert\"", "\"bert-generation\"")),
        ("another activation", |it| it.replace("config.json", "\"gelu\"", "\"gelu_new\"")),
        ("another vocabulary", |it| it.replace("config.json", "260", "300")),
        ("a smaller vocabulary", |it| it.replace("config.json", "260", "100")),
        ("no layers", |it| it.replace("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 0")),
        ("more layers", |it| {
            it.replace("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4")
        }),
        ("another label", |it| it.replace("config.json", "\"2\": \"positive\"", "\"3\": \"positive\"")),
        ("one label less", |it| {
            it.replace("config.json", ",\n    \"2\": \"positive\"", "");
        }),
        ("a configuration of 2 MB", |it| it.write("config.json", &vec![b' '; 2 << 20])),
        ("a configuration that is no text", |it| it.write("config.json", &[0xff, 0, 7])),
        ("a tokenizer of 40 MB", |it| it.write("tokenizer.json", &vec![b' '; 40 << 20])),
        ("a tokenizer that panics when it is loaded", |it| {
            it.replace(
                "tokenizer.json",
                r#""type": "BertNormalizer""#,
                r#""type": "Precompiled", "precompiled_charsmap": "AAAA""#,
            );
        }),
        ("a tokenizer that panics when it is used", |it| {
            it.replace(
                "tokenizer.json",
                r#""type": "BertNormalizer""#,
                r#""type": "Precompiled", "precompiled_charsmap": "EAAAAAAAAAAAAAAAAAAAAAAAAAA=""#,
            );
        }),
        ("a tokenizer without its special token", |it| {
            it.replace("tokenizer.json", r#""id": "[CLS]""#, r#""id": "[XXX]""#);
        }),
        ("weights cut short", |it| {
            let bytes = it.read("model.safetensors");
            it.write("model.safetensors", &bytes[..bytes.len() - 1]);
        }),
        ("weights cut in the header", |it| {
            let bytes = it.read("model.safetensors");
            it.write("model.safetensors", &bytes[..1000]);
        }),
        ("weights with something after them", |it| {
            let bytes = it.read("model.safetensors");
            it.write("model.safetensors", &[bytes.as_slice(), b"more"].concat());
        }),
        ("a number that is none", |it| {
            it.rewrite(|name, mut numbers| {
                if name == "bert.encoder.layer.1.output.dense.weight" {
                    numbers[7] = f32::NAN;
                }
                (name.to_owned(), Dtype::F32, bytes_of(&numbers))
            });
        }),
        ("a tensor of another name", |it| {
            it.rewrite(|name, numbers| {
                (name.replace("layer.2.intermediate", "layer.2.other"), Dtype::F32, bytes_of(&numbers))
            });
        }),
        ("a pooling that leads out", |it| {
            it.without_head();
            it.modules(&["Transformer", "Pooling"]);
            it.replace("modules.json", "1_Pooling", "../../1_Pooling");
        }),
    ];
    let told: Vec<String> = damages
        .iter()
        .map(|(what, damage)| {
            let copy = Copy::of("bert");
            damage(&copy);
            format!("{what}: {}", copy.told())
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_head_is_kept_when_a_model_is_quantised() {
    for architecture in ARCHITECTURES {
        let golden = golden(architecture);
        let copy = Copy::of(architecture);
        copy.write("tokenizer_config.json", br#"{"model_max_length":64}"#);
        let file = copy.path("small.safetensors");
        runtime::inference::quantize::quantize(copy.0.path(), &file).unwrap();
        let model = Model::open(&file, Backend::Kernels(Precision::Auto)).unwrap();
        for (scores, row) in vectors(&model, &golden).iter().zip(&golden) {
            assert!(furthest(scores, &row.probabilities) < 0.05, "{architecture}: {:?}", row.text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A damaged folder is rejected or works. It causes no panic and no endless loop.
    #[test]
    fn a_damaged_folder_is_refused_or_works(
        file in prop::sample::select(vec!["config.json", "tokenizer.json", "model.safetensors", "modules.json"]),
        changes in prop::collection::vec((0.0_f64..1.0, any::<u8>()), 0..4),
        cut in prop::option::weighted(0.2, 0.0_f64..1.0),
        in_header in any::<bool>(),
    ) {
        let copy = Copy::of("bert");
        copy.without_head();
        copy.modules(&["Transformer", "Pooling", "Normalize"]);
        copy.write("1_Pooling/config.json", br#"{"pooling_mode_mean_tokens":true}"#);
        let mut bytes = copy.read(file);
        let reach = if in_header { bytes.len().min(6000) } else { bytes.len() };
        for (place, value) in changes {
            let place = (place * reach as f64) as usize;
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        copy.write(file, &bytes);
        if let Ok(model) = copy.open()
            && let Ok(ids) = model.tokenize("a node falls silent")
        {
            let _ = model.embed(&[&ids]);
        }
    }
}

#[test]
fn the_published_weights_give_the_vectors_of_pytorch() {
    #[derive(Deserialize)]
    struct Row {
        text: String,
        tokens: usize,
        embedding: Vec<f32>,
    }
    let Some(folder) = published::minilm() else { return };
    let golden: Vec<Row> = serde_json::from_str(include_str!("data/minilm.json")).unwrap();
    for (backend, least) in [
        (Backend::Candle, 0.999_99),
        (Backend::Kernels(Precision::F32), 0.999_99),
        (Backend::Kernels(Precision::Bf16), 0.999),
        (Backend::Kernels(Precision::Int8), 0.99),
    ] {
        let model = Model::open(&folder, backend).unwrap();
        for Row { text, tokens, embedding } in &golden {
            let ids = model.tokenize(text).unwrap();
            assert_eq!(ids.len(), *tokens, "{text:?}");
            let vector = model.embed(&[&ids]).unwrap().remove(0);
            let products =
                vector.iter().zip(embedding).map(|(one, other)| f64::from(*one) * f64::from(*other));
            let cosine: f64 = products.sum();
            assert!(cosine >= least, "{backend:?}: cosine {cosine} for {text:?}");
        }
    }
}
