//! Validates a `tokenizer.json` or `vocab.txt` without running a tokenizer.
//!
//! The invariant: an accepted file has a bounded number of tokens, and tokenising a word costs at most the square of
//! its bounded length. A token may have no row in the model's embedding table; then texts with this token are rejected.

use super::bpe::Bpe;
use crate::inference::encoder::config::VOCABULARY_MAX;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The file of a tokenizer.
pub(crate) enum TokenizerFile<'f> {
    /// A `tokenizer.json`.
    Json(Cow<'f, [u8]>),
    /// A `vocab.txt` of an older model: BERT's tokens, one a line.
    Vocabulary(Cow<'f, [u8]>),
}

impl<'f> TokenizerFile<'f> {
    /// Returns the name and the content of the file.
    pub(crate) fn parts(&self) -> (&'static str, &Cow<'f, [u8]>) {
        match self {
            Self::Json(content) => (TOKENIZER, content),
            Self::Vocabulary(content) => (VOCABULARY, content),
        }
    }

    /// Checks the file.
    ///
    /// # Errors
    /// Returns a description of the fault.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Json(json) => check(json),
            Self::Vocabulary(words) => {
                let count = words.split(|byte| *byte == b'\n').count();
                if words.is_empty() || count > VOCABULARY_MAX {
                    return Err(format!("it has {count} tokens, expected 1 to {VOCABULARY_MAX}"));
                }
                std::str::from_utf8(words).map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

fn check(json: &[u8]) -> Result<(), String> {
    let outer: Outer =
        serde_json::from_slice(json).map_err(|error| format!("the tokenizer is damaged: {error}"))?;
    let unnamed = if outer.model.merges.is_some() { KINDS[0] } else { KINDS[3] };
    let kind = outer.model.kind.as_deref().unwrap_or(unnamed);
    if !KINDS.contains(&kind) {
        let kind: String = kind.chars().take(SHOWN_CHARS).collect();
        return Err(format!("the tokenizer is a {kind:?}, supported are {}", KINDS.join(", ")));
    }
    if kind == KINDS[0] {
        let Merging { model } =
            serde_json::from_slice(json).map_err(|error| format!("the tokenizer is damaged: {error}"))?;
        model.check().map_err(|reason| format!("the tokenizer is damaged: {reason}"))?;
    }
    let Tokens { count, largest } = outer.model.vocab;
    if count == 0 || count > VOCABULARY_MAX {
        return Err(format!("the tokenizer has {count} tokens, expected 1 to {VOCABULARY_MAX}"));
    }
    let added = outer.added_tokens.into_iter().map(|token| (token.id, token.content));
    if let Some((id, token)) = largest.into_iter().chain(added).max()
        && id > u64::from(u32::MAX)
    {
        let token: String = token.chars().take(SHOWN_CHARS).collect();
        return Err(format!("the tokenizer gives {token:?} the number {id}"));
    }
    match outer.model.max_input_chars_per_word {
        Some(chars) if chars > WORD_CHARS_MAX => Err(format!(
            "the tokenizer takes words of {chars} characters apart, at most {WORD_CHARS_MAX} are accepted"
        )),
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct Outer {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

/// A tokenizer that merges pairs.
#[derive(Deserialize)]
struct Merging {
    model: Bpe,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
}

#[derive(Deserialize)]
struct Model {
    /// Absent in older files.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    merges: Option<IgnoredAny>,
    vocab: Tokens,
    #[serde(default)]
    max_input_chars_per_word: Option<u64>,
}

/// The properties of a vocabulary that are checked.
struct Tokens {
    count: usize,
    /// The largest token number, and its token.
    largest: Option<(u64, String)>,
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokensVisitor)
    }
}

struct TokensVisitor;

impl<'de> Visitor<'de> for TokensVisitor {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens with their numbers, or a list of tokens")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tokens, A::Error> {
        let mut tokens = Tokens { count: 0, largest: None };
        while let Some((token, id)) = map.next_entry::<String, u64>()? {
            tokens.count += 1;
            if tokens.largest.as_ref().is_none_or(|(largest, _)| id > *largest) {
                tokens.largest = Some((id, token));
            }
        }
        Ok(tokens)
    }

    /// Tokens of a Unigram model are numbered by position.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tokens, A::Error> {
        let mut tokens = Tokens { count: 0, largest: None };
        while list.next_element::<IgnoredAny>()?.is_some() {
            tokens.largest = Some((tokens.count as u64, String::new()));
            tokens.count += 1;
        }
        Ok(tokens)
    }
}

/// The supported types of tokenizers.
const KINDS: [&str; 4] = ["BPE", "Unigram", "WordLevel", "WordPiece"];
/// The maximum length of a word that is split into tokens: the cost is quadratic.
const WORD_CHARS_MAX: u64 = 1000;
/// The length at which a token is cut in errors.
const SHOWN_CHARS: usize = 40;

/// The tokenizer, in the format of the library `tokenizers`.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// The vocabulary of BERT's tokenizer, one token a line, in older models.
pub(crate) const VOCABULARY: &str = "vocab.txt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_files_are_refused() {
        let cases = [
            r#"{"model":{"type":"WordPiece","vocab":{"a":0,"b":8}}}"#,
            r#"{"model":{"type":"WordPiece","vocab":{"a":0,"b":8000000000}}}"#,
            r#"{"model":{"type":"WordPiece","vocab":{"a":9,"b":8}}}"#,
            r#"{"model":{"type":"WordPiece","vocab":{"a":0}},"added_tokens":[{"id":99,"content":"[X]","special":true}]}"#,
            r#"{"model":{"type":"Unigram","vocab":[["a",0.5],["b",0.5]]}}"#,
            r#"{"model":{"type":"Unigram","vocab":[0,1,2,3,4,5,6,7,8,9]}}"#,
            r#"{"model":{"type":"WordPiece","vocab":{},"max_input_chars_per_word":100}}"#,
            r#"{"model":{"type":"WordPiece","vocab":{"a":0},"max_input_chars_per_word":100000}}"#,
            r#"{"model":{"type":"WordPiece","vocab":{"a":-1}}}"#,
            r#"{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#,
            r#"{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}"#,
            r#"{"model":{"vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"],["ab","c"]]}}"#,
            r#"{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}}"#,
            r#"{"model":{"type":"Bpe","vocab":{"a":0},"merges":[]}}"#,
            r#"{"model":{"vocab":{"a":0},"merges":[]}}"#,
            r#"{"model":{"vocab":{"a":0}}}"#,
            r#"{"model":{"type":"WordPiece"}}"#,
            r#"{"model":7}"#,
            "{}",
            "",
            "[[[[",
        ];
        let told: Vec<String> = cases
            .iter()
            .map(|json| match check(json.as_bytes()) {
                Ok(()) => "accepted".to_owned(),
                Err(reason) => reason,
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
        let deep = format!(r#"{{"model":{}"#, "[".repeat(100_000));
        assert!(check(deep.as_bytes()).unwrap_err().contains("damaged"));
        let words = |words: &'static [u8]| TokenizerFile::Vocabulary(words.into()).check();
        assert_eq!(words(b"[PAD]\n[UNK]\n"), Ok(()));
        assert!(words(b"").is_err());
        assert!(words(b"a\n\xff\n").is_err());
    }
}
