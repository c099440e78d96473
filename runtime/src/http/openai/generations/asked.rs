//! What clients ask for, and what of it there is: what would change the answer and is not there is refused.

use super::super::error::OpenAiError;
use crate::http::new_task::{NotATask, OneOrMany, thousandths};
use engine::task::{ChatMessage, ChatRole, Prompt};
use serde::Deserialize;
use serde_json::Value;

/// A request for the next message of a conversation.
#[derive(Deserialize)]
pub(super) struct ChatAsked {
    messages: Vec<MessageAsked>,
    max_completion_tokens: Option<u32>,
    #[serde(flatten)]
    common: Common,
}

/// A request for what follows a text.
#[derive(Deserialize)]
pub(super) struct TextAsked {
    prompt: PromptAsked,
    #[serde(flatten)]
    common: Common,
}

/// What both have in common.
#[derive(Deserialize)]
struct Common {
    model: Option<String>,
    max_tokens: Option<u32>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    /// How many answers to each prompt.
    n: Option<usize>,
    /// Not OpenAI's, but of many other servers of this shape.
    top_k: Option<u32>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// What changes the answer, and is not supported.
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct MessageAsked {
    role: String,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "the content of a message must be a text or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PromptAsked {
    Text(String),
    Texts(Vec<String>),
    Other(serde::de::IgnoredAny),
}

/// How to generate, and how to answer.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// How many answers to each prompt.
    pub(super) answers: usize,
    pub(super) model: Option<String>,
    pub(super) max_tokens: u32,
    pub(super) temperature_thousandths: u32,
    pub(super) top_p_thousandths: u32,
    pub(super) top_k: u32,
    pub(super) seed: Option<u64>,
    pub(super) stop: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl ChatAsked {
    pub(super) fn read(self) -> Result<(Vec<Prompt>, Settings), OpenAiError> {
        let messages: Result<Vec<ChatMessage>, OpenAiError> =
            self.messages.into_iter().map(MessageAsked::read).collect();
        let most = self.max_completion_tokens.or(self.common.max_tokens).unwrap_or(CHAT_TOKENS_DEFAULT);
        Ok((vec![Prompt::Chat(messages?)], self.common.read(1, most)?))
    }
}

impl TextAsked {
    pub(super) fn read(self) -> Result<(Vec<Prompt>, Settings), OpenAiError> {
        let texts = match self.prompt {
            PromptAsked::Text(text) => vec![text],
            PromptAsked::Texts(texts) => texts,
            PromptAsked::Other(serde::de::IgnoredAny) => {
                let message = "the prompt must be a text or a list of texts; tokens are not taken here";
                return Err(OpenAiError::bad_request("prompt", message));
            }
        };
        if !(1..=ANSWERS_MAX).contains(&texts.len()) {
            let message = format!("{} prompts; 1 to {ANSWERS_MAX} are allowed", texts.len());
            return Err(OpenAiError::bad_request("prompt", message));
        }
        let most = self.common.max_tokens.unwrap_or(TEXT_TOKENS_DEFAULT);
        let settings = self.common.read(texts.len(), most)?;
        Ok((texts.into_iter().map(Prompt::Text).collect(), settings))
    }
}

impl Common {
    fn read(self, prompts: usize, max_tokens: u32) -> Result<Settings, OpenAiError> {
        if let Some((name, value)) = UNSUPPORTED.iter().find_map(|(name, usual)| {
            let value = self.others.get(*name)?;
            (!value.is_null() && !usual.contains(&value.to_string().as_str())).then_some((*name, value))
        }) {
            let shown: String = value.to_string().chars().take(VALUE_CHARS_SHOWN).collect();
            return Err(OpenAiError::bad_request(name, format!("{name} = {shown} is not supported here")));
        }
        let range = |name: &'static str, value, least| {
            thousandths(name, value, least).map_err(|NotATask(why)| OpenAiError::bad_request(name, why))
        };
        let answers = self.n.unwrap_or(1);
        let all = answers.saturating_mul(prompts);
        if !(1..=ANSWERS_MAX).contains(&all) {
            let message =
                format!("{answers} answers to each of {prompts}; 1 to {ANSWERS_MAX} in all are allowed");
            return Err(OpenAiError::bad_request("n", message));
        }
        Ok(Settings {
            answers,
            model: self.model,
            max_tokens,
            temperature_thousandths: range("temperature", self.temperature, 0)?,
            top_p_thousandths: range("top_p", self.top_p, 1)?,
            top_k: self.top_k.unwrap_or(0),
            seed: self.seed.map(i64::cast_unsigned),
            stop: self.stop.map(OneOrMany::into_vec).unwrap_or_default(),
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.unwrap_or_default().include_usage.unwrap_or(false),
        })
    }
}

