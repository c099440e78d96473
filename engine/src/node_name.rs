//! The name of a node: a label for people. It identifies nothing: two nodes may have the same name, and a node chooses
//! its own.
//!
//! A name that exists is harmless on a screen: short, in one line, and without invisible characters.

use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The name of a node, of at most [`NodeName::BYTES_MAX`] bytes. The empty name stands for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// Maximum size of a name in bytes, as of a host name's label (RFC 1035).
    pub const BYTES_MAX: usize = 63;

    /// Checks a name. Returns `None` if it is too long, begins or ends with a space, or contains a character that has no
    /// glyph.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= Self::BYTES_MAX && text.trim() == text && text.chars().all(is_visible);
        fits.then(|| Self(text.to_owned()))
    }

    /// Returns the name of a host without its domain, or the empty name if no part of it is a name.
    pub fn from_host(host: &str) -> Self {
        Self::new(host.trim().split('.').next().unwrap_or_default()).unwrap_or_default()
    }

    /// Returns the text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether the node has no name.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for NodeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| D::Error::custom("not the name of a node"))
    }
}

/// Tells whether a character can stand in a name. Those that change the direction of text or have no width could make one
/// name look like another.
const fn is_visible(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_in_one_visible_line() {
        for good in ["", "cedar", "Küche 2", "node-1.home", &"x".repeat(63)] {
            assert_eq!(NodeName::new(good).map(|name| name.to_string()).as_deref(), Some(good));
        }
        let long = "x".repeat(64);
        for bad in [" cedar", "cedar ", "a\nb", "a\u{1b}[2Jb", "a\u{202e}b", "a\u{200b}b", "\u{feff}a", &long]
        {
            assert_eq!(NodeName::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_host_gives_its_name_without_the_domain() {
        let named = |host: &str| NodeName::from_host(host).as_str().to_owned();
        assert_eq!(named("cedar.home.example\n"), "cedar");
        assert_eq!(named("cedar"), "cedar");
        assert_eq!(named(""), "");
        assert_eq!(named("a\u{7}b.example"), "");
    }

    #[test]
    fn a_bad_name_is_no_name_when_decoded() {
        let bytes = postcard::to_extend("a\u{1b}b", Vec::new()).unwrap();
        assert!(postcard::from_bytes::<NodeName>(&bytes).is_err());
        let bytes = postcard::to_extend("cedar", Vec::new()).unwrap();
        assert_eq!(postcard::from_bytes::<NodeName>(&bytes).unwrap().as_str(), "cedar");
    }
}
