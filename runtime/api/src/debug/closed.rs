//! Texts that may leave the machine: short words of few characters, and shortened ids.

use engine::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A word that cannot hold a sentence, a path from the root or a home, or an e-mail address.
///
/// It has at most 64 letters, digits and `. _ + : -`, and may have one `/` inside, as in `owner/name`. Any other text
/// becomes `withheld`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Word(String);

/// The first 32 bits of a node's id, as 8 hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShortId([u8; 4]);

impl Word {
    /// Returns the text, or `withheld` if it is none.
    pub fn new(text: &str) -> Self {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._+:-/".contains(&byte);
        let is_word = (1..=WORD_BYTES_MAX).contains(&text.len())
            && text.bytes().all(is_letter)
            && text.bytes().filter(|byte| *byte == b'/').count() <= 1
            && !text.starts_with(['/', '.', '~'])
            && !text.ends_with('/');
        Self(if is_word { text } else { WITHHELD }.to_owned())
    }

    /// Returns the constant with its spaces replaced. Do not call it for a text from elsewhere.
    pub fn from_constant(text: &str) -> Self {
        Self::new(&text.replace(' ', "_"))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<NodeId> for ShortId {
    fn from(id: NodeId) -> Self {
        let [a, b, c, d, ..] = id.0;
        Self([a, b, c, d])
    }
}

/// The text is not a shortened id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shortened id has 8 hexadecimal characters")
    }
}

impl TryFrom<String> for ShortId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, NotAnId> {
        let is_id = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(&text, 16).ok().filter(|_| is_id).ok_or(NotAnId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl From<ShortId> for String {
    fn from(id: ShortId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const WORD_BYTES_MAX: usize = 64;
const WITHHELD: &str = "withheld";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_pass() {
        for word in [
            "0.1.0",
            "all-MiniLM-L6-v2",
            "owner/name",
            "runtime::http::server:97",
            "2026-01-31T12:00:00.000Z",
        ] {
            assert_eq!(Word::new(word).as_str(), word);
        }
        let long = "x".repeat(65);
        for text in [
            "",
            "a b",
            "/home/you/model",
            "~/model",
            "./model",
            "home/you/model",
            "model/",
            "a@b",
            "é",
            &long,
        ] {
            assert_eq!(Word::new(text).as_str(), WITHHELD, "{text:?}");
        }
        assert_eq!(Word::from_constant("link refused").as_str(), "link_refused");
        let read: Word = serde_json::from_str(r#""/etc/passwd""#).unwrap();
        assert_eq!(read.as_str(), WITHHELD);
    }

    #[test]
    fn ids_are_shortened() {
        let id = ShortId::from(NodeId([0x0a; 16]));
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""0a0a0a0a""#);
        assert_eq!(serde_json::from_str::<ShortId>(r#""0a0a0a0a""#).unwrap(), id);
        for bad in [r#""0a0a0a""#, r#""0a0a0a0g""#, r#""+a0a0a0a""#] {
            assert!(serde_json::from_str::<ShortId>(bad).is_err(), "{bad}");
        }
    }
}
