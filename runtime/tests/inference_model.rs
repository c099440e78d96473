//! The results of the embedded model, quantisation of a model folder, and damaged model files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use engine::task::EmbeddingInput;
use runtime::inference::quantize::{QuantizeError, quantize};
use runtime::inference::{Backend, LoadError, Model, Precision, SINGLE_FILE_TOKENS_MAX};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FASTEST: Backend = Backend::Kernels(Precision::Auto);

#[derive(Deserialize)]
struct Golden {
    text: String,
    tokens: usize,
    embedding: Vec<f32>,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("data/minilm.json")).unwrap()
}

fn embedded_file() -> Vec<u8> {
    fs::read(embedded_folder().join("model.safetensors")).unwrap()
}

fn embedded_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/all-MiniLM-L6-v2")
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    assert_eq!(one.len(), other.len());
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

fn embed(model: &Model<'_>, text: &str) -> Vec<f32> {
    let tokens = model.tokenize(text).unwrap();
    model.embed(&[&tokens]).unwrap().remove(0)
}

#[test]
fn every_golden_text_is_close_to_pytorch() {
    let file = embedded_file();
    for (backend, least) in [
        (Backend::Candle, 0.997),
        (Backend::Kernels(Precision::F32), 0.997),
        (Backend::Kernels(Precision::Bf16), 0.997),
        (Backend::Kernels(Precision::Int8), 0.99),
    ] {
        let model = Model::load(&file, backend).unwrap();
        for Golden { text, tokens, embedding } in golden() {
            let ids = model.tokenize(&text).unwrap();
            assert_eq!(ids.len(), tokens, "{text:?}");
            let vector = model.embed(&[&ids]).unwrap().remove(0);
            let close = cosine(&vector, &embedding);
            assert!(close >= least, "{backend:?}: cosine {close} for {text:?}");
            let length: f32 = vector.iter().map(|number| number * number).sum();
            assert!((length - 1.0).abs() < 1e-5, "length {length} for {text:?}");
        }
    }
}

#[test]
fn a_batch_of_mixed_lengths_gives_each_text_its_own_vector() {
    let file = embedded_file();
    let model = Model::load(&file, FASTEST).unwrap();
    let golden = golden();
    let tokens: Vec<Vec<u32>> = golden.iter().map(|row| model.tokenize(&row.text).unwrap()).collect();
    let batch: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    let vectors = model.embed(&batch).unwrap();
    assert_eq!(vectors.len(), golden.len());
    for ((vector, tokens), row) in vectors.iter().zip(&tokens).zip(&golden) {
        let alone = model.embed(&[tokens]).unwrap().remove(0);
        assert!(cosine(vector, &alone) > 0.999_999, "{:?}", row.text);
    }
}

#[test]
fn tokens_stand_for_their_text_with_or_without_the_special_ones() {
    let file = embedded_file();
    let model = Model::load(&file, FASTEST).unwrap();
    let tokens = model.tokenize("hello, wörld").unwrap();
    assert_eq!(model.wrap_tokens(&tokens).as_ref(), Ok(&tokens));
    assert_eq!(model.wrap_tokens(&tokens[1..tokens.len() - 1]), Ok(tokens));
    assert_eq!(model.wrap_tokens(&[5; 5000]).unwrap().len(), SINGLE_FILE_TOKENS_MAX);
    let fits = "a ".repeat(SINGLE_FILE_TOKENS_MAX - 2);
    let dropped = |input: EmbeddingInput| {
        let sequence = model.sequence(&input).unwrap();
        (sequence.tokens.len(), sequence.dropped)
    };
    let text = |text: &str| EmbeddingInput::Text(text.to_owned());
    assert_eq!(dropped(text(&fits)), (SINGLE_FILE_TOKENS_MAX, 0));
    for (longer, count) in [(format!("{fits}a"), 1), ("a ".repeat(100_000), 100_002 - SINGLE_FILE_TOKENS_MAX)]
    {
        assert_eq!(dropped(text(&longer)), (SINGLE_FILE_TOKENS_MAX, count));
        assert_eq!(model.tokenize(&longer), model.tokenize(&fits));
    }
    assert_eq!(dropped(EmbeddingInput::Tokens(vec![101, 5, 6, 102])), (4, 0));
    assert_eq!(dropped(EmbeddingInput::WholeTokens(vec![5; 5000])), (SINGLE_FILE_TOKENS_MAX, 4746));
    let unknown = model.wrap_tokens(&[7, 4_000_000_000]).unwrap_err();
    assert_eq!(unknown, "4000000000 is none of the model's 30522 tokens");
}

