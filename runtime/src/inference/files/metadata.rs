//! The metadata of an encoder: dimensions, maximum text length, tokenizer settings, pooling.
//!
//! The files are those of Hugging Face's libraries: `config.json`, `tokenizer_config.json` and
//! `special_tokens_map.json` from transformers, and those of sentence-transformers that
//! [`super::sentence_transformers`] reads.
//!
//! The invariant: each field that either library reads is read here, has a neutral value, or is rejected by name. By
//! default a text is truncated to the model's positions, and its embedding is mean-pooled and normalised.

use super::json_fields::{self, Object, within};
use super::metadata_file::{CONFIG, MetadataError, ReadFile, in_file, object, rejected};
use super::sentence_transformers::{Modules, Settings};
use super::tokenizer_config::{Origin, TokenizerConfig, TokenizerConfigError};
use crate::inference::encoder::config::EncoderConfig;
use crate::inference::encoder::pooling::Pooling;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The metadata of an encoder.
#[derive(Debug)]
pub(crate) struct ModelMetadata {
    pub(crate) config: EncoderConfig,
    /// The subfolder with the files of the transformer; empty if they are in the model's folder.
    pub(crate) root: String,
    /// The maximum number of tokens of a text, including special tokens.
    pub(crate) tokens_max: usize,
    /// Whether texts are lowercased before the tokenizer.
    pub(crate) lower_case: bool,
    pub(crate) tokenizer: TokenizerConfig,
    pub(crate) pooling: Pooling,
    /// Whether embeddings are scaled to unit length.
    pub(crate) normalize: bool,
    /// The prompt that is prepended to each text.
    pub(crate) prompt: String,
    /// The prompts by name.
    pub(crate) prompts: BTreeMap<String, String>,
    /// The number of dimensions that embeddings are truncated to.
    pub(crate) dimensions: usize,
}

impl ModelMetadata {
    /// Reads the files. `tokens_max` is the maximum text length if they do not specify one.
    pub(crate) fn read(read: ReadFile<'_>, tokens_max: Option<usize>) -> Result<Self, MetadataError> {
        let modules = Modules::read(read)?;
        let bare = modules.is_none();
        let Modules { root, pooling, normalize, limit, lower_case, settings } = modules.unwrap_or_default();
        let name = within(&root, CONFIG);
        let json = read(&name)?.ok_or_else(|| rejected(&name, "is missing"))?;
        let mut config = EncoderConfig::parse(&json)?;
        if !bare {
            choose_head_or_pooling(&mut config, &settings, pooling.is_some())?;
        }
        let tokenizer = tokenizer_settings(read, &root, &json)?;
        let limit = limit.or(tokenizer.limit).or(tokens_max).unwrap_or(TOKENS_MAX);
        let pooling = pooling.unwrap_or_else(Pooling::mean);
        let width = pooling.width(config.hidden);
        Ok(Self {
            tokens_max: limit.min(TOKENS_MAX).min(config.tokens_max()),
            root,
            lower_case,
            tokenizer,
            pooling,
            normalize: normalize || bare,
            // Prompts are ignored if the model is loaded as another type than they are for.
            prompt: if settings.is_cross_encoder == config.classifier.is_some() {
                settings.prompt
            } else {
                String::new()
            },
            prompts: settings.prompts,
            dimensions: settings.dimensions.unwrap_or(width).min(width),
            config,
        })
    }

    /// Reads the files, and also returns those that exist.
    pub(crate) fn read_with_files(read: ReadFile<'_>) -> Result<(Self, Files), MetadataError> {
        let files = RefCell::new(Files::new());
        let recording = |name: &str| {
            let content = read(name)?;
            if let Some(content) = &content {
                let mut files = files.borrow_mut();
                if files.iter().all(|(known, _)| known != name) {
                    files.push((name.to_owned(), content.clone()));
                }
            }
            Ok(content)
        };
        let metadata = Self::read(&recording, None)?;
        Ok((metadata, files.into_inner()))
    }
}

/// Files by their names.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Chooses between the classification head and pooling, by the modules.
fn choose_head_or_pooling(
    config: &mut EncoderConfig,
    settings: &Settings,
    pooled: bool,
) -> Result<(), MetadataError> {
    match &mut config.classifier {
        // The library ignores the head in this case.
        Some(_) if pooled && !settings.is_cross_encoder => config.classifier = None,
        Some(classifier) if !pooled => {
            classifier.ranking = settings.ranking.unwrap_or(classifier.ranking);
        }
        None if pooled && !settings.is_cross_encoder => {}
        Some(_) | None => return Err(rejected(MODULES, "the modules do not fit the model's class")),
    }
    Ok(())
}

