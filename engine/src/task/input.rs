//! The inputs of tasks by kind, and their limits.
//!
//! Numbers are integers, so equal inputs have equal bytes and a second attempt computes the same output. Every list and
//! text is limited, and [`TaskInput::check`] is the only place that checks the limits.

use super::TaskKind;
use serde::{Deserialize, Serialize};

/// The input of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskInput {
    /// Choose a label for a text.
    Classification(Classification),
    /// Compute the embeddings of the inputs.
    Embedding {
        /// 1 to [`EMBEDDING_INPUTS_MAX`] inputs.
        inputs: Vec<EmbeddingInput>,
    },
    /// Continue a prompt.
    Generation(Box<Generation>),
    /// Score how well texts match a query.
    Reranking(Reranking),
}

/// A text, and the labels to choose from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Classification {
    /// The text.
    pub text: String,
    /// The labels, at most [`LABELS_MAX`]; empty for the labels that the model was trained on.
    pub labels: Vec<String>,
    /// Whether a text that exceeds the model's maximum length is truncated. If not, it is rejected.
    pub truncate: bool,
}

/// An input of an embedding task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EmbeddingInput {
    /// A text.
    Text(String),
    /// Token ids of the model, without its special tokens; at most [`EMBEDDING_TOKENS_MAX`].
    Tokens(Vec<u32>),
    /// A text that is rejected, not truncated, if it exceeds the model's maximum length.
    WholeText(String),
    /// Tokens that are rejected, not truncated, if they exceed the model's maximum length.
    WholeTokens(Vec<u32>),
}

/// A query, and the texts to score.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reranking {
    /// The query.
    pub query: String,
    /// 1 to [`RERANKING_TEXTS_MAX`] texts. The model reads each one together with the query.
    pub texts: Vec<String>,
    /// Whether a query and a text that exceed the model's maximum length are truncated. If not, they are rejected.
    pub truncate: bool,
}

/// A prompt, and the sampling parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The prompt.
    pub prompt: Prompt,
    /// Maximum number of tokens to generate, 1 to [`MAX_TOKENS_MAX`].
    pub max_tokens: u32,
    /// The sampling temperature in thousandths, at most [`TEMPERATURE_MAX`]; 0 always takes the most probable token.
    pub temperature_thousandths: u32,
    /// Nucleus sampling (top-p), in thousandths from 1 to 1000. Tokens are sampled from the most probable ones that
    /// together have this probability.
    pub top_p_thousandths: u32,
    /// Tokens are sampled from this many of the most probable ones; 0 for no limit.
    pub top_k: u32,
    /// The seed for sampling. The origin sets it, so that every attempt generates the same text.
    pub seed: Option<u64>,
    /// Texts that end the generation and are not part of its output, at most [`STOPS_MAX`].
    pub stop: Vec<String>,
}

/// The prompt of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// A conversation of 1 to [`CHAT_MESSAGES_MAX`] messages, formatted with the model's chat template.
    Chat(Vec<ChatMessage>),
    /// A text, without a template.
    Text(String),
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// The author of the message.
    pub role: ChatRole,
    /// The text of the message.
    pub content: String,
}

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// The model's.
    Assistant,
    /// Instructions to the model.
    System,
    /// The user's.
    User,
}

/// Why an input is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum InputFault {
    /// A conversation is empty or has too many messages.
    ChatLength(usize),
    /// A text or a list of tokens is empty.
    Empty,
    /// There are no inputs, or more than one task may have.
    Inputs(usize),
    /// A label is empty or too long.
    LabelLength(usize),
    /// There are too many labels.
    Labels(usize),
    /// There is only one label, or two are equal.
    LabelsAlike,
    /// The maximum number of tokens is zero or too large.
    MaxTokens(u32),
    /// A stop text is empty or too long.
    StopLength(usize),
    /// There are too many stop texts.
    Stops(usize),
    /// The temperature, in thousandths, is too high.
    Temperature(u32),
    /// An input has too many tokens.
    Tokens(usize),
    /// The top-p value, in thousandths, is out of range.
    TopP(u32),
    /// There are no texts, or more than one task may have.
    Texts(usize),
    /// The same as [`Self::Empty`], for the input with this index, from 0, among several.
    EmptyPart(usize),
}

