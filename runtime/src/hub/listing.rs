//! The validated file list of a repository, and the selection of the files that a model needs.
//!
//! The invariant: every name of a [`Listing`] stays inside the snapshot's folder, and the number and sizes of its files
//! are bounded.

use super::cache::is_commit;
use super::hash::BlobHash;
use super::id::{GGUF, Part, is_relative_path, quantization_of};
use serde::Deserialize;

/// The files of a repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<Listed>,
}

/// One file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    /// The hash, if the hub states it here.
    pub(super) hash: Option<BlobHash>,
    /// The size, if the hub states it here.
    pub(super) bytes: Option<u64>,
}

/// Why the file list of a repository is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The commit is not a commit hash.
    #[error("the hub states an invalid commit: {0:?}")]
    Commit(String),
    /// It is not JSON of the right shape.
    #[error("the hub's list of files is damaged")]
    Malformed(#[source] serde_json::Error),
    /// A name leads out of its folder.
    #[error("the hub lists a file {0:?}, which leads out of its folder")]
    Name(String),
    /// There are too many files.
    #[error("the hub lists {0} files, at most {FILES_MAX} are accepted")]
    TooMany(usize),
}

/// Why a repository lacks what was requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// Several files match.
    #[error("several files have this quantisation: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// It has GGUF files only, so the id must name one.
    #[error("the repository has GGUF files only; one must be named: {}", .0.join(", "))]
    GgufOnly(Vec<String>),
    /// It lacks a file that every model has.
    #[error("the repository has no {0}")]
    Missing(String),
    /// It has no such file.
    #[error("the repository has no {wanted}; its GGUF files: {}", or_none(.found))]
    NoSuchFile {
        /// The requested file.
        wanted: String,
        /// The available files.
        found: Vec<String>,
    },
    /// It has no safetensors files, but weights in other formats.
    #[error("there are no safetensors weights{}", only(.0))]
    NoWeights(Vec<String>),
    /// The model is split into several files.
    #[error("{0} is one of several files of a model, and split GGUF files are not supported")]
    Split(String),
}

impl Listing {
    /// Parses and validates the hub's answer.
    pub(super) fn parse(json: &[u8]) -> Result<Self, ListingError> {
        let raw: RawListing = serde_json::from_slice(json).map_err(ListingError::Malformed)?;
        if !is_commit(&raw.sha) {
            return Err(ListingError::Commit(raw.sha.chars().take(80).collect()));
        }
        if raw.siblings.len() > FILES_MAX {
            return Err(ListingError::TooMany(raw.siblings.len()));
        }
        let mut files = Vec::with_capacity(raw.siblings.len());
        for file in raw.siblings {
            if !is_relative_path(&file.rfilename) {
                return Err(ListingError::Name(file.rfilename.chars().take(200).collect()));
            }
            let (hash, bytes) = match &file.lfs {
                Some(large) => (large.sha256.as_deref(), large.size.or(file.size)),
                None => (file.blob_id.as_deref(), file.size),
            };
            let hash = hash.and_then(|hash| hash.parse().ok());
            files.push(Listed { name: file.rfilename, hash, bytes });
        }
        Ok(Self { commit: raw.sha, files })
    }

    /// Returns the files of a part of the repository.
    pub(super) fn select(&self, part: &Part) -> Result<Vec<Listed>, SelectionError> {
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        let wanted = select(&names, part)?;
        Ok(self.files.iter().filter(|file| wanted.contains(&file.name.as_str())).cloned().collect())
    }
}

/// Selects from names, which are those of the hub or of a local folder.
pub(super) fn select<'a>(names: &[&'a str], part: &Part) -> Result<Vec<&'a str>, SelectionError> {
    match part {
        Part::All => select_all(names),
        Part::File(wanted) => {
            let found =
                names.iter().find(|name| *name == wanted).ok_or_else(|| no_such_file(names, wanted))?;
            whole_gguf(found).map(|file| vec![file])
        }
        Part::Quantization(tag) => {
            let fits =
                |name: &&&str| quantization_of(name).is_some_and(|found| found.eq_ignore_ascii_case(tag));
            let found: Vec<&str> = names.iter().filter(fits).copied().collect();
            match found.as_slice() {
                [] => Err(no_such_file(names, tag)),
                [file] => whole_gguf(file).map(|file| vec![file]),
                several => {
                    Err(SelectionError::Ambiguous(several.iter().copied().map(str::to_owned).collect()))
                }
            }
        }
    }
}

