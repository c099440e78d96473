//! Builds a tokenizer of the library `tokenizers` from a model's files, as transformers does.

use crate::containment::contain;
use crate::inference::files::json_fields::Given;
use crate::inference::files::tokenizer_config::{BertTokenizerConfig, TokenizerConfig};
use crate::inference::files::tokenizer_json::TokenizerFile;
use std::collections::HashSet;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, Lowercase, NormalizerWrapper, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer, TruncationDirection};

/// Builds a tokenizer that neither truncates nor pads. Also returns whether truncation removes the start of a text.
/// With `lower_case`, texts are lowercased whatever the tokenizer files say.
///
/// # Errors
/// Returns a description of the fault in the files.
pub(super) fn assemble(
    file: &TokenizerFile<'_>,
    settings: &TokenizerConfig,
    lower_case: bool,
) -> Result<(Tokenizer, bool), String> {
    let mut tokenizer = match file {
        TokenizerFile::Json(json) => guarded(UNUSABLE, || Tokenizer::from_bytes(json))?,
        TokenizerFile::Vocabulary(words) => guarded(UNUSABLE, || from_vocabulary(words, settings))?,
    };
    let in_file = tokenizer.get_truncation().map(|cut| cut.direction == TruncationDirection::Left);
    guarded(UNUSABLE, || tokenizer.with_padding(None).with_truncation(None).map(drop))?;
    let bert = settings.bert.filter(|_| matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_)));
    if let Some(bert) = bert {
        as_bert(&mut tokenizer, bert)?;
        check_unknown(&tokenizer, settings)?;
    }
    if lower_case {
        make_small(&mut tokenizer)?;
    }
    add_tokens(&mut tokenizer, &settings.added)?;
    if bert.is_some() {
        if tokenizer.get_post_processor().is_none() {
            wrap_as_bert(&mut tokenizer, settings)?;
        }
        check_ends(&tokenizer, settings)?;
    }
    tokenizer.set_encode_special_tokens(settings.splits_special);
    Ok((tokenizer, settings.cuts_beginning.or(in_file).unwrap_or(false)))
}

/// Builds a WordPiece tokenizer from BERT's vocabulary, without special tokens.
fn from_vocabulary(words: &[u8], settings: &TokenizerConfig) -> tokenizers::Result<Tokenizer> {
    if settings.bert.is_none() {
        return Err("its class needs a tokenizer.json".into());
    }
    let words = WordPiece::read_bytes(words)?;
    let unknown = settings.role("unk_token").unwrap_or("[UNK]").to_owned();
    let model = WordPiece::builder().vocab(words).unk_token(unknown).build()?;
    Ok(Tokenizer::new(model))
}

/// Applies the settings for case, accents and Chinese characters.
fn as_bert(tokenizer: &mut Tokenizer, settings: BertTokenizerConfig) -> Result<(), String> {
    let clean_text = match tokenizer.get_normalizer() {
        None => true,
        Some(NormalizerWrapper::BertNormalizer(normalizer)) => normalizer.clean_text,
        Some(other) => return check_case(other, settings),
    };
    let BertTokenizerConfig { strip_accents, chinese_chars, .. } = settings;
    let normalizer = BertNormalizer::new(clean_text, chinese_chars, strip_accents, settings.lower_case());
    guarded(UNUSABLE, || tokenizer.with_normalizer(Some(normalizer)).map(drop))?;
    if tokenizer.get_pre_tokenizer().is_none() {
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    }
    Ok(())
}

/// Rejects settings that contradict a normaliser of another kind.
fn check_case(normalizer: &NormalizerWrapper, settings: BertTokenizerConfig) -> Result<(), String> {
    match settings.lower_case {
        Given::Value(lower_case) if lower_case != makes_small(normalizer) => {
            let does = if lower_case { "keeps capitals" } else { "makes capitals small" };
            Err(format!("do_lower_case is {lower_case}, but its normaliser {does}"))
        }
        Given::Absent | Given::Null | Given::Value(_) => Ok(()),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of another crate, which no other of makes capitals small"
)]
fn makes_small(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::BertNormalizer(normalizer) => normalizer.lowercase,
        NormalizerWrapper::Lowercase(_) => true,
        NormalizerWrapper::Sequence(all) => all.as_ref().iter().any(makes_small),
        _ => false,
    }
}

