//! A loaded decoder, and its sessions: the texts that it generates.
//!
//! A session advances by one pass of the model at a time, so the caller can interleave several sessions and stop any of
//! them soon. The invariant: the same request gives the same text, whatever else runs.

use super::chat::Chat;
use super::chunked_prefill::PrefillPace;
use super::config::DecoderConfig;
use super::detokenizer::Detokenizer;
use super::gguf::Gguf;
use super::packing::{self, GGUF, Names, SAFETENSORS};
use super::sampler::Sampler;
use super::tensor_source::TensorSource;
use super::tokenizer_config::TokenizerConfig;
use super::vocabulary::{self, Vocabulary};
use super::{DecoderError, Options};
use crate::inference::files::folder::{Folder, WEIGHTS};
use crate::inference::files::tokenizer_json::TOKENIZER;
use crate::text::without_mark;
use engine::task::{FinishReason, Generation, Prompt};
use kernels::decoder::{Decoder, Kernel, KvCache, PASS_TOKENS_MAX};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A decoder, ready to generate text.
pub struct Generator {
    decoder: Decoder,
    source: TensorSource,
    /// The token embeddings, which stay in their file: a token needs one row.
    embedding: &'static str,
    embedding_scale: f32,
    vocabulary: Vocabulary,
    /// The chat template, or why it cannot be used.
    chat: Option<Result<Chat, String>>,
    framing: Framing,
    /// The end-of-text tokens.
    ends: BTreeSet<u32>,
    vectors: Vec<f32>,
    raw: Vec<u8>,
    /// The cache of an ended session, for the next one.
    spare: Option<KvCache>,
    pace: PrefillPace,
}

/// A text that is being generated.
pub struct Session {
    cache: KvCache,
    /// Tokens that the model has not processed yet.
    ahead: Vec<u32>,
    seen: usize,
    prompt_tokens: u32,
    tokens: u32,
    tokens_max: u32,
    sampler: Sampler,
    text: Detokenizer,
}

/// Why a session cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// There is not enough memory for the key-value cache.
    #[error(
        "there is not enough memory for a text of {tokens} tokens; \
         hint: ask for fewer with max_tokens, or raise max_memory_mb"
    )]
    Memory {
        /// The tokens of the prompt, plus the maximum to generate.
        tokens: usize,
    },
    /// The prompt is invalid.
    #[error("{0}")]
    Rejected(String),
}

impl From<String> for BeginError {
    fn from(reason: String) -> Self {
        Self::Rejected(reason)
    }
}

/// The result of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The text is complete with this piece.
    Done {
        /// The last piece, which may be empty.
        text: String,
        /// Why the text ended.
        finish: FinishReason,
    },
    /// The text is not complete.
    Going {
        /// The next piece, which may be empty.
        text: String,
    },
}

/// Special tokens around a plain prompt. A chat template writes them itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Framing {
    /// Whether the tokenizer's post-processor adds its tokens.
    processed: bool,
    first: Option<u32>,
    /// Whether a text that already begins with the first one gets no other.
    once: bool,
    last: Option<u32>,
}

/// The metadata of a model, from its small files or the header of its GGUF file.
struct Described {
    config: DecoderConfig,
    vocabulary: Vocabulary,
    chat: Option<Result<Chat, String>>,
    framing: Framing,
    /// The texts of end tokens in the files.
    ends: BTreeSet<u32>,
}

impl Generator {
    /// Loads a folder or a GGUF file.
    ///
    /// # Errors
    /// Returns [`DecoderError`] if the model is invalid or not supported.
    pub fn load(path: &Path, options: &Options) -> Result<Self, DecoderError> {
        if path.is_dir() {
            let folder = Folder::at(path);
            let described = Described::from_folder(&folder)?;
            let source = TensorSource::from_safetensors(&weights(&folder, path)?)?;
            return Self::from_parts(source, &SAFETENSORS, described, options);
        }
        let (source, gguf) = TensorSource::from_gguf(path)?;
        let pairs = gguf.tensors.get("rope_freqs.weight").map(|tensor| tensor.columns);
        let factors = pairs.map(|pairs| source.vector("rope_freqs.weight", pairs)).transpose()?;
        let config = DecoderConfig::from_gguf(&gguf, factors.as_deref())?;
        let beside = Folder::at(path.parent().unwrap_or_else(|| Path::new(".")));
        let described = Described::from_gguf(&gguf, config, &beside)?;
        Self::from_parts(source, &GGUF, described, options)
    }

