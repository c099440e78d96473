//! The text streamed during an attempt is a prefix of the attempt's final output: no piece is lost, repeated or taken
//! from another attempt.

use crate::invariant::{Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::record::Record;
use engine::request::{Response, TaskUpdate};
use engine::task::{Outcome, TaskOutput};
use engine::{Instant, Output, TaskId};
use std::collections::BTreeMap;

/// Tracks the streamed text of each attempt.
#[derive(Debug, Default)]
pub(super) struct StreamsAgree {
    shown: BTreeMap<(TaskId, u32), String>,
    checks: u64,
}

pub(super) const NAME: &str = "streams_agree";

impl StreamsAgree {
    fn piece(&mut self, task: TaskId, news: &TaskUpdate) -> Result<(), String> {
        if news.text.is_empty() {
            return Ok(());
        }
        self.checks += 1;
        let text = self.shown.entry((task, news.attempt)).or_default();
        let offset = news.offset as usize;
        let known = text.get(offset..).ok_or_else(|| {
            format!("task {task}, attempt {}: after {} bytes came byte {offset}", news.attempt, text.len())
        })?;
        match news.text.strip_prefix(known) {
            Some(more) => text.push_str(more),
            None if known.starts_with(&news.text) => {}
            None => return Err(format!("task {task}: {known:?} became {:?}", news.text)),
        }
        Ok(())
    }

    fn written(&mut self, task: TaskId, whole: &str) -> Result<(), String> {
        self.checks += 1;
        let of_task = self.shown.range((task, 0)..=(task, u32::MAX));
        match of_task.into_iter().find(|(_, shown)| !whole.starts_with(shown.as_str())) {
            Some(((_, attempt), shown)) => {
                Err(format!("task {task} wrote {whole:?}, but attempt {attempt} was shown as {shown:?}"))
            }
            None => Ok(()),
        }
    }
}

impl Invariant for StreamsAgree {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, _: Instant, _: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Output(Output::Reply { answer: Ok(Response::TaskUpdate(view, news)), .. }) => {
                self.piece(view.id, news)
            }
            Observation::Durable(Record::Result(result)) => match &result.outcome {
                Outcome::Completed(TaskOutput::Generation { text, .. }) => {
                    self.written(result.summary.id, text)
                }
                Outcome::Cancelled | Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Timeout => Ok(()),
            },
            Observation::Durable(_)
            | Observation::Input(_)
            | Observation::Output(_)
            | Observation::Started
            | Observation::Stopped => Ok(()),
        }
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId([1; 16]);

    #[test]
    fn gaps_and_changed_texts_are_wrong() {
        let mut invariant = StreamsAgree::default();
        let news = |attempt, offset, text: &str| TaskUpdate { attempt, offset, text: text.to_owned() };
        assert_eq!(invariant.piece(TASK, &news(1, 0, "once ")), Ok(()));
        assert_eq!(invariant.piece(TASK, &news(1, 5, "upon")), Ok(()));
        assert_eq!(invariant.piece(TASK, &news(1, 5, "upon a")), Ok(()), "asked again");
        assert!(invariant.piece(TASK, &news(1, 12, "time")).is_err());
        assert!(invariant.piece(TASK, &news(1, 5, "there")).is_err());
        assert_eq!(invariant.piece(TASK, &news(2, 0, "on")), Ok(()));
        assert_eq!(invariant.written(TASK, "once upon a time"), Ok(()));
        assert!(invariant.written(TASK, "once there was").is_err());
    }
}
