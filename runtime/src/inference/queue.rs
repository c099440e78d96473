//! The jobs inside a worker: texts of several jobs become one batch, and each job ends exactly once.
//!
//! First come, first served by text. A batch takes waiting texts of whatever jobs until it is worth a pass through
//! the model; a job ends when its last text does. Cancelling a job drops its waiting texts; texts that are being
//! computed are finished, and thrown away.

use super::protocol::JobResult;
use engine::InferenceError;
use engine::ids::JobId;
use engine::task::{EmbeddingInput, TaskOutput};
use std::collections::{BTreeMap, VecDeque};

/// What is known of the jobs of one worker.
#[derive(Default)]
pub(super) struct Queue {
    jobs: BTreeMap<JobId, Job>,
    /// Texts that nobody computes yet, in the order of their arrival.
    waiting: VecDeque<Text>,
}

/// One text of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) job: JobId,
    /// Whose it is: its task's place in the job, and its place in the task.
    pub(super) place: Place,
    pub(super) input: EmbeddingInput,
}

/// A task's place in its job, and a text's place in its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) task: usize,
    pub(super) text: usize,
}

/// A job that ended.
#[derive(Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) job: JobId,
    pub(super) micros: u64,
    pub(super) result: JobResult,
}

struct Job {
    tasks: Vec<Task>,
    /// Texts that wait or are being computed.
    open: usize,
    micros: u64,
    cancelled: bool,
}

/// One task of a job: several texts that succeed together or not at all.
struct Task {
    vectors: Vec<Option<Vec<f32>>>,
    tokens: u32,
    /// What went wrong first.
    error: Option<InferenceError>,
}

impl Queue {
    /// Adds a job's texts, a list per task; a job without any ends at once.
    pub(super) fn start(&mut self, id: JobId, inputs: Vec<Vec<EmbeddingInput>>) -> Option<Ended> {
        let open = inputs.iter().map(Vec::len).sum();
        let tasks = inputs.iter().map(|texts| Task::of(texts.len())).collect();
        self.jobs.insert(id, Job { tasks, open, micros: 0, cancelled: false });
        for (task, inputs) in inputs.into_iter().enumerate() {
            let texts = inputs.into_iter().enumerate();
            self.waiting.extend(texts.map(|(text, input)| Text {
                job: id,
                place: Place { task, text },
                input,
            }));
        }
        self.end_if_done(id)
    }

    /// Cancels a job; it ends now, or when the texts that are being computed are.
    pub(super) fn cancel(&mut self, id: JobId) -> Option<Ended> {
        let job = self.jobs.get_mut(&id)?;
        job.cancelled = true;
        let before = self.waiting.len();
        self.waiting.retain(|text| text.job != id);
        job.open -= before - self.waiting.len();
        self.end_if_done(id)
    }

    /// Tells whether nobody wants a job's outputs any more.
    pub(super) fn is_cancelled(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_none_or(|job| job.cancelled)
    }

    /// Takes the texts of the next batch, and leaves their share to as many other takers; each text must be given to
    /// [`Self::finish`].
    pub(super) fn take(&mut self, takers: usize) -> Vec<Text> {
        let texts_max = self.waiting.len().div_ceil(takers.max(1)).min(BATCH_TEXTS_MAX);
        let mut bytes = 0;
        let mut taken = 0;
        for text in &self.waiting {
            if taken == texts_max || (taken > 0 && bytes + text.input.bytes() > BATCH_BYTES_MAX) {
                break;
            }
            bytes += text.input.bytes();
            taken += 1;
        }
        self.waiting.drain(..taken).collect()
    }

    /// Notes a text's vector, its tokens, and the time that it took; the last text of a job ends it.
    pub(super) fn finish(
        &mut self,
        id: JobId,
        place: Place,
        micros: u64,
        output: Result<(Vec<f32>, u32), InferenceError>,
    ) -> Option<Ended> {
        let job = self.jobs.get_mut(&id)?;
        let task = job.tasks.get_mut(place.task)?;
        match output {
            Ok((vector, tokens)) => {
                if let Some(slot) = task.vectors.get_mut(place.text) {
                    *slot = Some(vector);
                }
                task.tokens = task.tokens.saturating_add(tokens);
            }
            Err(error) => task.error = task.error.take().or_else(|| Some(task.name(place.text, error))),
        }
        job.open = job.open.saturating_sub(1);
        job.micros = job.micros.saturating_add(micros);
        self.end_if_done(id)
    }

    fn end_if_done(&mut self, id: JobId) -> Option<Ended> {
        if self.jobs.get(&id)?.open > 0 {
            return None;
        }
        let job = self.jobs.remove(&id)?;
        let result = if job.cancelled {
            Err(InferenceError::Cancelled)
        } else {
            Ok(job.tasks.into_iter().map(Task::output).collect())
        };
        Some(Ended { job: id, micros: job.micros, result })
    }
}

impl Task {
    fn of(texts: usize) -> Self {
        Self { vectors: vec![None; texts], tokens: 0, error: None }
    }

    /// Says which text is refused, where a task has several.
    fn name(&self, text: usize, error: InferenceError) -> InferenceError {
        match error {
            InferenceError::InputRejected(why) if self.vectors.len() > 1 => {
                InferenceError::InputRejected(format!("input {text}: {why}"))
            }
            InferenceError::Cancelled
            | InferenceError::Crashed
            | InferenceError::InputRejected(_)
            | InferenceError::ModelFailed(_) => error,
        }
    }

