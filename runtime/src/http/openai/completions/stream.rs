//! Streams completions as server-sent events: chunks, the usage if requested, and `[DONE]`.
//!
//! Invariant: the sent text is always a prefix of the outcome. If an attempt is lost, the stream resumes once the next
//! attempt has produced the same text. If its text differs, the stream ends with an error.

use super::answer::{Completion, CompletionUsage, Envelope, Shape};
use crate::clock;
use crate::http::error::ApiError;
use crate::http::limits::GENERATIONS_AT_ONCE;
use crate::http::node_client::{internal, unexpected_output};
use crate::http::openai::error::OpenAiError;
use crate::http::state::Api;
use crate::http::task_runner::{self, Part, TaskGuard};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use engine::request::{Cursor, TaskUpdate};
use engine::task::{TaskSpec, TaskStatus};
use engine::{Fingerprint, TaskId};
use futures::Stream;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;

/// Submits the tasks, and returns the stream of their choices, with `answers` choices for each prompt.
pub(super) async fn begin(
    api: Api,
    shape: Shape,
    specs: Vec<TaskSpec>,
    answers: usize,
    include_usage: bool,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, OpenAiError> {
    let mut remaining: VecDeque<TaskSpec> = specs.into();
    let mut first = remaining.pop_front().ok_or_else(|| internal("internal_error", unexpected_output()))?;
    let mut required = None;
    if !remaining.is_empty() {
        // All choices use one model.
        let (name, fingerprint) = task_runner::choose(&api, task_runner::wish(&first)).await?;
        required = Some(fingerprint);
        for spec in std::iter::once(&mut first).chain(&mut remaining) {
            spec.model = Some(name.clone());
        }
    }
    let mut guard = TaskGuard::new(api);
    let model = first.model.clone().unwrap_or_default();
    let task = guard.submit(&first, required).await?;
    let stream = CompletionStream {
        guard,
        required,
        envelope: Envelope { shape, task, model, created: clock::wall().0 / 1000 },
        answers,
        include_usage,
        current: CurrentChoice::new(task),
        index: 0,
        submitted: VecDeque::new(),
        remaining,
        usage: CompletionUsage::default(),
        ready: VecDeque::new(),
        ended: false,
    };
    let events = futures::stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok(event), stream))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

struct CompletionStream {
    guard: TaskGuard,
    /// Model of all choices, if there are several.
    required: Option<Fingerprint>,
    envelope: Envelope,
    answers: usize,
    include_usage: bool,
    /// The choice that is being sent. Choices are sent one after the other, although several are generated at a time.
    current: CurrentChoice,
    index: usize,
    /// Tasks of the next choices.
    submitted: VecDeque<TaskId>,
    /// Choices that are not submitted yet.
    remaining: VecDeque<TaskSpec>,
    usage: CompletionUsage,
    ready: VecDeque<Value>,
    ended: bool,
}

/// A choice that is being sent, and the state of its task.
struct CurrentChoice {
    task: TaskId,
    seen: Cursor,
    sent: SentText,
}

impl CurrentChoice {
    fn new(task: TaskId) -> Self {
        Self {
            task,
            seen: Cursor { status: TaskStatus::Queued, attempt: 0, bytes: 0 },
            sent: SentText::default(),
        }
    }
}