/// Lowercases texts before any other normalisation.
fn make_small(tokenizer: &mut Tokenizer) -> Result<(), String> {
    let mut all = vec![NormalizerWrapper::Lowercase(Lowercase)];
    match tokenizer.get_normalizer() {
        None => {}
        Some(NormalizerWrapper::Lowercase(_)) => return Ok(()),
        Some(NormalizerWrapper::Sequence(own)) => {
            if own.as_ref().iter().any(|one| matches!(one, NormalizerWrapper::Lowercase(_))) {
                return Ok(());
            }
            all.extend(own.as_ref().iter().cloned());
        }
        Some(own) => all.push(own.clone()),
    }
    guarded(UNUSABLE, || tokenizer.with_normalizer(Some(Sequence::new(all))).map(drop))
}

/// Adds new tokens. Those outside the vocabulary get the next free numbers.
fn add_tokens(tokenizer: &mut Tokenizer, tokens: &[AddedToken]) -> Result<(), String> {
    let known: HashSet<String> =
        tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let mut new: Vec<AddedToken> = Vec::new();
    for token in tokens {
        if !known.contains(&token.content) && new.iter().all(|other| other.content != token.content) {
            new.push(token.clone());
        }
    }
    if new.is_empty() { Ok(()) } else { guarded(UNUSABLE, || tokenizer.add_special_tokens(new).map(drop)) }
}

/// Adds BERT's special tokens around a text.
fn wrap_as_bert(tokenizer: &mut Tokenizer, settings: &TokenizerConfig) -> Result<(), String> {
    let token = |role, usual: &str| {
        let token = settings.role(role).unwrap_or(usual).to_owned();
        let id = tokenizer.token_to_id(&token);
        id.map(|id| (token.clone(), id)).ok_or_else(|| format!("{UNUSABLE}: it has no token {token:?}"))
    };
    let (first, last) = (token("cls_token", "[CLS]")?, token("sep_token", "[SEP]")?);
    let (begin, end) = (&first.0, &last.0);
    let single = format!("{begin}:0 $A:0 {end}:0");
    let between = if settings.bert.is_some_and(|bert| bert.separates_twice) {
        format!("{end}:0 {end}:0")
    } else {
        format!("{end}:0")
    };
    let pair = format!("{begin}:0 $A:0 {between} $B:1 {end}:1");
    let template = || -> tokenizers::Result<TemplateProcessing> {
        let mut template = TemplateProcessing::builder();
        template.try_single(single)?.try_pair(pair)?;
        Ok(template.special_tokens(vec![first.clone(), last.clone()]).build()?)
    };
    let template = guarded(UNUSABLE, template)?;
    tokenizer.with_post_processor(Some(template));
    Ok(())
}

/// Rejects an unknown token other than the model's own.
fn check_unknown(tokenizer: &Tokenizer, settings: &TokenizerConfig) -> Result<(), String> {
    match (tokenizer.get_model(), settings.role("unk_token")) {
        (ModelWrapper::WordPiece(model), Some(unknown)) if model.unk_token != unknown => {
            Err(format!("unk_token is {unknown:?}, but its words have {:?} for that", model.unk_token))
        }
        _ => Ok(()),
    }
}

/// Rejects special tokens other than the settings of BERT's class name.
fn check_ends(tokenizer: &Tokenizer, settings: &TokenizerConfig) -> Result<(), String> {
    let around = guarded(UNUSABLE, || tokenizer.encode_fast("", true))?;
    let ids = around.get_ids();
    for (role, found) in [("cls_token", ids.first()), ("sep_token", ids.last())] {
        let Some(token) = settings.role(role) else { continue };
        if tokenizer.token_to_id(token).as_ref() != found {
            let found = found.and_then(|id| tokenizer.id_to_token(*id)).unwrap_or_default();
            return Err(format!("{role} is {token:?}, but a text has {found:?} there"));
        }
    }
    Ok(())
}

pub(super) const UNUSABLE: &str = "the tokenizer cannot be used";

/// Calls the tokenizer library, and turns its panics into errors.
pub(crate) fn guarded<T>(what: &str, act: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match contain(act) {
        Ok(done) => done.map_err(|error| format!("{what}: {error}")),
        Err(panicked) => Err(format!("{what}: the tokenizer panics: {panicked}")),
    }
}
