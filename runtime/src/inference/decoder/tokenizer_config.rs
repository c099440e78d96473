//! `tokenizer_config.json` and `special_tokens_map.json`: the chat template, the special tokens, and whether a text
//! begins or ends with one.
//!
//! Ignored of what transformers reads: settings for rebuilding a tokenizer (`tokenizer.json` is used as it is), padding
//! and truncation, and the cleaning of spaces, which is for complete texts only.

use super::json_fields::Fields;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The contents of both files.
#[derive(Debug, Default)]
pub(super) struct TokenizerConfig {
    /// Whether `tokenizer_config.json` exists.
    pub(super) is_there: bool,
    pub(super) add_bos_token: Option<bool>,
    pub(super) add_eos_token: Option<bool>,
    /// Whether its class is Llama's, which begins a text with a token by default.
    pub(super) is_of_llama: bool,
    /// The texts of special tokens by name, such as `bos_token`.
    pub(super) special: BTreeMap<String, String>,
    /// The chat template for conversations without tools.
    pub(super) template: Option<String>,
}

impl TokenizerConfig {
    /// Reads the files that exist.
    ///
    /// # Errors
    /// Returns the field that is damaged, of the wrong type, or not supported.
    pub(super) fn parse(config: Option<&[u8]>, special: Option<&[u8]>) -> Result<Self, String> {
        let is_there = config.is_some();
        let fields = |file, json: Option<&[u8]>| match json {
            Some(json) => Fields::parse(file, json),
            None => Ok(Fields::none(file)),
        };
        let config = fields("tokenizer_config.json", config)?;
        let map = fields("special_tokens_map.json", special)?;
        config.refuse_unless("split_special_tokens", &[json!(false)])?;
        let mut special = BTreeMap::new();
        for name in SPECIAL {
            // A null in this file is a setting too.
            let token = if config.has(name) { config.token(name)? } else { map.token(name)? };
            special.extend(token.map(|token| (name.to_owned(), token)));
        }
        Ok(Self {
            is_there,
            add_bos_token: config.truth("add_bos_token")?,
            add_eos_token: config.truth("add_eos_token")?,
            is_of_llama: config.text("tokenizer_class")?.is_some_and(|class| LLAMAS.contains(&class)),
            special,
            template: template(&config)?,
        })
    }
}

/// Returns the template, which may be one of several.
fn template(config: &Fields) -> Result<Option<String>, String> {
    match config.get("chat_template") {
        None => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(Value::Array(several)) => {
            let default = several.iter().find(|one| one["name"] == "default");
            Ok(default.and_then(|one| one["template"].as_str()).map(str::to_owned))
        }
        Some(Value::Object(several)) => Ok(several.get("default").and_then(Value::as_str).map(str::to_owned)),
        Some(other) => Err(config.wrong("chat_template", other, "a template or a list of them")),
    }
}

/// The names of special tokens.
const SPECIAL: [&str; 7] =
    ["bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token"];
/// Classes that begin a text with a token by default.
const LLAMAS: [&str; 4] =
    ["CodeLlamaTokenizer", "CodeLlamaTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast"];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(config: &str, map: Option<&str>) -> Result<TokenizerConfig, String> {
        TokenizerConfig::parse(Some(config.as_bytes()), map.map(str::as_bytes))
    }

    #[test]
    fn a_template_and_tokens_are_found_in_any_of_their_places() {
        assert_eq!(parse(r#"{"chat_template":"a"}"#, None).unwrap().template.as_deref(), Some("a"));
        let several =
            r#"{"chat_template":[{"name":"tool_use","template":"b"},{"name":"default","template":"c"}]}"#;
        assert_eq!(parse(several, None).unwrap().template.as_deref(), Some("c"));
        assert_eq!(
            parse(r#"{"chat_template":null,"add_bos_token":null}"#, None).unwrap().add_bos_token,
            None
        );
        let map = r#"{"bos_token":"<x>","eos_token":{"content":"</x>"},"pad_token":"<pad>"}"#;
        let config =
            r#"{"bos_token":{"content":"<s>","lstrip":false},"pad_token":null,"add_bos_token":true}"#;
        let it = parse(config, Some(map)).unwrap();
        let special = [("bos_token", "<s>"), ("eos_token", "</x>")];
        assert_eq!(it.special, special.map(|(name, token)| (name.to_owned(), token.to_owned())).into());
        assert_eq!((it.template, it.add_bos_token, it.add_eos_token), (None, Some(true), None));
    }

    #[test]
    fn what_is_of_the_wrong_type_is_named() {
        let cases = [
            r#"{"add_bos_token":"yes"}"#,
            r#"{"add_eos_token":0}"#,
            r#"{"bos_token":7}"#,
            r#"{"eos_token":{"text":"</s>"}}"#,
            r#"{"chat_template":7}"#,
            r#"{"split_special_tokens":true}"#,
            r#"{"tokenizer_class":["x"]}"#,
        ];
        for config in cases {
            let error = parse(config, None).unwrap_err();
            let name = config.split('"').nth(1).unwrap();
            assert!(error.contains(&format!("tokenizer_config.json: {name} is ")), "{error}");
        }
        assert!(parse("[", None).unwrap_err().contains("tokenizer_config.json is damaged"));
        assert!(parse("{}", Some("7")).unwrap_err().contains("special_tokens_map.json is damaged"));
    }
}
