//! `tokenizer_config.json` and `special_tokens_map.json`, interpreted as transformers does.
//!
//! transformers builds the normaliser of a BERT tokenizer from these settings, whatever `tokenizer.json` says about
//! case, accents and Chinese characters. Fields that it ignores are ignored here too.

use super::json_fields::{self, FieldError, Given, Neutral, Object, TRUE_OR_FALSE};
use serde_json::Value;
use tokenizers::AddedToken;

/// The settings of a tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenizerConfig {
    /// The settings of BERT's tokenizer class; `None` if `tokenizer.json` alone applies.
    pub(crate) bert: Option<BertTokenizerConfig>,
    /// The maximum number of tokens of a text.
    pub(crate) limit: Option<usize>,
    /// Whether truncation removes the start of a text; `None` if `tokenizer.json` decides.
    pub(crate) cuts_beginning: Option<bool>,
    /// Whether special tokens inside a text are treated as text.
    pub(crate) splits_special: bool,
    /// Whether the model receives token types, for pairs of texts.
    pub(crate) has_types: bool,
    /// Added tokens, which are never split, besides those of `tokenizer.json`.
    pub(crate) added: Vec<AddedToken>,
    /// The special tokens of these settings, by role.
    pub(crate) roles: Vec<(&'static str, String)>,
}

/// The settings of BERT's tokenizer class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BertTokenizerConfig {
    pub(crate) lower_case: Given<bool>,
    /// `None`: the same as for lowercasing.
    pub(crate) strip_accents: Option<bool>,
    pub(crate) chinese_chars: bool,
    /// Whether two separators stand between the texts of a pair.
    pub(crate) separates_twice: bool,
}

/// An invalid or unsupported setting, and its file.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct TokenizerConfigError {
    pub(crate) origin: Origin,
    pub(crate) error: FieldError,
}

/// A file that settings are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `config.json`
    Config,
    /// `tokenizer_config.json`
    Settings,
    /// `special_tokens_map.json`
    Special,
}

impl Origin {
    fn with(self, error: FieldError) -> TokenizerConfigError {
        TokenizerConfigError { origin: self, error }
    }
}

impl From<FieldError> for TokenizerConfigError {
    fn from(error: FieldError) -> Self {
        Origin::Settings.with(error)
    }
}

impl BertTokenizerConfig {
    /// Tells whether texts are lowercased, which is the default.
    pub(crate) fn lower_case(&self) -> bool {
        self.lower_case.or(true)
    }
}

impl TokenizerConfig {
    /// Reads the settings. `class` is the tokenizer class in `config.json`, if there is one.
    ///
    /// # Errors
    /// Returns the file and the field that has the wrong type or is not supported.
    pub(crate) fn read(
        config: &Object,
        special: Option<&Object>,
        class: Option<&str>,
    ) -> Result<Self, TokenizerConfigError> {
        json_fields::check_neutral(config, &NEUTRAL)?;
        let own = json_fields::text(config, "tokenizer_class")?.value();
        let origin = if own.is_some() { Origin::Settings } else { Origin::Config };
        let class = own.or(class).map(|class| class.strip_suffix("Fast").unwrap_or(class));
        if let Some(class) = class.filter(|class| ELSEWHERE.contains(class)) {
            let error = FieldError::new("tokenizer_class", &class.into(), "which is not supported");
            return Err(origin.with(error));
        }
        let is_bert = class.is_none_or(|class| BERT.contains(&class));
        let normalizes = is_bert || class == Some(MPNET);
        let bert = normalizes.then(|| bert_settings(config, class == Some(MPNET))).transpose()?;
        let inputs =
            json_fields::texts(config, "model_input_names")?.not_null("model_input_names", "a list")?;
        let of_class = is_bert && class != Some(BERT[1]);
        let has_types = inputs.map_or(of_class, |inputs| inputs.contains(&"token_type_ids"));
        let (added, roles) = special_tokens(config, special, is_bert)?;
        Ok(Self {
            bert,
            limit: limit(config)?,
            cuts_beginning: side(config, "truncation_side")?,
            splits_special: flag(config, "split_special_tokens", false)?,
            has_types,
            added,
            roles,
        })
        .and_then(|settings| Ok(side(config, "padding_side").map(|_| settings)?))
    }

