//! The jobs inside a worker: texts of several jobs become one batch, and each job ends exactly once.
//!
//! First come, first served by text. A batch takes waiting texts of whatever jobs until it is worth a pass through
//! the model; a job ends when its last text does. Cancelling a job drops its waiting texts; texts that are being
//! computed are finished, and thrown away.

use super::protocol::JobResult;
use engine::InferenceError;
use engine::ids::JobId;
use engine::task::TaskOutput;
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
    /// Its place in the job.
    pub(super) index: usize,
    pub(super) text: String,
}

/// A job that ended.
#[derive(Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) job: JobId,
    pub(super) micros: u64,
    pub(super) result: JobResult,
}

struct Job {
    outputs: Vec<Option<Result<TaskOutput, InferenceError>>>,
    /// Texts that wait or are being computed.
    open: usize,
    micros: u64,
    cancelled: bool,
}

impl Queue {
    /// Adds a job's texts; a job without any ends at once.
    pub(super) fn start(&mut self, id: JobId, texts: Vec<String>) -> Option<Ended> {
        let open = texts.len();
        self.jobs.insert(id, Job { outputs: vec![None; open], open, micros: 0, cancelled: false });
        let texts = texts.into_iter().enumerate();
        self.waiting.extend(texts.map(|(index, text)| Text { job: id, index, text }));
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
            if taken == texts_max || (taken > 0 && bytes + text.text.len() > BATCH_BYTES_MAX) {
                break;
            }
            bytes += text.text.len();
            taken += 1;
        }
        self.waiting.drain(..taken).collect()
    }

    /// Notes a text's output and the time that it took; the last text of a job ends it.
    pub(super) fn finish(
        &mut self,
        id: JobId,
        index: usize,
        micros: u64,
        output: Result<TaskOutput, InferenceError>,
    ) -> Option<Ended> {
        let job = self.jobs.get_mut(&id)?;
        if let Some(slot @ None) = job.outputs.get_mut(index) {
            *slot = Some(output);
            job.open -= 1;
            job.micros = job.micros.saturating_add(micros);
        }
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
            Ok(job.outputs.into_iter().flatten().collect())
        };
        Some(Ended { job: id, micros: job.micros, result })
    }
}

/// The most texts in a batch.
const BATCH_TEXTS_MAX: usize = 32;
/// Texts are added to a batch while they have fewer bytes than this together: about 512 tokens of English.
const BATCH_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("text {index}")).collect()
    }

    fn output(tokens: u32) -> Result<TaskOutput, InferenceError> {
        Ok(TaskOutput::Embedding { vector: Vec::new(), tokens })
    }

    #[test]
    fn jobs_share_a_batch_and_end_with_their_own_outputs_in_order() {
        let mut queue = Queue::default();
        assert_eq!(queue.start(JobId(1), texts(2)), None);
        assert_eq!(queue.start(JobId(2), texts(1)), None);
        let batch = queue.take(1);
        let places: Vec<_> = batch.iter().map(|text| (text.job, text.index)).collect();
        assert_eq!(places, [(JobId(1), 0), (JobId(1), 1), (JobId(2), 0)]);
        assert_eq!(queue.take(1), []);

        assert_eq!(queue.finish(JobId(1), 1, 5, output(11)), None);
        let ended = queue.finish(JobId(2), 0, 3, output(20));
        assert_eq!(ended, Some(Ended { job: JobId(2), micros: 3, result: Ok(vec![output(20)]) }));
        let ended = queue.finish(JobId(1), 0, 4, output(10));
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
            batch.iter().filter_map(|text| queue.finish(text.job, text.index, 1, output(1))).collect();
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
        queue.start(JobId(1), vec!["a".repeat(BATCH_BYTES_MAX * 2), "b".to_owned()]);
        assert_eq!(queue.take(1).len(), 1);
        assert_eq!(queue.take(1).len(), 1);
    }
}
