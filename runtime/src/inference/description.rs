//! What the small files of a model say about it: its dimensions, where texts are cut, how vectors are made.
//!
//! The files are those of Hugging Face's libraries: `config.json` from transformers, `tokenizer_config.json`, and from
//! sentence-transformers `modules.json`, `sentence_bert_config.json` and the configuration of the pooling module.
//! Where they are silent, a text is cut to the model's positions, and its vector is the mean of unit length.

use super::config::{Config, ConfigError};
use super::pooling::Pooling;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Component, Path};

/// A model as its files describe it.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) config: Config,
    /// The most tokens of a text, the special ones included.
    pub(super) tokens_max: usize,
    /// Whether texts are to be in lower case before the tokenizer sees them.
    pub(super) lower_case: bool,
    pub(super) pooling: Pooling,
    /// Whether vectors are scaled to unit length.
    pub(super) normalize: bool,
}

/// Why a description is of no use.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// The model is none that can run here.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// One of the other files is damaged, or asks for something that is not supported.
    #[error("{file}: {reason}")]
    File {
        /// Its name within the model.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Gives the content of a file of the model by its name; none where there is no such file.
pub(super) type ReadFile<'r> = &'r dyn Fn(&str) -> Result<Option<Vec<u8>>, DescriptionError>;

impl Description {
    /// Reads the files; `tokens_max` is where texts are cut if they do not say.
    pub(super) fn read(read: ReadFile<'_>, tokens_max: Option<usize>) -> Result<Self, DescriptionError> {
        let config = read(CONFIG)?.ok_or_else(|| refusal(CONFIG, "is missing"))?;
        let config = Config::parse(&config)?;
        let transformer: TransformerFile = parsed(read, TRANSFORMER)?;
        let tokenizer: TokenizerFile = parsed(read, TOKENIZER)?;
        let limit = transformer.max_seq_length.or(tokenizer.model_max_length);
        // Without a limit the libraries write a number of 31 digits.
        let limit = match limit {
            Some(limit) if limit >= 4.0 => Some(limit.min(TOKENS_MAX as f64) as usize),
            Some(limit) => return Err(refusal(TRANSFORMER, &format!("texts of {limit} tokens"))),
            None => None,
        };
        let tokens_max = limit.or(tokens_max).unwrap_or(TOKENS_MAX).min(TOKENS_MAX).min(config.positions);
        let lower_case = transformer.do_lower_case;
        let (pooling, normalize) = modules(read)?;
        Ok(Self { config, tokens_max, lower_case, pooling, normalize })
    }
}

/// Names the files that a description is made of, as far as they are there.
pub(super) fn files(read: ReadFile<'_>) -> Result<Vec<(String, Vec<u8>)>, DescriptionError> {
    let mut names: Vec<String> = [CONFIG, TRANSFORMER, TOKENIZER, MODULES].map(str::to_owned).to_vec();
    if let Some(listed) = listed(read)? {
        for module in listed.into_iter().filter(|module| module.class() == "Pooling") {
            names.push(format!("{}/{CONFIG}", module.path));
        }
    }
    let mut files = Vec::new();
    for name in names {
        if let Some(content) = read(&name)? {
            files.push((name, content));
        }
    }
    Ok(files)
}

/// How vectors are made, by the modules that follow the transformer.
fn modules(read: ReadFile<'_>) -> Result<(Pooling, bool), DescriptionError> {
    let Some(listed) = listed(read)? else { return Ok((Pooling::Mean, true)) };
    let mut pooling = Pooling::Mean;
    let mut normalize = false;
    for module in listed {
        match module.class() {
            "Transformer" => {}
            "Pooling" => {
                let name = format!("{}/{CONFIG}", module.path);
                let json = read(&name)?.ok_or_else(|| refusal(&name, "is missing"))?;
                pooling = Pooling::parse(&json).map_err(|reason| refusal(&name, &reason))?;
            }
            "Normalize" => normalize = true,
            other => {
                let reason = format!("module {other:?}; Transformer, Pooling and Normalize are supported");
                return Err(refusal(MODULES, &reason));
            }
        }
    }
    Ok((pooling, normalize))
}

fn listed(read: ReadFile<'_>) -> Result<Option<Vec<Module>>, DescriptionError> {
    let Some(json) = read(MODULES)? else { return Ok(None) };
    let listed: Vec<Module> =
        serde_json::from_slice(&json).map_err(|error| refusal(MODULES, &error.to_string()))?;
    if listed.len() > MODULES_MAX {
        return Err(refusal(MODULES, &format!("{} modules", listed.len())));
    }
    if let Some(module) = listed.iter().find(|module| !is_plain(&module.path)) {
        return Err(refusal(MODULES, &format!("{:?} leads out of the model", module.path)));
    }
    Ok(Some(listed))
}

/// Tells whether a path stays where it begins.
pub(super) fn is_plain(path: &str) -> bool {
    !path.contains(['\\', '\0'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn parsed<T: DeserializeOwned + Default>(read: ReadFile<'_>, name: &str) -> Result<T, DescriptionError> {
    match read(name)? {
        Some(json) => serde_json::from_slice(&json).map_err(|error| refusal(name, &error.to_string())),
        None => Ok(T::default()),
    }
}

fn refusal(file: &str, reason: &str) -> DescriptionError {
    DescriptionError::File { file: file.to_owned(), reason: reason.to_owned() }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TransformerFile {
    max_seq_length: Option<f64>,
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerFile {
    model_max_length: Option<f64>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    class: String,
    #[serde(default)]
    path: String,
}

impl Module {
    /// The last part of its class's name; the parts before it change between versions.
    fn class(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or_default()
    }
}

/// The dimensions and the kind of a model.
pub(super) const CONFIG: &str = "config.json";
/// The modules of a sentence-transformers model, in the order in which they run.
const MODULES: &str = "modules.json";
/// The configuration of the first of them.
const TRANSFORMER: &str = "sentence_bert_config.json";
/// What the tokenizer's class was made with.
const TOKENIZER: &str = "tokenizer_config.json";
/// The most tokens of a text in any model: the scores of attention grow with their square.
pub(super) const TOKENS_MAX: usize = 8192;
/// More modules than any model has.
const MODULES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const BERT: &str = r#"{"model_type":"bert","vocab_size":9,"hidden_size":8,"intermediate_size":16,
        "num_attention_heads":2,"num_hidden_layers":1,"max_position_embeddings":512}"#;
    const THREE: &str = r#"[{"idx":0,"path":"","type":"sentence_transformers.models.Transformer"},
        {"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
        {"path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]"#;

    fn told(files: &[(&str, &str)]) -> String {
        let read = |name: &str| {
            Ok(files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.as_bytes().to_vec()))
        };
        match Description::read(&read, None) {
            Ok(it) => format!(
                "{} tokens, lower case {}, {:?}, normalised {}",
                it.tokens_max, it.lower_case, it.pooling, it.normalize
            ),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_files_are_believed_as_far_as_they_make_sense() {
        let cls = ("1_Pooling/config.json", r#"{"pooling_mode_cls_token":true}"#);
        let three = ("modules.json", THREE);
        let two = THREE.replace("models.Normalize", "models.Transformer");
        let dense = THREE.replace("models.Normalize", "models.Dense");
        let outside = THREE.replace("1_Pooling", "../1_Pooling");
        let cases: [&[(&str, &str)]; 14] = [
            &[],
            &[("config.json", BERT)],
            &[("config.json", BERT), ("tokenizer_config.json", r#"{"model_max_length":128}"#)],
            &[
                ("config.json", BERT),
                ("tokenizer_config.json", r#"{"model_max_length":1000000000000000019884624838656}"#),
            ],
            &[
                ("config.json", BERT),
                ("tokenizer_config.json", r#"{"model_max_length":128}"#),
                ("sentence_bert_config.json", r#"{"max_seq_length":256,"do_lower_case":true}"#),
            ],
            &[("config.json", BERT), ("sentence_bert_config.json", r#"{"max_seq_length":-1}"#)],
            &[("config.json", BERT), ("sentence_bert_config.json", "[[")],
            &[("config.json", BERT), three, cls],
            &[("config.json", BERT), ("modules.json", &two), cls],
            &[("config.json", BERT), three],
            &[("config.json", BERT), three, ("1_Pooling/config.json", "{}")],
            &[("config.json", BERT), ("modules.json", &dense), cls],
            &[("config.json", BERT), ("modules.json", &outside), cls],
            &[("config.json", BERT), ("modules.json", "{}")],
        ];
        let told: Vec<String> = cases.iter().map(|files| told(files)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