    fn from_parts(
        source: TensorSource,
        names: &Names,
        described: Described,
        options: &Options,
    ) -> Result<Self, DecoderError> {
        let Described { mut config, vocabulary, chat, framing, mut ends } = described;
        ends.extend(vocabulary.ends());
        ends.extend(&config.eos);
        config.shape.context = config.shape.context.min(options.context_max.max(1));
        let (tokens, hidden) = (config.shape.vocabulary, config.shape.hidden);
        source.matrix(names.embedding, tokens, hidden)?;
        let packed = packing::pack(&source, names, &config, options)?;
        // Threads synchronise several times in each layer; for a small model, one thread is faster.
        let threads = options.threads.min(1 + packed.arena.bytes().len() / THREAD_BYTES_MIN);
        let decoder = Decoder::new(
            config.shape,
            packed.layers,
            packed.norm,
            packed.head,
            packed.arena,
            Kernel::best(),
            threads,
        )?;
        Ok(Self {
            decoder,
            source,
            embedding: names.embedding,
            embedding_scale: config.embedding_scale,
            vocabulary,
            chat,
            framing,
            ends,
            vectors: vec![0.0; PASS_TOKENS_MAX * hidden],
            raw: Vec::new(),
            spare: None,
            pace: PrefillPace::default(),
        })
    }

    /// Returns the maximum number of positions of a text, including its prompt.
    pub fn context(&self) -> usize {
        self.decoder.shape().context
    }

    /// Begins a session with a prompt.
    ///
    /// # Errors
    /// Returns [`BeginError`] if the prompt is invalid or memory is short.
    pub fn begin(&mut self, request: &Generation) -> Result<Session, BeginError> {
        let tokens = self.prompt_tokens(&request.prompt)?;
        self.begin_with(tokens, request)
    }

    /// Begins a session with tokens and the settings of a request.
    ///
    /// # Errors
    /// Returns [`BeginError`] if the tokens are invalid or memory is short.
    pub fn begin_with(&mut self, tokens: Vec<u32>, request: &Generation) -> Result<Session, BeginError> {
        let (count, context) = (tokens.len(), self.context());
        if count == 0 {
            return Err("the prompt has no tokens to continue".to_owned().into());
        }
        if count >= context {
            let reason =
                format!("the prompt has {count} tokens, this model has room for {context} with their answer");
            return Err(reason.into());
        }
        let rows = self.decoder.shape().vocabulary;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= rows) {
            let text: String = self.vocabulary.token(*token).unwrap_or_default().chars().take(40).collect();
            return Err(
                format!("the model has no row for token {token} ({text:?}), only for {rows} tokens").into()
            );
        }
        let text = Detokenizer::after(&tokens, request.stop.clone(), &self.vocabulary)?;
        let room = u32::try_from(context - count).unwrap_or(u32::MAX);
        let tokens_max = request.max_tokens.clamp(1, room);
        let cache = self.cache(count + tokens_max as usize)?;
        Ok(Session {
            cache,
            ahead: tokens,
            seen: 0,
            prompt_tokens: count as u32,
            tokens: 0,
            tokens_max,
            sampler: Sampler::new(
                request.temperature_thousandths,
                request.top_p_thousandths,
                request.top_k,
                request.seed.unwrap_or_default(),
            ),
            text,
        })
    }

    /// Advances a session by one pass of the model.
    ///
    /// # Errors
    /// Returns the reason if the model fails. The session cannot be used any more.
    pub fn step(&mut self, session: &mut Session) -> Result<Step, String> {
        let Session { cache, ahead, seen, .. } = session;
        let pass = &ahead[*seen..ahead.len().min(*seen + self.pace.tokens())];
        *seen += pass.len();
        let is_last = *seen == ahead.len();
        self.embed(pass)?;
        let vectors = &self.vectors[..pass.len() * self.decoder.shape().hidden];
        let started = Instant::now();
        let logits = self.decoder.forward(cache, vectors);
        if pass.len() == self.pace.tokens() {
            self.pace.handle_pass(started.elapsed());
        }
        if !is_last {
            return Ok(Step::Going { text: String::new() });
        }
        let token = session.sampler.draw(logits).ok_or("the model computed a number that is not finite")?;
        let decode = &self.vocabulary;
        if self.ends.contains(&token) {
            let text = session.text.finish(decode)?;
            return Ok(Step::Done { text, finish: FinishReason::Stop });
        }
        session.tokens += 1;
        session.ahead.clear();
        session.ahead.push(token);
        session.seen = 0;
        let mut text = session.text.push(token, decode)?;
        if session.text.is_stopped() {
            return Ok(Step::Done { text, finish: FinishReason::Stop });
        }
        if session.tokens >= session.tokens_max {
            text.push_str(&session.text.finish(decode)?);
            let finish = if session.text.is_stopped() { FinishReason::Stop } else { FinishReason::Length };
            return Ok(Step::Done { text, finish });
        }
        Ok(Step::Going { text })
    }

    /// Ends a session, and keeps its cache for another one.
    pub fn end(&mut self, session: Session) {
        self.spare = Some(session.cache);
    }

    /// Returns the logits after these tokens, at most [`PASS_TOKENS_MAX`].
    ///
    /// # Errors
    /// Returns the reason if the tokens are invalid.
    pub fn predict(&mut self, tokens: &[u32]) -> Result<Vec<f32>, String> {
        self.embed(tokens)?;
        let mut cache = self.cache(tokens.len()).map_err(|error| error.to_string())?;
        let vectors = &self.vectors[..tokens.len() * self.decoder.shape().hidden];
        Ok(self.decoder.forward(&mut cache, vectors).to_vec())
    }

    /// Reads the embeddings of the tokens of a pass, at most [`PASS_TOKENS_MAX`], into the buffer for them.
    fn embed(&mut self, tokens: &[u32]) -> Result<(), String> {
        let (hidden, rows) = (self.decoder.shape().hidden, self.decoder.shape().vocabulary);
        let table = self.source.matrix(self.embedding, rows, hidden).map_err(|error| error.to_string())?;
        for (token, vector) in tokens.iter().zip(self.vectors.chunks_exact_mut(hidden)) {
            table.decode(*token as usize, &mut self.raw, vector).map_err(|error| error.to_string())?;
            if self.embedding_scale != 1.0 {
                vector.iter_mut().for_each(|number| *number *= self.embedding_scale);
            }
        }
        Ok(())
    }

    /// Returns an empty cache for this many tokens: the spare one if it is large enough.
    fn cache(&mut self, tokens: usize) -> Result<KvCache, BeginError> {
        if let Some(mut spare) = self.spare.take().filter(|spare| spare.positions_max() >= tokens) {
            spare.truncate(0);
            return Ok(spare);
        }
        self.decoder.cache(tokens).ok_or(BeginError::Memory { tokens })
    }

    /// Tokenises a prompt, with the special tokens around it.
    ///
    /// # Errors
    /// Returns the reason if the prompt is invalid.
    pub fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, String> {
        match prompt {
            Prompt::Text(text) => {
                self.check_bytes(text)?;
                self.framing.tokens(text, &self.vocabulary)
            }
            Prompt::Chat(messages) => {
                let chat = match &self.chat {
                    None => Err("this model has no chat template; hint: give it a text to continue".to_owned()),
                    Some(chat) => chat.as_ref().map_err(|reason| {
                        format!("the chat template of this model is of no use: {reason}; hint: give it a text to continue")
                    }),
                };
                let text =
                    chat?.prompt(messages).map_err(|error| format!("the chat template says: {error}"))?;
                self.check_bytes(&text)?;
                // The template writes the special tokens that the tokenizer would add.
                self.vocabulary.encode(&text, false)
            }
        }
    }

    /// Rejects texts that are far too long, before they are tokenised.
    fn check_bytes(&self, text: &str) -> Result<(), String> {
        let bytes_max = self.context().saturating_mul(TOKEN_BYTES_MAX);
        if text.len() <= bytes_max {
            return Ok(());
        }
        Err(format!("the prompt has {} bytes, at most {bytes_max} fit this model", text.len()))
    }
}