impl CompletionStream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                // The last event is not JSON.
                let data = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                return Some(Event::default().data(data));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.step().await {
                self.ready.push_back(error.body());
                self.ended = true;
            }
        }
    }

    async fn step(&mut self) -> Result<(), OpenAiError> {
        while self.submitted.len() + 1 < GENERATIONS_AT_ONCE
            && let Some(spec) = self.remaining.pop_front()
        {
            self.submitted.push_back(self.guard.submit(&spec, self.required).await?);
        }
        let (task, seen) = (self.current.task, self.current.seen);
        let (view, news) = self.guard.watch(task, seen).await?;
        if self.index == 0 {
            self.envelope.model.clone_from(&view.model);
        }
        self.current.seen.status = view.status;
        if !view.status.is_terminal() {
            if !news.text.is_empty() {
                let more = self.current.sent.take(&news)?;
                let bytes = self.current.sent.attempt_bytes();
                (self.current.seen.attempt, self.current.seen.bytes) = (news.attempt, bytes);
                self.push_text(more.as_deref());
            }
            return Ok(());
        }
        let completion =
            Completion::from_output(task_runner::output(Part::WHOLE, self.guard.result(task).await?)?)?;
        let rest = self.current.sent.rest(&completion.text)?;
        self.current.sent.is_all(&completion.text)?;
        self.push_text(rest.as_deref());
        self.ready.push_back(self.envelope.chunk(self.index, None, false, Some(completion.finish)));
        self.usage.add(&completion, self.index.is_multiple_of(self.answers));
        match self.submitted.pop_front() {
            Some(next) => (self.current, self.index) = (CurrentChoice::new(next), self.index + 1),
            None => self.end(),
        }
        Ok(())
    }

    /// Queues the end of the stream.
    fn end(&mut self) {
        self.ended = true;
        if self.include_usage {
            self.ready.push_back(self.envelope.usage_chunk(self.usage));
        }
        self.ready.push_back(Value::String("[DONE]".to_owned()));
    }

    /// Queues more text; the first chunk has the role.
    fn push_text(&mut self, text: Option<&str>) {
        let first = !self.current.sent.started;
        if first || text.is_some() {
            self.current.sent.started = true;
            let chunk = self.envelope.chunk(self.index, Some(text.unwrap_or_default()), first, None);
            self.ready.push_back(chunk);
        }
    }
}

/// Text sent to the client, and text of the current attempt.
#[derive(Debug, Default)]
struct SentText {
    started: bool,
    sent: String,
    attempt: u32,
    text: String,
}

impl SentText {
    /// Adds text of an attempt, and returns the part that the client does not have yet.
    fn take(&mut self, news: &TaskUpdate) -> Result<Option<String>, ApiError> {
        if news.attempt != self.attempt || news.offset == 0 {
            self.attempt = news.attempt;
            self.text.clear();
        }
        self.text.push_str(&news.text);
        let text = std::mem::take(&mut self.text);
        let more = self.rest(&text);
        self.text = text;
        more
    }

    /// Returns the part of a text after the sent prefix; `None` while the text is not longer.
    fn rest(&mut self, text: &str) -> Result<Option<String>, ApiError> {
        if self.sent.starts_with(text) {
            return Ok(None);
        }
        let rest = text.strip_prefix(self.sent.as_str()).ok_or_else(differs)?;
        self.sent.push_str(rest);
        Ok(Some(rest.to_owned()))
    }

    /// Checks that exactly this text was sent.
    fn is_all(&self, text: &str) -> Result<(), ApiError> {
        if self.sent == text { Ok(()) } else { Err(differs()) }
    }

    fn attempt_bytes(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }
}

fn differs() -> ApiError {
    let message = "the node that wrote this is gone, and the next one wrote something else";
    ApiError::new(StatusCode::BAD_GATEWAY, "attempts_differ", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(attempt: u32, offset: u32, text: &str) -> TaskUpdate {
        TaskUpdate { attempt, offset, text: text.to_owned() }
    }

    #[test]
    fn another_attempt_goes_on_where_its_text_agrees() {
        let mut sent = SentText::default();
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(sent.take(&news(1, 0, "once ")), some("once "));
        assert_eq!(sent.take(&news(1, 5, "upon")), some("upon"));
        assert_eq!(sent.take(&news(2, 0, "once")), Ok(None), "known already");
        assert_eq!(sent.take(&news(2, 4, " upon a")), some(" a"));
        assert_eq!(sent.rest("once upon a time"), some(" time"));
        assert_eq!(sent.rest("once upon a time"), Ok(None));
    }

    #[test]
    fn an_attempt_that_says_something_else_ends_the_stream() {
        let mut sent = SentText::default();
        sent.take(&news(1, 0, "once upon")).unwrap();
        let error = sent.take(&news(2, 0, "there")).unwrap_err();
        assert_eq!(error.body().error.code, "attempts_differ");
        assert!(sent.is_all("once").is_err(), "sent more than there is");
    }
}
