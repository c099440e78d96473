//! The files of a sentence-transformers model: its modules, prompts and pooling.
//!
//! `modules.json` lists the modules in the order in which they run. `config_sentence_transformers.json` has the
//! prompts. Like the library, this reads it only if `modules.json` exists.

use super::json_fields::{self, FieldError, Given, Neutral, Object, within};
use super::metadata_file::{CONFIG, MetadataError, ReadFile, in_file, is_plain, object, rejected};
use super::tokenizer_config::{LOWER_CASE, tokens};
use crate::inference::encoder::config::{ACTIVATION, Scores};
use crate::inference::encoder::pooling::Pooling;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The modules of a model.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// The subfolder of the transformer; empty if it is the model's folder.
    pub(super) root: String,
    /// `None` if hidden states are not pooled, because the transformer has a head.
    pub(super) pooling: Option<Pooling>,
    /// Whether embeddings are scaled to unit length.
    pub(super) normalize: bool,
    /// The maximum number of tokens of a text.
    pub(super) limit: Option<usize>,
    /// Whether texts are lowercased before the tokenizer.
    pub(super) lower_case: bool,
    pub(super) settings: Settings,
}

/// The settings in `config_sentence_transformers.json`.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The prompt that is prepended to each text; may be empty.
    pub(super) prompt: String,
    /// The prompts by name.
    pub(super) prompts: BTreeMap<String, String>,
    /// The number of dimensions that embeddings are truncated to, if they are.
    pub(super) dimensions: Option<usize>,
    /// The activation of a cross-encoder's output, if this file has it.
    pub(super) ranking: Option<Scores>,
    /// Whether the model is a cross-encoder, which reads texts in pairs.
    pub(super) is_cross_encoder: bool,
}

impl Modules {
    /// Reads the modules. Returns `None` if the model has no `modules.json`.
    pub(super) fn read(read: ReadFile<'_>) -> Result<Option<Self>, MetadataError> {
        let Some(listed) = listed(read)? else { return Ok(None) };
        let settings = match object(read, SETTINGS)? {
            Some(config) => Settings::from_fields(&config).map_err(in_file(SETTINGS))?,
            None => Settings::default(),
        };
        let mut modules = Self { settings, ..Self::default() };
        let order = || rejected(MODULES, "the modules are not in the order Transformer, Pooling, Normalize");
        for (at, Module { class, path }) in listed.iter().enumerate() {
            let kind =
                class.strip_prefix("sentence_transformers.").and_then(|class| class.rsplit('.').next());
            match kind.unwrap_or(class) {
                "Transformer" if at == 0 => modules.root.clone_from(path),
                "Pooling" if at > 0 && modules.pooling.is_none() && !modules.normalize => {
                    let name = within(path, CONFIG);
                    let json = read(&name)?.ok_or_else(|| rejected(&name, "is missing"))?;
                    let pooling = Pooling::parse(&json).map_err(|reason| rejected(&name, &reason))?;
                    modules.pooling = Some(pooling);
                }
                "Normalize" if modules.pooling.is_some() => {
                    let name = within(path, CONFIG);
                    if let Some(config) = object(read, &name)? {
                        json_fields::check_neutral(&config, &SENTENCE).map_err(in_file(&name))?;
                    }
                    modules.normalize = true;
                }
                // It has an effect only in training.
                "Dropout" if at > 0 => {}
                "Dropout" | "Normalize" | "Pooling" | "Transformer" => return Err(order()),
                other => {
                    let reason =
                        format!("module {other:?}; Transformer, Pooling and Normalize are supported");
                    return Err(rejected(MODULES, &reason));
                }
            }
        }
        if listed.is_empty() {
            return Err(order());
        }
        modules.read_transformer(read)?;
        Ok(Some(modules))
    }

    /// Reads the configuration of the transformer module, from the first of its file names that exists.
    fn read_transformer(&mut self, read: ReadFile<'_>) -> Result<(), MetadataError> {
        for file in TRANSFORMER {
            let name = within(&self.root, file);
            if let Some(config) = object(read, &name)?.filter(|config| !config.is_empty()) {
                return self.take_transformer(&config).map_err(in_file(&name));
            }
        }
        Ok(())
    }

    fn take_transformer(&mut self, config: &Object) -> Result<(), FieldError> {
        json_fields::check_known(config, &READ, &NEUTRAL)?;
        json_fields::check_neutral(config, &NEUTRAL)?;
        self.limit = tokens(config, "max_seq_length")?;
        self.lower_case = json_fields::flag(config, LOWER_CASE)?.or(false);
        let (task, output) = if self.pooling.is_some() { OF_POOLED } else { OF_HEAD };
        match json_fields::text(config, "transformer_task")? {
            Given::Absent => {}
            Given::Value(given) if given == task => {}
            Given::Null | Given::Value(_) => {
                let expected = format!("expected {task}");
                return Err(FieldError::new("transformer_task", &config["transformer_task"], &expected));
            }
        }
        let modes = json_fields::object(config, "modality_config")?.value();
        let text = modes.map(|modes| json_fields::object(modes, "text")).transpose()?.and_then(Given::value);
        if let (Some(modes), None) = (modes, text) {
            return Err(FieldError::new("modality_config", &Value::Object(modes.clone()), "expected text"));
        }
        if let Some(text) = text {
            json_fields::check_neutral(text, &[("method", Neutral::OneOf(&["forward"]))])?;
            json_fields::check_neutral(text, &[("method_output_name", output)])?;
        }
        Ok(())
    }
}

