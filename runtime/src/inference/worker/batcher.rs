//! Batches the texts of several encoder jobs, and ends each job exactly once.
//!
//! Texts are served in the order of arrival. A batch takes waiting texts of any jobs until it is large enough for a
//! forward pass; a job ends with its last text. Cancelling a job drops its waiting texts and discards the results of
//! texts in computation. A pass is stopped once all its jobs are cancelled.

use crate::inference::encoder::config::Scores;
use crate::inference::encoder::zero_shot;
use crate::inference::pool::protocol::JobResult;
use engine::InferenceError;
use engine::ids::JobId;
use engine::task::{EmbeddingInput, TaskOutput, Truncation};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The encoder jobs of a worker.
#[derive(Default)]
pub(super) struct Batcher {
    jobs: BTreeMap<JobId, Job>,
    /// Waiting texts, in the order of arrival.
    waiting: VecDeque<Text>,
    /// The running passes: their jobs that are not cancelled, and the flag that stops them.
    passes: BTreeMap<u64, (BTreeSet<JobId>, Arc<AtomicBool>)>,
    passes_begun: u64,
}

/// One task of a job: its inputs, and how its output is computed from their vectors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) inputs: Vec<Input>,
    pub(super) purpose: Purpose,
}

/// The input of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A text, or tokens.
    One(EmbeddingInput),
    /// A query and a text in one sequence. If they are too long, they are truncated or rejected.
    Pair { query: Arc<str>, text: String, truncate: bool },
}

/// The output of the model for a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextOutput {
    pub(super) vector: Vec<f32>,
    /// Tokens that the model read.
    pub(super) tokens: u32,
    /// Tokens that were cut off.
    pub(super) dropped: u32,
}

/// How the output of a task is computed from the vectors of its texts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The vectors are the output.
    Embed,
    /// The vector of the single text gives the scores of the model's labels; `asked` are the requested ones.
    Scores { labels: Arc<[String]>, asked: Vec<String>, scores: Scores },
    /// The scores are the similarities of the texts to the last one, the query.
    Nearness,
    /// Zero-shot: the first text is compared with the labels, which are the other texts.
    Similarity { labels: Vec<String> },
    /// The single number of each text becomes its score.
    Rank { scores: Scores },
}

/// A forward pass.
pub(super) struct Pass {
    number: u64,
    /// Set when all its jobs are cancelled.
    pub(super) stop: Arc<AtomicBool>,
}

/// One text of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) job: JobId,
    /// The task within the job, and the text within the task.
    pub(super) place: Place,
    pub(super) input: Input,
    /// Whether it is a label, which is worth caching.
    pub(super) is_label: bool,
}

/// The index of a task in its job, and of a text in its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) task: usize,
    pub(super) text: usize,
}

/// A job that ended.
#[derive(Debug, PartialEq)]
pub(super) struct EndedJob {
    pub(super) job: JobId,
    pub(super) micros: u64,
    pub(super) result: JobResult,
}

struct Job {
    tasks: Vec<Task>,
    /// The number of texts that wait or are being computed.
    open: usize,
    micros: u64,
    cancelled: bool,
}

/// One task of a job: its texts succeed together or not at all.
struct Task {
    vectors: Vec<Option<Vec<f32>>>,
    purpose: Purpose,
    tokens: u32,
    /// The texts that were truncated.
    truncated: Vec<Truncation>,
    /// The error of the first text that failed, and its index.
    error: Option<(usize, InferenceError)>,
}

impl Input {
    fn bytes(&self) -> usize {
        match self {
            Self::One(input) => input.bytes(),
            Self::Pair { query, text, .. } => query.len() + text.len(),
        }
    }
}