#[test]
fn empty_huge_and_strange_texts_have_a_vector() {
    let file = embedded_file();
    let model = Model::load(&file, FASTEST).unwrap();
    let strange = [
        "",
        " \u{0}\u{7f}\u{202e}\u{feff}",
        "\u{1F468}\u{200D}\u{1F469}",
        "e\u{301}\u{301}\u{301}",
        "\u{FFFD}",
    ];
    for text in strange {
        let vector = embed(&model, text);
        assert!(vector.iter().all(|number| number.is_finite()), "{text:?}");
    }
    assert_eq!(model.tokenize("").unwrap().len(), 2);

    let words = "mesh ".repeat(200_000);
    let cut = model.tokenize(&words).unwrap();
    assert_eq!(cut.len(), SINGLE_FILE_TOKENS_MAX);
    assert_eq!(cut, model.tokenize(&"mesh ".repeat(300)).unwrap());
    assert_eq!(model.tokenize(&"é".repeat(500_000)).unwrap().len(), 3);
    let late = format!("{}late words", " \n".repeat(100_000));
    assert_eq!(model.tokenize(&late).unwrap(), model.tokenize("late words").unwrap());

    // Even texts of 10 MiB are fast, because only a bounded part of a text is read.
    let huge = 10 << 20;
    assert_eq!(model.tokenize(&"a".repeat(huge)).unwrap().len(), 3);
    assert_eq!(model.tokenize(&" ".repeat(huge)).unwrap().len(), 2);
    assert_eq!(model.tokenize(&"\u{0}".repeat(huge)).unwrap().len(), 2);
    assert_eq!(model.tokenize(&"mesh-".repeat(huge / 5)).unwrap().len(), SINGLE_FILE_TOKENS_MAX);
    assert_eq!(model.tokenize(&"🚀".repeat(huge / 4)).unwrap().len(), 3);
    assert_eq!(model.tokenize(&"مرحبا ".repeat(huge / 11)).unwrap().len(), SINGLE_FILE_TOKENS_MAX);
}

#[test]
fn tokens_that_no_model_could_have_are_errors() {
    let file = embedded_file();
    let model = Model::load(&file, FASTEST).unwrap();
    assert!(model.embed(&[&[30_522]]).unwrap_err().contains("not in the vocabulary"));
    assert!(model.embed(&[&[]]).is_err());
    assert!(model.embed(&[&[101; 513]]).is_err());
    assert_eq!(model.embed(&[]).unwrap(), Vec::<Vec<f32>>::new());
}

#[test]
fn the_embedded_file_is_the_one_that_its_readme_names() {
    let hash: String = Sha256::digest(embedded_file()).iter().map(|byte| format!("{byte:02x}")).collect();
    let readme = fs::read_to_string(embedded_folder().join("README.md")).unwrap();
    assert!(readme.contains(&hash), "{hash}");
}

#[test]
fn the_same_source_gives_the_same_bytes() {
    let source = Source::small();
    let folder = source.write();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let report = quantize(folder.path(), &one).unwrap();
    assert_eq!(quantize(folder.path(), &two).unwrap(), report);
    let bytes = fs::read(&one).unwrap();
    assert_eq!(fs::read(&two).unwrap(), bytes);
    assert_eq!(report.output_bytes, bytes.len() as u64);
    assert_eq!(report.left_out, ["pooler.dense.bias"]);

    // In a model with a head, the names of the encoder's tensors have a prefix.
    let mut prefixed = Source::small();
    prefixed.rename_all(|name| format!("bert.{name}"));
    let folder = prefixed.write();
    quantize(folder.path(), &folder.path().join("one")).unwrap();
    assert_eq!(fs::read(folder.path().join("one")).unwrap(), bytes);
}

