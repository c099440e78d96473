//! Tokenises and detokenises text, with the model's `tokenizer.json` or the vocabulary in its GGUF file.
//!
//! The invariants: an accepted tokenizer has a token for each merge, without which the library panics. Any other panic
//! of the library is an error. A token may be outside the model's vocabulary; then only texts with this token are
//! rejected.

use super::DecoderError;
use super::detokenizer::Decode;
use super::end_tokens::{is_end, is_file_mark};
use super::gguf::Gguf;
use super::pre_tokenizer::{self, PreTokenizerRule};
use crate::inference::encoder::tokenizer::guarded;
use crate::inference::files::bpe::Bpe;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use tokenizers::Tokenizer;

/// A model's vocabulary.
#[derive(Debug)]
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    /// Tokens for single bytes, if consecutive bytes are decoded together.
    bytes: HashSet<u32>,
    /// Tokens without text.
    special: HashSet<u32>,
    /// Tokens that end a turn, recognised by their texts.
    ends: BTreeSet<u32>,
}

impl Vocabulary {
    /// Loads a `tokenizer.json`.
    pub(super) fn load(json: &[u8]) -> Result<Self, DecoderError> {
        let Checked { bytes, special, ends } = check(json).map_err(DecoderError::Tokenizer)?;
        let load = || {
            let mut tokenizer = Tokenizer::from_bytes(json)?;
            tokenizer.with_padding(None).with_truncation(None)?;
            Ok(tokenizer)
        };
        let tokenizer = guarded("it cannot be used", load).map_err(DecoderError::Tokenizer)?;
        let it = Self { tokenizer, bytes, special, ends };
        // A tokenizer that panics on any text should do so now, and not in a job.
        it.encode("a", true).map_err(DecoderError::Tokenizer)?;
        Ok(it)
    }

    /// Makes a vocabulary from the metadata of a GGUF file.
    pub(super) fn from_gguf(gguf: &Gguf) -> Result<Self, DecoderError> {
        let json = described(gguf).map_err(DecoderError::Tokenizer)?;
        let mut it = Self::load(json.to_string().as_bytes())?;
        // Unknown and unused tokens have no text either.
        let types = gguf.integers("tokenizer.ggml.token_type").unwrap_or_default();
        it.special.extend((0..).zip(types).filter(|(_, kind)| matches!(kind, 2 | 5)).map(|(id, _)| id));
        Ok(it)
    }

    /// Tokenises a text. With `whole`, the tokenizer adds its special tokens.
    pub(super) fn encode(&self, text: &str, whole: bool) -> Result<Vec<u32>, String> {
        let encode = || self.tokenizer.encode_fast(text, whole);
        Ok(guarded("the text cannot be tokenised", encode)?.get_ids().to_vec())
    }

    /// Returns the raw token.
    pub(super) fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Returns the number of a token.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Tokens that end a turn, recognised by their texts.
    pub(super) const fn ends(&self) -> &BTreeSet<u32> {
        &self.ends
    }
}

impl Decode for Vocabulary {
    fn decode(&self, tokens: &[u32]) -> Result<String, String> {
        let tokens: Vec<u32> = tokens.iter().copied().filter(|token| !self.is_special(*token)).collect();
        guarded("the tokens have no text", || self.tokenizer.decode(&tokens, true))
    }

    fn is_byte(&self, token: u32) -> bool {
        self.bytes.contains(&token)
    }

    fn is_special(&self, token: u32) -> bool {
        self.special.contains(&token)
    }
}

/// The properties that a check finds.
#[derive(Debug, Default)]
struct Checked {
    bytes: HashSet<u32>,
    special: HashSet<u32>,
    ends: BTreeSet<u32>,
}

/// Checks that the type of a tokenizer is supported, without reading its tokens or validating the file.
pub(super) fn check_kind(json: &[u8]) -> Result<(), String> {
    let Ok(Kinds { model }) = serde_json::from_slice(json) else { return Ok(()) };
    // Older files have no type; a list of pieces with probabilities is a Unigram model.
    let kind = model.kind.unwrap_or_else(|| if model.vocab.is_list { "Unigram" } else { "BPE" }.to_owned());
    supported(&kind)
}

fn supported(kind: &str) -> Result<(), String> {
    if kind == "BPE" {
        return Ok(());
    }
    let kind: String = kind.chars().take(SHOWN_CHARS).collect();
    Err(format!("a tokenizer of kind {kind:?} is not supported for models that write; BPE is"))
}