impl TaskInput {
    /// Creates an input of a kind from a text alone.
    pub fn from_text(kind: TaskKind, text: String) -> Self {
        match kind {
            TaskKind::Classification => {
                Self::Classification(Classification { text, labels: Vec::new(), truncate: true })
            }
            TaskKind::Embedding => Self::Embedding { inputs: vec![EmbeddingInput::Text(text)] },
            TaskKind::Generation => Self::Generation(Box::new(Generation::from_prompt(Prompt::Text(text)))),
            TaskKind::Reranking => {
                Self::Reranking(Reranking { query: text.clone(), texts: vec![text], truncate: true })
            }
        }
    }

    /// Returns the kind of task.
    pub const fn kind(&self) -> TaskKind {
        match self {
            Self::Classification(_) => TaskKind::Classification,
            Self::Embedding { .. } => TaskKind::Embedding,
            Self::Generation(_) => TaskKind::Generation,
            Self::Reranking(_) => TaskKind::Reranking,
        }
    }

    /// Returns the size of the input in bytes; a token counts four.
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Classification(input) => input.bytes(),
            Self::Embedding { inputs } => inputs.iter().map(EmbeddingInput::bytes).sum(),
            Self::Generation(generation) => generation.bytes(),
            Self::Reranking(input) => input.bytes(),
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Returns the number of parts that the model processes one by one.
    pub const fn parts(&self) -> usize {
        match self {
            Self::Classification(_) | Self::Generation(_) => 1,
            Self::Embedding { inputs } => inputs.len(),
            Self::Reranking(input) => input.texts.len(),
        }
    }

    /// Returns the texts of the input; empty for tokens.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Classification(input) => vec![&input.text],
            Self::Embedding { inputs } => inputs.iter().filter_map(EmbeddingInput::text).collect(),
            Self::Generation(generation) => generation.prompt.texts(),
            Self::Reranking(input) => input.all().collect(),
        }
    }

    /// Returns the first characters of the input, for display; of a conversation, those of its last message.
    pub fn preview(&self) -> String {
        match self {
            Self::Classification(input) => preview(&input.text),
            Self::Embedding { inputs } => inputs.first().map(EmbeddingInput::preview).unwrap_or_default(),
            Self::Generation(generation) => preview(generation.prompt.texts().last().unwrap_or(&"")),
            Self::Reranking(input) => preview(&input.query),
        }
    }

    /// Checks all limits except the total size, which each node limits itself.
    ///
    /// # Errors
    /// The first [`InputFault`] found.
    pub fn check(&self) -> Result<(), InputFault> {
        match self {
            Self::Classification(input) => input.check(),
            Self::Embedding { inputs } => {
                within(inputs.len(), 1, EMBEDDING_INPUTS_MAX, InputFault::Inputs)?;
                inputs.iter().enumerate().try_for_each(|(number, input)| {
                    input.check().map_err(|fault| fault.in_part(number, inputs.len()))
                })
            }
            Self::Generation(generation) => generation.check(),
            Self::Reranking(input) => input.check(),
        }
    }
}

impl Classification {
    fn bytes(&self) -> usize {
        self.text.len() + self.labels.iter().map(String::len).sum::<usize>()
    }

    fn check(&self) -> Result<(), InputFault> {
        not_empty(&self.text)?;
        within(self.labels.len(), 0, LABELS_MAX, InputFault::Labels)?;
        for (at, label) in self.labels.iter().enumerate() {
            within(label.trim().len(), 1, usize::MAX, InputFault::LabelLength)?;
            within(label.len(), 1, LABEL_BYTES_MAX, InputFault::LabelLength)?;
            if self.labels.len() == 1 || self.labels[..at].contains(label) {
                return Err(InputFault::LabelsAlike);
            }
        }
        Ok(())
    }
}