#[test]
fn quantised_weights_are_within_half_a_step_and_outliers_exact() {
    let mut source = Source::small();
    source.numbers("encoder.layer.0.output.dense.weight")[700] = 40.0;
    let folder = source.write();
    let output = folder.path().join("model");
    quantize(folder.path(), &output).unwrap();
    let bytes = fs::read(&output).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| numbers(tensors.tensor(name).unwrap().data());
    let mut matrices = 0;
    for (name, view) in tensors.tensors().into_iter().filter(|(_, view)| view.dtype() == Dtype::I8) {
        matrices += 1;
        let columns = view.shape()[1];
        let scales = floats(&format!("{name}.scale"));
        for (place, (value, weight)) in view.data().iter().zip(source.numbers(&name).iter()).enumerate() {
            let scale = scales[place / columns];
            let error = (f32::from(value.cast_signed()) * scale - weight).abs();
            let outlier = name == "encoder.layer.0.output.dense.weight" && place == 700;
            assert!(error <= scale * 0.5001 || outlier, "{name} {place}: {error}");
        }
    }
    assert_eq!(matrices, 9);
    assert_eq!(floats("encoder.layer.0.output.dense.weight.outliers"), [40.0]);
    let places = tensors.tensor("encoder.layer.0.output.dense.weight.places").unwrap().data();
    assert_eq!(
        places,
        [(700 / INTERMEDIATE as u32).to_le_bytes(), (700 % INTERMEDIATE as u32).to_le_bytes()].concat()
    );
    let model = Model::load(&bytes, FASTEST).unwrap();
    assert_eq!(embed(&model, "one two").len(), HIDDEN);
}

/// A change to a source before it is read.
type Damage = fn(&mut Source);

#[test]
fn a_damaged_source_is_rejected_and_the_output_is_unchanged() {
    let damages: [(&str, Damage); 11] = [
        ("header claims 87000000 bytes", |source| {
            source.tail = Some([87_000_000_u64.to_le_bytes().as_slice(), &[b' '; 99]].concat());
        }),
        ("not a valid safetensors file", |source| {
            let mut bytes = source.weights();
            bytes.truncate(bytes.len() - 1);
            source.tail = Some(bytes);
        }),
        ("the file has 3 bytes", |source| source.tail = Some(vec![1, 2, 3])),
        ("embeddings.LayerNorm.bias is missing", |source| {
            source.tensors.remove("embeddings.LayerNorm.bias");
        }),
        ("has the shape [8, 512], expected [512, 8]", |source| {
            source.tensors.get_mut("encoder.layer.0.intermediate.dense.weight").unwrap().shape.reverse();
        }),
        ("holds U8, expected F32", |source| {
            let tensor = source.tensors.get_mut("embeddings.LayerNorm.bias").unwrap();
            *tensor = Small { dtype: Dtype::U8, shape: vec![HIDDEN], numbers: vec![0.0; HIDDEN / 4] };
        }),
        ("a number that is not finite", |source| {
            source.numbers("embeddings.LayerNorm.bias")[3] = f32::INFINITY
        }),
        ("vocab_size is 99999999", |source| source.config("\"vocab_size\":8", "\"vocab_size\":99999999")),
        ("is not a multiple of the 3 attention heads", |source| source.config("heads\":2", "heads\":3")),
        ("config.json is damaged", |source| source.config("{", "[")),
        ("has the shape [8, 8], expected [7, 8]", |source| {
            source.config("\"vocab_size\":8", "\"vocab_size\":7")
        }),
    ];
    for (expected, damage) in damages {
        let mut source = Source::small();
        damage(&mut source);
        let folder = source.write();
        let output = folder.path().join("output");
        fs::write(&output, "before").unwrap();
        let before = names(folder.path());
        let error = quantize(folder.path(), &output).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        assert_eq!(fs::read_to_string(&output).unwrap(), "before");
        assert_eq!(names(folder.path()), before);
    }
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let folder = Source::small().write();
    let error = quantize(Path::new("/nonexistent"), &folder.path().join("x")).unwrap_err();
    assert_eq!(error.to_string(), "config.json: is missing");
    let error = quantize(folder.path(), &folder.path().join("missing/x")).unwrap_err();
    assert!(matches!(&error, QuantizeError::Write { .. }), "{error}");
}