impl Batcher {
    /// Adds a job. A job without any text ends at once.
    pub(super) fn start(&mut self, id: JobId, requests: Vec<Request>) -> Option<EndedJob> {
        let mut job = Job { tasks: Vec::with_capacity(requests.len()), open: 0, micros: 0, cancelled: false };
        for (task, Request { inputs, purpose }) in requests.into_iter().enumerate() {
            let with_labels = matches!(purpose, Purpose::Similarity { .. });
            job.open += inputs.len();
            let (vectors, truncated) = (vec![None; inputs.len()], Vec::new());
            job.tasks.push(Task { vectors, purpose, tokens: 0, truncated, error: None });
            let texts = inputs.into_iter().enumerate();
            self.waiting.extend(texts.map(|(text, input)| Text {
                job: id,
                place: Place { task, text },
                input,
                is_label: with_labels && text > 0,
            }));
        }
        self.jobs.insert(id, job);
        self.end_if_done(id)
    }

    /// Cancels a job. It ends now, or with the last of its texts in computation.
    pub(super) fn cancel(&mut self, id: JobId) -> Option<EndedJob> {
        let job = self.jobs.get_mut(&id)?;
        job.cancelled = true;
        let before = self.waiting.len();
        self.waiting.retain(|text| text.job != id);
        job.open -= before - self.waiting.len();
        for (wanted_by, stop) in self.passes.values_mut() {
            if wanted_by.remove(&id) && wanted_by.is_empty() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        self.end_if_done(id)
    }

    /// Begins a pass over texts of these jobs. [`Self::end_pass`] must follow.
    pub(super) fn begin_pass(&mut self, jobs: impl Iterator<Item = JobId>) -> Pass {
        let wanted_by: BTreeSet<JobId> = jobs.filter(|job| !self.is_cancelled(*job)).collect();
        let stop = Arc::new(AtomicBool::new(wanted_by.is_empty()));
        self.passes_begun += 1;
        self.passes.insert(self.passes_begun, (wanted_by, Arc::clone(&stop)));
        Pass { number: self.passes_begun, stop }
    }

    /// Ends a pass.
    #[allow(clippy::needless_pass_by_value, reason = "a pass ends once")]
    pub(super) fn end_pass(&mut self, pass: Pass) {
        self.passes.remove(&pass.number);
    }

    /// Tells whether no text waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tells whether a job is cancelled.
    pub(super) fn is_cancelled(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_none_or(|job| job.cancelled)
    }

    /// Takes the texts of the next batch, and leaves an equal share to each of the other takers. Each text must be
    /// passed to [`Self::finish`].
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

    /// Records the output of a text and the time it took. The last text of a job ends the job.
    pub(super) fn finish(
        &mut self,
        id: JobId,
        place: Place,
        micros: u64,
        output: Result<TextOutput, InferenceError>,
    ) -> Option<EndedJob> {
        let job = self.jobs.get_mut(&id)?;
        let task = job.tasks.get_mut(place.task)?;
        match output {
            Ok(TextOutput { vector, tokens, dropped }) => {
                if let Some(slot) = task.vectors.get_mut(place.text) {
                    *slot = Some(vector);
                }
                task.tokens = task.tokens.saturating_add(tokens);
                if dropped > 0 {
                    task.truncated.push(Truncation { input: number(place.text), dropped });
                }
            }
            // Texts are computed in any order; the reported error must not depend on it.
            Err(error) if task.error.as_ref().is_none_or(|(text, _)| place.text < *text) => {
                task.error = Some((place.text, task.name(place.text, error)));
            }
            Err(_) => {}
        }
        job.open = job.open.saturating_sub(1);
        job.micros = job.micros.saturating_add(micros);
        self.end_if_done(id)
    }

    fn end_if_done(&mut self, id: JobId) -> Option<EndedJob> {
        if self.jobs.get(&id)?.open > 0 {
            return None;
        }
        let job = self.jobs.remove(&id)?;
        let result = if job.cancelled {
            Err(InferenceError::Cancelled)
        } else {
            Ok(job.tasks.into_iter().map(Task::output).collect())
        };
        Some(EndedJob { job: id, micros: job.micros, result })
    }
}

impl Task {
    /// Names the rejected text, if the task has several.
    fn name(&self, text: usize, error: InferenceError) -> InferenceError {
        match error {
            InferenceError::InputRejected(reason) if self.vectors.len() > 1 => match &self.purpose {
                Purpose::Embed | Purpose::Rank { .. } => {
                    InferenceError::PartRejected { part: number(text), reason }
                }
                Purpose::Nearness if text + 1 == self.vectors.len() => {
                    InferenceError::InputRejected(format!("query: {reason}").into())
                }
                Purpose::Nearness => InferenceError::PartRejected { part: number(text), reason },
                Purpose::Similarity { labels } if text > 0 => {
                    let label = labels.get(text - 1).map_or("", String::as_str);
                    InferenceError::InputRejected(format!("label {label:?}: {reason}").into())
                }
                Purpose::Scores { .. } | Purpose::Similarity { .. } => InferenceError::InputRejected(reason),
            },
            InferenceError::Cancelled
            | InferenceError::Crashed
            | InferenceError::InputRejected(_)
            | InferenceError::ModelChanged
            | InferenceError::ModelFailed(_)
            | InferenceError::PartRejected { .. } => error,
        }
    }

