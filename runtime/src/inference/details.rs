//! Describes a model for people from its small files: dimensions, longest text, pooling, labels and licence. Weights are
//! not loaded.

use super::decoder::{self, is_decoder};
use super::encoder::model::metadata_in;
use super::encoder_info::{EncoderOutput, output};
use super::files::inspect::read_metadata;
use super::files::metadata::ModelMetadata;
use super::files::weights::Weights;
use crate::regular_file;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The details of a model. A field is `None` if no file has it, or if it does not apply to the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelDetails {
    /// The length of an embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// The maximum number of tokens of a text; of a prompt and its answer together, if the model generates text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_max: Option<usize>,
    /// The pooling of embeddings, as sentence-transformers names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<String>,
    /// The labels that the model scores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The texts that are put before an input, by the name of the prompt.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, String>,
    /// The licence, as the model card or the GGUF file names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

impl ModelDetails {
    /// Describes the built-in model.
    pub fn embedded() -> Self {
        let metadata =
            Weights::parse(embedded_model::FILE).ok().and_then(|weights| metadata_in(&weights).ok());
        let details = metadata.map(|metadata| Self::for_encoder(&metadata)).unwrap_or_default();
        Self { license: Some(EMBEDDED_LICENSE.to_owned()), ..details }
    }

    /// Describes the model in a folder or a single file. Blocks while it reads a few small files.
    pub fn read(path: &Path) -> Self {
        let card = if path.is_file() { path.with_file_name(CARD) } else { path.join(CARD) };
        let license = license_on(&card);
        if is_decoder(path) {
            let found = decoder::details(path);
            let (tokens_max, own_license) = found.map_or((None, None), |(tokens, own)| (Some(tokens), own));
            return Self { tokens_max, license: own_license.map(shortened).or(license), ..Self::default() };
        }
        let details = read_metadata(path).map(|metadata| Self::for_encoder(&metadata)).unwrap_or_default();
        Self { license, ..details }
    }

    fn for_encoder(metadata: &ModelMetadata) -> Self {
        let (dimensions, pooling, labels) = match output(metadata) {
            EncoderOutput::Scores(labels) => (None, None, labels),
            EncoderOutput::Vector(pooling) => (Some(metadata.dimensions), Some(pooling), Vec::new()),
        };
        let prompts = metadata.prompts.iter().filter(|(_, prompt)| !prompt.is_empty());
        let prompts = prompts.map(|(name, prompt)| (name.clone(), shortened(prompt.clone()))).collect();
        Self { dimensions, tokens_max: Some(metadata.tokens_max), pooling, labels, prompts, license: None }
    }
}

/// Reads the licence from a model card, whose front matter is YAML.
fn license_on(card: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    regular_file::open(card).ok()?.take(CARD_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    license_in(&String::from_utf8_lossy(&bytes))
}

fn license_in(card: &str) -> Option<String> {
    let mut lines = card.lines();
    lines.next().filter(|line| line.trim_end() == "---")?;
    let fields: Vec<(&str, &str)> = lines
        .take_while(|line| line.trim_end() != "---")
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim().trim_matches(['"', '\''])))
        .collect();
    let value = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
    // The name of a licence that the hub does not list is a field of its own.
    let license = value("license").map(|license| match license {
        "other" => value("license_name").unwrap_or(license),
        listed => listed,
    });
    license.filter(|license| !license.is_empty()).map(|license| shortened(license.to_owned()))
}

fn shortened(text: String) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// The licence of the built-in model, which is beside its file.
const EMBEDDED_LICENSE: &str = "apache-2.0";
/// The model card of a folder.
const CARD: &str = "README.md";
const CARD_BYTES_MAX: u64 = 64 << 10;
const SHOWN_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_in_the_front_matter_of_the_card() {
        let license = |card: &str| license_in(card);
        assert_eq!(
            license("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n").as_deref(),
            Some("apache-2.0")
        );
        assert_eq!(
            license("---\nlicense: other\nlicense_name: 'llama3.2'\n---\n").as_deref(),
            Some("llama3.2")
        );
        for none in ["", "# A model\nlicense: mit\n", "---\nlicense:\n---\n", "---\n---\nlicense: mit\n"] {
            assert_eq!(license(none), None, "{none:?}");
        }
        assert_eq!(license(&format!("---\nlicense: {}\n", "x".repeat(500))).unwrap().len(), SHOWN_CHARS_MAX);
    }

    #[test]
    fn the_built_in_model_and_one_that_writes_are_described() {
        let details = ModelDetails::embedded();
        assert_eq!((details.dimensions, details.tokens_max), (Some(384), Some(256)));
        assert_eq!(
            (details.pooling.as_deref(), details.license.as_deref()),
            (Some("mean"), Some("apache-2.0"))
        );
        let llama = ModelDetails::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/llama")));
        assert_eq!(llama, ModelDetails { tokens_max: Some(128), ..ModelDetails::default() });
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/encoders/xlm-roberta-e5");
        let e5 = ModelDetails::read(Path::new(folder));
        assert_eq!((e5.dimensions, e5.tokens_max), (Some(32), Some(64)));
        let prompts = [("passage", "passage: "), ("query", "query: ")];
        assert_eq!(e5.prompts, prompts.map(|(name, prompt)| (name.to_owned(), prompt.to_owned())).into());
    }
}
