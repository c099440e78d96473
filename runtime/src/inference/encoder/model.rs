//! A loaded encoder model: tokenizer, backend, and pooling or classification head. Loads from a folder or a single
//! file.

use super::candle_backend::CandleBackend;
use super::classifier_head::ClassifierHead;
use super::config::Scores;
use super::config_error::ConfigError;
use super::kernel_backend::KernelBackend;
use super::parameters::Parameters;
use super::pooling::{self, Pooling};
use super::tokens::{Pair, Tokens, TokensOptions};
use super::{EncodeError, Encoder, EncoderError, Precision, Workspace};
use crate::inference::files::folder::{Folder, FolderError, WEIGHTS};
use crate::inference::files::metadata::{ModelMetadata, TOKENS_MAX};
use crate::inference::files::metadata_file::{CONFIG, MetadataError};
use crate::inference::files::tokenizer_json::TokenizerFile;
use crate::inference::files::tokenizer_json::{TOKENIZER, VOCABULARY};
use crate::inference::files::weights::{Weights, WeightsError};
use engine::task::{EmbeddingInput, TaskKind};
use kernels::Sequence;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

/// A model of the BERT family, ready to run. Borrows its file if that is in memory.
pub struct Model<'a> {
    tokens: Tokens,
    encoder: Box<dyn Encoder + 'a>,
    vocabulary: usize,
    hidden: usize,
    positions: usize,
    /// The number of token types; 0 if the model has none.
    types: usize,
    kinds: &'static [TaskKind],
    purpose: Purpose,
}

/// The implementation that computes a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Candle in f32: slow, the reference that tests compare the kernels with.
    Candle,
    /// The crate `kernels`, in this precision.
    Kernels(Precision),
}

/// How an output is computed from hidden states.
enum Purpose {
    Classify(ClassifierHead),
    Embed {
        pooling: Pooling,
        /// Tokens of the prompt, which are not pooled.
        skipped: usize,
        normalize: bool,
        /// The number of dimensions to truncate to.
        dimensions: usize,
    },
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its metadata is invalid or not supported.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// Its weights do not match its configuration.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Its weights cannot be found or read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its tokenizer is invalid or not supported.
    #[error("{file}: {reason}")]
    Tokenizer {
        /// The file.
        file: &'static str,
        /// The fault.
        reason: String,
    },
    /// The file is not a valid safetensors file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> Self {
        Self::Metadata(error.into())
    }
}

impl Model<'static> {
    /// Loads a published folder, or a file that [`crate::inference::files::quantize::quantize`] wrote.
    ///
    /// # Errors
    /// Returns [`LoadError`] if the model is invalid or not supported.
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
        let metadata = ModelMetadata::read(&|name| folder.read(name), None)?;
        let tokenizer = folder.tokenizer(&metadata.root)?;
        Self::from_parts(&metadata, &tokenizer, &folder.within(&metadata.root).weights()?, backend)
    }
}

impl<'a> Model<'a> {
    /// Loads a file that [`crate::inference::files::quantize::quantize`] wrote.
    ///
    /// # Errors
    /// Returns [`LoadError`] if the file is invalid.
    pub fn load(file: &'a [u8], backend: Backend) -> Result<Self, LoadError> {
        Self::from_single(&Weights::parse(file)?, backend)
    }

    /// Loads a single file that contains the metadata files as tensors.
    fn from_single(weights: &Weights<'a>, backend: Backend) -> Result<Self, LoadError> {
        let metadata = metadata_in(weights)?;
        let tokenizer = if weights.contains(TOKENIZER) || !weights.contains(VOCABULARY) {
            TokenizerFile::Json(weights.blob(TOKENIZER)?)
        } else {
            TokenizerFile::Vocabulary(weights.blob(VOCABULARY)?)
        };
        Self::from_parts(&metadata, &tokenizer, weights, backend)
    }

