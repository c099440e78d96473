//! Requests of users: submissions, waits for outcomes, streamed text, and the answers to them.

use super::{EventQueue, PendingRequest, Scheduled};
use crate::clients::{self, RETRY_INTERVAL};
use crate::node_set::NodeIndex;
use crate::random::Purpose;
use core::time::Duration;
use engine::request::{Answer, Cursor, Request, Response};
use engine::task::{TaskKind, TaskStatus};
use engine::{Input, Rejection, RequestId, TaskId};

impl EventQueue {
    pub(super) fn submission(&mut self, number: u32) {
        let Some(workload) = &self.scenario.workload else { return };
        let Some((_, origin)) = workload.submissions.when_and_where(number) else { return };
        let Some(node) = self.faults.pick(origin, Purpose::Origin, u64::from(number)) else { return };
        if let Some(request) = self.observer.clients.submission(number, node) {
            let now = self.now();
            if let Some(live) = &mut self.live {
                live.note_task(now, node, &request);
            }
            self.ask(node, PendingRequest::Submission(number), request);
        }
    }

    pub(super) fn ask(&mut self, node: NodeIndex, pending: PendingRequest, request: Request) {
        let host = &mut self.hosts[node as usize];
        if host.node.is_some() {
            let id = RequestId(host.requests);
            host.requests += 1;
            host.pending.insert(id, pending);
            self.handle(node, Input::Request { id, request });
        }
    }

    /// Schedules a user's next request for streamed text, once the node has returned all its outputs.
    fn watch(&mut self, node: NodeIndex, task: TaskId, seen: Cursor) {
        let incarnation = self.hosts[node as usize].incarnation;
        self.after(Duration::ZERO, Scheduled::WatchOn { node, incarnation, task, seen });
    }

    pub(super) fn reply(&mut self, node: NodeIndex, id: RequestId, answer: Answer) {
        let host = &mut self.hosts[node as usize];
        let incarnation = host.incarnation;
        match host.pending.remove(&id) {
            None if self.live.is_some() => {}
            None => {
                let words = format!("an answer to a request that nobody awaits: {answer:?}");
                self.observer.violated(self.now(), node, "one_answer_per_request", words);
            }
            Some(PendingRequest::Fetch(number)) => self.fetched(number, &answer),
            Some(PendingRequest::Leave) => {}
            Some(PendingRequest::Live) => {
                if let Some(live) = &mut self.live {
                    live.reply(node, id, answer);
                }
            }
            Some(PendingRequest::Submission(number)) => {
                if matches!(answer, Err(Rejection::QueueFull { .. })) {
                    self.observer.mark("queue_full");
                }
                if let Some(task) = self.observer.clients.submitted(number, node, &answer) {
                    if self.scenario.workload.as_ref().is_some_and(|work| work.kind == TaskKind::Generation) {
                        self.watch(node, task, Cursor { status: TaskStatus::Queued, attempt: 0, bytes: 0 });
                    }
                    self.after(Duration::ZERO, Scheduled::AwaitOutcome { node, incarnation, number, task });
                }
            }
            Some(PendingRequest::News(task, seen)) => {
                if let Ok(Response::TaskUpdate(view, news)) = &answer
                    && !view.status.is_terminal()
                {
                    if !news.text.is_empty() {
                        self.observer.mark("text_streamed");
                    }
                    self.watch(node, task, clients::advance_cursor(seen, view.status, news));
                }
            }
            Some(PendingRequest::Outcome(number)) => {
                if let Some(task) = self.observer.clients.awaited(number, &answer) {
                    self.after(RETRY_INTERVAL, Scheduled::AwaitOutcome { node, incarnation, number, task });
                }
            }
        }
    }
}
