//! A task as clients submit it, and its conversion to the engine's [`TaskSpec`].
//!
//! A field that does not belong to the task type is rejected, never ignored.

use engine::task::{
    ChatMessage, Classification, EmbeddingInput, Generation, Prompt, Reranking, TaskInput, TaskKind, TaskSpec,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Request to submit a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// Task type.
    #[serde(rename = "type")]
    pub kind: TaskKind,
    /// Input: a text. An embedding also takes a list of texts, of tokens, or of lists of tokens. A reranking takes the
    /// texts to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputBody>,
    /// Conversation, in place of `input`; generation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// Labels to choose from; classification only. Default: the model's own labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Query to compare the texts with; reranking only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Name of the model. Default: the node chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Timeout of the task. Default: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Whether to truncate texts with more tokens than the model accepts; if not, such a task fails. Default: true. Not
    /// for generations, which reject a prompt that is too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// Maximum tokens to produce; generation only. Default: 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Sampling temperature, 0 to 2; generation only. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling: sample from the likeliest tokens with this total probability; generation only. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Sample from this many of the likeliest tokens; generation only. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Seed for sampling; generation only. The same seed, model and input give the same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts that end the generation; generation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<OneOrMany>,
}

/// Input of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "the input must be a text, a list of texts, a list of tokens or a list of lists of tokens"
)]
pub enum InputBody {
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// The tokens of a text.
    Tokens(Vec<u32>),
    /// The tokens of several texts.
    TokenLists(Vec<Vec<u32>>),
}

/// One text or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "stop must be a text or a list of texts")]
pub enum OneOrMany {
    /// Several.
    Many(Vec<String>),
    /// One.
    One(String),
}

/// One message of a conversation.
pub type Message = ChatMessage;

/// Why a request is not a valid task, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTask(pub String);

impl NewTask {
    /// Returns a task with a text as its input and defaults for everything else.
    pub const fn from_text(kind: TaskKind, text: String) -> Self {
        Self {
            kind,
            input: Some(InputBody::Text(text)),
            messages: None,
            labels: None,
            query: None,
            model: None,
            timeout_seconds: None,
            truncate: None,
            max_tokens: None,
            temperature: None,
            top_p: None,
            top_k: None,
            seed: None,
            stop: None,
        }
    }

    /// Converts the request to a task for the engine, which checks the ranges.
    ///
    /// # Errors
    /// If fields are missing or do not belong together.
    pub fn spec(self) -> Result<TaskSpec, InvalidTask> {
        let timeout = Duration::from_secs(self.timeout_seconds.unwrap_or(TIMEOUT_DEFAULT_SECS));
        let generation_only = [
            ("messages", self.messages.is_some()),
            ("max_tokens", self.max_tokens.is_some()),
            ("temperature", self.temperature.is_some()),
            ("top_p", self.top_p.is_some()),
            ("top_k", self.top_k.is_some()),
            ("seed", self.seed.is_some()),
            ("stop", self.stop.is_some()),
        ];
        let foreign = generation_only.iter().find(|(_, given)| *given && self.kind != TaskKind::Generation);
        if let Some((field, _)) = foreign {
            return Err(InvalidTask(format!("{field} belongs to generation, not to {}", self.kind)));
        }
        if self.labels.is_some() && self.kind != TaskKind::Classification {
            return Err(InvalidTask(format!("labels belong to classification, not to {}", self.kind)));
        }
        if self.query.is_some() && self.kind != TaskKind::Reranking {
            return Err(InvalidTask(format!("a query belongs to reranking, not to {}", self.kind)));
        }
        if self.truncate == Some(true) && self.kind == TaskKind::Generation {
            return Err(InvalidTask("a prompt that is too long is refused, not cut".to_owned()));
        }
        let truncate = self.truncate.unwrap_or(true);
        let model = self.model.clone();
        let input = match self.kind {
            TaskKind::Classification => TaskInput::Classification(Classification {
                text: text(self.kind, self.input)?,
                labels: self.labels.unwrap_or_default(),
                truncate,
            }),
            TaskKind::Embedding => TaskInput::Embedding { inputs: embedding_inputs(self.input, truncate)? },
            TaskKind::Generation => TaskInput::Generation(Box::new(self.generation()?)),
            TaskKind::Reranking => TaskInput::Reranking(reranking(self.query, self.input, truncate)?),
        };
        Ok(TaskSpec { input, model, timeout })
    }

