//! Generations piece by piece, as server-sent events: chunks, perhaps the usage, and `[DONE]`.
//!
//! What was sent is always the beginning of the outcome. Where an attempt dies and the next one begins, the stream goes
//! on once that has come to the same place by the same words; where its words differ, the stream ends with an error.

use super::answer::{Head, Shape, Usage, Written};
use crate::clock;
use crate::http::error::ApiError;
use crate::http::limits::GENERATIONS_AT_ONCE;
use crate::http::node_client::{internal, unexpected_output};
use crate::http::openai::error::OpenAiError;
use crate::http::state::Api;
use crate::http::task_runner::{self, Errand, Part};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use engine::request::{Cursor, TaskUpdate};
use engine::task::{TaskSpec, TaskStatus};
use engine::{Fingerprint, TaskId};
use futures::Stream;
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;

/// Submits the tasks, and returns the stream of what they write; so many each are answers to the same prompt.
pub(super) async fn begin(
    api: Api,
    shape: Shape,
    specs: Vec<TaskSpec>,
    answers: usize,
    include_usage: bool,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, OpenAiError> {
    let mut to_come: VecDeque<TaskSpec> = specs.into();
    let mut first = to_come.pop_front().ok_or_else(|| internal("internal_error", unexpected_output()))?;
    let mut required = None;
    if !to_come.is_empty() {
        // All answers are of one model.
        let (name, fingerprint) = task_runner::choose(&api, task_runner::wish(&first)).await?;
        required = Some(fingerprint);
        for spec in std::iter::once(&mut first).chain(&mut to_come) {
            spec.model = Some(name.clone());
        }
    }
    let mut errand = Errand::new(api);
    let model = first.model.clone().unwrap_or_default();
    let task = errand.submit(&first, required).await?;
    let writer = Writer {
        errand,
        required,
        head: Head { shape, task, model, created: clock::wall().0 / 1000 },
        answers,
        include_usage,
        current: Current::of(task),
        index: 0,
        submitted: VecDeque::new(),
        to_come,
        usage: Usage::default(),
        waiting: VecDeque::new(),
        ended: false,
    };
    let events = futures::stream::unfold(writer, |mut writer| async move {
        let event = writer.next().await?;
        Some((Ok(event), writer))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

struct Writer {
    errand: Errand,
    /// Which model all answers must be of, where there are several.
    required: Option<Fingerprint>,
    head: Head,
    answers: usize,
    include_usage: bool,
    /// The answer that is being told. Each is told from beginning to end before the next, though several are written at
    /// the same time.
    current: Current,
    index: usize,
    /// The next answers' tasks.
    submitted: VecDeque<TaskId>,
    /// Those that are not tasks yet.
    to_come: VecDeque<TaskSpec>,
    usage: Usage,
    waiting: VecDeque<Value>,
    ended: bool,
}

/// One answer, and what is known of it.
struct Current {
    task: TaskId,
    seen: Cursor,
    told: Told,
}

impl Current {
    fn of(task: TaskId) -> Self {
        Self {
            task,
            seen: Cursor { status: TaskStatus::Queued, attempt: 0, bytes: 0 },
            told: Told::default(),
        }
    }
}

impl Writer {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(value) = self.waiting.pop_front() {
                // The last line of all is no JSON.
                let data = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                return Some(Event::default().data(data));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.step().await {
                self.waiting.push_back(error.body());
                self.ended = true;
            }
        }
    }

    async fn step(&mut self) -> Result<(), OpenAiError> {
        while self.submitted.len() + 1 < GENERATIONS_AT_ONCE
            && let Some(spec) = self.to_come.pop_front()
        {
            self.submitted.push_back(self.errand.submit(&spec, self.required).await?);
        }
        let (task, seen) = (self.current.task, self.current.seen);
        let (view, news) = self.errand.watch(task, seen).await?;
        if self.index == 0 {
            self.head.model.clone_from(&view.model);
        }
        self.current.seen.status = view.status;
        if !view.status.is_terminal() {
            if !news.text.is_empty() {
                let more = self.current.told.take(&news)?;
                let bytes = self.current.told.attempt_bytes();
                (self.current.seen.attempt, self.current.seen.bytes) = (news.attempt, bytes);
                self.tell(more.as_deref());
            }
            return Ok(());
        }
        let written = Written::of(task_runner::output(Part::WHOLE, self.errand.result(task).await?)?)?;
        let rest = self.current.told.rest(&written.text)?;
        self.current.told.is_all(&written.text)?;
        self.tell(rest.as_deref());
        self.waiting.push_back(self.head.chunk(self.index, None, false, Some(written.finish)));
        self.usage.add(&written, self.index.is_multiple_of(self.answers));
        match self.submitted.pop_front() {
            Some(next) => (self.current, self.index) = (Current::of(next), self.index + 1),
            None => self.end(),
        }
        Ok(())
    }

    /// Tells the client that this was all.
    fn end(&mut self) {
        self.ended = true;
        if self.include_usage {
            self.waiting.push_back(self.head.usage_chunk(self.usage));
        }
        self.waiting.push_back(Value::String("[DONE]".to_owned()));
    }

    /// Tells the client more text; the role goes with the first.
    fn tell(&mut self, text: Option<&str>) {
        let first = !self.current.told.begun;
        if first || text.is_some() {
            self.current.told.begun = true;
            let chunk = self.head.chunk(self.index, Some(text.unwrap_or_default()), first, None);
            self.waiting.push_back(chunk);
        }
    }
}

/// What the client was told, beside what the current attempt has written.
#[derive(Debug, Default)]
struct Told {
    begun: bool,
    told: String,
    attempt: u32,
    text: String,
}

impl Told {
    /// Takes in what an attempt writes, and returns what of it is new to the client.
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

    /// Returns what of a text follows what the client was told; nothing where the text is not that far yet.
    fn rest(&mut self, text: &str) -> Result<Option<String>, ApiError> {
        if self.told.starts_with(text) {
            return Ok(None);
        }
        let rest = text.strip_prefix(self.told.as_str()).ok_or_else(differs)?;
        self.told.push_str(rest);
        Ok(Some(rest.to_owned()))
    }

    /// Checks that the client was told this text and no more.
    fn is_all(&self, text: &str) -> Result<(), ApiError> {
        if self.told == text { Ok(()) } else { Err(differs()) }
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
        let mut told = Told::default();
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(told.take(&news(1, 0, "once ")), some("once "));
        assert_eq!(told.take(&news(1, 5, "upon")), some("upon"));
        assert_eq!(told.take(&news(2, 0, "once")), Ok(None), "known already");
        assert_eq!(told.take(&news(2, 4, " upon a")), some(" a"));
        assert_eq!(told.rest("once upon a time"), some(" time"));
        assert_eq!(told.rest("once upon a time"), Ok(None));
    }

    #[test]
    fn an_attempt_that_says_something_else_ends_the_stream() {
        let mut told = Told::default();
        told.take(&news(1, 0, "once upon")).unwrap();
        let error = told.take(&news(2, 0, "there")).unwrap_err();
        assert_eq!(error.body().error.code, "attempts_differ");
        assert!(told.is_all("once").is_err(), "told more than there is");
    }
}
