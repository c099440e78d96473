//! Names of nodes: short words, the same in each demo.

use api::ErrorDetail;
use engine::NodeId;
use runtime::text;

/// Returns the name of a node.
pub(super) fn name(index: u32) -> String {
    let word = usize::try_from(index).ok().and_then(|index| WORDS.get(index));
    word.map_or_else(|| format!("node-{}", index.saturating_add(1)), |word| (*word).to_owned())
}

/// Joins names, such as `amber, birch and cedar`.
pub(super) fn list(nodes: &[u32]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| name(*node)).collect();
    match names.as_slice() {
        [] => "no node".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Why a word names no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameError {
    /// More than one id starts with it.
    Ambiguous { word: String },
    /// No node has this name or id.
    Unknown { word: String, nearest: Option<String> },
}

impl NameError {
    const fn code(&self) -> &'static str {
        match self {
            Self::Ambiguous { .. } => "node_ambiguous",
            Self::Unknown { .. } => "node_unknown",
        }
    }
}

impl From<NameError> for ErrorDetail {
    fn from(error: NameError) -> Self {
        let code = error.code().to_owned();
        let (message, hint) = match error {
            NameError::Ambiguous { word } => (
                format!("More than one node id starts with {word:?}"),
                "give more characters of the id, or the name of the node".to_owned(),
            ),
            NameError::Unknown { word, nearest } => (
                format!("No node of the demo has the name or id {word:?}"),
                nearest.map_or_else(
                    || "p2p-ai-agents demo stats lists the nodes".to_owned(),
                    |nearest| format!("did you mean {nearest}?"),
                ),
            ),
        };
        Self { code, message, hint: Some(hint) }
    }
}

/// Returns the index of the node that a word names: by its name, or by the start of its id.
pub(super) fn resolve(word: &str, ids: &[NodeId]) -> Result<u32, NameError> {
    let lower = word.trim().to_ascii_lowercase();
    let all = || (0_u32..).zip(ids);
    if let Some((index, _)) = all().find(|(index, _)| name(*index) == lower) {
        return Ok(index);
    }
    let mut found = all().filter(|(_, id)| !lower.is_empty() && id.to_string().starts_with(&lower));
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => Err(NameError::Ambiguous { word: shown(word) }),
        (None, _) => {
            let names: Vec<String> = all().map(|(index, _)| name(index)).collect();
            let nearest = text::nearest(&lower, names.iter().map(String::as_str)).map(str::to_owned);
            Err(NameError::Unknown { word: shown(word), nearest })
        }
    }
}

fn shown(word: &str) -> String {
    word.chars().take(CHARS_SHOWN).collect()
}

/// In alphabetical order, so that tables are sorted.
const WORDS: [&str; 24] = [
    "amber", "birch", "cedar", "dune", "ember", "fern", "grove", "heron", "iris", "jade", "kelp", "larch",
    "maple", "nova", "opal", "pine", "quartz", "reed", "sage", "tide", "umber", "violet", "willow", "yarrow",
];
const CHARS_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_name_and_an_id() {
        let ids = [NodeId([0xab; 16]), NodeId([0xac; 16]), NodeId([0x01; 16])];
        assert_eq!(resolve("Birch", &ids), Ok(1));
        assert_eq!(resolve("abab", &ids), Ok(0));
        assert_eq!(resolve("01", &ids), Ok(2));
        assert_eq!(resolve("a", &ids), Err(NameError::Ambiguous { word: "a".to_owned() }));
        let unknown = |word: &str| match resolve(word, &ids) {
            Err(NameError::Unknown { nearest, .. }) => nearest,
            other => panic!("{other:?}"),
        };
        assert_eq!(unknown("ambr").as_deref(), Some("amber"));
        // It is a name, but not in this demo.
        assert_eq!(unknown("violet"), None);
        assert_eq!(unknown(""), None);
        let detail = ErrorDetail::from(NameError::Unknown { word: "x".to_owned(), nearest: None });
        assert_eq!(detail.code, "node_unknown");
    }

    #[test]
    fn names_are_distinct_and_never_the_start_of_an_id() {
        let names: std::collections::BTreeSet<String> = (0..1_000).map(name).collect();
        assert_eq!(names.len(), 1_000);
        let is_hex = |name: &String| name.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(!names.iter().any(is_hex));
        assert_eq!((name(0), name(24)), ("amber".to_owned(), "node-25".to_owned()));
        assert_eq!(list(&[0, 1, 2]), "amber, birch and cedar");
    }
}