    fn generation(self) -> Result<Generation, InvalidTask> {
        let prompt = match (self.input, self.messages) {
            (None, Some(messages)) => Prompt::Chat(messages),
            (Some(_), Some(_)) => {
                return Err(InvalidTask("input and messages exclude each other".to_owned()));
            }
            (input, None) => Prompt::Text(text(TaskKind::Generation, input)?),
        };
        let usual = Generation::from_prompt(prompt);
        Ok(Generation {
            max_tokens: self.max_tokens.unwrap_or(usual.max_tokens),
            temperature_thousandths: thousandths("temperature", self.temperature, 0)?,
            top_p_thousandths: thousandths("top_p", self.top_p, 1)?,
            top_k: self.top_k.unwrap_or(usual.top_k),
            seed: self.seed,
            stop: self.stop.map(OneOrMany::into_vec).unwrap_or_default(),
            ..usual
        })
    }
}

impl OneOrMany {
    /// Returns all texts.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::Many(many) => many,
            Self::One(one) => vec![one],
        }
    }
}

impl InputBody {
    /// Converts the input to the inputs of an embedding.
    pub fn into_inputs(self) -> Vec<EmbeddingInput> {
        match self {
            Self::Text(text) => vec![EmbeddingInput::Text(text)],
            Self::Texts(texts) => texts.into_iter().map(EmbeddingInput::Text).collect(),
            Self::Tokens(tokens) => vec![EmbeddingInput::Tokens(tokens)],
            Self::TokenLists(lists) => lists.into_iter().map(EmbeddingInput::Tokens).collect(),
        }
    }
}

/// Converts a number to thousandths, 1000 by default. A number above zero gives at least `least`.
///
/// # Errors
/// If the number is negative or far above every allowed range.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is in a range that a u32 holds"
)]
pub fn thousandths(name: &str, number: Option<f64>, least: u32) -> Result<u32, InvalidTask> {
    let number = number.unwrap_or(1.0);
    if !(0.0..=THOUSANDTHS_OF_MAX).contains(&number) {
        return Err(InvalidTask(format!("{name} is {number}, which is out of range")));
    }
    let rounded = (number * 1000.0).round() as u32;
    Ok(if number > 0.0 { rounded.max(least) } else { rounded })
}

fn embedding_inputs(input: Option<InputBody>, truncate: bool) -> Result<Vec<EmbeddingInput>, InvalidTask> {
    let inputs = input.ok_or_else(|| InvalidTask("the input is missing".to_owned()))?.into_inputs();
    if truncate { Ok(inputs) } else { Ok(inputs.into_iter().map(EmbeddingInput::whole).collect()) }
}

fn reranking(
    query: Option<String>,
    input: Option<InputBody>,
    truncate: bool,
) -> Result<Reranking, InvalidTask> {
    let query = query.ok_or_else(|| InvalidTask("the query is missing".to_owned()))?;
    match input {
        Some(InputBody::Text(text)) => Ok(Reranking { query, texts: vec![text], truncate }),
        Some(InputBody::Texts(texts)) => Ok(Reranking { query, texts, truncate }),
        Some(InputBody::Tokens(_) | InputBody::TokenLists(_)) => {
            Err(InvalidTask("the input of a reranking is a list of texts".to_owned()))
        }
        None => Err(InvalidTask("the input is missing".to_owned())),
    }
}

fn text(kind: TaskKind, input: Option<InputBody>) -> Result<String, InvalidTask> {
    match input {
        Some(InputBody::Text(text)) => Ok(text),
        Some(InputBody::Texts(_) | InputBody::Tokens(_) | InputBody::TokenLists(_)) => {
            Err(InvalidTask(format!("the input of a {kind} is one text")))
        }
        None => Err(InvalidTask("the input is missing".to_owned())),
    }
}

