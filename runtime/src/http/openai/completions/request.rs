//! Request bodies of the completion routes. Unsupported fields were rejected before.

use crate::http::fields::Integer;
use crate::http::openai::error::OpenAiError;
use api::{InvalidTask, OneOrMany, thousandths};
use engine::task::{ChatMessage, ChatRole, MAX_TOKENS_MAX, Prompt};
use serde::Deserialize;

/// A request for a chat completion or a text completion.
#[derive(Deserialize)]
pub(super) struct CompletionRequest {
    messages: Option<Vec<RequestMessage>>,
    prompt: Option<RequestPrompt>,
    model: Option<String>,
    max_tokens: Option<Integer>,
    max_completion_tokens: Option<Integer>,
    /// llama.cpp's name of `max_tokens`.
    n_predict: Option<Integer>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    /// Choices for each prompt.
    n: Option<Integer>,
    /// Extension that many other servers share.
    top_k: Option<Integer>,
    seed: Option<Integer>,
    stop: Option<OneOrMany>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct RequestMessage {
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
enum RequestPrompt {
    Text(String),
    Texts(Vec<String>),
    Other(serde::de::IgnoredAny),
}

/// Parameters of generation and of the response.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Choices for each prompt.
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

impl CompletionRequest {
    /// Reads a request for a chat completion.
    pub(super) fn chat(mut self) -> Result<(Vec<Prompt>, Settings), OpenAiError> {
        let messages = self.messages.take().ok_or_else(|| missing("messages"))?;
        let messages: Result<Vec<ChatMessage>, OpenAiError> =
            messages.into_iter().enumerate().map(|(index, message)| message.read(index)).collect();
        Ok((vec![Prompt::Chat(messages?)], self.settings(1, CHAT_TOKENS_DEFAULT)?))
    }

    /// Reads a request for a text completion.
    pub(super) fn text(mut self) -> Result<(Vec<Prompt>, Settings), OpenAiError> {
        let texts = match self.prompt.take().ok_or_else(|| missing("prompt"))? {
            RequestPrompt::Text(text) => vec![text],
            RequestPrompt::Texts(texts) => texts,
            RequestPrompt::Other(serde::de::IgnoredAny) => {
                let message = "the prompt must be a text or a list of texts; tokens are not taken here";
                return Err(OpenAiError::bad_request("prompt", message));
            }
        };
        if !(1..=ANSWERS_MAX).contains(&texts.len()) {
            let message = format!("{} prompts; 1 to {ANSWERS_MAX} are allowed", texts.len());
            return Err(OpenAiError::bad_request("prompt", message));
        }
        let settings = self.settings(texts.len(), TEXT_TOKENS_DEFAULT)?;
        Ok((texts.into_iter().map(Prompt::Text).collect(), settings))
    }

    fn settings(self, prompts: usize, max_tokens: u32) -> Result<Settings, OpenAiError> {
        let max_tokens = self.max_tokens()?.unwrap_or(max_tokens);
        let range = |name: &'static str, value, least| {
            thousandths(name, value, least).map_err(|InvalidTask(why)| OpenAiError::bad_request(name, why))
        };
        let answers = self.n.map_or(Some(1), Integer::count::<usize>).unwrap_or_default();
        let all = answers.saturating_mul(prompts);
        if !(1..=ANSWERS_MAX).contains(&all) {
            let message =
                format!("{answers} answers to each of {prompts}; 1 to {ANSWERS_MAX} in all are allowed");
            return Err(OpenAiError::bad_request("n", message));
        }
        let top_k = match self.top_k {
            None | Some(NO_LIMIT) => 0,
            Some(top_k) => top_k.count().ok_or_else(|| negative("top_k", top_k))?,
        };
        Ok(Settings {
            answers,
            model: self.model,
            max_tokens,
            temperature_thousandths: range("temperature", self.temperature, 0)?,
            top_p_thousandths: range("top_p", self.top_p, 1)?,
            top_k,
            seed: self.seed.map(|Integer(seed)| seed.cast_unsigned()),
            stop: self.stop.map(OneOrMany::into_vec).unwrap_or_default(),
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.unwrap_or_default().include_usage.unwrap_or(false),
        })
    }

    /// Returns the requested maximum of tokens. A number above the limit counts as the limit, because a generation ends
    /// with the model's context anyway.
    fn max_tokens(&self) -> Result<Option<u32>, OpenAiError> {
        let given = [
            ("max_completion_tokens", self.max_completion_tokens),
            ("max_tokens", self.max_tokens),
            ("n_predict", self.n_predict),
        ];
        let Some((name, number)) = given.iter().find_map(|(name, number)| Some((*name, (*number)?))) else {
            return Ok(None);
        };
        if number == NO_LIMIT {
            return Ok(Some(MAX_TOKENS_MAX));
        }
        match number.count::<u32>() {
            Some(0) => Err(OpenAiError::bad_request(name, format!("{name} is 0; at least 1 is needed"))),
            Some(count) => Ok(Some(count.min(MAX_TOKENS_MAX))),
            None => Err(negative(name, number)),
        }
    }
}

fn missing(name: &str) -> OpenAiError {
    OpenAiError::bad_request(name, format!("{name} is missing"))
}

fn negative(name: &str, Integer(number): Integer) -> OpenAiError {
    OpenAiError::bad_request(
        name,
        format!("{name} is {number}; it must not be negative, but for -1 for no limit"),
    )
}

impl RequestMessage {
    /// Reads the message with this index.
    fn read(self, index: usize) -> Result<ChatMessage, OpenAiError> {
        let role = match self.role.as_str() {
            "assistant" => ChatRole::Assistant,
            "developer" | "system" => ChatRole::System,
            "user" => ChatRole::User,
            other => {
                let shown: String = other.chars().take(VALUE_CHARS_SHOWN).collect();
                let message = format!("there is no role {shown:?} here: use system, user or assistant");
                return Err(OpenAiError::bad_request(&format!("messages[{index}].role"), message));
            }
        };
        let content = match self.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                let texts: Option<Vec<String>> =
                    parts.into_iter().map(|part| part.text.filter(|_| part.kind == "text")).collect();
                let only_text = || {
                    let param = format!("messages[{index}].content");
                    OpenAiError::bad_request(&param, "only parts of type \"text\" are read here")
                };
                texts.ok_or_else(only_text)?.concat()
            }
        };
        Ok(ChatMessage { role, content })
    }
}