/// Checks what the library does not check.
fn check(json: &[u8]) -> Result<Checked, String> {
    let outer: Outer = match serde_json::from_slice(json) {
        Ok(outer) => outer,
        // The tokens of another type may have another form.
        Err(error) => {
            return Err(check_kind(json).err().unwrap_or_else(|| format!("it is damaged: {error}")));
        }
    };
    outer.model.kind.as_deref().map_or(Ok(()), supported)?;
    outer.model.check()?;
    let vocab = outer.model.vocab;
    let added = outer.added_tokens.iter().map(|token| (&token.content, token.id));
    let mut all = vocab.iter().map(|(token, id)| (token, *id)).chain(added);
    if let Some((token, id)) = all.find(|(_, id)| *id > IDS_MAX) {
        let token: String = token.chars().take(SHOWN_CHARS).collect();
        return Err(format!("token {token:?} has number {id}, at most {IDS_MAX} is accepted"));
    }
    let falls_back = outer.decoder.to_string().contains("\"ByteFallback\"");
    let bytes = vocab.iter().filter(|(token, _)| falls_back && is_byte(token)).map(|(_, id)| *id as u32);
    let has = |text: &str| outer.added_tokens.iter().any(|token| token.content == text);
    let ends = outer.added_tokens.iter().filter(|token| is_end(&token.content, &has));
    let special = outer.added_tokens.iter().filter(|token| token.special).map(|token| token.id as u32);
    Ok(Checked {
        bytes: bytes.collect(),
        special: special.collect(),
        ends: ends.map(|token| token.id as u32).collect(),
    })
}

/// Tells whether a token is a byte token such as `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Returns the tokens of a GGUF file that end a turn. Ignores their type, because many files mark them as normal.
pub(super) fn ends_of_gguf(gguf: &Gguf) -> BTreeSet<u32> {
    let tokens = gguf.texts("tokenizer.ggml.tokens").unwrap_or_default();
    let seen: HashSet<&str> = tokens.iter().map(String::as_str).filter(|token| token.len() < 64).collect();
    let has = |text: &str| seen.contains(text);
    let ends = (0..).zip(tokens).filter(|(_, token)| is_end(token, &has) || is_file_mark(token));
    ends.map(|(id, _)| id).collect()
}

#[derive(Deserialize)]
struct Kinds {
    model: Kind,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: Form,
}

