//! A loaded Llama, and the texts that it is continuing.
//!
//! A text is a session, which advances by one pass of the model at a time: so whoever runs several of them can take
//! turns, and stop any of them soon. The invariant: the same request gives the same text, whatever else runs.

use super::chat::{Chat, TokenizerConfig};
use super::config::Config;
use super::pace::Pace;
use super::packing::{self, GGUF, Names, SAFETENSORS};
use super::sampler::Sampler;
use super::source::Source;
use super::text::Text;
use super::vocabulary::Vocabulary;
use super::{LlamaError, Options};
use crate::inference::folder::{Folder, TOKENIZER, WEIGHTS};
use engine::task::{FinishReason, Generation, Prompt};
use kernels::llama::{Cache, Kernel, Llama, PASS_TOKENS_MAX};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A Llama, ready to continue texts.
pub struct Generator {
    llama: Llama,
    source: Source,
    /// The table of the tokens' vectors, which stays in its file: a token needs one row of it.
    embedding: &'static str,
    vocabulary: Vocabulary,
    chat: Option<Chat>,
    /// What every text begins with.
    bos: Option<u32>,
    eos: Vec<u32>,
    vectors: Vec<f32>,
    raw: Vec<u8>,
    /// The memory of a text that ended, for the next one.
    spare: Option<Cache>,
    pace: Pace,
}

/// A text that is being continued.
pub struct Session {
    cache: Cache,
    /// Tokens that the model has not seen.
    ahead: Vec<u32>,
    seen: usize,
    prompt_tokens: u32,
    tokens: u32,
    tokens_max: u32,
    sampler: Sampler,
    text: Text,
}

/// Why a prompt is not continued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// There is no memory for its tokens and those of its answer.
    #[error(
        "the memory for a text of {tokens} tokens is not to be had; \
         hint: ask for fewer with max_tokens, or raise max_memory_mb"
    )]
    Memory {
        /// Those of the prompt and the most that may follow.
        tokens: usize,
    },
    /// It cannot be continued.
    #[error("{0}")]
    Rejected(String),
}

impl From<String> for BeginError {
    fn from(reason: String) -> Self {
        Self::Rejected(reason)
    }
}

/// What one pass brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The text is complete with this piece.
    Done {
        /// The last piece, which may be empty.
        text: String,
        /// Why there is no more.
        finish: FinishReason,
    },
    /// There is more to come.
    Going {
        /// The next piece, which may be empty.
        text: String,
    },
}

/// What a folder says of a model besides its weights.
struct Described {
    config: Config,
    vocabulary: Vocabulary,
    template: Option<String>,
    adds_bos: bool,
    bos_text: Option<String>,
    eos_text: Option<String>,
}

impl Generator {
    /// Loads a folder or a GGUF file.
    ///
    /// # Errors
    /// [`LlamaError`] where it is something else, damaged, or not supported.
    pub fn load(path: &Path, options: &Options) -> Result<Self, LlamaError> {
        if path.is_dir() {
            let folder = Folder::at(path);
            let described = Described::of_folder(&folder)?;
            let source = Source::of_safetensors(&weights(&folder, path)?)?;
            return Self::of(source, &SAFETENSORS, described, options);
        }
        let (source, gguf) = Source::of_gguf(path)?;
        let pairs = gguf.tensors.get("rope_freqs.weight").map(|tensor| tensor.columns);
        let factors = pairs.map(|pairs| source.vector("rope_freqs.weight", pairs)).transpose()?;
        let config = Config::of_gguf(&gguf, factors.as_deref())?;
        let beside = Folder::at(path.parent().unwrap_or_else(|| Path::new(".")));
        let vocabulary = match small_file(&beside, TOKENIZER)? {
            Some(json) => Vocabulary::load(&json, config.shape.vocabulary)?,
            None => Vocabulary::of_gguf(&gguf, config.shape.vocabulary)?,
        };
        // Vocabularies of pieces have always had a beginning, those of merges only since the third generation.
        let by_scores = gguf.text("tokenizer.ggml.model") == Some("llama");
        let third = matches!(gguf.text("tokenizer.ggml.pre"), Some("llama-bpe" | "llama3" | "llama-v3"));
        let described = Described {
            vocabulary,
            template: gguf.text("tokenizer.chat_template").map(str::to_owned),
            adds_bos: gguf.truth("tokenizer.ggml.add_bos_token").unwrap_or(by_scores || third),
            bos_text: None,
            eos_text: None,
            config,
        };
        Self::of(source, &GGUF, described, options)
    }