    /// Returns the token of a role, if these settings name it.
    pub(crate) fn role(&self, role: &str) -> Option<&str> {
        self.roles.iter().find(|(known, _)| *known == role).map(|(_, token)| token.as_str())
    }
}

fn bert_settings(config: &Object, separates_twice: bool) -> Result<BertTokenizerConfig, FieldError> {
    let lower_case = json_fields::flag(config, LOWER_CASE)?;
    lower_case.not_null(LOWER_CASE, TRUE_OR_FALSE)?;
    Ok(BertTokenizerConfig {
        lower_case,
        strip_accents: json_fields::flag(config, "strip_accents")?.value(),
        chinese_chars: flag(config, "tokenize_chinese_chars", true)?,
        separates_twice,
    })
}

/// Reads a flag that must not be null.
fn flag(config: &Object, name: &str, default: bool) -> Result<bool, FieldError> {
    Ok(json_fields::flag(config, name)?.not_null(name, TRUE_OR_FALSE)?.unwrap_or(default))
}

/// Reads whether a side is the left one.
fn side(config: &Object, name: &str) -> Result<Option<bool>, FieldError> {
    const EXPECTED: &str = "left or right";
    match json_fields::text(config, name)?.not_null(name, EXPECTED)? {
        None => Ok(None),
        Some("left") => Ok(Some(true)),
        Some("right") => Ok(Some(false)),
        Some(other) => Err(FieldError::new(name, &other.into(), &format!("expected {EXPECTED}"))),
    }
}

/// Reads the maximum number of tokens. For "no limit" the library writes a number of 31 digits.
fn limit(config: &Object) -> Result<Option<usize>, FieldError> {
    for name in ["model_max_length", "max_len"] {
        if config.contains_key(name) {
            return tokens(config, name);
        }
    }
    Ok(None)
}

/// Reads a number of tokens, which may exceed the range of integers.
pub(crate) fn tokens(config: &Object, name: &str) -> Result<Option<usize>, FieldError> {
    let Some(tokens) = json_fields::number(config, name)?.value() else { return Ok(None) };
    if tokens >= TOKENS_MIN && tokens.fract() == 0.0 {
        return Ok(Some(tokens.min(f64::from(u32::MAX)) as usize));
    }
    Err(FieldError::new(name, &config[name], &format!("expected a number of tokens, at least {TOKENS_MIN}")))
}