/// Tells whether a vocabulary is a list.
#[derive(Default)]
struct Form {
    is_list: bool,
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Form;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their numbers, or a list of pieces")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Form, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Form { is_list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Form, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Form { is_list: true })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
struct Outer {
    model: Bpe,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
    #[serde(default)]
    special: bool,
}

/// Converts the vocabulary of a GGUF file to the form of a `tokenizer.json`.
fn described(gguf: &Gguf) -> Result<Value, String> {
    let tokens =
        gguf.texts("tokenizer.ggml.tokens").ok_or_else(|| format!("it is not in the file; {BESIDE}"))?;
    let seen: HashSet<&String> = tokens.iter().collect();
    if seen.len() != tokens.len() {
        let mut seen = HashSet::new();
        let twice = tokens.iter().find(|token| !seen.insert(*token)).map(String::as_str).unwrap_or_default();
        let twice: String = twice.chars().take(SHOWN_CHARS).collect();
        return Err(format!("its token {twice:?} occurs twice"));
    }
    let ends = ends_of_gguf(gguf);
    let types = gguf.integers("tokenizer.ggml.token_type").unwrap_or_default();
    let added: Vec<Value> = (0..)
        .zip(tokens)
        .filter_map(|(id, token): (usize, &String)| {
            let special = match types.get(id) {
                _ if ends.contains(&(id as u32)) => true,
                Some(3) => true,
                Some(4) => false,
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
        kind => return Err(unsupported(kind)),
    };
    Ok(
        json!({"version": "1.0", "added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": null, "decoder": decoder, "model": model}),
    )
}

/// Normalizer, pre-tokenizer, decoder and model.
type Parts = (Value, Value, Value, Value);

/// Byte-level BPE: bytes as visible characters, and a list of merges (GPT-2 and its descendants).
fn by_merges(gguf: &Gguf, vocab: serde_json::Map<String, Value>) -> Result<Parts, String> {
    let merges = gguf.texts("tokenizer.ggml.merges").ok_or_else(|| format!("it has no merges; {BESIDE}"))?;
    let rule = rule(gguf)?;
    let model = json!({"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": rule.ignores_merges,
        "byte_fallback": false, "fuse_unk": false});
    Ok((Value::Null, rule.described(), pre_tokenizer::bytes(), model))
}

/// Returns the pre-tokenizer of a byte-level BPE vocabulary.
fn rule(gguf: &Gguf) -> Result<PreTokenizerRule, String> {
    let name = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
    PreTokenizerRule::by_name(name).ok_or_else(|| {
        let name: String = name.chars().take(SHOWN_CHARS).collect();
        format!("tokenizer.ggml.pre: it splits text as {name:?} does, which is not supported; {BESIDE}")
    })
}

/// Checks that the type of a GGUF file's vocabulary is supported, without building it.
pub(super) fn check_kind_of_gguf(gguf: &Gguf) -> Result<(), String> {
    match gguf.text("tokenizer.ggml.model") {
        Some("gpt2") => rule(gguf).map(drop),
        Some("llama") => Ok(()),
        kind => Err(unsupported(kind)),
    }
}

/// Returns the default for the begin-of-text token: always with SentencePiece, by the pre-tokenizer with BPE.
pub(super) fn adds_bos_by_default(gguf: &Gguf) -> bool {
    match gguf.text("tokenizer.ggml.model") {
        Some("llama") => true,
        _ => rule(gguf).is_ok_and(|rule| rule.adds_bos),
    }
}

fn unsupported(kind: Option<&str>) -> String {
    let kind = kind.map(|kind| kind.chars().take(SHOWN_CHARS).collect::<String>());
    format!("tokenizer.ggml.model: its kind {kind:?} is not supported, llama and gpt2 are; {BESIDE}")
}

/// SentencePiece BPE: pieces with scores; the pair with the best score is merged first.
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

/// The hint if the vocabulary of a GGUF file cannot be used.
const BESIDE: &str =
    "hint: put the model's tokenizer.json into the folder of the file, and it is used instead";
/// The maximum length of a piece that is merged from others.
const PIECE_BYTES_MAX: usize = 256;
/// The maximum token number.
const IDS_MAX: u64 = 1 << 24;
/// The length at which a token is cut in errors.
const SHOWN_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::decoder::gguf::Value as Field;
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
        let it = Vocabulary::from_gguf(&gguf).unwrap();
        assert_eq!(it.encode("ab", false).unwrap(), [10]);
        assert_eq!(it.encode("ba", false).unwrap(), [5, 7, 6]);
        assert_eq!(it.encode("é</s>", false).unwrap(), [5, 3, 4, 2]);
        assert_eq!(it.decode(&[1, 10, 0, 5, 3, 4, 2]).unwrap(), "ab é");
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
            let it = Vocabulary::from_gguf(&fields(pre, &["h i", "Ġ hi"])).unwrap();
            assert_eq!(it.encode("hi hi<|e|>", false).unwrap(), [4, 5, 0]);
            assert_eq!(it.decode(&[4, 5, 0]).unwrap(), "hi hi");
        }
        let error = Vocabulary::from_gguf(&fields("odd", &[])).unwrap_err().to_string();
        assert!(error.contains("odd") && error.contains("hint: "), "{error}");
        let error = Vocabulary::from_gguf(&fields("default", &["hi hi"])).unwrap_err().to_string();
        assert!(error.contains("\"hihi\""), "{error}");
    }

    #[test]
    fn senseless_tokenizers_are_refused() {
        let cases = [
            ("", "damaged"),
            (r#"{"model":{"type":"WordPiece","vocab":{"a":0}}}"#, "kind \"WordPiece\""),
            (r#"{"model":{"type":"BPE","vocab":{}}}"#, "no tokens"),
            (r#"{"model":{"type":"BPE","vocab":{"a":0,"b":0}}}"#, "same number"),
            (r#"{"model":{"type":"BPE","vocab":{"a":0},"continuing_subword_prefix":"éé"}}"#, "prefixes"),
            (r#"{"model":{"type":"BPE","vocab":{"a":0},"merges":["aa"]}}"#, "no pair"),
            (r#"{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a","a"]]}}"#, "\"aa\""),
            (
                r#"{"model":{"type":"BPE","vocab":{"a":0}},"added_tokens":[{"id":99999999,"content":"x"}]}"#,
                "number 99999999",
            ),
            (r#"{"model":{"type":"Unigram","vocab":[["a",-1.0]],"unk_id":0}}"#, "kind \"Unigram\""),
            (r#"{"model":{"vocab":[["a",-1.0]]}}"#, "kind \"Unigram\""),
            (r#"{"model":{"type":"BPE","vocab":{"a":0},"dropout":0.1}}"#, "dropout"),
        ];
        for (json, reason) in cases {
            let error = check(json.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error} for {json}");
        }
        let unsupported = gguf(vec![("model", Field::Text("t5".to_owned())), ("tokens", texts(&["a"]))]);
        assert!(Vocabulary::from_gguf(&unsupported).unwrap_err().to_string().contains("t5"));
        assert!(
            Vocabulary::from_gguf(&gguf(Vec::new())).unwrap_err().to_string().contains("not in the file")
        );
    }
}