impl EmbeddingInput {
    /// Returns the size of the input in bytes; a token counts four.
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::WholeText(text) => text.len(),
            Self::Tokens(tokens) | Self::WholeTokens(tokens) => tokens.len().saturating_mul(4),
        }
    }

    /// Returns the text; `None` for tokens.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::WholeText(text) => Some(text),
            Self::Tokens(_) | Self::WholeTokens(_) => None,
        }
    }

    /// Returns the input in the form that is rejected, not truncated, if it exceeds the model's maximum length.
    #[must_use]
    pub fn whole(self) -> Self {
        match self {
            Self::Text(text) | Self::WholeText(text) => Self::WholeText(text),
            Self::Tokens(tokens) | Self::WholeTokens(tokens) => Self::WholeTokens(tokens),
        }
    }

    /// Tells whether the input is rejected, not truncated, if it exceeds the model's maximum length.
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::WholeText(_) | Self::WholeTokens(_))
    }

    /// Tells whether the input is empty. Models accept an empty text, but some APIs do not.
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) | Self::WholeText(text) => text.is_empty(),
            Self::Tokens(tokens) | Self::WholeTokens(tokens) => tokens.is_empty(),
        }
    }

    fn preview(&self) -> String {
        match self {
            Self::Text(text) | Self::WholeText(text) => preview(text),
            Self::Tokens(tokens) | Self::WholeTokens(tokens) => {
                let first: Vec<String> = tokens.iter().take(PREVIEW_CHARS / 2).map(u32::to_string).collect();
                preview(&first.join(" "))
            }
        }
    }

    fn check(&self) -> Result<(), InputFault> {
        match self {
            Self::Text(_) | Self::WholeText(_) => Ok(()),
            Self::Tokens(tokens) | Self::WholeTokens(tokens) if tokens.is_empty() => Err(InputFault::Empty),
            Self::Tokens(tokens) | Self::WholeTokens(tokens) => {
                within(tokens.len(), 1, EMBEDDING_TOKENS_MAX, InputFault::Tokens)
            }
        }
    }
}

impl Generation {
    /// Creates a generation with the default parameters: 256 tokens, sampled at temperature 1.
    pub const fn from_prompt(prompt: Prompt) -> Self {
        Self {
            prompt,
            max_tokens: MAX_TOKENS_DEFAULT,
            temperature_thousandths: 1000,
            top_p_thousandths: 1000,
            top_k: 0,
            seed: None,
            stop: Vec::new(),
        }
    }

    fn bytes(&self) -> usize {
        let prompt: usize = self.prompt.texts().iter().map(|text| text.len()).sum();
        prompt + self.stop.iter().map(String::len).sum::<usize>()
    }

    fn check(&self) -> Result<(), InputFault> {
        match &self.prompt {
            Prompt::Text(text) => not_empty(text)?,
            Prompt::Chat(messages) => {
                within(messages.len(), 1, CHAT_MESSAGES_MAX, InputFault::ChatLength)?;
                if messages.iter().all(|message| message.content.is_empty()) {
                    return Err(InputFault::Empty);
                }
            }
        }
        if !(1..=MAX_TOKENS_MAX).contains(&self.max_tokens) {
            return Err(InputFault::MaxTokens(self.max_tokens));
        }
        if self.temperature_thousandths > TEMPERATURE_MAX {
            return Err(InputFault::Temperature(self.temperature_thousandths));
        }
        if !(1..=1000).contains(&self.top_p_thousandths) {
            return Err(InputFault::TopP(self.top_p_thousandths));
        }
        within(self.stop.len(), 0, STOPS_MAX, InputFault::Stops)?;
        self.stop.iter().try_for_each(|stop| within(stop.len(), 1, STOP_BYTES_MAX, InputFault::StopLength))
    }
}