    fn of(
        source: Source,
        names: &Names,
        described: Described,
        options: &Options,
    ) -> Result<Self, LlamaError> {
        let Described { mut config, vocabulary, template, adds_bos, bos_text, eos_text } = described;
        config.shape.context = config.shape.context.min(options.context_max.max(1));
        let (tokens, hidden) = (config.shape.vocabulary, config.shape.hidden);
        source.matrix(names.embedding, tokens, hidden)?;
        let text = |given: Option<String>, id: Option<u32>| {
            given.or_else(|| id.and_then(|id| vocabulary.token(id))).unwrap_or_default()
        };
        let bos_text = text(bos_text, config.bos);
        let eos_text = text(eos_text, config.eos.first().copied());
        let chat = template.map(|template| Chat::compile(template, bos_text, eos_text)).transpose();
        let chat = chat.map_err(LlamaError::Chat)?;
        let packed = packing::pack(&source, names, &config, options)?;
        // Threads meet several times in each layer: with little to do in between, one alone is faster.
        let threads = options.threads.min(1 + packed.arena.bytes().len() / THREAD_BYTES_MIN);
        let llama = Llama::new(
            config.shape,
            packed.layers,
            packed.norm,
            packed.head,
            packed.arena,
            Kernel::best(),
            threads,
        )?;
        Ok(Self {
            llama,
            source,
            embedding: names.embedding,
            vocabulary,
            chat,
            bos: config.bos.filter(|_| adds_bos),
            eos: config.eos,
            vectors: vec![0.0; PASS_TOKENS_MAX * hidden],
            raw: Vec::new(),
            spare: None,
            pace: Pace::default(),
        })
    }

    /// Positions that a text may have, its prompt included.
    pub fn context(&self) -> usize {
        self.llama.shape().context
    }

    /// Begins to continue a prompt.
    ///
    /// # Errors
    /// Says why the prompt cannot be continued.
    pub fn begin(&mut self, request: &Generation) -> Result<Session, BeginError> {
        let tokens = self.prompt_tokens(&request.prompt)?;
        self.begin_with(tokens, request)
    }

    /// Begins to continue tokens, with the settings of a request.
    ///
    /// # Errors
    /// Says why they cannot be continued.
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
        let vocabulary = self.llama.shape().vocabulary;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(format!("{token} is none of the model's {vocabulary} tokens").into());
        }
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
            text: Text::new(request.stop.clone()),
        })
    }

    /// Advances a text by one pass of the model.
    ///
    /// # Errors
    /// Says why the model cannot go on; the session is of no use then.
    pub fn step(&mut self, session: &mut Session) -> Result<Step, String> {
        let Session { cache, ahead, seen, .. } = session;
        let pass = &ahead[*seen..ahead.len().min(*seen + self.pace.tokens())];
        *seen += pass.len();
        let is_last = *seen == ahead.len();
        let hidden = self.llama.shape().hidden;
        let vectors = &mut self.vectors[..pass.len() * hidden];
        let table = self.source.matrix(self.embedding, self.llama.shape().vocabulary, hidden);
        let table = table.map_err(|error| error.to_string())?;
        for (token, vector) in pass.iter().zip(vectors.chunks_exact_mut(hidden)) {
            table.decode(*token as usize, &mut self.raw, vector).map_err(|error| error.to_string())?;
        }
        let started = Instant::now();
        let logits = self.llama.forward(cache, vectors);
        if pass.len() == self.pace.tokens() {
            self.pace.handle_pass(started.elapsed());
        }
        if !is_last {
            return Ok(Step::Going { text: String::new() });
        }
        let token = session.sampler.draw(logits).ok_or("the model computed a number that is not finite")?;
        let decode = |tokens: &[u32]| self.vocabulary.decode(tokens);
        if self.eos.contains(&token) {
            return Ok(Step::Done { text: session.text.finish(&decode)?, finish: FinishReason::Stop });
        }
        session.tokens += 1;
        session.ahead.clear();
        session.ahead.push(token);
        session.seen = 0;
        let mut text = session.text.push(token, &decode)?;
        if session.text.is_stopped() {
            return Ok(Step::Done { text, finish: FinishReason::Stop });
        }
        if session.tokens >= session.tokens_max {
            text.push_str(&session.text.finish(&decode)?);
            let finish = if session.text.is_stopped() { FinishReason::Stop } else { FinishReason::Length };
            return Ok(Step::Done { text, finish });
        }
        Ok(Step::Going { text })
    }

    /// Takes a session back, for the memory that it has.
    pub fn end(&mut self, session: Session) {
        self.spare = Some(session.cache);
    }

    /// Returns a number for each token that could follow these, at most [`PASS_TOKENS_MAX`] of them.
    ///
    /// # Errors
    /// Says why they cannot be continued.
    pub fn predict(&mut self, tokens: &[u32]) -> Result<Vec<f32>, String> {
        let hidden = self.llama.shape().hidden;
        let mut vectors = vec![0.0; tokens.len() * hidden];
        let table = self.source.matrix(self.embedding, self.llama.shape().vocabulary, hidden);
        let table = table.map_err(|error| error.to_string())?;
        for (token, vector) in tokens.iter().zip(vectors.chunks_exact_mut(hidden)) {
            table.decode(*token as usize, &mut self.raw, vector).map_err(|error| error.to_string())?;
        }
        let mut cache = self.cache(tokens.len()).map_err(|error| error.to_string())?;
        Ok(self.llama.forward(&mut cache, &vectors).to_vec())
    }

    /// An empty cache for a text of so many tokens: that of one that ended where it is large enough.
    fn cache(&mut self, tokens: usize) -> Result<Cache, BeginError> {
        if let Some(mut spare) = self.spare.take().filter(|spare| spare.positions_max() >= tokens) {
            spare.truncate(0);
            return Ok(spare);
        }
        self.llama.cache(tokens).ok_or(BeginError::Memory { tokens })
    }

    /// The tokens of a prompt.
    fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, String> {
        let written;
        let (text, whole) = match prompt {
            Prompt::Text(text) => (text.as_str(), true),
            Prompt::Chat(messages) => {
                let Some(chat) = &self.chat else {
                    return Err(
                        "this model has no chat template; hint: give it a text to continue".to_owned()
                    );
                };
                // The template writes what the tokenizer would add.
                written =
                    chat.prompt(messages).map_err(|error| format!("the chat template says: {error}"))?;
                (written.as_str(), false)
            }
        };
        let bytes_max = self.context().saturating_mul(TOKEN_BYTES_MAX);
        if text.len() > bytes_max {
            return Err(format!("the prompt has {} bytes, at most {bytes_max} fit this model", text.len()));
        }
        let mut tokens = self.vocabulary.encode(text, whole)?;
        if let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }
}