impl Framing {
    /// Tokenises a text, with special tokens.
    fn tokens(self, text: &str, vocabulary: &Vocabulary) -> Result<Vec<u32>, String> {
        let Self { processed, first, once, last } = self;
        let mut tokens = vocabulary.encode(text, processed)?;
        if let Some(first) = first.filter(|first| !once || tokens.first() != Some(first)) {
            tokens.insert(0, first);
        }
        tokens.extend(last);
        Ok(tokens)
    }
}

impl Session {
    /// Returns the number of tokens of the prompt.
    pub const fn prompt_tokens(&self) -> u32 {
        self.prompt_tokens
    }

    /// Returns the number of tokens generated so far.
    pub const fn tokens(&self) -> u32 {
        self.tokens
    }
}

impl Described {
    fn from_folder(folder: &Folder) -> Result<Self, DecoderError> {
        let config = folder_config(folder)?;
        let tokenizer = tokenizer_config(folder)?;
        let template = match small_file(folder, "chat_template.jinja")? {
            Some(bytes) => Some(String::from_utf8(bytes).map_err(|error| error.to_string())),
            None => tokenizer.template.map(Ok),
        };
        let vocabulary = small_file(folder, TOKENIZER)?;
        let vocabulary =
            vocabulary.ok_or_else(|| DecoderError::Tokenizer(format!("{TOKENIZER} is missing")))?;
        let vocabulary = Vocabulary::load(&vocabulary)?;
        let special = tokenizer.special;
        let id = |name: &str| special.get(name).and_then(|token| vocabulary.id(token));
        // As in transformers 5: a setting for either end decides for both, else the tokenizer's own file decides.
        // Without any configuration, the tokenizer of a Llama has Llama's class, which begins texts with a token.
        let framing = match (tokenizer.add_bos_token, tokenizer.add_eos_token) {
            (None, None) if tokenizer.is_there => Framing { processed: true, ..Framing::default() },
            (None, None) => Framing { processed: true, first: config.bos, once: true, last: None },
            (bos, eos) => Framing {
                first: id("bos_token").filter(|_| bos.unwrap_or(tokenizer.is_of_llama)),
                last: id("eos_token").filter(|_| eos.unwrap_or(false)),
                ..Framing::default()
            },
        };
        let ends = id("eos_token").into_iter().collect();
        let chat = template.map(|template| Chat::compile(&template?, special));
        Ok(Self { vocabulary, chat, framing, ends, config })
    }

