//! Text to tokens and back, with the model's `tokenizer.json` or the vocabulary inside its GGUF file.
//!
//! The invariants: a tokenizer that was accepted has a number below the model's vocabulary for each token and a token
//! for each merge, which the library panics without; what panics nevertheless is an error.

use super::LlamaError;
use super::gguf::Gguf;
use crate::inference::tokens::guarded;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use tokenizers::Tokenizer;

/// A model's vocabulary.
#[derive(Debug)]
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
}

impl Vocabulary {
    /// Loads a `tokenizer.json` for a model with so many tokens.
    pub(super) fn load(json: &[u8], tokens: usize) -> Result<Self, LlamaError> {
        check(json, tokens).map_err(LlamaError::Tokenizer)?;
        let load = || {
            let mut tokenizer = Tokenizer::from_bytes(json)?;
            tokenizer.with_padding(None).with_truncation(None)?;
            Ok(tokenizer)
        };
        let tokenizer = guarded("it cannot be used", load).map_err(LlamaError::Tokenizer)?;
        let it = Self { tokenizer };
        // What panics on any text should do so now, and not when there is work.
        it.encode("a", true).map_err(LlamaError::Tokenizer)?;
        Ok(it)
    }

    /// Makes one of what a GGUF file holds.
    pub(super) fn of_gguf(gguf: &Gguf, tokens: usize) -> Result<Self, LlamaError> {
        let json = described(gguf).map_err(LlamaError::Tokenizer)?;
        Self::load(json.to_string().as_bytes(), tokens)
    }

    /// The tokens of a text, with those around it that the tokenizer itself adds where `whole`.
    pub(super) fn encode(&self, text: &str, whole: bool) -> Result<Vec<u32>, String> {
        let encode = || self.tokenizer.encode_fast(text, whole);
        Ok(guarded("the text cannot be tokenised", encode)?.get_ids().to_vec())
    }

    /// The text of tokens, without the special ones.
    pub(super) fn decode(&self, tokens: &[u32]) -> Result<String, String> {
        guarded("the tokens have no text", || self.tokenizer.decode(tokens, true))
    }