type Special = (Vec<AddedToken>, Vec<(&'static str, String)>);

/// Collects the special tokens, in the order in which the library adds new ones.
fn special_tokens(
    config: &Object,
    map: Option<&Object>,
    is_bert: bool,
) -> Result<Special, TokenizerConfigError> {
    let mut added = Vec::new();
    let decoder = json_fields::object(config, "added_tokens_decoder")?;
    if let Given::Value(decoder) = decoder {
        let mut numbered = Vec::new();
        for (id, token) in decoder {
            let number: u64 = id.parse().map_err(|_| not_a_token("added_tokens_decoder", token))?;
            numbered.push((number, added_token("added_tokens_decoder", token)?));
        }
        numbered.sort_by_key(|(number, _)| *number);
        added.extend(numbered.into_iter().map(|(_, token)| token));
    }
    // The library reads the older file only if the newer one lists no tokens.
    let map = map.filter(|_| decoder == Given::Absent);
    let said = |name: &str| {
        let of = |object: &'_ Object, origin| object.get(name).map(|value| (origin, value.clone()));
        map.and_then(|map| of(map, Origin::Special)).or_else(|| of(config, Origin::Settings))
    };
    let mut roles = Vec::new();
    for (role, usual) in ROLES {
        let token = match said(role) {
            Some((_, Value::Null)) => continue,
            Some((origin, value)) => {
                let token = added_token(role, &value).map_err(|error| origin.with(error))?;
                roles.push((role, token.content.clone()));
                token
            }
            None if is_bert && !usual.is_empty() => AddedToken::from(usual, true),
            None => continue,
        };
        added.push(token);
    }
    for name in ["extra_special_tokens", "additional_special_tokens"] {
        match said(name) {
            None | Some((_, Value::Null)) => {}
            Some((origin, value)) => {
                let tokens: Vec<&Value> = match &value {
                    Value::Array(tokens) => tokens.iter().collect(),
                    Value::Object(tokens) => tokens.values().collect(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                        return Err(origin.with(FieldError::new(name, &value, "expected a list of tokens")));
                    }
                };
                for token in tokens {
                    added.push(added_token(name, token).map_err(|error| origin.with(error))?);
                }
            }
        }
    }
    if added.len() > ADDED_MAX {
        let expected = format!("expected at most {ADDED_MAX} tokens");
        return Err(FieldError::new("added_tokens_decoder", &added.len().into(), &expected).into());
    }
    Ok((added, roles))
}

/// Reads a token: a text, or an object with its content.
fn added_token(name: &str, value: &Value) -> Result<AddedToken, FieldError> {
    match value {
        Value::String(text) => Ok(AddedToken::from(text.as_str(), true)),
        Value::Object(token) => {
            let content =
                json_fields::text(token, "content")?.value().ok_or_else(|| not_a_token(name, value))?;
            let flag = |flag: &str, absent| json_fields::flag(token, flag).map(|given| given.or(absent));
            let special = flag("special", !name.starts_with("added"))?;
            Ok(AddedToken::from(content, special)
                .single_word(flag("single_word", false)?)
                .lstrip(flag("lstrip", false)?)
                .rstrip(flag("rstrip", false)?)
                .normalized(flag("normalized", !special)?))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(not_a_token(name, value)),
    }
}

fn not_a_token(name: &str, value: &Value) -> FieldError {
    FieldError::new(name, value, "expected a token")
}

/// The lowercase setting, in this file and in that of sentence-transformers.
pub(crate) const LOWER_CASE: &str = "do_lower_case";
/// The classes that build their normaliser from these settings.
const BERT: [&str; 5] =
    ["BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "RetriBertTokenizer"];
/// A class that builds its normaliser from these settings too, with other special tokens.
const MPNET: &str = "MPNetTokenizer";
/// Classes that deviate from any `tokenizer.json`.
const ELSEWHERE: [&str; 3] = ["BertGenerationTokenizer", "BertJapaneseTokenizer", "BertweetTokenizer"];
/// Fields that would change the tokenizer.
const NEUTRAL: [(&str, Neutral); 1] = [("auto_map", Neutral::Nothing)];
/// The roles of special tokens, and their defaults in BERT's class.
const ROLES: [(&str, &str); 7] = [
    ("bos_token", ""),
    ("eos_token", ""),
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
/// The minimum of the maximum number of tokens.
const TOKENS_MIN: f64 = 4.0;
/// The maximum number of added tokens; no encoder has as many.
const ADDED_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, special: &str) -> Result<TokenizerConfig, String> {
        let object = |json: &str| json_fields::parse(json.as_bytes()).unwrap();
        let special = (!special.is_empty()).then(|| object(special));
        TokenizerConfig::read(&object(config), special.as_ref(), None).map_err(|error| error.to_string())
    }

    fn bert(config: &str) -> Option<BertTokenizerConfig> {
        read(config, "").unwrap().bert
    }

    fn contents(settings: &TokenizerConfig) -> Vec<&str> {
        settings.added.iter().map(|token| token.content.as_str()).collect()
    }

    #[test]
    fn the_class_decides_whether_the_settings_count() {
        let small = |settings: Option<BertTokenizerConfig>| settings.map(|settings| settings.lower_case());
        assert_eq!(small(bert("{}")), Some(true));
        assert_eq!(small(bert(r#"{"do_lower_case":false}"#)), Some(false));
        assert_eq!(small(bert(r#"{"tokenizer_class":"DistilBertTokenizerFast"}"#)), Some(true));
        assert_eq!(small(bert(r#"{"tokenizer_class":null,"do_lower_case":false}"#)), Some(false));
        assert_eq!(bert(r#"{"tokenizer_class":"PreTrainedTokenizerFast","do_lower_case":false}"#), None);
        assert_eq!(bert(r#"{"tokenizer_class":"XLMRobertaTokenizer"}"#), None);
        assert_eq!(small(bert(r#"{"tokenizer_class":"MPNetTokenizer","do_lower_case":false}"#)), Some(false));
        assert!(!read(r#"{"tokenizer_class":"MPNetTokenizerFast"}"#, "").unwrap().has_types);
        let all = bert(r#"{"strip_accents":false,"tokenize_chinese_chars":false}"#).unwrap();
        assert_eq!((all.strip_accents, all.chinese_chars), (Some(false), false));
        assert_eq!(bert(r#"{"strip_accents":null}"#).unwrap().strip_accents, None);
        assert!(read("{}", "").unwrap().has_types);
        assert!(!read(r#"{"tokenizer_class":"DistilBertTokenizer"}"#, "").unwrap().has_types);
        assert!(!read(r#"{"tokenizer_class":"PreTrainedTokenizerFast"}"#, "").unwrap().has_types);
        assert!(!read(r#"{"model_input_names":["input_ids"]}"#, "").unwrap().has_types);
    }

    #[test]
    fn limits_and_sides_are_read() {
        let limit = |json: &str| read(json, "").unwrap().limit;
        assert_eq!(limit("{}"), None);
        assert_eq!(limit(r#"{"max_len":8}"#), Some(8));
        assert_eq!(limit(r#"{"model_max_length":16,"max_len":8}"#), Some(16));
        assert_eq!(limit(r#"{"model_max_length":null,"max_len":8}"#), None);
        assert_eq!(limit(r#"{"model_max_length":1000000000000000019884624838656}"#), Some(u32::MAX as usize));
        let left = |json: &str| read(json, "").unwrap().cuts_beginning;
        assert_eq!(left("{}"), None);
        assert_eq!(left(r#"{"truncation_side":"left","padding_side":"left"}"#), Some(true));
        assert_eq!(left(r#"{"truncation_side":"right"}"#), Some(false));
    }

    #[test]
    fn what_the_library_would_stumble_over_is_refused() {
        for refused in [
            r#"{"do_lower_case":null}"#,
            r#"{"do_lower_case":"true"}"#,
            r#"{"strip_accents":0}"#,
            r#"{"tokenize_chinese_chars":null}"#,
            r#"{"split_special_tokens":null}"#,
            r#"{"truncation_side":null}"#,
            r#"{"truncation_side":"Left"}"#,
            r#"{"padding_side":"middle"}"#,
            r#"{"model_max_length":"8"}"#,
            r#"{"model_max_length":0}"#,
            r#"{"model_max_length":8.5}"#,
            r#"{"model_input_names":null}"#,
            r#"{"tokenizer_class":"BertJapaneseTokenizer"}"#,
            r#"{"tokenizer_class":7}"#,
            r#"{"auto_map":{"AutoTokenizer":["a.B",null]}}"#,
            r#"{"mask_token":7}"#,
            r#"{"extra_special_tokens":[7]}"#,
            r#"{"added_tokens_decoder":{"x":{"content":"[X]"}}}"#,
            r#"{"added_tokens_decoder":{"1":{}}}"#,
        ] {
            assert!(read(refused, "").is_err(), "{refused}");
        }
        // Fields that only affect decoding, and fields that transformers ignores.
        let passed =
            r#"{"clean_up_tokenization_spaces":null,"never_split":["a"],"do_basic_tokenize":false,"x":1}"#;
        assert!(read(passed, "").is_ok());
    }

    #[test]
    fn special_tokens_come_from_one_file_or_the_other() {
        let usual = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
        assert_eq!(contents(&read("{}", "").unwrap()), usual);
        let both =
            read(r#"{"mask_token":"<a>"}"#, r#"{"mask_token":{"content":"<b>","lstrip":true}}"#).unwrap();
        assert_eq!((both.role("mask_token"), both.role("cls_token")), (Some("<b>"), None));
        assert!(both.added.iter().any(|token| token.lstrip && token.special && !token.normalized));
        let newer =
            r#"{"mask_token":"<a>","added_tokens_decoder":{"10":{"content":"z"},"9":{"content":"y"}}}"#;
        let newer = read(newer, r#"{"mask_token":"<b>"}"#).unwrap();
        assert_eq!(contents(&newer)[..2], ["y", "z"]);
        assert_eq!(newer.role("mask_token"), Some("<a>"));
        let plain = r#"{"tokenizer_class":"PreTrainedTokenizerFast","extra_special_tokens":["<x>"]}"#;
        assert_eq!(contents(&read(plain, "").unwrap()), ["<x>"]);
    }
}
