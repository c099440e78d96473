//! The families of encoders beside BERT, compared with PyTorch, and their damaged folders.
//!
//! The models have random weights. Their files are spelt as the published models of each family spell them.

use super::{Copy, Damage, EXACT, bytes_of, furthest};
use runtime::inference::quantize::quantize;
use runtime::inference::{Backend, Model, Pair, Precision, Sequence, Workspace};
use safetensors::tensor::Dtype;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The result of PyTorch for a text or a pair of texts.
#[derive(Deserialize)]
struct Golden {
    #[serde(alias = "first")]
    text: String,
    second: Option<String>,
    prompt_name: Option<String>,
    ids: Vec<u32>,
    #[serde(alias = "logits")]
    embedding: Vec<f32>,
}

const FAMILIES: [&str; 7] = [
    "camembert",
    "mpnet",
    "roberta",
    "xlm-roberta-bge",
    "xlm-roberta-e5",
    "xlm-roberta-labels",
    "xlm-roberta-reranker",
];

fn data(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoders").join(family)
}

/// Returns a copy of a family's model. Its tokenizer gets the character map, which the models share.
fn model(family: &str) -> Copy {
    let copy = Copy(tempfile::tempdir().unwrap());
    for folder in [data(family), data(family).join("1_Pooling")] {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(data(family)).unwrap().to_str().unwrap();
                copy.write(name, &fs::read(&path).unwrap());
            }
        }
    }
    let tokenizer = String::from_utf8(copy.read("tokenizer.json")).unwrap();
    if tokenizer.contains(r#""nmt_nfkc""#) {
        let map = fs::read_to_string(data("nmt_nfkc.txt")).unwrap();
        copy.write("tokenizer.json", tokenizer.replace(r#""nmt_nfkc""#, &format!("{map:?}")).as_bytes());
    }
    copy
}

fn golden(family: &str) -> Vec<Golden> {
    let read = |file: &str| fs::read(data(family).join(file)).ok();
    let files = ["expected.json", "pairs.json"].into_iter().filter_map(read);
    files.flat_map(|json| serde_json::from_slice::<Vec<Golden>>(&json).unwrap()).collect()
}

/// Tokenises the golden texts, with the prompt that each names.
fn tokens(model: &Model<'_>, copy: &Copy, golden: &[Golden]) -> Vec<Pair> {
    #[derive(Default, Deserialize)]
    struct Settings {
        prompts: BTreeMap<String, String>,
    }
    let settings = fs::read(copy.path("config_sentence_transformers.json")).ok();
    let Settings { prompts } =
        settings.map_or_else(Settings::default, |json| serde_json::from_slice(&json).unwrap());
    let one = |row: &Golden| {
        let prompt = row.prompt_name.as_ref().map_or("", |name| &prompts[name]);
        let pair = match &row.second {
            Some(second) => model.tokenize_pair(&row.text, second).unwrap(),
            None => {
                Pair { tokens: model.tokenize(&format!("{prompt}{}", row.text)).unwrap(), ..Pair::default() }
            }
        };
        assert_eq!(pair.tokens, row.ids, "{:?}", row.text);
        pair
    };
    golden.iter().map(one).collect()
}

fn compute(model: &Model<'_>, threads: usize, tokens: &[&Pair]) -> Vec<Vec<f32>> {
    let batch: Vec<Sequence<'_>> = tokens.iter().map(|pair| pair.as_sequence()).collect();
    model.compute(&mut Workspace::new(threads), &batch, &AtomicBool::new(false)).unwrap()
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

#[test]
fn every_family_computes_what_pytorch_does() {
    for family in FAMILIES {
        let copy = model(family);
        let golden = golden(family);
        assert!(golden.len() >= 10, "{family}");
        let newer = copy.read("config.v5.json");
        for newer in [None, Some(newer)] {
            newer.iter().for_each(|json| copy.write("config.json", json));
            for backend in EXACT {
                let model = Model::open(copy.0.path(), backend).unwrap();
                let tokens = tokens(&model, &copy, &golden);
                for (vector, row) in
                    compute(&model, 1, &tokens.iter().collect::<Vec<_>>()).iter().zip(&golden)
                {
                    let off = furthest(vector, &row.embedding);
                    assert!(off < 1e-4, "{family} {backend:?}: off by {off}: {:?}", row.text);
                }
            }
        }
    }
}

/// Also checks that each text has one vector, alone and in any batch, to the bit.
#[test]
fn every_family_is_close_to_pytorch_in_few_bits() {
    for family in FAMILIES {
        let copy = model(family);
        let golden = golden(family);
        for (precision, least, furthest_logit) in
            [(Precision::F32, 0.999_999, 1e-4), (Precision::Bf16, 0.999, 0.03), (Precision::Int8, 0.99, 0.15)]
        {
            let model = Model::open(copy.0.path(), Backend::Kernels(precision)).unwrap();
            let tokens = tokens(&model, &copy, &golden);
            let alone: Vec<Vec<f32>> = tokens.iter().flat_map(|pair| compute(&model, 1, &[pair])).collect();
            for (vector, row) in alone.iter().zip(&golden) {
                // A few logits have no direction.
                if vector.len() < 8 {
                    let off = furthest(vector, &row.embedding);
                    assert!(off < furthest_logit, "{family} {precision:?}: off by {off}: {:?}", row.text);
                    continue;
                }
                let close = cosine(vector, &row.embedding);
                assert!(close >= least, "{family} {precision:?}: cosine {close}: {:?}", row.text);
            }
            for order in [1, 2, 3] {
                let turned = |at: usize| if order == 2 { tokens.len() - 1 - at } else { at };
                let batch: Vec<&Pair> = (0..tokens.len()).map(|at| &tokens[turned(at)]).collect();
                for (at, vector) in compute(&model, order, &batch).iter().enumerate() {
                    assert_eq!(vector, &alone[turned(at)], "{family} {precision:?}, {order} threads");
                }
            }
        }
    }
}

#[test]
fn every_family_is_quantised_to_a_file() {
    for family in FAMILIES {
        let copy = model(family);
        let golden = golden(family);
        let file = copy.path("small.safetensors");
        quantize(copy.0.path(), &file).unwrap();
        let model = Model::open(&file, Backend::Kernels(Precision::Auto)).unwrap();
        let tokens = tokens(&model, &copy, &golden);
        for (vector, row) in compute(&model, 2, &tokens.iter().collect::<Vec<_>>()).iter().zip(&golden) {
            assert!(furthest(vector, &row.embedding) < 0.1, "{family}: {:?}", row.text);
        }
    }
}

#[test]
fn a_padding_token_in_a_text_is_not_counted() {
    let copy = model("xlm-roberta-e5");
    let [candle, kernels] = EXACT.map(|backend| {
        let model = Model::open(copy.0.path(), backend).unwrap();
        let tokens = model.tokenize("a <pad> b").unwrap();
        assert_eq!(tokens.iter().filter(|token| **token == 1).count(), 1, "{tokens:?}");
        // Of the 66 position embeddings, a text uses those after the padding token's, which has number 1.
        assert_eq!(model.tokenize(&"a ".repeat(100)).unwrap().len(), 64);
        model.embed(&[&tokens]).unwrap().remove(0)
    });
    assert!(furthest(&candle, &kernels) < 1e-4);
}

#[test]
fn damaged_models_of_every_family_are_rejected_with_a_reason() {
    let damages: [(&str, Damage); 15] = [
        ("weights cut short", |it| {
            let bytes = it.read("model.safetensors");
            it.write("model.safetensors", &bytes[..bytes.len() - 1]);
        }),
        ("wrong dimensions", |it| {
            it.replace("config.json", r#""intermediate_size": 64"#, r#""intermediate_size": 96"#);
        }),
        ("more layers", |it| {
            it.replace("config.json", r#""num_hidden_layers": 3"#, r#""num_hidden_layers": 4"#);
        }),
        ("a million layers", |it| {
            it.replace("config.json", r#""num_hidden_layers": 3"#, r#""num_hidden_layers": 1000000"#);
        }),
        ("fewer positions", |it| it.replace("config.json", "_embeddings\": 66", "_embeddings\": 2")),
        ("other positions", |it| it.replace("config.json", "_embeddings\": 66", "_embeddings\": 65")),
        ("a padding token without positions", |it| {
            it.replace("config.json", r#""pad_token_id": 1"#, r#""pad_token_id": 65"#);
        }),
        ("no padding token", |it| {
            it.replace("config.json", r#""pad_token_id": 1"#, r#""pad_token_id": null"#);
        }),
        ("relative positions", |it| {
            it.replace("config.json", r#": "absolute""#, r#": "relative_key""#);
        }),
        ("a decoder", |it| it.replace("config.json", "{", r#"{"is_decoder": true,"#)),
        ("a missing tensor", |it| {
            it.rewrite(|name, numbers| {
                (name.replace("layer.2.output.dense", "layer.2.other"), Dtype::F32, bytes_of(&numbers))
            });
        }),
        ("a damaged tokenizer", |it| {
            let bytes = it.read("tokenizer.json");
            it.write("tokenizer.json", &bytes[..bytes.len() / 2]);
        }),
        ("a tokenizer that knows no token", |it| {
            it.write("tokenizer.json", br#"{"model":{"type":"Unigram","vocab":[]}}"#);
        }),
        ("a merge without a token", |it| {
            it.write("tokenizer.json", br#"{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}"#);
        }),
        ("another width", |it| it.replace("config.json", r#""hidden_size": 32"#, r#""hidden_size": 30"#)),
    ];
    let of_biases: [(&str, Damage); 3] = [
        ("biases for other heads", |it| {
            it.replace("config.json", r#""num_attention_heads": 4"#, r#""num_attention_heads": 2"#);
        }),
        ("fewer buckets", |it| it.replace("config.json", r#"buckets": 32"#, r#"buckets": 16"#)),
        ("no biases", |it| {
            it.rewrite(|name, numbers| {
                (name.replace("relative_attention_bias", "other"), Dtype::F32, bytes_of(&numbers))
            });
        }),
    ];
    let mut told = Vec::new();
    let cases: [(&str, &[(&str, Damage)]); 2] = [("xlm-roberta-reranker", &damages), ("mpnet", &of_biases)];
    for (family, damages) in cases {
        for (what, damage) in damages {
            let copy = model(family);
            damage(&copy);
            told.push(format!("{family}, {what}: {}", copy.told()));
        }
    }
    insta::assert_snapshot!(told.join("\n"));
}