    /// Reads the header of a GGUF file. A `tokenizer.json` beside it takes precedence over its vocabulary.
    fn from_gguf(gguf: &Gguf, config: DecoderConfig, beside: &Folder) -> Result<Self, DecoderError> {
        let vocabulary = match small_file(beside, TOKENIZER)? {
            Some(json) => Vocabulary::load(&json)?,
            None => Vocabulary::from_gguf(gguf)?,
        };
        let eos = config.eos.first().copied();
        let truth = |name: &str| gguf.truth(&format!("tokenizer.ggml.{name}"));
        let adds_bos = truth("add_bos_token").unwrap_or_else(|| vocabulary::adds_bos_by_default(gguf));
        let framing = Framing {
            processed: false,
            first: config.bos.filter(|_| adds_bos),
            once: true,
            last: eos.filter(|_| truth("add_eos_token").unwrap_or(false)),
        };
        let ids = [("bos_token", config.bos), ("eos_token", eos)];
        let special =
            ids.into_iter().filter_map(|(name, id)| Some((name.to_owned(), vocabulary.token(id?)?)));
        let special = special.collect();
        let template = gguf.text("tokenizer.chat_template");
        let chat = template.map(|template| Chat::compile(template, special));
        Ok(Self { vocabulary, chat, framing, ends: vocabulary::ends_of_gguf(gguf), config })
    }
}

/// Checks a folder without loading anything large.
pub(super) fn check_folder(folder: &Folder) -> Result<(), DecoderError> {
    folder_config(folder)?;
    tokenizer_config(folder)?;
    match small_file(folder, TOKENIZER)? {
        Some(json) => vocabulary::check_kind(&json).map_err(DecoderError::Tokenizer),
        None => Err(DecoderError::Tokenizer(format!("{TOKENIZER} is missing"))),
    }
}

pub(super) fn folder_config(folder: &Folder) -> Result<DecoderConfig, DecoderError> {
    let json = small_file(folder, "config.json")?;
    let json = json.ok_or_else(|| DecoderError::Config("config.json is missing".to_owned()))?;
    DecoderConfig::parse(&json, small_file(folder, "generation_config.json")?.as_deref())
}

fn tokenizer_config(folder: &Folder) -> Result<TokenizerConfig, DecoderError> {
    let file = |name: &str| small_file(folder, name);
    TokenizerConfig::parse(
        file("tokenizer_config.json")?.as_deref(),
        file("special_tokens_map.json")?.as_deref(),
    )
    .map_err(DecoderError::Tokenizer)
}

fn small_file(folder: &Folder, name: &str) -> Result<Option<Vec<u8>>, DecoderError> {
    let file = folder.read(name).map_err(|error| DecoderError::Config(error.to_string()))?;
    Ok(file.map(|bytes| without_mark(&bytes).to_vec()))
}

/// Returns the safetensors files of a folder, from the index if there are several.
fn weights(folder: &Folder, root: &Path) -> Result<Vec<PathBuf>, DecoderError> {
    if folder.has(WEIGHTS) {
        return Ok(vec![root.join(WEIGHTS)]);
    }
    let damaged = |reason: String| DecoderError::Damaged { path: root.join(INDEX), reason };
    let Some(json) = small_file(folder, INDEX)? else {
        return Err(DecoderError::Config(format!("{WEIGHTS} is missing")));
    };
    let index: Index = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    let is_plain = |name: &&String| name.ends_with(".safetensors") && !name.contains(['/', '\\', '\0']);
    if files.is_empty() || files.len() > FILES_MAX || !files.iter().all(is_plain) {
        return Err(damaged("it names no safetensors files of this folder, or too many".to_owned()));
    }
    Ok(files.into_iter().map(|file| root.join(file)).collect())
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The index of tensors, if there are several files.
const INDEX: &str = "model.safetensors.index.json";
/// The maximum number of files of a model.
const FILES_MAX: usize = 256;
/// The number of weights for each thread.
const THREAD_BYTES_MIN: usize = 8 << 20;
/// The maximum bytes of a prompt for each position; longer prompts are rejected before tokenisation.
const TOKEN_BYTES_MAX: usize = 64;