/// Maximum choices of one request, for all of its prompts.
pub(super) const ANSWERS_MAX: usize = 64;
/// Default maximum of tokens of a chat completion.
const CHAT_TOKENS_DEFAULT: u32 = 1_024;
/// Default maximum of tokens of a text completion, as OpenAI has it.
const TEXT_TOKENS_DEFAULT: u32 = 16;
/// How clients of other servers write "no limit".
const NO_LIMIT: Integer = Integer(-1);
const VALUE_CHARS_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fields;
    use axum::http::HeaderMap;
    use serde_json::{Value, json};

    fn chat(fields: &Value) -> Result<(Vec<Prompt>, Settings), String> {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        read(&body, fields::CHAT)
            .and_then(CompletionRequest::chat)
            .map_err(|error| error.body()["error"]["message"].as_str().unwrap().to_owned())
    }

    fn read(body: &Value, table: fields::Table) -> Result<CompletionRequest, OpenAiError> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        Ok(fields::read(&headers, body.to_string().as_bytes(), "a test", table)?)
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
            (json!({"max_tokens": -2}), "max_tokens is -2"),
            (json!({"max_completion_tokens": 0}), "max_completion_tokens is 0"),
            (
                json!({"max_tokens": 1.5}),
                "max_tokens: invalid value: floating point `1.5`, expected a whole number",
            ),
            (json!({"top_k": -7}), "top_k is -7"),
            (json!({"add_generation_prompt": false}), "add_generation_prompt = false"),
            (json!({"chat_template_kwargs": {"enable_thinking": false}}), "chat_template_kwargs = "),
            (json!({"messages": null}), "messages is missing"),
        ] {
            let found = chat(&fields).unwrap_err();
            assert!(found.contains(why), "{found:?} should say {why:?}");
        }
    }

    #[test]
    fn numbers_are_read_in_the_forms_of_all_clients() {
        let settings = |fields: Value| chat(&fields).unwrap().1;
        for (fields, most) in [
            (json!({}), CHAT_TOKENS_DEFAULT),
            (json!({"max_tokens": null}), CHAT_TOKENS_DEFAULT),
            (json!({"max_tokens": -1}), MAX_TOKENS_MAX),
            (json!({"max_tokens": 3.0}), 3),
            (json!({"max_tokens": 1_000_000_000_000_u64}), MAX_TOKENS_MAX),
            (json!({"n_predict": -1}), MAX_TOKENS_MAX),
            (json!({"n_predict": 7, "max_tokens": 5}), 5),
        ] {
            assert_eq!(settings(fields.clone()).max_tokens, most, "{fields}");
        }
        for (fields, top_k) in
            [(json!({"top_k": -1}), 0), (json!({"top_k": 40.0}), 40), (json!({"top_k": 0}), 0)]
        {
            assert_eq!(settings(fields.clone()).top_k, top_k, "{fields}");
        }
        let n = settings(json!({"n": 2.0, "seed": 7.0}));
        assert_eq!((n.answers, n.seed), (2, Some(7)));
    }

    #[test]
    fn prompts_are_texts() {
        let read = |prompt: Value, n: usize| {
            let request = read(&json!({ "prompt": prompt, "n": n }), fields::COMPLETION).unwrap();
            request.text().ok().map(|(prompts, settings)| (prompts, settings.max_tokens))
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