impl Reranking {
    /// Returns the query, then each text.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        core::iter::once(self.query.as_str()).chain(self.texts.iter().map(String::as_str))
    }

    fn bytes(&self) -> usize {
        self.all().map(str::len).sum()
    }

    fn check(&self) -> Result<(), InputFault> {
        within(self.texts.len(), 1, RERANKING_TEXTS_MAX, InputFault::Texts)?;
        not_empty(&self.query)
    }
}

impl Prompt {
    /// Returns the texts of the prompt, one for each message.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Chat(messages) => messages.iter().map(|message| message.content.as_str()).collect(),
            Self::Text(text) => vec![text],
        }
    }
}

impl ChatRole {
    /// Returns the role's name in chat templates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::User => "user",
        }
    }
}

impl InputFault {
    /// Assigns the fault to one of `of` inputs, with an index from 0.
    #[must_use]
    pub const fn in_part(self, number: usize, of: usize) -> Self {
        if of > 1 && matches!(self, Self::Empty) { Self::EmptyPart(number) } else { self }
    }

    /// Adds `before` to the index of the fault, for an input that other inputs precede.
    #[must_use]
    pub const fn after(self, before: usize) -> Self {
        if let Self::EmptyPart(number) = self { Self::EmptyPart(number.saturating_add(before)) } else { self }
    }

    /// Returns the stable name of the fault.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ChatLength(_) => "messages_out_of_range",
            Self::Empty | Self::EmptyPart(_) => "input_empty",
            Self::Inputs(_) => "inputs_out_of_range",
            Self::LabelLength(_) => "label_length_out_of_range",
            Self::Labels(_) => "labels_out_of_range",
            Self::LabelsAlike => "labels_alike",
            Self::MaxTokens(_) => "max_tokens_out_of_range",
            Self::StopLength(_) => "stop_length_out_of_range",
            Self::Stops(_) => "stops_out_of_range",
            Self::Temperature(_) => "temperature_out_of_range",
            Self::Tokens(_) => "tokens_out_of_range",
            Self::TopP(_) => "top_p_out_of_range",
            Self::Texts(_) => "texts_out_of_range",
        }
    }
}

impl core::fmt::Display for InputFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::ChatLength(found) => {
                write!(f, "the conversation has {found} messages; 1 to {CHAT_MESSAGES_MAX} are allowed")
            }
            Self::Empty => f.write_str("the input is empty"),
            Self::EmptyPart(number) => write!(f, "input {number} is empty (the first is 0)"),
            Self::Inputs(found) => {
                write!(f, "the task has {found} inputs; 1 to {EMBEDDING_INPUTS_MAX} are allowed")
            }
            Self::LabelLength(found) => {
                write!(f, "a label has {found} bytes; 1 to {LABEL_BYTES_MAX} are allowed")
            }
            Self::Labels(found) => write!(f, "the task has {found} labels; at most {LABELS_MAX} are allowed"),
            Self::LabelsAlike => f.write_str("labels must be at least two and all different, or none"),
            Self::MaxTokens(found) => {
                write!(f, "max_tokens is {found}; 1 to {MAX_TOKENS_MAX} are allowed")
            }
            Self::StopLength(found) => {
                write!(f, "a stop text has {found} bytes; 1 to {STOP_BYTES_MAX} are allowed")
            }
            Self::Stops(found) => {
                write!(f, "the task has {found} stop texts; at most {STOPS_MAX} are allowed")
            }
            Self::Temperature(found) => {
                write!(f, "the temperature is {}.{:03}; 0 to 2 are allowed", found / 1000, found % 1000)
            }
            Self::Tokens(found) => {
                write!(f, "an input has {found} tokens; at most {EMBEDDING_TOKENS_MAX} are allowed")
            }
            Self::TopP(found) => {
                write!(f, "top_p is {}.{:03}; above 0 and at most 1 is allowed", found / 1000, found % 1000)
            }
            Self::Texts(found) => {
                write!(f, "the query has {found} texts to score; 1 to {RERANKING_TEXTS_MAX} are allowed")
            }
        }
    }
}