impl MessageAsked {
    fn read(self) -> Result<ChatMessage, OpenAiError> {
        let role = match self.role.as_str() {
            "assistant" => ChatRole::Assistant,
            "developer" | "system" => ChatRole::System,
            "user" => ChatRole::User,
            other => {
                let shown: String = other.chars().take(VALUE_CHARS_SHOWN).collect();
                let message = format!("there is no role {shown:?} here: use system, user or assistant");
                return Err(OpenAiError::bad_request("messages", message));
            }
        };
        let content = match self.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                let texts: Option<Vec<String>> =
                    parts.into_iter().map(|part| part.text.filter(|_| part.kind == "text")).collect();
                let only_text =
                    || OpenAiError::bad_request("messages", "only parts of type \"text\" are read here");
                texts.ok_or_else(only_text)?.concat()
            }
        };
        Ok(ChatMessage { role, content })
    }
}

/// Fields that would change the answer, each with the values that change nothing.
const UNSUPPORTED: [(&str, &[&str]); 16] = [
    ("audio", &[]),
    ("best_of", &["1"]),
    ("echo", &["false"]),
    ("frequency_penalty", &["0", "0.0"]),
    ("function_call", &["\"none\""]),
    ("functions", &["[]"]),
    ("logit_bias", &["{}"]),
    ("logprobs", &["false"]),
    ("min_p", &["0", "0.0"]),
    ("modalities", &["[\"text\"]"]),
    ("presence_penalty", &["0", "0.0"]),
    ("repetition_penalty", &["1", "1.0"]),
    ("response_format", &["{\"type\":\"text\"}"]),
    ("suffix", &["\"\""]),
    ("tool_choice", &["\"none\"", "\"auto\""]),
    ("tools", &["[]"]),
];
/// The most answers of one request, to all of its prompts together.
pub(super) const ANSWERS_MAX: usize = 64;
/// Tokens of an answer where the client does not say.
const CHAT_TOKENS_DEFAULT: u32 = 1_024;
/// The same for a text; it is theirs.
const TEXT_TOKENS_DEFAULT: u32 = 16;
const VALUE_CHARS_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chat(fields: &Value) -> Result<(Vec<Prompt>, Settings), String> {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        let asked: ChatAsked = serde_json::from_value(body).map_err(|error| error.to_string())?;
        asked.read().map_err(|error| error.body()["error"]["message"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_conversation_is_read_in_all_its_forms() {
        let messages = json!([
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null},
        ]);
        let (prompt, settings) = chat(&json!({
            "messages": messages, "model": "m", "max_tokens": 3, "max_completion_tokens": 4, "seed": -1,
            "stop": ["x", "y"], "stream": true, "stream_options": {"include_usage": true}, "temperature": 0,
            "top_p": 0.5, "top_k": 2, "n": 3, "user": "u", "metadata": {}, "tools": [], "logprobs": false,
        }))
        .unwrap();
        let message = |role, content: &str| ChatMessage { role, content: content.to_owned() };
        let expected = [
            message(ChatRole::System, "be brief"),
            message(ChatRole::User, "ab"),
            message(ChatRole::Assistant, ""),
        ];
        assert_eq!(prompt, [Prompt::Chat(expected.into())]);
        let shown = format!("{settings:?}");
        let expected = "Settings { answers: 3, model: Some(\"m\"), max_tokens: 4, temperature_thousandths: 0, \
                        top_p_thousandths: 500, top_k: 2, seed: Some(18446744073709551615), \
                        stop: [\"x\", \"y\"], stream: true, include_usage: true }";
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        for (fields, why) in [
            (json!({"n": 65}), "65 answers to each of 1; 1 to 64"),
            (json!({"n": 0}), "0 answers"),
            (json!({"tools": [{"type": "function"}]}), "tools = "),
            (json!({"logprobs": true}), "logprobs = true"),
            (json!({"response_format": {"type": "json_object"}}), "response_format = "),
            (json!({"presence_penalty": 0.5}), "presence_penalty = 0.5"),
            (json!({"repetition_penalty": 1.1}), "repetition_penalty = 1.1"),
            (json!({"messages": [{"role": "tool", "content": "x"}]}), "no role \"tool\""),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
                "only parts of type \"text\"",
            ),
            (json!({"temperature": -0.1}), "temperature is -0.1"),
        ] {
            let found = chat(&fields).unwrap_err();
            assert!(found.contains(why), "{found:?} should say {why:?}");
        }
    }

    #[test]
    fn prompts_are_texts() {
        let read = |prompt: Value, n: usize| {
            let asked: TextAsked = serde_json::from_value(json!({ "prompt": prompt, "n": n })).unwrap();
            asked.read().ok().map(|(prompts, settings)| (prompts, settings.max_tokens))
        };
        let texts = |texts: &[&str]| {
            let prompts = texts.iter().map(|&text| Prompt::Text(text.to_owned()));
            Some((prompts.collect::<Vec<_>>(), 16))
        };
        assert_eq!(read(json!("a"), 1), texts(&["a"]));
        assert_eq!(read(json!(["a", "b"]), 32), texts(&["a", "b"]));
        assert_eq!(read(json!(["a", "b"]), 33), None, "66 answers");
        for prompt in [json!([1, 2]), json!([[1]]), json!(7), json!([]), json!(vec!["a"; 65])] {
            assert_eq!(read(prompt.clone(), 1), None, "{prompt}");
        }
    }
}