#[test]
fn only_an_earlier_output_is_replaced() {
    let folder = Source::small().write();
    let output = folder.path().join("output");
    for precious in [&b"before"[..], &[0; 4096], b""] {
        fs::write(&output, precious).unwrap();
        let error = quantize(folder.path(), &output).unwrap_err();
        assert!(matches!(&error, QuantizeError::Foreign(_)), "{error}");
        assert_eq!(fs::read(&output).unwrap(), precious);
    }
    fs::remove_file(&output).unwrap();
    let report = quantize(folder.path(), &output).unwrap();
    assert_eq!(quantize(folder.path(), &output).unwrap(), report);
}

#[test]
fn an_output_path_that_is_not_a_file_is_rejected() {
    let folder = Source::small().write();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    for (place, what) in [(pipe.as_path(), "a pipe or a device"), (folder.path(), "a folder")] {
        let error = quantize(folder.path(), place).unwrap_err();
        let said = format!("{} exists and is {what}, not a file", place.display());
        assert_eq!((error.code(), error.to_string()), ("path_unusable", said));
    }
}

#[test]
fn a_pipe_among_the_source_is_refused() {
    for name in ["config.json", "model.safetensors", "tokenizer_config.json"] {
        let folder = Source::small().write();
        let pipe = folder.path().join(name);
        let _ = fs::remove_file(&pipe);
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let error = quantize(folder.path(), &folder.path().join("x")).unwrap_err().to_string();
        assert!(error.ends_with("it is no regular file"), "{error}");
    }
}