    fn output(self) -> Result<TaskOutput, InferenceError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(TaskOutput::Embedding {
                vectors: self.vectors.into_iter().flatten().collect(),
                tokens: self.tokens,
            }),
        }
    }
}

/// The most texts in a batch.
const BATCH_TEXTS_MAX: usize = 32;
/// Texts are added to a batch while they have fewer bytes than this together: about 512 tokens of English.
const BATCH_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> EmbeddingInput {
        EmbeddingInput::Text(text.to_owned())
    }

    /// A job of tasks with one text each.
    fn texts(count: usize) -> Vec<Vec<EmbeddingInput>> {
        (0..count).map(|index| vec![text(&format!("text {index}"))]).collect()
    }

    fn task(task: usize) -> Place {
        Place { task, text: 0 }
    }

    fn vector(tokens: u32) -> Result<(Vec<f32>, u32), InferenceError> {
        Ok((vec![0.5], tokens))
    }

    fn output(tokens: u32) -> Result<TaskOutput, InferenceError> {
        Ok(TaskOutput::Embedding { vectors: vec![vec![0.5]], tokens })
    }

    #[test]
    fn jobs_share_a_batch_and_end_with_their_own_outputs_in_order() {
        let mut queue = Queue::default();
        assert_eq!(queue.start(JobId(1), texts(2)), None);
        assert_eq!(queue.start(JobId(2), texts(1)), None);
        let batch = queue.take(1);
        let places: Vec<_> = batch.iter().map(|text| (text.job, text.place.task)).collect();
        assert_eq!(places, [(JobId(1), 0), (JobId(1), 1), (JobId(2), 0)]);
        assert_eq!(queue.take(1), []);

        assert_eq!(queue.finish(JobId(1), task(1), 5, vector(11)), None);
        let ended = queue.finish(JobId(2), task(0), 3, vector(20));
        assert_eq!(ended, Some(Ended { job: JobId(2), micros: 3, result: Ok(vec![output(20)]) }));
        let ended = queue.finish(JobId(1), task(0), 4, vector(10));
        assert_eq!(ended, Some(Ended { job: JobId(1), micros: 9, result: Ok(vec![output(10), output(11)]) }));
    }

    #[test]
    fn a_cancelled_job_ends_once_and_takes_no_text_of_others_with_it() {
        let mut queue = Queue::default();
        queue.start(JobId(1), texts(40));
        queue.start(JobId(2), texts(1));
        let batch = queue.take(1);
        assert_eq!(batch.len(), BATCH_TEXTS_MAX);
        assert_eq!(queue.cancel(JobId(1)), None);
        assert!(queue.is_cancelled(JobId(1)));
        let rest: Vec<_> = queue.take(1).into_iter().map(|text| text.job).collect();
        assert_eq!(rest, [JobId(2)]);
        let ended: Vec<_> =
            batch.iter().filter_map(|text| queue.finish(text.job, text.place, 1, vector(1))).collect();
        assert_eq!(ended, [Ended { job: JobId(1), micros: 32, result: Err(InferenceError::Cancelled) }]);
        assert_eq!(queue.cancel(JobId(1)), None);
    }

    #[test]
    fn a_waiting_job_ends_when_it_is_cancelled_and_an_empty_one_when_it_starts() {
        let mut queue = Queue::default();
        queue.start(JobId(1), texts(3));
        let ended = queue.cancel(JobId(1));
        assert_eq!(ended, Some(Ended { job: JobId(1), micros: 0, result: Err(InferenceError::Cancelled) }));
        let ended = queue.start(JobId(2), Vec::new());
        assert_eq!(ended, Some(Ended { job: JobId(2), micros: 0, result: Ok(Vec::new()) }));
    }

    #[test]
    fn takers_share_what_waits() {
        let mut queue = Queue::default();
        queue.start(JobId(1), texts(5));
        assert_eq!([queue.take(2).len(), queue.take(2).len(), queue.take(2).len()], [3, 1, 1]);
    }

    #[test]
    fn a_long_text_has_a_batch_of_its_own() {
        let mut queue = Queue::default();
        queue.start(JobId(1), vec![vec![text(&"a".repeat(BATCH_BYTES_MAX * 2)), text("b")]]);
        assert_eq!(queue.take(1).len(), 1);
        assert_eq!(queue.take(1).len(), 1);
    }

    #[test]
    fn the_texts_of_a_task_succeed_together_or_not_at_all() {
        let mut queue = Queue::default();
        queue.start(JobId(1), vec![vec![text("a"), text("b")], vec![text("c"), text("d")]]);
        let batch = queue.take(1);
        let refused = || Err(InferenceError::InputRejected("too odd".to_owned()));
        assert_eq!(queue.finish(JobId(1), batch[0].place, 1, vector(2)), None);
        assert_eq!(queue.finish(JobId(1), batch[3].place, 1, refused()), None);
        assert_eq!(queue.finish(JobId(1), batch[2].place, 1, vector(1)), None);
        let ended = queue.finish(JobId(1), batch[1].place, 1, vector(3)).unwrap();
        let both = TaskOutput::Embedding { vectors: vec![vec![0.5]; 2], tokens: 5 };
        let which = InferenceError::InputRejected("input 1: too odd".to_owned());
        assert_eq!(ended.result, Ok(vec![Ok(both), Err(which)]));
    }
}
