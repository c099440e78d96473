//! One loaded model: its tokenizer, its encoder, and what becomes of hidden states, from a folder or from one file.

use super::candle_backend::CandleBackend;
use super::classifier_head::ClassifierHead;
use super::config::Scores;
use super::config_error::ConfigError;
use super::kernel_backend::KernelBackend;
use super::parameters::Parameters;
use super::pooling::{self, Pooling};
use super::tokens::{Pair, Tokens, TokensOptions};
use super::{EncodeError, Encoder, EncoderError, Precision, Workspace};
use crate::inference::files::folder::{Folder, FolderError, TOKENIZER, VOCABULARY, WEIGHTS};
use crate::inference::files::metadata::{CONFIG, MetadataError, ModelMetadata, TOKENS_MAX};
use crate::inference::files::tokenizer_json::TokenizerFile;
use crate::inference::files::weights::{Weights, WeightsError};
use engine::task::{EmbeddingInput, TaskKind};
use kernels::Sequence;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

/// A model of the BERT family, ready to run; borrows the file that it was loaded from, if that is in memory.
pub struct Model<'a> {
    tokens: Tokens,
    encoder: Box<dyn Encoder + 'a>,
    vocabulary: usize,
    hidden: usize,
    positions: usize,
    /// 0 where all tokens are alike.
    types: usize,
    kinds: &'static [TaskKind],
    purpose: Purpose,
}

/// What computes a model, and how exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Candle's matrix product, in f32: slow, and what the kernels are held against.
    Candle,
    /// The kernels.
    Kernels(Precision),
}

/// What becomes of hidden states.
enum Purpose {
    Classify(ClassifierHead),
    Embed {
        pooling: Pooling,
        /// Tokens at the beginning of a text that do not count.
        skipped: usize,
        normalize: bool,
        /// As many numbers are kept.
        dimensions: usize,
    },
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its small files describe no model that can run here.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Its weights are not what its configuration says.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Its weights cannot be found or read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its tokenizer is of no use.
    #[error("{file}: {reason}")]
    Tokenizer {
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not such a file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> Self {
        Self::Metadata(error.into())
    }
}

impl Model<'static> {
    /// Loads a folder as it is published, or a file that [`crate::inference::files::quantize::quantize`] wrote.
    ///
    /// # Errors
    /// [`LoadError`] where it is something else, damaged, or not supported.
    pub fn open(path: &Path, backend: Backend) -> Result<Self, LoadError> {
        if path.is_file() {
            return Self::from_single(&Weights::open(path)?, backend);
        }
        let folder = Folder::at(path);
        if !folder.has(CONFIG) && folder.has(WEIGHTS) {
            let weights = folder.weights()?;
            if weights.contains(CONFIG) {
                return Self::from_single(&weights, backend);
            }
        }
        let description = ModelMetadata::read(&|name| folder.read(name), None)?;
        let tokenizer = folder.tokenizer(&description.root)?;
        Self::from_parts(&description, &tokenizer, &folder.within(&description.root).weights()?, backend)
    }
}

impl<'a> Model<'a> {
    /// Loads a file that [`crate::inference::files::quantize::quantize`] wrote.
    ///
    /// # Errors
    /// [`LoadError`] where the file is something else or damaged.
    pub fn load(file: &'a [u8], backend: Backend) -> Result<Self, LoadError> {
        Self::from_single(&Weights::parse(file)?, backend)
    }

    /// Loads from one file that holds the small files as tensors.
    fn from_single(weights: &Weights<'a>, backend: Backend) -> Result<Self, LoadError> {
        let description = single(weights)?;
        let tokenizer = if weights.contains(TOKENIZER) || !weights.contains(VOCABULARY) {
            TokenizerFile::Json(weights.blob(TOKENIZER)?)
        } else {
            TokenizerFile::Vocabulary(weights.blob(VOCABULARY)?)
        };
        Self::from_parts(&description, &tokenizer, weights, backend)
    }