    fn from_parts(
        metadata: &ModelMetadata,
        tokenizer: &TokenizerFile<'_>,
        weights: &Weights<'a>,
        backend: Backend,
    ) -> Result<Self, LoadError> {
        let ModelMetadata { config, tokens_max, lower_case, normalize, prompt, .. } = metadata;
        let (file, _) = tokenizer.parts();
        let unusable = |reason| LoadError::Tokenizer { file, reason };
        tokenizer.check().map_err(unusable)?;
        let parameters = Parameters::new(weights, config);
        let head = match &config.classifier {
            Some(classifier) => {
                Some(ClassifierHead::load(&parameters, config, classifier).map_err(EncoderError::from)?)
            }
            None => None,
        };
        let options = TokensOptions { max: *tokens_max, lower_case: *lower_case, prompt };
        let (tokens, encoder) = thread::scope(|scope| {
            let tokens = scope.spawn(|| Tokens::load(tokenizer, &metadata.tokenizer, options));
            let encoder: Box<dyn Encoder + 'a> = match backend {
                Backend::Candle => Box::new(CandleBackend::load(&parameters, config)?),
                Backend::Kernels(precision) => {
                    Box::new(KernelBackend::load(&parameters, config, precision.for_kernels())?)
                }
            };
            let tokens = tokens.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, LoadError>((tokens.map_err(unusable)?, encoder))
        })?;
        let pooling = metadata.pooling.clone();
        let purpose = match head {
            Some(head) => Purpose::Classify(head),
            None => Purpose::Embed {
                skipped: if pooling.prompt { 0 } else { tokens.prompt_length() },
                pooling,
                normalize: *normalize,
                dimensions: metadata.dimensions,
            },
        };
        let model = Self {
            tokens,
            encoder,
            vocabulary: config.vocabulary,
            hidden: config.hidden,
            positions: config.tokens_max(),
            types: config.token_types,
            kinds: config.kinds(),
            purpose,
        };
        // The special tokens of every text must be in the vocabulary; other tokens are checked in each text.
        let around = model.tokens.wrap(&[]).map_err(unusable)?;
        if !around.tokens.is_empty() {
            model.checked(around).map_err(unusable)?;
        }
        Ok(model)
    }

    /// Returns the kinds of task that the model can do.
    pub const fn kinds(&self) -> &'static [TaskKind] {
        self.kinds
    }

    /// Returns the model's own labels, if it has a classification head.
    pub const fn labels(&self) -> Option<&Arc<[String]>> {
        match &self.purpose {
            Purpose::Classify(head) => Some(head.labels()),
            Purpose::Embed { .. } => None,
        }
    }

    /// Returns the activations for single texts and for pairs, if the model has a classification head.
    pub(crate) const fn scores(&self) -> Option<(Scores, Scores)> {
        match &self.purpose {
            Purpose::Classify(head) => Some((head.scores(), head.ranking())),
            Purpose::Embed { .. } => None,
        }
    }

    /// Tokenises a text, truncated to the model's maximum.
    ///
    /// # Errors
    /// Returns the reason if the text cannot be tokenised, or the token that is not in the vocabulary.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, String> {
        self.checked(self.tokens.encode(text)?).map(|pair| pair.tokens)
    }

    /// Tokenises a query and a text as a pair, truncated to the model's maximum, the longer one first.
    ///
    /// # Errors
    /// Returns the reason if they cannot be tokenised, or the token that is not in the vocabulary.
    pub fn tokenize_pair(&self, query: &str, text: &str) -> Result<Pair, String> {
        self.checked(self.tokens.encode_pair(query, text)?)
    }

    /// Adds the model's special tokens to the tokens of a text.
    ///
    /// # Errors
    /// Returns the token that is not in the vocabulary.
    pub fn wrap_tokens(&self, tokens: &[u32]) -> Result<Vec<u32>, String> {
        self.checked(self.tokens.wrap(tokens)?).map(|pair| pair.tokens)
    }

    /// Tokenises an input. The result has token types and the number of truncated tokens.
    ///
    /// # Errors
    /// Returns the reason if it cannot be tokenised, or the token that is not in the vocabulary.
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

    /// Returns a vector for each tokenised text, in order: its embedding, or the scores of the labels if the model has
    /// a classification head.
    ///
    /// # Errors
    /// Returns the reason if the computation fails.
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

    /// Computes the embeddings of texts and pairs, or their logits if the model has a classification head. Checks
    /// `stop` between layers.
    ///
    /// # Errors
    /// Returns [`EncodeError::Stopped`] if `stop` was set, else [`EncodeError::Failed`] with the reason.
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

    /// Rejects sequences with too many tokens, or with unknown tokens or types.
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

/// Reads the metadata in a single file with weights.
pub(crate) fn metadata_in(weights: &Weights<'_>) -> Result<ModelMetadata, LoadError> {
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

/// The error for weights without metadata.
const NO_CONFIG: &str =
    "the file holds weights alone; name the folder with its config.json and tokenizer.json";
/// The maximum number of tokens of a text if the model is a single file that does not specify one.
pub const SINGLE_FILE_TOKENS_MAX: usize = 256;
const _: () = assert!(SINGLE_FILE_TOKENS_MAX <= TOKENS_MAX);
