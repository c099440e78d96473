//! The configured models, by name alone or with options.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A model in the configuration: a name, or an object with options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModelEntry {
    /// The name only.
    Name(String),
    /// The name and options.
    Full(FullEntry),
}

/// A model with its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullEntry {
    /// The built-in model, a name on the hub, a folder or a file.
    pub model: String,
    /// The name under which tasks request it; by default `model`, or the last part of a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether to load it at the start; by default only the first of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eager: Option<bool>,
    /// The precision of its computation; by default 8 bits, and for a Llama the one of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// The memory that it needs, in MiB; by default estimated from the size of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
}

impl ModelEntry {
    /// Returns the built-in name, hub name or path of the model.
    pub fn model(&self) -> &str {
        match self {
            Self::Name(model) => model,
            Self::Full(entry) => &entry.model,
        }
    }

    /// Returns the name under which tasks request it.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(model) => short_name(model),
            Self::Full(entry) => entry.name.as_deref().unwrap_or_else(|| short_name(&entry.model)),
        }
    }

    /// Returns whether to load it at the start, if that is set.
    pub const fn eager(&self) -> Option<bool> {
        match self {
            Self::Name(_) => None,
            Self::Full(entry) => entry.eager,
        }
    }

    /// Returns its precision: `auto`, `bf16`, `f32` or `int8`.
    pub fn precision(&self) -> &str {
        match self {
            Self::Name(_) => PRECISIONS[0],
            Self::Full(entry) => entry.precision.as_deref().unwrap_or(PRECISIONS[0]),
        }
    }

    /// Returns the memory that it needs, if that is set.
    pub fn memory_bytes(&self) -> Option<u64> {
        match self {
            Self::Name(_) => None,
            Self::Full(entry) => entry.memory_mb.map(|megabytes| u64::from(megabytes) << 20),
        }
    }
}

/// Returns the name of a model without a name of its own. Other nodes see it, so it is no path of this machine.
fn short_name(model: &str) -> &str {
    let is_path = ["/", "./", "../", "~/"].iter().any(|start| model.starts_with(start));
    let last = is_path.then(|| model.trim_end_matches('/').rsplit('/').next()).flatten();
    last.filter(|name| !["", ".", "..", "~"].contains(name)).unwrap_or(model)
}

/// Tells whether a value is a list of models with distinct names that fit an advert.
pub(super) fn admits(value: &Value) -> bool {
    let Ok(entries) = serde_json::from_value::<Vec<ModelEntry>>(value.clone()) else { return false };
    let sound = |entry: &ModelEntry| {
        let sizes =
            (1..=NAME_BYTES_MAX).contains(&entry.name().len()) && (1..=4096).contains(&entry.model().len());
        let text = |text: &str| !text.chars().any(char::is_control) && text.trim() == text;
        sizes && PRECISIONS.contains(&entry.precision()) && text(entry.name()) && text(entry.model())
    };
    let mut names: Vec<&str> = entries.iter().map(ModelEntry::name).collect();
    names.sort_unstable();
    names.dedup();
    entries.len() <= ENTRIES_MAX && names.len() == entries.len() && entries.iter().all(sound)
}

/// The precisions, the default first.
const PRECISIONS: [&str; 4] = ["auto", "bf16", "f32", "int8"];
/// Maximum number of configured models.
pub(super) const ENTRIES_MAX: usize = 16;
/// Maximum length of a model name, in bytes.
pub const NAME_BYTES_MAX: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_folder_has_its_own_name_and_not_that_of_its_place() {
        for (model, name) in [
            ("/home/me/models/tiny", "tiny"),
            ("./models/tiny/", "tiny"),
            ("~/llama.gguf", "llama.gguf"),
            ("owner/name", "owner/name"),
            ("/", "/"),
            ("../..", "../.."),
        ] {
            assert_eq!(ModelEntry::Name(model.to_owned()).name(), name);
        }
        let entry = json!({ "model": "/home/me/tiny", "name": "mine" });
        assert_eq!(serde_json::from_value::<ModelEntry>(entry).unwrap().name(), "mine");
        assert!(!admits(&json!(["/a/tiny", "/b/tiny"])), "each model has a name of its own");
    }

    #[test]
    fn a_list_names_each_model_once() {
        let full = json!({ "model": "./bert", "name": "mine", "eager": false, "precision": "f32", "memory_mb": 200 });
        assert!(admits(&json!([])));
        assert!(admits(&json!(["all-MiniLM-L6-v2", "owner/name:Q4_0", full])));
        for bad in [
            json!("owner/name"),
            json!(["a", "a"]),
            json!(["mine", full]),
            json!([""]),
            json!([" a"]),
            json!([7]),
            json!([{ "name": "x" }]),
            json!([{ "model": "x", "path": "y" }]),
            json!([{ "model": "x", "precision": "f64" }]),
            json!(["a".repeat(97)]),
            json!((0..17).map(|n| n.to_string()).collect::<Vec<_>>()),
        ] {
            assert!(!admits(&bad), "{bad}");
        }
        let entry: ModelEntry = serde_json::from_value(full.clone()).unwrap();
        assert_eq!((entry.model(), entry.name(), entry.eager()), ("./bert", "mine", Some(false)));
        assert_eq!((entry.precision(), entry.memory_bytes()), ("f32", Some(200 << 20)));
        assert_eq!(serde_json::to_value(&entry).unwrap(), full);
    }
}
