//! Text of limited length from outside the engine, such as the reason of a failure.
//!
//! A longer text is truncated when it enters, also by decoding. It is therefore bounded wherever it is kept or sent.

use core::fmt;
use core::ops::Deref;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text of at most `CHARS` characters. It is encoded and printed like a [`String`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundedText<const CHARS: usize>(String);

/// The reason of a failure, for users: at most 1,000 characters.
pub type FailureReason = BoundedText<1_000>;

/// The name of a model that does not exist, for users: at most 100 characters.
pub type UnknownModelName = BoundedText<100>;

/// A version of the product that wrote a file: at most 32 characters.
pub type ForeignVersion = BoundedText<32>;

impl<const CHARS: usize> From<String> for BoundedText<CHARS> {
    fn from(mut text: String) -> Self {
        if let Some((end, _)) = text.char_indices().nth(CHARS) {
            text.truncate(end);
        }
        Self(text)
    }
}

impl<const CHARS: usize> From<&str> for BoundedText<CHARS> {
    fn from(text: &str) -> Self {
        Self(text.chars().take(CHARS).collect())
    }
}

impl<const CHARS: usize> Deref for BoundedText<CHARS> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const CHARS: usize> fmt::Display for BoundedText<CHARS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<const CHARS: usize> fmt::Debug for BoundedText<CHARS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const CHARS: usize> Serialize for BoundedText<CHARS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const CHARS: usize> Deserialize<'de> for BoundedText<CHARS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Three = BoundedText<3>;

    #[test]
    fn a_long_text_is_truncated_between_characters() {
        for (text, kept) in [("", ""), ("abc", "abc"), ("äöüß", "äöü")] {
            assert_eq!(&*Three::from(text), kept);
            assert_eq!(&*Three::from(text.to_owned()), kept);
        }
    }

    #[test]
    fn it_is_encoded_and_printed_like_a_string_and_bounded_when_decoded() {
        let text = Three::from("a\"b");
        assert_eq!((format!("{text}"), format!("{text:?}")), ("a\"b".to_owned(), format!("{:?}", "a\"b")));
        assert_eq!(postcard::to_stdvec(&text), postcard::to_stdvec("a\"b"));
        let long = postcard::to_stdvec("abcdef").unwrap();
        assert_eq!(postcard::from_bytes(&long), Ok(Three::from("abc")));
    }
}