fn select_all<'a>(names: &[&'a str]) -> Result<Vec<&'a str>, SelectionError> {
    let root = root(names);
    let weights = weights(names, root);
    if weights.is_empty() {
        let found = gguf_files(names);
        if !found.is_empty() {
            return Err(SelectionError::GgufOnly(found));
        }
        let others = names.iter().filter(|name| OTHER_WEIGHTS.iter().any(|end| name.ends_with(end)));
        return Err(SelectionError::NoWeights(
            others.take(SHOWN_MAX).map(|name| (*name).to_owned()).collect(),
        ));
    }
    let has = |file: &str| names.iter().any(|name| name.strip_prefix(root) == Some(file));
    if !has(CONFIG) {
        return Err(SelectionError::Missing(format!("{root}{CONFIG}")));
    }
    // BERT's tokenizer can be built from its vocabulary alone.
    if !has(TOKENIZER) && !has(VOCABULARY) {
        return Err(SelectionError::Missing(format!("{root}{TOKENIZER}")));
    }
    let belongs = |name: &&str| {
        let file = name.strip_prefix(TRANSFORMER).unwrap_or(name);
        USEFUL.contains(&file) || is_module(name)
    };
    Ok(names.iter().copied().filter(|name| belongs(name) || weights.contains(name)).collect())
}

/// Returns the prefix of the transformer's files: its folder, if the model has no weights of its own.
pub(super) fn root(names: &[&str]) -> &'static str {
    let is_within =
        names.contains(&MODULES) && weights(names, "").is_empty() && !weights(names, TRANSFORMER).is_empty();
    if is_within { TRANSFORMER } else { "" }
}

/// Returns the weight files with a prefix: one, or several with their index.
fn weights<'a>(names: &[&'a str], root: &str) -> Vec<&'a str> {
    let named = |fits: fn(&str) -> bool| -> Vec<&'a str> {
        names.iter().copied().filter(|name| name.strip_prefix(root).is_some_and(fits)).collect()
    };
    let whole = named(|file| file == WEIGHTS);
    if whole.is_empty() { named(|file| file == WEIGHTS_INDEX || is_shard(file)) } else { whole }
}

/// `model-00001-of-00003.safetensors`
fn is_shard(name: &str) -> bool {
    let numbers = name.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
    numbers.and_then(|numbers| numbers.split_once("-of-")).is_some_and(|(number, of)| {
        [number, of]
            .iter()
            .all(|digits| digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit()))
    })
}

/// A step of a sentence-transformers pipeline: `1_Pooling/config.json`, `2_Dense/model.safetensors`.
fn is_module(name: &str) -> bool {
    let Some((folder, file)) = name.split_once('/') else { return false };
    let numbered = folder.split_once('_').is_some_and(|(number, _)| {
        !number.is_empty() && number.len() <= 2 && number.bytes().all(|digit| digit.is_ascii_digit())
    });
    numbered && (file == "config.json" || file == WEIGHTS)
}

fn whole_gguf(name: &str) -> Result<&str, SelectionError> {
    let stem = name.strip_suffix(GGUF).unwrap_or(name);
    let split = stem
        .rsplit_once("-of-")
        .is_some_and(|(_, of)| of.len() == 5 && of.bytes().all(|digit| digit.is_ascii_digit()));
    if split { Err(SelectionError::Split(name.to_owned())) } else { Ok(name) }
}

fn no_such_file(names: &[&str], wanted: &str) -> SelectionError {
    SelectionError::NoSuchFile { wanted: wanted.to_owned(), found: gguf_files(names) }
}

