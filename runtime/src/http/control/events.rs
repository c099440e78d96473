//! Server-sent events of one task: `status` when its status or worker changes, `progress` with more generated text, and
//! `end` with the ended task.
//!
//! A new attempt starts its text again: its first progress has offset 0.

use crate::http::node_client;
use crate::http::state::Api;
use api::Task;
use axum::response::sse::{Event, KeepAlive, Sse};
use engine::request::{Cursor, TaskUpdate, TaskView};
use engine::{NodeId, TaskId};
use futures::Stream;
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;

/// Returns the events of a task from its current state to its end.
pub(super) fn task_events(api: Api, now: TaskView) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut watcher = Watcher {
        api,
        task: now.id,
        seen: Cursor { status: now.status, attempt: 0, bytes: 0 },
        attempt: None,
        ready: VecDeque::new(),
        ended: false,
    };
    watcher.status(now);
    let events = futures::stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok(event), watcher))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

struct Watcher {
    api: Api,
    task: TaskId,
    seen: Cursor,
    /// The reported attempt and its worker.
    attempt: Option<(u32, Option<NodeId>)>,
    /// Events that are not sent yet.
    ready: VecDeque<Event>,
    ended: bool,
}

/// Event with more text of a task.
#[derive(Serialize)]
struct Progress<'a> {
    attempt: u32,
    offset: u32,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

impl Watcher {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            match node_client::watch(&self.api, self.task, self.seen).await {
                Ok((view, news)) => self.handle_update(view, &news),
                Err(error) => {
                    self.ready.push_back(event("error", &error.body()));
                    self.ended = true;
                }
            }
        }
    }

    fn handle_update(&mut self, view: TaskView, news: &TaskUpdate) {
        // A new attempt also shows that the status changed and changed back in between.
        let changed = view.status != self.seen.status || Some((view.attempts, view.worker)) != self.attempt;
        let ended = view.status.is_terminal();
        if changed && !ended {
            self.status(view.clone());
        }
        if !news.text.is_empty() {
            let length = u32::try_from(news.text.len()).unwrap_or(u32::MAX);
            (self.seen.attempt, self.seen.bytes) = (news.attempt, news.offset.saturating_add(length));
            let progress = Progress {
                attempt: news.attempt,
                offset: news.offset,
                text: &news.text,
                tokens: view.tokens.map(|tokens| tokens.produced),
                max_tokens: view.tokens.map(|tokens| tokens.most),
            };
            self.ready.push_back(event("progress", &progress));
        }
        if ended {
            self.status(view);
        }
    }

    fn status(&mut self, view: TaskView) {
        (self.seen.status, self.attempt) = (view.status, Some((view.attempts, view.worker)));
        self.ended = view.status.is_terminal();
        let name = if self.ended { "end" } else { "status" };
        self.ready.push_back(event(name, &Task::from(view)));
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // Serialising plain data cannot fail.
    Event::default().event(name).json_data(data).unwrap_or_default()
}