#[test]
fn a_damaged_model_file_is_refused_wherever_it_is_cut() {
    let folder = Source::small().write();
    let output = folder.path().join("model");
    quantize(folder.path(), &output).unwrap();
    let good = fs::read(&output).unwrap();
    assert!(Model::load(&good, FASTEST).is_ok());
    for length in (0..good.len()).step_by(41) {
        assert!(Model::load(&good[..length], FASTEST).is_err(), "cut to {length} bytes");
    }
    // A changed byte in the header is an error, or harmless in padding, but never a panic.
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    for place in 0..header {
        let mut bad = good.clone();
        bad[place] ^= 1;
        if let Ok(model) = Model::load(&bad, FASTEST) {
            assert_eq!(model.embed(&[&[1, 2]]).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_model_file_with_an_outlier_outside_its_matrix_is_refused() {
    let mut source = Source::small();
    source.numbers("encoder.layer.0.output.dense.weight")[700] = 40.0;
    let folder = source.write();
    let output = folder.path().join("model");
    quantize(folder.path(), &output).unwrap();
    let mut bytes = fs::read(&output).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    // U32 tensors come first: these are the positions of outliers.
    bytes[data..data + 4].copy_from_slice(&(HIDDEN as u32).to_le_bytes());
    let error = Model::load(&bytes, FASTEST).err().unwrap();
    assert!(
        matches!(error, LoadError::Encoder(_)) && error.to_string().contains("outside its matrix"),
        "{error}"
    );
}

const HIDDEN: usize = 8;
const INTERMEDIATE: usize = 512;

/// A BERT of one layer, in the layout in which models are published.
struct Source {
    config: String,
    tensors: BTreeMap<String, Small>,
    /// The bytes to write instead of the weights.
    tail: Option<Vec<u8>>,
}

struct Small {
    dtype: Dtype,
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

impl Source {
    fn small() -> Self {
        let config = format!(
            "{{\"model_type\":\"bert\",\"vocab_size\":8,\"hidden_size\":{HIDDEN},\"intermediate_size\":{INTERMEDIATE},\
             \"num_attention_heads\":2,\"num_hidden_layers\":1,\"max_position_embeddings\":32}}"
        );
        let mut source = Self { config, tensors: BTreeMap::new(), tail: None };
        for (name, rows) in [("word", 8), ("position", 32), ("token_type", 2)] {
            source.add(&format!("embeddings.{name}_embeddings.weight"), vec![rows, HIDDEN]);
        }
        let layer = "encoder.layer.0";
        for norm in ["embeddings", &format!("{layer}.attention.output"), &format!("{layer}.output")] {
            source.add(&format!("{norm}.LayerNorm.weight"), vec![HIDDEN]);
            source.add(&format!("{norm}.LayerNorm.bias"), vec![HIDDEN]);
        }
        for (name, rows, columns) in [
            ("attention.self.query", HIDDEN, HIDDEN),
            ("attention.self.key", HIDDEN, HIDDEN),
            ("attention.self.value", HIDDEN, HIDDEN),
            ("attention.output.dense", HIDDEN, HIDDEN),
            ("intermediate.dense", INTERMEDIATE, HIDDEN),
            ("output.dense", HIDDEN, INTERMEDIATE),
        ] {
            source.add(&format!("{layer}.{name}.weight"), vec![rows, columns]);
            source.add(&format!("{layer}.{name}.bias"), vec![rows]);
        }
        source.add("pooler.dense.bias", vec![HIDDEN]);
        source
    }

    /// Adds a tensor of deterministic pseudo-random numbers between -1 and 1.
    fn add(&mut self, name: &str, shape: Vec<usize>) {
        let count = shape.iter().product::<usize>();
        let seed = name.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let numbers = (1..=count as u32)
            .map(|n| {
                (n.wrapping_mul(2_654_435_761).wrapping_add(seed).wrapping_mul(40_503) >> 8) as f32
                    / 8_388_608.0
                    - 1.0
            })
            .collect();
        self.tensors.insert(name.to_owned(), Small { dtype: Dtype::F32, shape, numbers });
    }

    fn numbers(&mut self, name: &str) -> &mut Vec<f32> {
        &mut self.tensors.get_mut(name).unwrap().numbers
    }

    fn rename_all(&mut self, rename: impl Fn(&str) -> String) {
        self.tensors = std::mem::take(&mut self.tensors)
            .into_iter()
            .map(
                |(name, tensor)| {
                    if name.starts_with("pooler") { (name, tensor) } else { (rename(&name), tensor) }
                },
            )
            .collect();
    }

    fn config(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{from}");
        self.config = self.config.replacen(from, to, 1);
    }

    fn weights(&self) -> Vec<u8> {
        let bytes: Vec<Vec<u8>> = self
            .tensors
            .values()
            .map(|tensor| tensor.numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
            .collect();
        let views = self.tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
            (name.as_str(), TensorView::new(tensor.dtype, tensor.shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn write(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let weights = self.tail.clone().unwrap_or_else(|| self.weights());
        fs::write(folder.path().join("model.safetensors"), weights).unwrap();
        fs::write(folder.path().join("config.json"), &self.config).unwrap();
        fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
        folder
    }
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

const TOKENIZER: &str = r###"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
    "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
    "pre_tokenizer":{"type":"BertPreTokenizer"},
    "post_processor":{"type":"TemplateProcessing",
        "single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],
        "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
        "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[2],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[3],"tokens":["[SEP]"]}}},
    "decoder":null,
    "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
        "vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"one":4,"two":5,"##s":6,"!":7}}}"###;
