//! Renders a conversation with the chat template of a model.
//!
//! The templates are Jinja as in transformers. They are untrusted, so a template can only produce text: its steps and
//! its output are bounded, and it has no access to files or the clock.

use super::jinja::{Argument, Template};
use engine::task::{ChatMessage, ChatRole};
use std::collections::BTreeMap;

/// The chat template of a model.
#[derive(Debug)]
pub(super) struct Chat {
    template: Template,
    /// The texts of special tokens, by name.
    special: BTreeMap<String, String>,
}

impl Chat {
    /// Parses a template. `special` are the texts of special tokens by name, such as `bos_token`.
    ///
    /// # Errors
    /// Returns a description of the fault.
    pub(super) fn compile(template: &str, special: BTreeMap<String, String>) -> Result<Self, String> {
        if template.len() > TEMPLATE_BYTES_MAX {
            return Err(format!(
                "a template of {} bytes, at most {TEMPLATE_BYTES_MAX} are accepted",
                template.len()
            ));
        }
        Ok(Self { template: Template::parse(template).map_err(|error| shown(&error))?, special })
    }

    /// Renders the prompt of a conversation.
    ///
    /// # Errors
    /// Returns the error of the template, or the message that it raises.
    pub(super) fn prompt(&self, messages: &[ChatMessage]) -> Result<String, String> {
        let messages = messages.iter().map(|message| {
            Argument::Dict(vec![
                ("role".to_owned(), Argument::String(role(message.role).to_owned())),
                ("content".to_owned(), Argument::String(message.content.clone())),
            ])
        });
        let mut names = vec![
            ("messages".to_owned(), Argument::List(messages.collect())),
            ("tools".to_owned(), Argument::None),
            ("documents".to_owned(), Argument::None),
            ("add_generation_prompt".to_owned(), Argument::Bool(true)),
        ];
        names.extend(self.special.iter().map(|(name, text)| (name.clone(), Argument::String(text.clone()))));
        self.template.render(names).map_err(|error| shown(&error))
    }
}

const fn role(role: ChatRole) -> &'static str {
    match role {
        ChatRole::Assistant => "assistant",
        ChatRole::System => "system",
        ChatRole::User => "user",
    }
}

/// Cuts an error message.
fn shown(error: &str) -> String {
    error.chars().take(SHOWN_CHARS).collect()
}

/// The maximum size of a template; the longest in use have some 20 KB.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;
/// The length at which an error is cut.
const SHOWN_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: ChatRole, content: &str) -> ChatMessage {
        ChatMessage { role, content: content.to_owned() }
    }

    fn prompt(template: &str) -> Result<String, String> {
        let messages = [
            message(ChatRole::System, "Be brief."),
            message(ChatRole::User, " hi {{ 1 }} "),
            message(ChatRole::Assistant, "hello"),
            message(ChatRole::User, "bye"),
        ];
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let special = special.map(|(name, token)| (name.to_owned(), token.to_owned())).into();
        Chat::compile(template, special)?.prompt(&messages)
    }

    #[test]
    fn templates_of_the_field_write_what_transformers_writes() {
        let zephyr = "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + \
            message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + \
            message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + \
            message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ \
            '<|assistant|>' }}\n{% endif %}\n{% endfor %}";
        assert_eq!(
            prompt(zephyr).unwrap(),
            "<|system|>\nBe brief.</s>\n<|user|>\n hi {{ 1 }} </s>\n<|assistant|>\nhello</s>\n<|user|>\nbye</s>\n\
             <|assistant|>\n"
        );
        let llama3 = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = \
            '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' \
            %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if \
            add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
        let text = prompt(llama3).unwrap();
        assert!(
            text.starts_with("<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"),
            "{text}"
        );
        assert!(text.contains("\n\nhi {{ 1 }}<|eot_id|>"), "{text}");
        let methods = "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% endif %}{{ \
            rest[0].content.strip() }}{% for m in rest %}{% if loop.first %}{% continue %}{% endif %}|{{ m.content | \
            tojson }}{% endfor %}{{ strftime_now('%d %b %Y') }}";
        assert_eq!(prompt(methods).unwrap(), "hi {{ 1 }}|\"hello\"|\"bye\"01 Jan 2025");
    }

    #[test]
    fn a_template_that_refuses_is_wrong_or_does_not_end_is_an_error() {
        let cases = [
            ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
            ("{% for", "syntax"),
            ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "fuel"),
            ("{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}", "more than 4194304 bytes"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
            ("{% include '/etc/passwd' %}", "another template"),
            ("{{ tools | length }}", "NoneType"),
            ("{{ messages[0].append(1) }}", "undefined"),
        ];
        for (template, reason) in cases {
            let error = prompt(template).unwrap_err();
            assert!(error.contains(reason), "{error} for {template}");
        }
    }
}
