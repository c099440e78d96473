//! Validates the byte pair encoding (Sennrich et al., 2016) of a `tokenizer.json`: what the library `tokenizers` does not
//! check.
//!
//! The invariant: an accepted encoding has a token for each merge, without which the library panics or worse, and splits
//! a text in one way only.

use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// The model of a BPE tokenizer.
#[derive(Deserialize)]
pub(crate) struct Bpe {
    /// Absent in older files.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) vocab: HashMap<String, u64>,
    #[serde(default)]
    merges: Vec<Merge>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    dropout: Option<f64>,
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

impl Bpe {
    /// Checks the encoding.
    ///
    /// # Errors
    /// Returns a description of the fault.
    pub(crate) fn check(&self) -> Result<(), String> {
        let affixes = [&self.continuing_subword_prefix, &self.end_of_word_suffix];
        if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
            return Err("its words have prefixes or suffixes, which is not supported".to_owned());
        }
        if let Some(dropout) = self.dropout.filter(|dropout| *dropout != 0.0) {
            return Err(format!("its dropout is {dropout}: it would split a text at random"));
        }
        if self.vocab.is_empty() {
            return Err("it has no tokens".to_owned());
        }
        let ids: HashSet<u64> = self.vocab.values().copied().collect();
        if ids.len() != self.vocab.len() {
            return Err("two of its tokens have the same number".to_owned());
        }
        let mut joined = String::new();
        for (at, merge) in self.merges.iter().enumerate() {
            let Some((left, right)) = merge.parts() else { return Err(format!("merge {at} is no pair")) };
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            let is_missing = |part: &&str| !self.vocab.contains_key(*part);
            if let Some(missing) = [left, right, &joined].into_iter().find(is_missing) {
                let missing: String = missing.chars().take(SHOWN_CHARS).collect();
                return Err(format!("merge {at} needs {missing:?}, which is no token"));
            }
        }
        Ok(())
    }
}

/// The length at which a token is cut in errors.
const SHOWN_CHARS: usize = 40;
