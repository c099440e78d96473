//! One model computes all outputs of a request: a worker runs a task only with the model that the task names, and text
//! that was streamed comes from the model that the result names.
//!
//! A model name does not identify a model. Which models a node has is taken from what the simulation last told it, not
//! from what the node reports.

use crate::invariant::{Interests, Invariant, Observation};
use crate::node_set::NodeIndex;
use engine::record::Record;
use engine::request::Response;
use engine::task::Outcome;
use engine::{Event, Fingerprint, Input, Instant, Output, TaskId};
use std::collections::BTreeMap;

/// Tracks which model computed each attempt.
#[derive(Debug)]
pub(super) struct OneModelPerRequest {
    nodes: Vec<Worker>,
    /// The model of each attempt, by task and attempt number.
    computed_by: BTreeMap<(TaskId, u32), Fingerprint>,
    /// The models whose text was streamed, by task.
    shown_of: BTreeMap<TaskId, Fingerprint>,
    checks: u64,
}

#[derive(Clone, Debug, Default)]
struct Worker {
    /// The model that the node has under each name.
    models: BTreeMap<String, Option<Fingerprint>>,
    /// Attempts that it has started and that are part of its next job.
    begun: Vec<(TaskId, u32)>,
}

pub(super) const NAME: &str = "one_model_per_request";

impl OneModelPerRequest {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes: vec![Worker::default(); nodes],
            computed_by: BTreeMap::new(),
            shown_of: BTreeMap::new(),
            checks: 0,
        }
    }

    fn infer(&mut self, node: NodeIndex, name: &str, wanted: Fingerprint) -> Result<(), String> {
        self.checks += 1;
        let worker = &mut self.nodes[node as usize];
        let has = worker.models.get(name).copied().flatten();
        self.computed_by.extend(worker.begun.drain(..).map(|attempt| (attempt, wanted)));
        if has == Some(wanted) {
            return Ok(());
        }
        Err(format!("a job for {name} {wanted} was given to a worker that has {has:?} under the name"))
    }

    fn shown(&mut self, task: TaskId, attempt: u32) -> Result<(), String> {
        self.checks += 1;
        let Some(&model) = self.computed_by.get(&(task, attempt)) else { return Ok(()) };
        let before = *self.shown_of.entry(task).or_insert(model);
        if before == model {
            return Ok(());
        }
        Err(format!("of task {task} a part was shown that {before} wrote, and another that {model} did"))
    }

    fn ended(&mut self, task: TaskId, model: Option<Fingerprint>) -> Result<(), String> {
        self.checks += 1;
        let attempts = || self.computed_by.range((task, 0)..=(task, u32::MAX));
        if let Some(shown) = self.shown_of.get(&task).filter(|shown| Some(**shown) != model) {
            return Err(format!("task {task} was shown as {shown} wrote it, but its result is of {model:?}"));
        }
        if attempts().next().is_some() && !attempts().any(|(_, by)| Some(*by) == model) {
            return Err(format!("the result of task {task} is of {model:?}, which computed no attempt"));
        }
        Ok(())
    }
}

impl Invariant for OneModelPerRequest {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interests(&self) -> Interests {
        Interests::EVENTS | Interests::INPUTS | Interests::OUTPUTS
    }

    fn observe(&mut self, _: Instant, node: NodeIndex, observation: Observation<'_>) -> Result<(), String> {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only these concern models")]
        match observation {
            Observation::Started => self.nodes[node as usize] = Worker::default(),
            Observation::Input(Input::Model { name, fingerprint, .. }) => {
                self.nodes[node as usize].models.insert(name.clone(), *fingerprint);
            }
            // An attempt that started again under another number is part of an earlier job.
            Observation::Input(_) => self.nodes[node as usize].begun.clear(),
            Observation::Output(Output::Event(Event::TaskStarted { task, attempt, .. })) => {
                self.nodes[node as usize].begun.push((*task, *attempt));
            }
            Observation::Output(Output::Infer { model, fingerprint, .. }) => {
                return self.infer(node, model, *fingerprint);
            }
            Observation::Output(Output::Reply { answer: Ok(Response::TaskUpdate(view, news)), .. })
                if !news.text.is_empty() =>
            {
                return self.shown(view.id, news.attempt);
            }
            Observation::Durable(Record::Result(result)) => {
                if matches!(result.outcome, Outcome::Completed(_)) {
                    return self.ended(result.summary.id, result.fingerprint);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId([1; 16]);
    const ONE: Fingerprint = Fingerprint([1; 16]);
    const OTHER: Fingerprint = Fingerprint([2; 16]);

    /// Returns the state after a task whose first attempt used one model and the second another.
    fn mixed() -> OneModelPerRequest {
        let mut invariant = OneModelPerRequest::new(2);
        for (node, model) in [(0, ONE), (1, OTHER)] {
            let worker = &mut invariant.nodes[node];
            worker.models.insert("m".to_owned(), Some(model));
            worker.begun.push((TASK, u32::try_from(node + 1).unwrap()));
            assert_eq!(invariant.infer(u32::try_from(node).unwrap(), "m", model), Ok(()));
        }
        invariant
    }

    #[test]
    fn a_worker_that_has_another_model_of_the_name_is_wrong() {
        let mut invariant = mixed();
        assert!(invariant.infer(0, "m", OTHER).is_err());
        assert!(invariant.infer(0, "n", ONE).is_err());
    }

    #[test]
    fn what_is_shown_and_the_result_are_of_one_model() {
        assert!(mixed().ended(TASK, Some(OTHER)).is_ok(), "nothing was shown of the first");
        assert!(mixed().ended(TASK, None).is_err());
        let mut invariant = mixed();
        assert_eq!(invariant.shown(TASK, 1), Ok(()));
        assert!(invariant.shown(TASK, 2).is_err());
        assert_eq!(invariant.ended(TASK, Some(ONE)), Ok(()));
        assert!(invariant.ended(TASK, Some(OTHER)).is_err());
    }
}