/// Returns the first characters of a text, for display.
pub(crate) fn preview(text: &str) -> String {
    text.chars().take(PREVIEW_CHARS).collect()
}

/// White space is valid: models have tokens for it, or read it like an empty text.
fn not_empty(text: &str) -> Result<(), InputFault> {
    if text.is_empty() { Err(InputFault::Empty) } else { Ok(()) }
}

fn within(found: usize, least: usize, most: usize, fault: fn(usize) -> InputFault) -> Result<(), InputFault> {
    if (least..=most).contains(&found) { Ok(()) } else { Err(fault(found)) }
}

/// Maximum number of messages of a conversation.
pub const CHAT_MESSAGES_MAX: usize = 512;
/// Maximum number of inputs of one embedding task. Vectors of 4,096 numbers for all of them fill half a frame.
pub const EMBEDDING_INPUTS_MAX: usize = 32;
/// Maximum number of tokens of one input.
pub const EMBEDDING_TOKENS_MAX: usize = 8_192;
/// Maximum length of a label, in bytes.
pub const LABEL_BYTES_MAX: usize = 256;
/// Maximum number of labels.
pub const LABELS_MAX: usize = 64;
/// Maximum number of tokens to generate by default.
pub const MAX_TOKENS_DEFAULT: u32 = 256;
/// Maximum number of tokens that a task may request.
pub const MAX_TOKENS_MAX: u32 = 32_768;
/// Maximum number of texts of one reranking task: a few forward passes of the model.
pub const RERANKING_TEXTS_MAX: usize = 32;
/// Maximum length of a stop text, in bytes.
pub const STOP_BYTES_MAX: usize = 256;
/// Maximum number of stop texts.
pub const STOPS_MAX: usize = 16;
/// Maximum temperature, in thousandths.
pub const TEMPERATURE_MAX: u32 = 2_000;
const PREVIEW_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn classification(text: &str, labels: &[&str]) -> TaskInput {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        TaskInput::Classification(Classification { text: text.to_owned(), labels, truncate: true })
    }

    fn generation(change: impl FnOnce(&mut Generation)) -> TaskInput {
        let mut generation = Generation::from_prompt(Prompt::Text("once".to_owned()));
        change(&mut generation);
        TaskInput::Generation(Box::new(generation))
    }

    fn chat(contents: &[&str]) -> TaskInput {
        let message = |content: &&str| ChatMessage { role: ChatRole::User, content: (*content).to_owned() };
        generation(|generation| generation.prompt = Prompt::Chat(contents.iter().map(message).collect()))
    }

    fn embedding(inputs: Vec<EmbeddingInput>) -> TaskInput {
        TaskInput::Embedding { inputs }
    }

    fn reranking(query: &str, texts: &[&str]) -> TaskInput {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        TaskInput::Reranking(Reranking { query: query.to_owned(), texts, truncate: true })
    }

    #[test]
    fn every_limit_has_its_fault() {
        let text = |text: &str| EmbeddingInput::Text(text.to_owned());
        let long = "x".repeat(LABEL_BYTES_MAX + 1);
        let cases = [
            (embedding(vec![]), InputFault::Inputs(0)),
            (embedding(vec![text("a"); EMBEDDING_INPUTS_MAX + 1]), InputFault::Inputs(33)),
            (embedding(vec![EmbeddingInput::Tokens(vec![])]), InputFault::Empty),
            (embedding(vec![text("a"), EmbeddingInput::WholeTokens(vec![])]), InputFault::EmptyPart(1)),
            (embedding(vec![EmbeddingInput::Tokens(vec![1; 8_193])]), InputFault::Tokens(8_193)),
            (classification("", &[]), InputFault::Empty),
            (classification("a", &["b"]), InputFault::LabelsAlike),
            (classification("a", &["b", "c", "b"]), InputFault::LabelsAlike),
            (classification("a", &["b", " "]), InputFault::LabelLength(0)),
            (classification("a", &["b", &long]), InputFault::LabelLength(257)),
            (classification("a", &["b"; LABELS_MAX + 1]), InputFault::Labels(65)),
            (chat(&[]), InputFault::ChatLength(0)),
            (chat(&["a"; CHAT_MESSAGES_MAX + 1]), InputFault::ChatLength(513)),
            (chat(&["", ""]), InputFault::Empty),
            (generation(|it| it.max_tokens = 0), InputFault::MaxTokens(0)),
            (generation(|it| it.max_tokens = 32_769), InputFault::MaxTokens(32_769)),
            (generation(|it| it.temperature_thousandths = 2_001), InputFault::Temperature(2_001)),
            (generation(|it| it.top_p_thousandths = 0), InputFault::TopP(0)),
            (generation(|it| it.top_p_thousandths = 1_001), InputFault::TopP(1_001)),
            (generation(|it| it.stop = vec![String::new()]), InputFault::StopLength(0)),
            (generation(|it| it.stop = vec![long.clone()]), InputFault::StopLength(257)),
            (generation(|it| it.stop = vec!["a".to_owned(); 17]), InputFault::Stops(17)),
            (reranking("a", &[]), InputFault::Texts(0)),
            (reranking("a", &["b"; RERANKING_TEXTS_MAX + 1]), InputFault::Texts(33)),
            (reranking("", &["b"]), InputFault::Empty),
        ];
        for (input, fault) in cases {
            assert_eq!(input.check(), Err(fault), "{input:?}");
            assert!(!fault.to_string().is_empty() && !fault.code().is_empty());
        }
    }

    #[test]
    fn what_is_at_its_limit_is_acceptable() {
        let labels: Vec<String> = (0..LABELS_MAX).map(|at| format!("{at:0LABEL_BYTES_MAX$}")).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        for input in [
            embedding(vec![EmbeddingInput::Tokens(vec![1; EMBEDDING_TOKENS_MAX]); EMBEDDING_INPUTS_MAX]),
            classification("a", &[]),
            classification("a", &labels),
            chat(&["a"; CHAT_MESSAGES_MAX]),
            chat(&["", "a"]),
            // White space is valid, and beside other texts an empty text is too.
            embedding([" \n\u{2003}", ""].map(|text| EmbeddingInput::Text(text.to_owned())).into()),
            classification(" ", &[]),
            chat(&["\n"]),
            generation(|it| it.prompt = Prompt::Text("\n".to_owned())),
            reranking(" ", &["b", ""]),
            reranking("a", &["b"; RERANKING_TEXTS_MAX]),
            generation(|it| {
                it.max_tokens = MAX_TOKENS_MAX;
                it.temperature_thousandths = TEMPERATURE_MAX;
                it.stop = vec!["x".repeat(STOP_BYTES_MAX); STOPS_MAX];
            }),
        ] {
            assert_eq!(input.check(), Ok(()), "{input:?}");
        }
    }

    #[test]
    fn a_preview_shows_where_the_input_begins() {
        assert_eq!(classification(&"é".repeat(200), &[]).preview(), "é".repeat(100));
        assert_eq!(embedding(vec![EmbeddingInput::Tokens(vec![7, 8])]).preview(), "7 8");
        assert_eq!(chat(&["first", "last"]).preview(), "last");
    }

    #[test]
    fn the_size_counts_all_that_a_user_wrote() {
        assert_eq!(classification("abc", &["d", "ef"]).bytes(), 6);
        let tokens = EmbeddingInput::Tokens(vec![1, 2]);
        assert_eq!(embedding(vec![tokens, EmbeddingInput::Text("é".to_owned())]).bytes(), 10);
        assert_eq!(generation(|it| it.stop = vec!["!".to_owned()]).bytes(), 5);
    }
}