impl Settings {
    fn from_fields(config: &Object) -> Result<Self, FieldError> {
        let kind = json_fields::text(config, "model_type")?.or(KINDS[0]);
        if !KINDS.contains(&kind) {
            let expected = format!("only {} is supported", KINDS.join(" or "));
            return Err(FieldError::new("model_type", &kind.into(), &expected));
        }
        let activation = json_fields::text(config, ACTIVATION)?.value();
        let ranking = activation.filter(|_| kind == KINDS[1]);
        let dimensions = json_fields::count(config, "truncate_dim")?.value();
        if dimensions == Some(0) {
            return Err(FieldError::new("truncate_dim", &0.into(), "expected 1 or more"));
        }
        let (prompt, prompts) = prompts(config)?;
        Ok(Self {
            prompt,
            prompts,
            dimensions,
            ranking: ranking.map(|class| Scores::parse(ACTIVATION, class)).transpose()?,
            is_cross_encoder: kind == KINDS[1],
        })
    }
}

/// Returns the default prompt, and all prompts by name.
fn prompts(config: &Object) -> Result<(String, BTreeMap<String, String>), FieldError> {
    // The library defines these two names with an empty prompt.
    let mut prompts: BTreeMap<String, String> =
        ["query", "document"].into_iter().map(|name| (name.to_owned(), String::new())).collect();
    for (name, prompt) in json_fields::object(config, "prompts")?.value().into_iter().flatten() {
        if !(prompt.is_string() || prompt.is_null()) {
            return Err(FieldError::new(&format!("prompts.{name}"), prompt, "expected a text"));
        }
        prompts.insert(name.clone(), prompt.as_str().unwrap_or_default().to_owned());
    }
    // An empty name means no prompt.
    let Some(name) = json_fields::text(config, DEFAULT)?.value().filter(|name| !name.is_empty()) else {
        return Ok((String::new(), prompts));
    };
    match prompts.get(name) {
        Some(prompt) => Ok((prompt.clone(), prompts)),
        None => Err(FieldError::new(DEFAULT, &name.into(), "which is none of the prompts")),
    }
}

fn listed(read: ReadFile<'_>) -> Result<Option<Vec<Module>>, MetadataError> {
    let Some(json) = read(MODULES)? else { return Ok(None) };
    let listed: Vec<Module> =
        serde_json::from_slice(&json).map_err(|error| rejected(MODULES, &error.to_string()))?;
    if listed.len() > MODULES_MAX {
        return Err(rejected(MODULES, &format!("{} modules", listed.len())));
    }
    if let Some(module) = listed.iter().find(|module| !is_plain(&module.path)) {
        return Err(rejected(MODULES, &format!("{:?} leads out of the model", module.path)));
    }
    Ok(Some(listed))
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    class: String,
    #[serde(default)]
    path: String,
}

/// The modules of a sentence-transformers model, in the order in which they run.
const MODULES: &str = "modules.json";
/// The prompts and other settings of the whole model.
const SETTINGS: &str = "config_sentence_transformers.json";
/// The configuration of the transformer module, by its current and older file names.
const TRANSFORMER: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// Its fields that are read, or have no effect.
const READ: [&str; 5] = [LOWER_CASE, "max_seq_length", "modality_config", "transformer_task", "unpad_inputs"];
/// Fields that the library passes to transformers, or that change tokens.
const NEUTRAL: [(&str, Neutral); 13] = [
    ("config_args", Neutral::Nothing),
    ("config_kwargs", Neutral::Nothing),
    ("document_length", Neutral::Nothing),
    ("model_args", Neutral::Nothing),
    ("model_kwargs", Neutral::Nothing),
    ("module_output_name", Neutral::OneOf(&["token_embeddings", "scores"])),
    ("processing_kwargs", Neutral::Nothing),
    ("processor_kwargs", Neutral::Nothing),
    ("query_expansion", Neutral::Nothing),
    ("query_length", Neutral::Nothing),
    ("tokenizer_args", Neutral::Nothing),
    ("tokenizer_kwargs", Neutral::Nothing),
    ("tokenizer_name_or_path", Neutral::Nothing),
];
/// The input and output names of a module on embeddings.
const SENTENCE: [(&str, Neutral); 2] = [
    ("module_input_name", Neutral::OneOf(&["sentence_embedding"])),
    ("module_output_name", Neutral::OneOf(&["sentence_embedding"])),
];
/// The task and output of a transformer whose hidden states are pooled.
const OF_POOLED: (&str, Neutral) = ("feature-extraction", Neutral::OneOf(&["last_hidden_state"]));
/// The task and output of a transformer with a head.
const OF_HEAD: (&str, Neutral) = ("sequence-classification", Neutral::OneOf(&["logits"]));
/// The supported model types.
const KINDS: [&str; 2] = ["SentenceTransformer", "CrossEncoder"];
/// The field with the name of the default prompt.
const DEFAULT: &str = "default_prompt_name";
/// The maximum number of modules; no model has as many.
const MODULES_MAX: usize = 16;