impl Session {
    /// The tokens of the prompt.
    pub const fn prompt_tokens(&self) -> u32 {
        self.prompt_tokens
    }

    /// The tokens produced so far.
    pub const fn tokens(&self) -> u32 {
        self.tokens
    }
}

impl Described {
    fn of_folder(folder: &Folder) -> Result<Self, LlamaError> {
        let json = small_file(folder, "config.json")?;
        let json = json.ok_or_else(|| LlamaError::Config("config.json is missing".to_owned()))?;
        let config = Config::parse(&json, small_file(folder, "generation_config.json")?.as_deref())?;
        let mut tokenizer: TokenizerConfig = match small_file(folder, "tokenizer_config.json")? {
            None => TokenizerConfig::default(),
            Some(json) => serde_json::from_slice(&json).map_err(|error| {
                LlamaError::Tokenizer(format!("tokenizer_config.json is damaged: {error}"))
            })?,
        };
        let template = match small_file(folder, "chat_template.jinja")? {
            Some(bytes) => {
                Some(String::from_utf8(bytes).map_err(|error| LlamaError::Chat(error.to_string()))?)
            }
            None => tokenizer.template(),
        };
        let vocabulary = small_file(folder, TOKENIZER)?;
        let vocabulary =
            vocabulary.ok_or_else(|| LlamaError::Tokenizer(format!("{TOKENIZER} is missing")))?;
        Ok(Self {
            vocabulary: Vocabulary::load(&vocabulary, config.shape.vocabulary)?,
            template,
            adds_bos: tokenizer.add_bos_token.unwrap_or(true),
            bos_text: tokenizer.bos(),
            eos_text: tokenizer.eos(),
            config,
        })
    }
}

fn small_file(folder: &Folder, name: &str) -> Result<Option<Vec<u8>>, LlamaError> {
    folder.read(name).map_err(|error| LlamaError::Config(error.to_string()))
}

/// The safetensors files of a folder, by their index where there are several.
fn weights(folder: &Folder, root: &Path) -> Result<Vec<PathBuf>, LlamaError> {
    if folder.has(WEIGHTS) {
        return Ok(vec![root.join(WEIGHTS)]);
    }
    let damaged = |reason: String| LlamaError::Damaged { path: root.join(INDEX), reason };
    let Some(json) = small_file(folder, INDEX)? else {
        return Err(LlamaError::Config(format!("{WEIGHTS} is missing")));
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

/// Which tensor is in which file, where there are several.
const INDEX: &str = "model.safetensors.index.json";
/// The most files of one model.
const FILES_MAX: usize = 256;
/// Weights that are worth a further thread.
const THREAD_BYTES_MIN: usize = 8 << 20;
/// Texts with more bytes for each token that fits are not looked at.
const TOKEN_BYTES_MAX: usize = 64;