    fn from_parts(
        description: &ModelMetadata,
        tokenizer: &TokenizerFile<'_>,
        weights: &Weights<'a>,
        backend: Backend,
    ) -> Result<Self, LoadError> {
        let ModelMetadata { config, tokens_max, lower_case, normalize, prompt, .. } = description;
        let (file, _) = tokenizer.parts();
        let useless = |reason| LoadError::Tokenizer { file, reason };
        tokenizer.check().map_err(useless)?;
        let parameters = Parameters::new(weights, config);
        let head = match &config.classifier {
            Some(classifier) => {
                Some(ClassifierHead::load(&parameters, config, classifier).map_err(EncoderError::from)?)
            }
            None => None,
        };
        let options = TokensOptions { max: *tokens_max, lower_case: *lower_case, prompt };
        let (tokens, encoder) = thread::scope(|scope| {
            let tokens = scope.spawn(|| Tokens::load(tokenizer, &description.tokenizer, options));
            let encoder: Box<dyn Encoder + 'a> = match backend {
                Backend::Candle => Box::new(CandleBackend::load(&parameters, config)?),
                Backend::Kernels(precision) => {
                    Box::new(KernelBackend::load(&parameters, config, precision.for_kernels())?)
                }
            };
            let tokens = tokens.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, LoadError>((tokens.map_err(useless)?, encoder))
        })?;
        let pooling = description.pooling.clone();
        let purpose = match head {
            Some(head) => Purpose::Classify(head),
            None => Purpose::Embed {
                skipped: if pooling.prompt { 0 } else { tokens.prompt_length() },
                pooling,
                normalize: *normalize,
                dimensions: description.dimensions,
            },
        };
        let model = Self {
            tokens,
            encoder,
            vocabulary: config.vocabulary,
            hidden: config.hidden,
            positions: config.positions,
            types: config.token_types,
            kinds: config.kinds(),
            purpose,
        };
        // What stands around every text must be in the table; what only some texts have need not be.
        let around = model.tokens.wrap(&[]).map_err(useless)?;
        if !around.tokens.is_empty() {
            model.checked(around).map_err(useless)?;
        }
        Ok(model)
    }

    /// Returns what the model can do.
    pub const fn kinds(&self) -> &'static [TaskKind] {
        self.kinds
    }

    /// Returns the labels that the model was trained on, where it was.
    pub const fn labels(&self) -> Option<&Arc<[String]>> {
        match &self.purpose {
            Purpose::Classify(head) => Some(head.labels()),
            Purpose::Embed { .. } => None,
        }
    }

    /// Says what becomes of the outputs for one text, and for two that are read together, where the model has labels.
    pub(crate) const fn scores(&self) -> Option<(Scores, Scores)> {
        match &self.purpose {
            Purpose::Classify(head) => Some((head.scores(), head.ranking())),
            Purpose::Embed { .. } => None,
        }
    }

    /// Returns the tokens of a text, cut to what the model takes.
    ///
    /// # Errors
    /// Says why the text cannot be tokenised, or which token the model has no row for.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, String> {
        self.checked(self.tokens.encode(text)?).map(|pair| pair.tokens)
    }

    /// Returns the tokens of a query and a text that are read together, cut to what the model takes, the longer of them
    /// first.
    ///
    /// # Errors
    /// Says why they cannot be tokenised, or which token the model has no row for.
    pub fn tokenize_pair(&self, query: &str, text: &str) -> Result<Pair, String> {
        self.checked(self.tokens.encode_pair(query, text)?)
    }

    /// Puts the model's special tokens around the tokens of a text.
    ///
    /// # Errors
    /// Says which of them the model does not have.
    pub fn wrap_tokens(&self, tokens: &[u32]) -> Result<Vec<u32>, String> {
        self.checked(self.tokens.wrap(tokens)?).map(|pair| pair.tokens)
    }

    /// Returns the tokens of an input, with all that the model is told of them and how many did not fit.
    ///
    /// # Errors
    /// Says why it cannot be tokenised, or which token the model has no row for.
    pub fn sequence(&self, input: &EmbeddingInput) -> Result<Pair, String> {
        self.checked(match input {
            EmbeddingInput::Text(text) | EmbeddingInput::WholeText(text) => self.tokens.encode(text)?,
            EmbeddingInput::Tokens(tokens) | EmbeddingInput::WholeTokens(tokens) => {
                self.tokens.wrap(tokens)?
            }
        })
    }

    fn checked(&self, mut pair: Pair) -> Result<Pair, String> {
        if self.types < 2 {
            pair.types.clear();
        }
        self.check(&[pair.as_sequence()])?;
        Ok(pair)
    }

    /// Returns a vector for each tokenised text, in their order: its embedding, or where the model has labels, a score
    /// for each of them.
    ///
    /// # Errors
    /// Says why the model could not compute them.
    pub fn embed(&self, sequences: &[&[u32]]) -> Result<Vec<Vec<f32>>, String> {
        let sequences: Vec<Sequence<'_>> = sequences.iter().map(|&tokens| tokens.into()).collect();
        let outputs = self
            .compute(&mut Workspace::alone(), &sequences, &AtomicBool::new(false))
            .map_err(|error| error.to_string())?;
        let scored = |output: Vec<f32>| match self.scores() {
            Some((scores, _)) => scores.apply(&output),
            None => output,
        };
        Ok(outputs.into_iter().map(scored).collect())
    }

    /// Computes the vectors of single texts and of pairs, or where the model has labels, its outputs before they become
    /// scores; looks between layers whether to stop.
    ///
    /// # Errors
    /// [`EncodeError::Stopped`] where it was to stop, [`EncodeError::Failed`] with the reason else.
    pub fn compute(
        &self,
        workspace: &mut Workspace,
        sequences: &[Sequence<'_>],
        stop: &AtomicBool,
    ) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.check(sequences).map_err(EncodeError::Failed)?;
        let mut vectors = Vec::with_capacity(sequences.len());
        self.encoder.encode(workspace, sequences, stop, &mut |rows| vectors.push(self.vector(rows)))?;
        if vectors.iter().flatten().all(|number| number.is_finite()) {
            Ok(vectors)
        } else {
            Err(EncodeError::Failed("the model computed a number that is not finite".to_owned()))
        }
    }

    fn vector(&self, rows: &mut dyn Iterator<Item = &[f32]>) -> Vec<f32> {
        match &self.purpose {
            Purpose::Classify(head) => {
                let first = rows.next().unwrap_or_default();
                head.logits(first)
            }
            Purpose::Embed { pooling, skipped, normalize, dimensions } => {
                let mut vector = pooling.pool(rows, self.hidden, *skipped);
                if *normalize {
                    pooling::normalize(&mut vector);
                }
                vector.truncate(*dimensions);
                vector
            }
        }
    }

    /// Refuses sequences that no table has rows for.
    fn check(&self, sequences: &[Sequence<'_>]) -> Result<(), String> {
        for Sequence { tokens, types } in sequences {
            if tokens.is_empty() || tokens.len() > self.positions {
                return Err(format!("a sequence of {} tokens", tokens.len()));
            }
            if let Some(token) = tokens.iter().find(|token| **token as usize >= self.vocabulary) {
                let name = self.tokens.name(*token).map(|name| format!(" ({name:?})")).unwrap_or_default();
                let rows = self.vocabulary;
                return Err(format!(
                    "token {token}{name} is not in the vocabulary of the model, which has {rows} rows"
                ));
            }
            if let Some(found) = types.iter().find(|found| **found as usize >= self.types) {
                return Err(format!("the model has no tokens of type {found}"));
            }
        }
        Ok(())
    }
}

/// Reads the description that one file holds beside its weights.
pub(crate) fn single(weights: &Weights<'_>) -> Result<ModelMetadata, LoadError> {
    if !weights.contains(CONFIG) {
        return Err(FolderError::Absent(NO_CONFIG.to_owned()).into());
    }
    let read = |name: &str| {
        let tensor = weights.contains(name).then(|| weights.blob(name)).transpose();
        tensor
            .map(|bytes| bytes.map(std::borrow::Cow::into_owned))
            .map_err(|error| MetadataError::File { file: name.to_owned(), reason: error.to_string() })
    };
    Ok(ModelMetadata::read(&read, Some(SINGLE_FILE_TOKENS_MAX))?)
}

/// What is said of weights without a description.
const NO_CONFIG: &str =
    "the file holds weights alone; name the folder with its config.json and tokenizer.json";
/// Tokens that a text may have where the model is one file that does not say; the rest is cut off.
pub const SINGLE_FILE_TOKENS_MAX: usize = 256;
const _: () = assert!(SINGLE_FILE_TOKENS_MAX <= TOKENS_MAX);