    /// The token itself.
    pub(super) fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

/// Checks what the library does not.
fn check(json: &[u8], tokens: usize) -> Result<(), String> {
    let outer: Outer = serde_json::from_slice(json).map_err(|error| format!("it is damaged: {error}"))?;
    let Model { kind, vocab, merges, continuing_subword_prefix, end_of_word_suffix } = outer.model;
    if kind.as_deref().is_some_and(|kind| kind != "BPE") {
        return Err(format!("a tokenizer of kind {kind:?}; Llamas have BPE"));
    }
    if [continuing_subword_prefix, end_of_word_suffix].iter().flatten().any(|affix| !affix.is_empty()) {
        return Err("its words have prefixes or suffixes, which no Llama's do".to_owned());
    }
    if vocab.is_empty() {
        return Err("it has no tokens".to_owned());
    }
    let added = outer.added_tokens.iter().map(|token| (&token.content, token.id));
    let mut all = vocab.iter().map(|(token, id)| (token, *id)).chain(added);
    if let Some((token, id)) = all.find(|(_, id)| *id >= tokens as u64) {
        let token: String = token.chars().take(SHOWN_CHARS).collect();
        return Err(format!("token {token:?} has number {id}, the model has {tokens} tokens"));
    }
    let ids: HashSet<u64> = vocab.values().copied().collect();
    if ids.len() != vocab.len() {
        return Err("two of its tokens have the same number".to_owned());
    }
    let mut joined = String::new();
    for (at, merge) in merges.iter().enumerate() {
        let Some((left, right)) = merge.parts() else { return Err(format!("merge {at} is no pair")) };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if let Some(missing) = [left, right, &joined].into_iter().find(|part| !vocab.contains_key(*part)) {
            let missing: String = missing.chars().take(SHOWN_CHARS).collect();
            return Err(format!("merge {at} needs {missing:?}, which is no token"));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Outer {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, u64>,
    #[serde(default)]
    merges: Vec<Merge>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Joined(String),
    Pair(String, String),
}

impl Merge {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Joined(both) => both.split_once(' '),
            Self::Pair(left, right) => Some((left, right)),
        }
    }
}

/// A GGUF file's vocabulary in the form of a `tokenizer.json`.
fn described(gguf: &Gguf) -> Result<Value, String> {
    let tokens =
        gguf.texts("tokenizer.ggml.tokens").ok_or_else(|| format!("it is not in the file; {BESIDE}"))?;
    let types = gguf.integers("tokenizer.ggml.token_type").unwrap_or_default();
    let added: Vec<Value> = (0..)
        .zip(tokens)
        .filter_map(|(id, token): (usize, &String)| {
            let special = match types.get(id)? {
                3 => true,
                4 => false,
                _ => return None,
            };
            Some(
                json!({"id": id, "content": token, "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false}),
            )
        })
        .collect();
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().zip(0..).map(|(token, id)| (token.clone(), Value::from(id))).collect();
    let (normalizer, pre_tokenizer, decoder, model) = match gguf.text("tokenizer.ggml.model") {
        Some("gpt2") => by_merges(gguf, vocab)?,
        Some("llama") => by_scores(gguf, tokens, vocab)?,
        kind => return Err(format!("its kind {kind:?} is not supported, llama and gpt2 are; {BESIDE}")),
    };
    Ok(
        json!({"version": "1.0", "added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": null, "decoder": decoder, "model": model}),
    )
}

/// Normalizer, pre-tokenizer, decoder and model.
type Parts = (Value, Value, Value, Value);

/// Bytes as visible characters, and a list of merges: GPT-2 and its descendants.
fn by_merges(gguf: &Gguf, vocab: serde_json::Map<String, Value>) -> Result<Parts, String> {
    let merges = gguf.texts("tokenizer.ggml.merges").ok_or_else(|| format!("it has no merges; {BESIDE}"))?;
    let kind = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let (pre_tokenizer, ignore_merges) = match kind {
        "default" | "gpt-2" => (bytes(true), false),
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => {
            let split = json!({"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": false});
            (json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]}), true)
        }
        other => return Err(format!("it splits text as {other:?} does, which is not supported; {BESIDE}")),
    };
    let model = json!({"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": ignore_merges,
        "byte_fallback": false, "fuse_unk": false});
    Ok((Value::Null, pre_tokenizer, bytes(true), model))
}

/// Pieces with scores, as SentencePiece has them: the pair whose piece has the best score is joined first.
fn by_scores(gguf: &Gguf, tokens: &[String], vocab: serde_json::Map<String, Value>) -> Result<Parts, String> {
    let scores = gguf.floats("tokenizer.ggml.scores").ok_or_else(|| format!("it has no scores; {BESIDE}"))?;
    if scores.len() != tokens.len() {
        return Err(format!("it has {} tokens and {} scores", tokens.len(), scores.len()));
    }
    let places: HashMap<&str, usize> = tokens.iter().map(String::as_str).zip(0..).collect();
    let mut merges = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        if token.len() > PIECE_BYTES_MAX {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(first), Some(second)) = (places.get(left), places.get(right)) {
                merges.push((score, first, second, left, right));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(a.0).then(a.1.cmp(b.1)).then(a.2.cmp(b.2)));
    let merges: Vec<Value> = merges.into_iter().map(|(.., left, right)| json!([left, right])).collect();
    let unknown = gguf.number("tokenizer.ggml.unknown_token_id").unwrap_or(0);
    let unknown = usize::try_from(unknown).ok().and_then(|id| tokens.get(id));
    let model = json!({"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": unknown, "fuse_unk": true,
        "byte_fallback": true, "ignore_merges": false});
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let prefix = gguf.truth("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let (normalizers, strip) = if prefix {
        (vec![json!({"type": "Prepend", "prepend": "▁"}), spaces], 1)
    } else {
        (vec![spaces], 0)
    };
    let decoders = json!([{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": strip, "stop": 0}]);
    let normalizer = json!({"type": "Sequence", "normalizers": normalizers});
    Ok((normalizer, Value::Null, json!({"type": "Sequence", "decoders": decoders}), model))
}

/// What to do where a file's own vocabulary is of no use.
const BESIDE: &str =
    "hint: put the model's tokenizer.json into the folder of the file, and it is used instead";
/// How the third generation of Llamas splits a text into words.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Longer pieces are never joined from others.
const PIECE_BYTES_MAX: usize = 256;
/// As much of a token as is repeated.
const SHOWN_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::llama::gguf::Value as Field;
    use std::collections::BTreeMap;

    fn gguf(fields: Vec<(&str, Field)>) -> Gguf {
        let metadata =
            fields.into_iter().map(|(name, field)| (format!("tokenizer.ggml.{name}"), field)).collect();
        Gguf { metadata, tensors: BTreeMap::new() }
    }

    fn texts(texts: &[&str]) -> Field {
        Field::Texts(texts.iter().map(|&text| text.to_owned()).collect())
    }

    #[test]
    fn pieces_with_scores_are_joined_best_first_and_bytes_stand_in_for_what_is_unknown() {
        let tokens = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "a", "b", "ab", "▁a", "▁ab"];
        let scores = vec![0.0, 0.0, 0.0, 0.0, 0.0, -3.0, -4.0, -5.0, -1.0, -2.0, -1.5];
        let types = vec![2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1];
        let gguf = gguf(vec![
            ("model", Field::Text("llama".to_owned())),
            ("tokens", texts(&tokens)),
            ("scores", Field::Floats(scores)),
            ("token_type", Field::Integers(types)),
        ]);
        let it = Vocabulary::of_gguf(&gguf, 11).unwrap();
        assert_eq!(it.encode("ab", false).unwrap(), [10]);
        assert_eq!(it.encode("ba", false).unwrap(), [5, 7, 6]);
        assert_eq!(it.encode("é</s>", false).unwrap(), [5, 3, 4, 2]);
        assert_eq!(it.decode(&[1, 10, 5, 3, 4, 2]).unwrap(), "ab é");
        assert_eq!(it.token(2).as_deref(), Some("</s>"));
    }

    #[test]
    fn merges_are_followed_and_special_tokens_are_found_in_a_text() {
        let tokens = ["<|e|>", "h", "i", "Ġ", "hi", "Ġhi"];
        let fields = |pre: &str, merges: &[&str]| {
            gguf(vec![
                ("model", Field::Text("gpt2".to_owned())),
                ("pre", Field::Text(pre.to_owned())),
                ("tokens", texts(&tokens)),
                ("merges", texts(merges)),
                ("token_type", Field::Integers(vec![3, 1, 1, 1, 1, 1])),
            ])
        };
        for pre in ["default", "llama-bpe"] {
            let it = Vocabulary::of_gguf(&fields(pre, &["h i", "Ġ hi"]), 6).unwrap();
            assert_eq!(it.encode("hi hi<|e|>", false).unwrap(), [4, 5, 0]);
            assert_eq!(it.decode(&[4, 5, 0]).unwrap(), "hi hi");
        }
        let error = Vocabulary::of_gguf(&fields("odd", &[]), 6).unwrap_err().to_string();
        assert!(error.contains("odd") && error.contains("hint: "), "{error}");
        let error = Vocabulary::of_gguf(&fields("default", &["hi hi"]), 6).unwrap_err().to_string();
        assert!(error.contains("\"hihi\""), "{error}");
        let error = Vocabulary::of_gguf(&fields("default", &[]), 5).unwrap_err().to_string();
        assert!(error.contains("number 5"), "{error}");
    }

    #[test]
    fn senseless_tokenizers_are_refused() {
        let cases = [
            ("", "damaged"),
            (r#"{"model":{"type":"WordPiece","vocab":{"a":0}}}"#, "WordPiece"),
            (r#"{"model":{"type":"BPE","vocab":{}}}"#, "no tokens"),
            (r#"{"model":{"type":"BPE","vocab":{"a":0,"b":0}}}"#, "same number"),
            (r#"{"model":{"type":"BPE","vocab":{"a":0},"continuing_subword_prefix":"éé"}}"#, "prefixes"),
            (r#"{"model":{"type":"BPE","vocab":{"a":0},"merges":["aa"]}}"#, "no pair"),
            (r#"{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a","a"]]}}"#, "\"aa\""),
            (
                r#"{"model":{"type":"BPE","vocab":{"a":0}},"added_tokens":[{"id":9,"content":"x"}]}"#,
                "number 9",
            ),
        ];
        for (json, reason) in cases {
            let error = check(json.as_bytes(), 9).unwrap_err();
            assert!(error.contains(reason), "{error} for {json}");
        }
        let unsupported = gguf(vec![("model", Field::Text("t5".to_owned())), ("tokens", texts(&["a"]))]);
        assert!(Vocabulary::of_gguf(&unsupported, 1).unwrap_err().to_string().contains("t5"));
        assert!(
            Vocabulary::of_gguf(&gguf(Vec::new()), 1).unwrap_err().to_string().contains("not in the file")
        );
    }
}