fn gguf_files(names: &[&str]) -> Vec<String> {
    names.iter().filter(|name| name.ends_with(GGUF)).take(SHOWN_MAX).map(|name| (*name).to_owned()).collect()
}

fn only(names: &[String]) -> String {
    if names.is_empty() { format!(": {WEIGHTS} is missing") } else { format!(", only {}", names.join(", ")) }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[derive(Deserialize)]
struct RawListing {
    #[serde(default)]
    sha: String,
    #[serde(default)]
    siblings: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<RawLargeFile>,
}

#[derive(Deserialize)]
struct RawLargeFile {
    sha256: Option<String>,
    size: Option<u64>,
}

/// Weights in one file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The index of weights in several files.
pub(super) const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// Every model needs this.
pub(super) const CONFIG: &str = "config.json";
/// The folder of the transformer in a sentence-transformers model, unless it is the model's own.
pub(super) const TRANSFORMER: &str = "0_Transformer/";
/// The list of modules of a sentence-transformers model.
const MODULES: &str = "modules.json";
/// The tokenizer.
pub(super) const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
/// These describe how a model is meant to be used.
const USEFUL: [&str; 17] = [
    "added_tokens.json",
    "chat_template.jinja",
    CONFIG,
    "config_sentence_transformers.json",
    "generation_config.json",
    MODULES,
    "sentence_albert_config.json",
    "sentence_bert_config.json",
    "sentence_camembert_config.json",
    "sentence_distilbert_config.json",
    "sentence_roberta_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
    "special_tokens_map.json",
    TOKENIZER,
    "tokenizer_config.json",
    VOCABULARY,
];
const OTHER_WEIGHTS: [&str; 6] = [".bin", ".h5", ".msgpack", ".onnx", ".pt", ".pth"];
/// Maximum number of files in a repository.
const FILES_MAX: usize = 10_000;
/// Maximum number of names in a message.
const SHOWN_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn hashes_are_those_of_the_content_whichever_way_it_is_stored() {
        let large = "ab".repeat(32);
        let json = format!(
            r#"{{"sha":"{COMMIT}","private":false,"siblings":[
                {{"rfilename":"config.json","size":7,"blobId":"{COMMIT}"}},
                {{"rfilename":"model.safetensors","size":99,"blobId":"{COMMIT}",
                  "lfs":{{"sha256":"{large}","size":98,"pointerSize":134}}}},
                {{"rfilename":"odd","blobId":"no hash"}}]}}"#
        );
        let listing = Listing::parse(json.as_bytes()).unwrap();
        let expected = [
            ("config.json", COMMIT.parse().ok(), Some(7)),
            ("model.safetensors", large.parse().ok(), Some(98)),
            ("odd", None, None),
        ];
        let expected = expected.map(|(name, hash, bytes)| Listed { name: name.to_owned(), hash, bytes });
        assert_eq!(listing, Listing { commit: COMMIT.to_owned(), files: expected.to_vec() });
    }

    #[test]
    fn a_listing_that_leads_elsewhere_or_is_endless_is_refused() {
        for name in ["../x", "/etc/passwd", "a/../../b", "a//b", "a\\\\b", "", "."] {
            let json = format!(r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"{name}"}}]}}"#);
            assert!(matches!(Listing::parse(json.as_bytes()), Err(ListingError::Name(_))), "{name}");
        }
        let many = vec![r#"{"rfilename":"a"}"#; FILES_MAX + 1].join(",");
        let json = format!(r#"{{"sha":"{COMMIT}","siblings":[{many}]}}"#);
        assert!(matches!(Listing::parse(json.as_bytes()), Err(ListingError::TooMany(10_001))));
        let json = br#"{"sha":"../../../x","siblings":[]}"#;
        assert!(matches!(Listing::parse(json), Err(ListingError::Commit(_))));
        assert!(matches!(Listing::parse(b"<html>"), Err(ListingError::Malformed(_))));
    }

    #[test]
    fn only_what_a_model_needs_is_taken() {
        let names = [
            "README.md",
            "config.json",
            "tokenizer.json",
            "1_Pooling/config.json",
            "modules.json",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "model.safetensors",
            "model-00001-of-00002.safetensors",
            "data/config.json",
        ];
        assert_eq!(
            select(&names, &Part::All).unwrap(),
            ["config.json", "tokenizer.json", "1_Pooling/config.json", "modules.json", "model.safetensors"]
        );
        let shards = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
            "model-x.safetensors",
        ];
        assert_eq!(select(&shards, &Part::All).unwrap(), shards[..5]);
        let bare = ["config.json", "model.safetensors"];
        assert_eq!(select(&bare, &Part::All), Err(SelectionError::Missing("tokenizer.json".to_owned())));
        let older = ["config.json", "model.safetensors", "vocab.txt"];
        assert_eq!(select(&older, &Part::All).unwrap(), older);
        let foreign = ["config.json", "pytorch_model.bin", "tokenizer.json"];
        let found = vec!["pytorch_model.bin".to_owned()];
        assert_eq!(select(&foreign, &Part::All), Err(SelectionError::NoWeights(found)));
    }

    #[test]
    fn the_files_of_a_transformer_in_its_own_folder_are_taken() {
        let names = [
            "0_Transformer/config.json",
            "0_Transformer/model.safetensors",
            "0_Transformer/pytorch_model.bin",
            "0_Transformer/sentence_bert_config.json",
            "0_Transformer/special_tokens_map.json",
            "0_Transformer/tokenizer_config.json",
            "0_Transformer/vocab.txt",
            "1_Pooling/config.json",
            "1_Pooling/vocab.txt",
            "modules.json",
        ];
        let expected: Vec<&str> = [&names[..2], &names[3..8], &names[9..]].concat();
        assert_eq!(select(&names, &Part::All).unwrap(), expected);
        let missing = |file: &str| Err(SelectionError::Missing(file.to_owned()));
        assert_eq!(select(&names[1..], &Part::All), missing("0_Transformer/config.json"));
        let bare = ["0_Transformer/config.json", "0_Transformer/model.safetensors", "modules.json"];
        assert_eq!(select(&bare, &Part::All), missing("0_Transformer/tokenizer.json"));
        // Without a list that names it, the folder has no meaning.
        assert_eq!(
            select(&names[..9], &Part::All),
            Err(SelectionError::NoWeights(vec![names[2].to_owned()]))
        );
        let shards = [
            "0_Transformer/config.json",
            "0_Transformer/model-00001-of-00001.safetensors",
            "0_Transformer/model.safetensors.index.json",
            "0_Transformer/tokenizer.json",
            "modules.json",
        ];
        assert_eq!(select(&shards, &Part::All).unwrap(), shards);
    }

    #[test]
    fn one_gguf_file_is_found_by_its_name_or_its_quantisation() {
        let names =
            ["m.Q4_0.gguf", "m.Q8_0.gguf", "README.md", "big-Q6_K-00001-of-00002.gguf", "x.Q8_0.gguf"];
        let file = |name: &str| Part::File(name.to_owned());
        let tag = |tag: &str| Part::Quantization(tag.to_owned());
        assert_eq!(select(&names, &file("m.Q8_0.gguf")).unwrap(), ["m.Q8_0.gguf"]);
        assert_eq!(select(&names, &tag("q4_0")).unwrap(), ["m.Q4_0.gguf"]);
        assert!(
            matches!(select(&names, &tag("Q8_0")), Err(SelectionError::Ambiguous(found)) if found.len() == 2)
        );
        assert!(
            matches!(select(&names, &tag("Q2_K")), Err(SelectionError::NoSuchFile { found, .. }) if found.len() == 4)
        );
        assert!(matches!(select(&names, &file("no.gguf")), Err(SelectionError::NoSuchFile { .. })));
        assert!(matches!(select(&names, &file(names[3])), Err(SelectionError::Split(_))));
        assert!(
            matches!(select(&names, &Part::All), Err(SelectionError::GgufOnly(found)) if found.len() == 4)
        );
    }
}