fn tokenizer_settings(
    read: ReadFile<'_>,
    root: &str,
    config: &[u8],
) -> Result<TokenizerConfig, MetadataError> {
    let config_name = within(root, CONFIG);
    let config: Object = json_fields::parse(config).map_err(|reason| rejected(&config_name, &reason))?;
    let class = json_fields::text(&config, "tokenizer_class").map_err(in_file(&config_name))?.value();
    let (settings_name, special_name) = (within(root, TOKENIZER), within(root, SPECIAL));
    let special = object(read, &special_name)?;
    let settings = object(read, &settings_name)?.unwrap_or_default();
    TokenizerConfig::read(&settings, special.as_ref(), class).map_err(
        |TokenizerConfigError { origin, error }| {
            let file = match origin {
                Origin::Config => config_name,
                Origin::Settings => settings_name,
                Origin::Special => special_name,
            };
            rejected(&file, &error.to_string())
        },
    )
}

/// The settings of the tokenizer class.
const TOKENIZER: &str = "tokenizer_config.json";
/// The special tokens of older models.
const SPECIAL: &str = "special_tokens_map.json";
/// The list of modules.
const MODULES: &str = "modules.json";
/// The maximum number of tokens of a text in any model: attention scores take quadratic memory.
pub(crate) const TOKENS_MAX: usize = 8192;

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
        match ModelMetadata::read(&read, None) {
            Ok(it) => {
                let lower_case = if it.lower_case { ", lower case" } else { "" };
                let unit = if it.normalize { ", unit length" } else { "" };
                let prompt =
                    if it.prompt.is_empty() { String::new() } else { format!(", after {:?}", it.prompt) };
                let head = it
                    .config
                    .classifier
                    .map_or_else(|| "none".to_owned(), |head| format!("{:?}", head.ranking));
                format!(
                    "{} tokens{lower_case}, {:?}{unit}{prompt}, {} numbers, head {head}",
                    it.tokens_max, it.pooling.modes, it.dimensions
                )
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_files_are_believed_as_far_as_they_make_sense() {
        let cls = CLS;
        let three = ("modules.json", THREE);
        let two = THREE.replace("models.Normalize", "models.Transformer");
        let dense = THREE.replace("models.Normalize", "models.Dense");
        let outside = THREE.replace("1_Pooling", "../1_Pooling");
        let path = THREE.replace(r#""path":"","#, r#""path":"0_Transformer","#);
        let own = THREE.replace("sentence_transformers.models.Pooling", "own.Pooling");
        let order = THREE.replace("models.Pooling", "models.Normalize");
        let none =
            THREE.replace("sentence_transformers.models.Pooling", "sentence_transformers.models.Dropout");
        let cases: [&[(&str, &str)]; 19] = [
            &[],
            &[("config.json", BERT)],
            &[("config.json", BERT), ("tokenizer_config.json", r#"{"model_max_length":128}"#)],
            &[
                ("config.json", BERT),
                ("tokenizer_config.json", r#"{"model_max_length":1000000000000000019884624838656}"#),
            ],
            &[("config.json", BERT), ("tokenizer_config.json", r#"{"do_lower_case":null}"#)],
            &[("config.json", BERT), ("tokenizer_config.json", "[[")],
            // Without a list of modules, the library ignores this file.
            &[("config.json", BERT), ("sentence_bert_config.json", r#"{"max_seq_length":256}"#)],
            &[("config.json", BERT), three, cls],
            &[("config.json", BERT), ("modules.json", &two), cls],
            &[("config.json", BERT), three],
            &[("config.json", BERT), three, ("1_Pooling/config.json", "{}")],
            &[("config.json", BERT), three, ("1_Pooling/config.json", r#"{"pooling_mode":["cls","mean"]}"#)],
            &[("config.json", BERT), ("modules.json", &dense), cls],
            &[("config.json", BERT), ("modules.json", &outside), cls],
            &[("config.json", BERT), ("modules.json", "{}")],
            &[("0_Transformer/config.json", BERT), ("modules.json", &path), cls],
            &[("config.json", BERT), ("modules.json", &own), cls],
            &[("config.json", BERT), ("modules.json", &order), cls],
            &[("config.json", BERT), ("modules.json", &none), cls],
        ];
        let told: Vec<String> = cases.iter().map(|files| told(files)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn the_file_that_is_wrong_is_named() {
        let class = BERT.replacen('{', r#"{"tokenizer_class":"BertJapaneseTokenizer","#, 1);
        let odd = BERT.replacen('{', r#"{"tokenizer_class":7,"#, 1);
        let within = THREE.replace(r#""path":"","#, r#""path":"0_Transformer","#);
        let modules = ("modules.json", within.as_str());
        let japanese = r#"tokenizer_class is "BertJapaneseTokenizer", which is not supported"#;
        let cases: [(&[(&str, &str)], String); 6] = [
            (&[("config.json", &class)], format!("config.json: {japanese}")),
            (
                &[
                    ("config.json", BERT),
                    ("tokenizer_config.json", r#"{"tokenizer_class":"BertJapaneseTokenizer"}"#),
                ],
                format!("tokenizer_config.json: {japanese}"),
            ),
            (
                &[("0_Transformer/config.json", &class), modules, CLS],
                format!("0_Transformer/config.json: {japanese}"),
            ),
            (
                &[("0_Transformer/config.json", &odd), modules, CLS],
                "0_Transformer/config.json: tokenizer_class is 7, expected a text".to_owned(),
            ),
            (
                &[("config.json", BERT), ("special_tokens_map.json", r#"{"mask_token":7}"#)],
                "special_tokens_map.json: mask_token is 7, expected a token".to_owned(),
            ),
            (
                &[
                    ("config.json", BERT),
                    ("tokenizer_config.json", r#"{"extra_special_tokens":[7]}"#),
                    ("special_tokens_map.json", "{}"),
                ],
                "tokenizer_config.json: extra_special_tokens is 7, expected a token".to_owned(),
            ),
        ];
        for (files, expected) in cases {
            assert_eq!(told(files), expected);
        }
    }

    #[test]
    fn what_a_model_puts_before_texts_and_does_with_them_is_read_or_refused() {
        let with = |file: &'static str, json: &'static str| {
            told(&[("config.json", BERT), ("modules.json", THREE), CLS, (file, json)])
        };
        let transformer = [
            r#"{"max_seq_length":256,"do_lower_case":true}"#,
            r#"{"max_seq_length":null,"do_lower_case":null}"#,
            r#"{"max_seq_length":-1}"#,
            r#"{"max_seq_length":"256"}"#,
            r#"{"do_lower_case":"true"}"#,
            r#"{"model_args":{},"tokenizer_args":{},"unpad_inputs":true}"#,
            r#"{"tokenizer_args":{"truncation_side":"left"}}"#,
            r#"{"query_length":32}"#,
            r#"{"max_length":32}"#,
            r#"{"transformer_task":"feature-extraction","modality_config":{"text":{"method":"forward","method_output_name":"last_hidden_state"}},"module_output_name":"token_embeddings"}"#,
            r#"{"transformer_task":"sequence-classification"}"#,
            r#"{"modality_config":{"text":{"method":"forward","method_output_name":"pooler_output"}}}"#,
            r#"{"modality_config":{"image":{}}}"#,
            "[[",
        ];
        let settings = [
            r#"{"prompts":{"query":"query: "},"default_prompt_name":"query","similarity_fn_name":"dot"}"#,
            r#"{"prompts":{"query":"query: "},"default_prompt_name":null}"#,
            r#"{"prompts":{"query":"query: "}}"#,
            r#"{"prompts":{"passage":null},"default_prompt_name":"passage"}"#,
            r#"{"prompts":{},"default_prompt_name":"document"}"#,
            r#"{"prompts":{},"default_prompt_name":"passage"}"#,
            r#"{"prompts":{"query":7}}"#,
            r#"{"prompts":["query: "]}"#,
            r#"{"default_prompt_name":0}"#,
            r#"{"truncate_dim":4}"#,
            r#"{"truncate_dim":99}"#,
            r#"{"truncate_dim":0}"#,
            r#"{"model_type":"SentenceTransformer","__version__":{},"requirements":null}"#,
            r#"{"model_type":"SparseEncoder"}"#,
            r#"{"model_type":"CrossEncoder"}"#,
        ];
        let told = transformer.iter().map(|json| (json, with("sentence_bert_config.json", json)));
        let told =
            told.chain(settings.iter().map(|json| (json, with("config_sentence_transformers.json", json))));
        let told: Vec<String> = told.map(|(json, told)| format!("{json}: {told}")).collect();
        insta::assert_snapshot!(told.join("\n"));
        assert_eq!(
            with("sentence_distilbert_config.json", r#"{"max_seq_length":99}"#),
            with("sentence_bert_config.json", r#"{"max_seq_length":99}"#)
        );
        let normalize = with("2_Normalize/config.json", r#"{"module_input_name":"token_embeddings"}"#);
        assert!(normalize.starts_with("2_Normalize/config.json: module_input_name is"), "{normalize}");
    }

    #[test]
    fn a_cross_encoder_of_today_says_what_becomes_of_its_outputs() {
        let class = r#"{"architectures":["BertForSequenceClassification"],"id2label":{"0":"x"},"model_type""#;
        let config = BERT.replacen(r#"{"model_type""#, class, 1);
        let one = r#"[{"path":"","type":"sentence_transformers.base.modules.transformer.Transformer"}]"#;
        let with = |settings: &'static str| {
            told(&[("config.json", &config), ("modules.json", one), (SETTINGS, settings)])
        };
        assert!(with("{}").ends_with("head Independent"));
        let identity = r#"{"model_type":"CrossEncoder","activation_fn":"torch.nn.modules.linear.Identity","prompts":{"a":"b"},"default_prompt_name":"a"}"#;
        assert!(with(identity).contains(r#"after "b""#) && with(identity).ends_with("head Plain"));
        let odd = with(r#"{"model_type":"CrossEncoder","activation_fn":"own.Function"}"#);
        assert!(odd.starts_with("config_sentence_transformers.json: activation_fn is"), "{odd}");
        // With a pooling module, the head is ignored.
        let pooled = told(&[("config.json", &config), ("modules.json", THREE), CLS]);
        assert!(pooled.ends_with("head none"), "{pooled}");
    }

    const SETTINGS: &str = "config_sentence_transformers.json";
    const CLS: (&str, &str) = ("1_Pooling/config.json", r#"{"pooling_mode_cls_token":true}"#);
}