const TIMEOUT_DEFAULT_SECS: u64 = 30;
/// Far above every allowed value, and small enough for a `u32` of thousandths.
const THOUSANDTHS_OF_MAX: f64 = 1_000_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(body: Value) -> Result<TaskSpec, String> {
        let task: NewTask = serde_json::from_value(body).map_err(|error| error.to_string())?;
        task.spec().map_err(|InvalidTask(why)| why)
    }

    #[test]
    fn an_embedding_takes_texts_and_tokens() {
        let inputs = |input: Value| {
            let spec = spec(json!({"type": "embedding", "input": input})).unwrap();
            let TaskInput::Embedding { inputs } = spec.input else { panic!("{spec:?}") };
            inputs
        };
        let text = |text: &str| EmbeddingInput::Text(text.to_owned());
        assert_eq!(inputs(json!("a")), [text("a")]);
        assert_eq!(inputs(json!(["a", "b"])), [text("a"), text("b")]);
        assert_eq!(inputs(json!([1, 2])), [EmbeddingInput::Tokens(vec![1, 2])]);
        assert_eq!(
            inputs(json!([[1], [2]])),
            [EmbeddingInput::Tokens(vec![1]), EmbeddingInput::Tokens(vec![2])]
        );
    }

    #[test]
    fn texts_that_are_too_long_are_refused_where_they_must_not_be_cut() {
        let input = |body: Value| spec(body).unwrap().input;
        let whole = input(json!({"type": "embedding", "input": ["a"], "truncate": false}));
        assert_eq!(whole, TaskInput::Embedding { inputs: vec![EmbeddingInput::WholeText("a".to_owned())] });
        let whole = input(json!({"type": "embedding", "input": [[1]], "truncate": false}));
        assert_eq!(whole, TaskInput::Embedding { inputs: vec![EmbeddingInput::WholeTokens(vec![1])] });
        let whole = input(json!({"type": "reranking", "query": "q", "input": ["a"], "truncate": false}));
        assert!(matches!(whole, TaskInput::Reranking(Reranking { truncate: false, .. })), "{whole:?}");
        let whole = input(json!({"type": "classification", "input": "a", "truncate": false}));
        assert!(
            matches!(whole, TaskInput::Classification(Classification { truncate: false, .. })),
            "{whole:?}"
        );
    }

    #[test]
    fn a_reranking_has_a_query_and_texts() {
        let texts = |input: Value| {
            let spec = spec(json!({"type": "reranking", "query": "q", "input": input})).unwrap();
            let TaskInput::Reranking(Reranking { query, texts, truncate: true }) = spec.input else {
                panic!("{spec:?}")
            };
            assert_eq!(query, "q");
            texts
        };
        assert_eq!(texts(json!("a")), ["a"]);
        assert_eq!(texts(json!(["a", "b"])), ["a", "b"]);
    }

    #[test]
    fn a_generation_has_all_its_settings() {
        let body = json!({
            "type": "generation", "messages": [{"role": "user", "content": "hi"}], "model": "m",
            "timeout_seconds": 5, "max_tokens": 9, "temperature": 0.7, "top_p": 0.0001, "top_k": 40, "seed": 7,
            "stop": "END",
        });
        let message = ChatMessage { role: engine::task::ChatRole::User, content: "hi".to_owned() };
        let generation = Generation {
            prompt: Prompt::Chat(vec![message]),
            max_tokens: 9,
            temperature_thousandths: 700,
            top_p_thousandths: 1,
            top_k: 40,
            seed: Some(7),
            stop: vec!["END".to_owned()],
        };
        let expected = TaskSpec {
            input: TaskInput::Generation(Box::new(generation)),
            model: Some("m".to_owned()),
            timeout: Duration::from_secs(5),
        };
        assert_eq!(spec(body), Ok(expected));
        let usual = spec(json!({"type": "generation", "input": "hi"})).unwrap().input;
        assert_eq!(usual, TaskInput::from_text(TaskKind::Generation, "hi".to_owned()));
    }

    #[test]
    fn what_does_not_belong_together_is_said() {
        for (body, why) in [
            (json!({"type": "embedding"}), "the input is missing"),
            (json!({"type": "embedding", "input": "a", "seed": 1}), "seed belongs to generation"),
            (json!({"type": "generation", "input": "a", "labels": ["b"]}), "labels belong to classification"),
            (json!({"type": "generation", "input": "a", "messages": []}), "exclude each other"),
            (json!({"type": "generation", "input": ["a"]}), "one text"),
            (json!({"type": "embedding", "input": "a", "query": "b"}), "a query belongs to reranking"),
            (json!({"type": "reranking", "input": ["a"]}), "the query is missing"),
            (json!({"type": "reranking", "query": "a"}), "the input is missing"),
            (json!({"type": "reranking", "query": "a", "input": [1]}), "a list of texts"),
            (json!({"type": "classification", "input": [1]}), "one text"),
            (json!({"type": "generation", "input": "a", "temperature": -1}), "temperature is -1"),
            (json!({"type": "embedding", "input": [1, "a"]}), "the input must be a text, a list of texts"),
            (json!({"type": "embedding", "input": "a", "colour": 1}), "unknown field `colour`"),
            (json!({"type": "generation", "input": "a", "truncate": true}), "is refused, not cut"),
        ] {
            let found = spec(body).unwrap_err();
            assert!(found.contains(why), "{found:?} should say {why:?}");
        }
    }
}
