//! `run` without a prompt, on a terminal: a conversation, one message a line.

use super::{answer, submit, text_stream};
use crate::client::Client;
use crate::commands::task::result;
use crate::error::Failure;
use crate::output;
use api::NewTask;
use engine::task::{CHAT_MESSAGES_MAX, ChatMessage, ChatRole};
use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;

/// Converses until the user ends it. `first` has the options, and the instructions for the model as its messages.
pub(super) async fn converse(client: &Client, first: NewTask) -> Result<(), Failure> {
    let config = rustyline::Config::builder().auto_add_history(true).build();
    let mut editor = Editor::<(), MemHistory>::with_history(config, MemHistory::new())
        .map_err(|error| Failure::from_error(&error).id("system_failed"))?;
    output::notice("Each line is a message. Ctrl-C stops an answer, Ctrl-D ends the conversation.")?;
    let mut messages = first.messages.clone().unwrap_or_default();
    let instructions = messages.len();
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(Failure::from_error(&error).id("system_failed")),
        };
        if line.trim().is_empty() {
            continue;
        }
        messages.push(ChatMessage { role: ChatRole::User, content: line });
        forget(&mut messages, instructions);
        let task = NewTask { messages: Some(messages.clone()), ..first.clone() };
        match reply(client, task).await {
            Ok(Some(content)) => messages.push(ChatMessage { role: ChatRole::Assistant, content }),
            // The model has not answered the message, so it is not part of the conversation.
            Ok(None) => drop(messages.pop()),
            Err(failure) => {
                let _ = failure.report();
                messages.pop();
            }
        }
    }
}

/// Forgets the oldest messages of a conversation that has become too long for one task.
fn forget(messages: &mut Vec<ChatMessage>, instructions: usize) {
    // A question goes with its answer.
    while messages.len() > CHAT_MESSAGES_MAX {
        messages.drain(instructions..instructions + 2);
    }
}

/// Prints the answer of the model and returns it; `None` if Ctrl-C stopped it.
async fn reply(client: &Client, task: NewTask) -> Result<Option<String>, Failure> {
    let id = submit::submit(client, &submit::checked(task)?).await?;
    let mut printed = tokio::select! {
        printed = text_stream::print(client, id) => printed?,
        _ = tokio::signal::ctrl_c() => {
            // The task may have ended in this moment.
            let _ = client.delete(&format!("/api/v1/tasks/{id}")).await;
            output::line("")?;
            return Ok(None);
        }
    };
    let (_, result) = result::fetch(client, id).await?;
    match printed.end(&result)? {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(answer::failure(&result)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_conversation_keeps_its_instructions_and_its_end() {
        let message = |number: usize| {
            let role = if number == 0 { ChatRole::System } else { ChatRole::User };
            ChatMessage { role, content: number.to_string() }
        };
        let mut messages: Vec<ChatMessage> = (0..=CHAT_MESSAGES_MAX).map(message).collect();
        forget(&mut messages, 1);
        let kept: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!((kept.len(), &kept[..2]), (CHAT_MESSAGES_MAX - 1, &["0", "3"][..]));
    }
}