    fn output(self) -> Result<TaskOutput, InferenceError> {
        if let Some((_, error)) = self.error {
            return Err(error);
        }
        let vectors: Vec<Vec<f32>> = self.vectors.into_iter().flatten().collect();
        let (tokens, mut truncated) = (self.tokens, self.truncated);
        truncated.sort_by_key(|truncation| truncation.input);
        match self.purpose {
            Purpose::Embed => Ok(TaskOutput::Embedding { vectors, tokens, truncated }),
            Purpose::Rank { scores } => {
                let logits: Vec<f32> = vectors.iter().flatten().copied().collect();
                let scores = logits.iter().flat_map(|logit| scores.apply(&[*logit])).collect();
                Ok(TaskOutput::Ranking { logits, scores, tokens, truncated })
            }
            Purpose::Nearness => {
                let scores: Vec<f32> = vectors
                    .split_last()
                    .map(|(query, texts)| texts.iter().map(|text| zero_shot::cosine(query, text)).collect())
                    .unwrap_or_default();
                let truncated = with_query(&truncated, scores.len());
                Ok(TaskOutput::Reranking { scores, tokens, truncated })
            }
            Purpose::Scores { labels, asked, scores } => {
                if let Some(unknown) = asked.iter().find(|label| !labels.contains(label)) {
                    let known = in_words(&labels);
                    let why = format!("the model does not know the label {unknown:?}; it knows {known}");
                    return Err(InferenceError::InputRejected(why.into()));
                }
                let logits = vectors.into_iter().next().unwrap_or_default();
                let scores = labels.iter().cloned().zip(scores.apply(&logits));
                let asked_for = |(label, _): &(String, f32)| asked.is_empty() || asked.contains(label);
                classified(scores.filter(asked_for), truncated)
            }
            Purpose::Similarity { labels } => {
                if labels.is_empty() {
                    return Err(InferenceError::InputRejected(NO_LABELS.into()));
                }
                let scores = vectors.split_first().map(|(text, others)| zero_shot::scores(text, others));
                classified(labels.into_iter().zip(scores.unwrap_or_default()), truncated)
            }
        }
    }
}

/// Returns the truncated texts of a ranking; a truncated query, the text after the last, counts for each of them.
fn with_query(truncated: &[Truncation], texts: usize) -> Vec<Truncation> {
    let dropped = |input: u32| truncated.iter().find(|one| one.input == input).map_or(0, |one| one.dropped);
    let query = dropped(number(texts));
    (0..number(texts))
        .map(|input| Truncation { input, dropped: dropped(input).saturating_add(query) })
        .filter(|one| one.dropped > 0)
        .collect()
}

/// Sorts the labels by score.
fn classified(
    scores: impl Iterator<Item = (String, f32)>,
    truncated: Vec<Truncation>,
) -> Result<TaskOutput, InferenceError> {
    let mut scores: Vec<(String, f32)> = scores.collect();
    scores.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    match scores.first() {
        Some((label, _)) => Ok(TaskOutput::Classification { label: label.clone(), scores, truncated }),
        None => Err(InferenceError::ModelFailed("the model gave no scores".into())),
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Names the first few labels.
fn in_words(labels: &[String]) -> String {
    let named = labels.iter().take(LABELS_NAMED).map(|label| format!("{label:?}")).collect::<Vec<_>>();
    let more = labels.len().saturating_sub(LABELS_NAMED);
    if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
}

/// The error for a classification without labels if the model also lacks them.
const NO_LABELS: &str =
    "the model has no labels of its own; say which ones to choose from, with labels or --label";
/// The number of a model's labels that an error names.
const LABELS_NAMED: usize = 10;
/// The maximum number of texts in a batch.
const BATCH_TEXTS_MAX: usize = 32;
/// The maximum bytes of a batch, unless one text is longer: about 512 tokens of English.
const BATCH_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Input {
        Input::One(EmbeddingInput::Text(text.to_owned()))
    }

    /// A job of tasks with one text each.
    fn texts(count: usize) -> Vec<Request> {
        (0..count).map(|index| embed(vec![text(&format!("text {index}"))])).collect()
    }

    fn embed(inputs: Vec<Input>) -> Request {
        Request { inputs, purpose: Purpose::Embed }
    }

    fn task(task: usize) -> Place {
        Place { task, text: 0 }
    }

    fn vector(tokens: u32) -> Result<TextOutput, InferenceError> {
        made(vec![0.5], tokens)
    }

    fn made(vector: Vec<f32>, tokens: u32) -> Result<TextOutput, InferenceError> {
        Ok(TextOutput { vector, tokens, dropped: 0 })
    }

    /// Finishes the texts of a job with one request, and returns its output.
    fn only_output<const N: usize>(
        queue: &mut Batcher,
        batch: &[Text],
        vectors: [Vec<f32>; N],
    ) -> Result<TaskOutput, InferenceError> {
        let ended = batch
            .iter()
            .zip(vectors)
            .find_map(|(text, vector)| queue.finish(text.job, text.place, 1, made(vector, 1)));
        let Ok(mut outputs) = ended.unwrap().result else { panic!() };
        outputs.remove(0)
    }

    fn output(tokens: u32) -> Result<TaskOutput, InferenceError> {
        Ok(TaskOutput::Embedding { vectors: vec![vec![0.5]], tokens, truncated: Vec::new() })
    }

    #[test]
    fn jobs_share_a_batch_and_end_with_their_own_outputs_in_order() {
        let mut queue = Batcher::default();
        assert_eq!(queue.start(JobId(1), texts(2)), None);
        assert_eq!(queue.start(JobId(2), texts(1)), None);
        let batch = queue.take(1);
        let places: Vec<_> = batch.iter().map(|text| (text.job, text.place.task)).collect();
        assert_eq!(places, [(JobId(1), 0), (JobId(1), 1), (JobId(2), 0)]);
        assert_eq!(queue.take(1), []);

        assert_eq!(queue.finish(JobId(1), task(1), 5, vector(11)), None);
        let ended = queue.finish(JobId(2), task(0), 3, vector(20));
        assert_eq!(ended, Some(EndedJob { job: JobId(2), micros: 3, result: Ok(vec![output(20)]) }));
        let ended = queue.finish(JobId(1), task(0), 4, vector(10));
        assert_eq!(
            ended,
            Some(EndedJob { job: JobId(1), micros: 9, result: Ok(vec![output(10), output(11)]) })
        );
    }

    #[test]
    fn a_cancelled_job_ends_once_and_takes_no_text_of_others_with_it() {
        let mut queue = Batcher::default();
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
        assert_eq!(ended, [EndedJob { job: JobId(1), micros: 32, result: Err(InferenceError::Cancelled) }]);
        assert_eq!(queue.cancel(JobId(1)), None);
    }

    #[test]
    fn a_waiting_job_ends_when_it_is_cancelled_and_an_empty_one_when_it_starts() {
        let mut queue = Batcher::default();
        queue.start(JobId(1), texts(3));
        let ended = queue.cancel(JobId(1));
        assert_eq!(
            ended,
            Some(EndedJob { job: JobId(1), micros: 0, result: Err(InferenceError::Cancelled) })
        );
        let ended = queue.start(JobId(2), Vec::new());
        assert_eq!(ended, Some(EndedJob { job: JobId(2), micros: 0, result: Ok(Vec::new()) }));
    }

    #[test]
    fn takers_share_what_waits() {
        let mut queue = Batcher::default();
        queue.start(JobId(1), texts(5));
        assert_eq!([queue.take(2).len(), queue.take(2).len(), queue.take(2).len()], [3, 1, 1]);
    }

    #[test]
    fn a_long_text_has_a_batch_of_its_own() {
        let mut queue = Batcher::default();
        queue.start(JobId(1), vec![embed(vec![text(&"a".repeat(BATCH_BYTES_MAX * 2)), text("b")])]);
        assert_eq!(queue.take(1).len(), 1);
        assert_eq!(queue.take(1).len(), 1);
    }

    #[test]
    fn the_texts_of_a_task_succeed_together_or_not_at_all() {
        let mut queue = Batcher::default();
        queue.start(JobId(1), vec![embed(vec![text("a"), text("b")]), embed(vec![text("c"), text("d")])]);
        let batch = queue.take(1);
        let refused = || Err(InferenceError::InputRejected("too odd".into()));
        assert_eq!(queue.finish(JobId(1), batch[0].place, 1, vector(2)), None);
        assert_eq!(queue.finish(JobId(1), batch[3].place, 1, refused()), None);
        assert_eq!(queue.finish(JobId(1), batch[2].place, 1, vector(1)), None);
        let ended = queue.finish(JobId(1), batch[1].place, 1, vector(3)).unwrap();
        let both = TaskOutput::Embedding { vectors: vec![vec![0.5]; 2], tokens: 5, truncated: Vec::new() };
        let which = InferenceError::PartRejected { part: 1, reason: "too odd".into() };
        assert_eq!(ended.result, Ok(vec![Ok(both), Err(which)]));
    }

    #[test]
    fn a_task_names_the_texts_that_were_cut_in_their_order() {
        let mut queue = Batcher::default();
        queue.start(JobId(1), vec![embed(vec![text("a"), text("b"), text("c")])]);
        let batch = queue.take(1);
        let cut = |tokens, dropped| Ok(TextOutput { vector: vec![0.5], tokens, dropped });
        assert_eq!(queue.finish(JobId(1), batch[2].place, 1, cut(9, 100)), None);
        assert_eq!(queue.finish(JobId(1), batch[1].place, 1, cut(3, 0)), None);
        let ended = queue.finish(JobId(1), batch[0].place, 1, cut(9, 7)).unwrap();
        let truncated = [(0, 7), (2, 100)].map(|(input, dropped)| Truncation { input, dropped }).to_vec();
        let vectors = vec![vec![0.5]; 3];
        assert_eq!(ended.result, Ok(vec![Ok(TaskOutput::Embedding { vectors, tokens: 21, truncated })]));
    }

    #[test]
    fn the_first_of_several_refused_texts_is_named_whichever_was_computed_first() {
        let mut queue = Batcher::default();
        queue.start(JobId(1), vec![embed(vec![text("a"), text("b"), text("c")])]);
        let batch = queue.take(1);
        let refused = |why: &str| Err(InferenceError::InputRejected(why.into()));
        assert_eq!(queue.finish(JobId(1), batch[2].place, 1, refused("third")), None);
        assert_eq!(queue.finish(JobId(1), batch[1].place, 1, refused("second")), None);
        let ended = queue.finish(JobId(1), batch[0].place, 1, vector(2)).unwrap();
        let which = InferenceError::PartRejected { part: 1, reason: "second".into() };
        assert_eq!(ended.result, Ok(vec![Err(which)]));
    }

    #[test]
    fn labels_are_sorted_by_their_scores() {
        let mut queue = Batcher::default();
        let labels: Arc<[String]> = ["no", "maybe", "yes"].map(str::to_owned).into();
        let request = |asked: &[&str]| Request {
            inputs: vec![text("sure?")],
            purpose: Purpose::Scores {
                labels: Arc::clone(&labels),
                asked: asked.iter().map(|&label| label.to_owned()).collect(),
                scores: Scores::Plain,
            },
        };
        queue.start(JobId(1), vec![request(&[]), request(&["no", "maybe"])]);
        let scores = || made(vec![0.1, 0.2, 0.7], 3);
        assert_eq!(queue.finish(JobId(1), task(0), 1, scores()), None);
        let ended = queue.finish(JobId(1), task(1), 1, scores()).unwrap();
        let scored = |scores: &[(&str, f32)]| TaskOutput::Classification {
            label: scores[0].0.to_owned(),
            scores: scores.iter().map(|(label, score)| ((*label).to_owned(), *score)).collect(),
            truncated: Vec::new(),
        };
        queue.start(JobId(2), vec![request(&["no", "perhaps"])]);
        let refused = queue.finish(JobId(2), task(0), 1, scores()).unwrap().result.unwrap().remove(0);
        let why = r#"the model does not know the label "perhaps"; it knows "no", "maybe", "yes""#;
        assert_eq!(refused, Err(InferenceError::InputRejected(why.into())));
        let all = scored(&[("yes", 0.7), ("maybe", 0.2), ("no", 0.1)]);
        assert_eq!(ended.result, Ok(vec![Ok(all), Ok(scored(&[("maybe", 0.2), ("no", 0.1)]))]));
    }

    #[test]
    fn a_text_gets_the_label_that_is_most_like_it() {
        let mut queue = Batcher::default();
        let labels = vec!["sport".to_owned(), "food".to_owned()];
        let inputs = vec![text("soup"), text("sport"), text("food")];
        queue.start(JobId(1), vec![Request { inputs, purpose: Purpose::Similarity { labels } }]);
        let batch = queue.take(1);
        assert_eq!(batch.iter().map(|text| text.is_label).collect::<Vec<_>>(), [false, true, true]);
        let vectors = [vec![0.0, 1.0], vec![1.0, 0.0], vec![0.0, 1.0]];
        let output = only_output(&mut queue, &batch, vectors);
        let Ok(TaskOutput::Classification { label, scores, .. }) = &output else { panic!("{output:?}") };
        assert_eq!((label.as_str(), scores[0].0.as_str(), scores[1].0.as_str()), ("food", "food", "sport"));
    }

    #[test]
    fn texts_are_ranked_by_their_similarity_to_the_query() {
        let mut queue = Batcher::default();
        let inputs = vec![text("cats"), text("stocks"), text("what purrs")];
        queue.start(JobId(1), vec![Request { inputs, purpose: Purpose::Nearness }]);
        let batch = queue.take(1);
        let vectors = [vec![3.0, 4.0], vec![0.0, 1.0], vec![1.0, 0.0]];
        let output = only_output(&mut queue, &batch, vectors);
        let Ok(TaskOutput::Reranking { scores, .. }) = &output else { panic!("{output:?}") };
        assert_eq!(scores, &[0.6, 0.0]);
        let cut = |input, dropped| Truncation { input, dropped };
        assert_eq!(with_query(&[cut(1, 2)], 2), [cut(1, 2)]);
        assert_eq!(with_query(&[cut(1, 2), cut(2, 5)], 2), [cut(0, 5), cut(1, 7)]);
    }

    #[test]
    fn a_pass_stops_when_the_last_who_wants_it_is_gone() {
        let mut queue = Batcher::default();
        queue.start(JobId(1), texts(1));
        queue.start(JobId(2), texts(1));
        let batch = queue.take(1);
        let pass = queue.begin_pass(batch.iter().map(|text| text.job));
        let stopped = |pass: &Pass| pass.stop.load(Ordering::Relaxed);
        queue.cancel(JobId(1));
        assert!(!stopped(&pass));
        queue.cancel(JobId(2));
        assert!(stopped(&pass));
        let other = queue.begin_pass(batch.iter().map(|text| text.job));
        assert!(stopped(&other));
        queue.end_pass(pass);
        queue.end_pass(other);
        assert!(queue.passes.is_empty());
    }
}
