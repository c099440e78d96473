//! The modules of a sentence-transformers model: where its transformer lies, and what becomes of hidden states.
//!
//! `modules.json` lists them in the order in which they run. `config_sentence_transformers.json` says what is put before
//! texts; the library reads it beside `modules.json` only, and so does this.

use super::json_fields::{self, FieldError, Given, Neutral, Object, within};
use super::metadata::{CONFIG, MetadataError, ReadFile, in_file, is_plain, object, refusal};
use super::tokenizer_config::{LOWER_CASE, tokens};
use crate::inference::encoder::config::{ACTIVATION, Scores};
use crate::inference::encoder::pooling::Pooling;
use serde::Deserialize;
use serde_json::Value;

/// The modules of a model.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// The folder of the transformer within the model; empty where it is the model's own.
    pub(super) root: String,
    /// None where hidden states are not pooled: the transformer has a head.
    pub(super) pooling: Option<Pooling>,
    /// Whether vectors are scaled to unit length.
    pub(super) normalize: bool,
    /// The most tokens of a text.
    pub(super) limit: Option<usize>,
    /// Whether capitals are made small, whatever the tokenizer does.
    pub(super) lower_case: bool,
    pub(super) settings: Settings,
}

/// What `config_sentence_transformers.json` says.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// What is put before each text; empty where nothing is.
    pub(super) prompt: String,
    /// As many numbers of a vector are kept, where not all are.
    pub(super) dimensions: Option<usize>,
    /// What becomes of the output of a cross-encoder, where this file says so.
    pub(super) ranking: Option<Scores>,
    /// Whether texts are read in pairs.
    pub(super) is_cross_encoder: bool,
}

impl Modules {
    /// Reads the modules; none where a model has no list of them.
    pub(super) fn read(read: ReadFile<'_>) -> Result<Option<Self>, MetadataError> {
        let Some(listed) = listed(read)? else { return Ok(None) };
        let settings = match object(read, SETTINGS)? {
            Some(config) => Settings::from_fields(&config).map_err(in_file(SETTINGS))?,
            None => Settings::default(),
        };
        let mut modules = Self { settings, ..Self::default() };
        let order = || refusal(MODULES, "the modules are not in the order Transformer, Pooling, Normalize");
        for (at, Module { class, path }) in listed.iter().enumerate() {
            let kind =
                class.strip_prefix("sentence_transformers.").and_then(|class| class.rsplit('.').next());
            match kind.unwrap_or(class) {
                "Transformer" if at == 0 => modules.root.clone_from(path),
                "Pooling" if at > 0 && modules.pooling.is_none() && !modules.normalize => {
                    let name = within(path, CONFIG);
                    let json = read(&name)?.ok_or_else(|| refusal(&name, "is missing"))?;
                    let pooling = Pooling::parse(&json).map_err(|reason| refusal(&name, &reason))?;
                    modules.pooling = Some(pooling);
                }
                "Normalize" if modules.pooling.is_some() => {
                    let name = within(path, CONFIG);
                    if let Some(config) = object(read, &name)? {
                        json_fields::check_neutral(&config, &SENTENCE).map_err(in_file(&name))?;
                    }
                    modules.normalize = true;
                }
                // It does nothing but in training.
                "Dropout" if at > 0 => {}
                "Dropout" | "Normalize" | "Pooling" | "Transformer" => return Err(order()),
                other => {
                    let reason =
                        format!("module {other:?}; Transformer, Pooling and Normalize are supported");
                    return Err(refusal(MODULES, &reason));
                }
            }
        }
        if listed.is_empty() {
            return Err(order());
        }
        modules.read_transformer(read)?;
        Ok(Some(modules))
    }

    /// Reads the configuration of the transformer's own module, under the first of its names that is there.
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
        Ok(Self {
            prompt: prompt(config)?,
            dimensions,
            ranking: ranking.map(|class| Scores::parse(ACTIVATION, class)).transpose()?,
            is_cross_encoder: kind == KINDS[1],
        })
    }
}

/// Returns the prompt that is put before texts where none is asked for.
fn prompt(config: &Object) -> Result<String, FieldError> {
    let prompts = json_fields::object(config, "prompts")?.value();
    for (name, prompt) in prompts.into_iter().flatten() {
        if !(prompt.is_string() || prompt.is_null()) {
            return Err(FieldError::new(&format!("prompts.{name}"), prompt, "expected a text"));
        }
    }
    // An empty name is none.
    let Some(name) = json_fields::text(config, DEFAULT)?.value().filter(|name| !name.is_empty()) else {
        return Ok(String::new());
    };
    match prompts.and_then(|prompts| prompts.get(name)) {
        Some(prompt) => Ok(prompt.as_str().unwrap_or_default().to_owned()),
        // The library knows these two without a text.
        None if ["query", "document"].contains(&name) => Ok(String::new()),
        None => Err(FieldError::new(DEFAULT, &name.into(), "which is none of the prompts")),
    }
}

fn listed(read: ReadFile<'_>) -> Result<Option<Vec<Module>>, MetadataError> {
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

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    class: String,
    #[serde(default)]
    path: String,
}

/// The modules of a sentence-transformers model, in the order in which they run.
const MODULES: &str = "modules.json";
/// What is put before texts, and what else is of the whole model.
const SETTINGS: &str = "config_sentence_transformers.json";
/// The configuration of the transformer's module, under its name of today and the older ones.
const TRANSFORMER: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// Its fields that are read, or change nothing.
const READ: [&str; 5] = [LOWER_CASE, "max_seq_length", "modality_config", "transformer_task", "unpad_inputs"];
/// What the library would pass on to transformers, and what changes tokens.
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
/// What a module of vectors reads and writes.
const SENTENCE: [(&str, Neutral); 2] = [
    ("module_input_name", Neutral::OneOf(&["sentence_embedding"])),
    ("module_output_name", Neutral::OneOf(&["sentence_embedding"])),
];
/// What a transformer is for whose states are pooled, and what it gives.
const OF_POOLED: (&str, Neutral) = ("feature-extraction", Neutral::OneOf(&["last_hidden_state"]));
/// The same of one with a head.
const OF_HEAD: (&str, Neutral) = ("sequence-classification", Neutral::OneOf(&["logits"]));
/// The kinds of models that are supported.
const KINDS: [&str; 2] = ["SentenceTransformer", "CrossEncoder"];
/// The name of the prompt that is put before texts.
const DEFAULT: &str = "default_prompt_name";
/// More modules than any model has.
const MODULES_MAX: usize = 16;
