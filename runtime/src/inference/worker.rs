//! The worker process: serves one model over standard input and output, and exits with its node.
//!
//! One thread reads messages. One thread for each core computes whole batches, and the thread that finishes a job
//! writes its result. Any failure, including a panic, ends the process: its node starts another worker, and is not
//! affected itself. The end of standard input ends the process too, even while the model computes, so that a killed
//! node leaves no worker behind.

mod batcher;
mod generations;
mod label_cache;
mod watched_files;

use super::decoder::{self, Generator};
use super::encoder::config::Scores;
use super::encoder::model::{Backend, Model};
use super::encoder::tokens::Pair;
use super::encoder::{EncodeError, Precision, Workspace};
use super::pool::limits;
use super::pool::protocol::{self, FromWorker, Hello, ToWorker};
use crate::containment::is_contained;
use crate::hardening::harden_this_process;
use crate::profile;
use batcher::{Batcher, EndedJob, Input, Place, Purpose, Request, Text, TextOutput};
use engine::InferenceError;
use engine::ids::JobId;
use engine::output::InferenceJob;
use engine::task::{Classification, EmbeddingInput, Reranking, TaskKind};
use generations::Generations;
use kernels::Sequence;
use label_cache::LabelCache;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;
use watched_files::WatchedFiles;

/// Runs a worker until its standard input ends. `model` is [`super::EMBEDDED_MODEL`], the path of a published model
/// folder, or a file that [`super::files::quantize::quantize`] wrote. Must be called at the start of its own process.
pub fn worker_main(model: &OsStr) -> ExitCode {
    // The node has logged what the system refuses; the same applies to this process.
    harden_this_process();
    limits::bound_own_memory();
    std::panic::set_hook(Box::new(|panic| {
        if is_contained() {
            return;
        }
        eprintln!("{panic}");
        std::process::exit(EXIT_PANIC);
    }));
    match serve(model, &mut io::stdin().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inference worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(model: &OsStr, input: &mut impl Read) -> io::Result<()> {
    io::stdout().write_all(&protocol::encode(&Hello::OWN)?)?;
    match protocol::read::<Hello>(input)? {
        Some(Hello::OWN) => {}
        Some(other) => return Err(io::Error::other(format!("the node uses another protocol: {other:?}"))),
        None => return Ok(()),
    }
    let Some(first) = protocol::read(input)? else { return Ok(()) };
    let ToWorker::Load { threads, precision, files } = first else {
        return Err(io::Error::other("the first message of the node is not Load"));
    };
    let worker = Arc::new(Worker::new(WatchedFiles::new(files)));
    let loader = Arc::clone(&worker);
    let model = model.to_owned();
    // Messages are read meanwhile, to notice the end of the node.
    thread::spawn(move || loader.load(&model, threads, precision));
    while let Some(message) = protocol::read(input)? {
        match message {
            ToWorker::Cancel { job } => {
                worker.update(|queue| queue.cancel(job));
                worker.generations.cancel(job, &|message| worker.send(&message));
            }
            ToWorker::Load { .. } => return Err(io::Error::other("the node sent Load twice")),
            ToWorker::Profile { on } => worker.profile(on),
            ToWorker::Start { job, work } => worker.start(job, work),
        }
    }
    Ok(())
}

/// The state that the threads of a worker share.
struct Worker {
    watched: WatchedFiles,
    model: OnceLock<Model<'static>>,
    batcher: Mutex<Batcher>,
    /// Notified when the batcher has more texts.
    more: Condvar,
    /// The number of threads that compute.
    busy: AtomicUsize,
    /// A workspace with all cores, for a thread that computes alone.
    all_cores: OnceLock<Mutex<Workspace>>,
    labels: LabelCache,
    /// Set if the model generates text. Generations have their own queue.
    generates: OnceLock<()>,
    generations: Generations,
    output: Mutex<()>,
    /// The profile that is being taken.
    profile: Mutex<Option<profile::Running>>,
}

impl Worker {
    /// Makes a worker without a model, and watches these files from now on.
    fn new(watched: WatchedFiles) -> Self {
        Self {
            watched,
            model: OnceLock::new(),
            batcher: Mutex::default(),
            more: Condvar::new(),
            busy: AtomicUsize::new(0),
            all_cores: OnceLock::new(),
            labels: LabelCache::default(),
            generates: OnceLock::new(),
            generations: Generations::default(),
            output: Mutex::new(()),
            profile: Mutex::default(),
        }
    }

    /// Loads the model and starts the compute threads.
    fn load(self: &Arc<Self>, model: &OsStr, threads: u16, precision: Precision) {
        self.exit_if_any_file_changed();
        if Path::new(model).exists() && decoder::is_decoder(Path::new(model)) {
            return self.generate(Path::new(model), threads, precision);
        }
        let model = match read_model(model, precision) {
            Ok(model) => self.model.get_or_init(|| model),
            Err(reason) => {
                self.exit_if_any_file_changed();
                self.send(&FromWorker::Failed { reason });
                std::process::exit(EXIT_NOT_LOADED);
            }
        };
        self.exit_if_any_file_changed();
        self.send(&FromWorker::Ready { kinds: model.kinds().to_vec() });
        let threads = usize::from(threads.max(1));
        self.all_cores.get_or_init(|| Mutex::new(Workspace::new(threads)));
        for _ in 0..threads {
            let worker = Arc::clone(self);
            thread::spawn(move || {
                if let Some(model) = worker.model.get() {
                    worker.compute(model, threads);
                }
            });
        }
    }

    /// Loads a decoder, and generates texts for ever.
    fn generate(&self, path: &Path, threads: u16, precision: Precision) {
        let options = decoder::Options {
            threads: usize::from(threads.max(1)),
            precision,
            packed_folder: decoder::packed_folder(),
            ..decoder::Options::default()
        };
        let mut generator = match Generator::load(path, &options) {
            Ok(generator) => generator,
            Err(error) => {
                // Most of these errors name a file already.
                let (place, mut reason) = (path.display().to_string(), error.to_string());
                if !reason.starts_with(&place) {
                    reason = format!("{place}: {reason}");
                }
                self.exit_if_any_file_changed();
                self.send(&FromWorker::Failed { reason });
                std::process::exit(EXIT_NOT_LOADED);
            }
        };
        self.exit_if_any_file_changed();
        self.generates.get_or_init(|| ());
        self.send(&FromWorker::Ready { kinds: vec![TaskKind::Generation] });
        self.generations.run(&mut generator, &|message| {
            self.exit_if_changed();
            self.send(&message);
        });
    }

    /// Starts a profile of this process, or ends the one that is being taken and sends it.
    fn profile(self: &Arc<Self>, on: bool) {
        let mut running = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        if on {
            match profile::Running::start() {
                Ok(started) => *running = Some(started),
                Err(error) => self.send(&FromWorker::Profile { samples: Err(error.to_string()) }),
            }
        } else if let Some(running) = running.take() {
            let worker = Arc::clone(self);
            // The names of functions take a while, and messages are read meanwhile.
            thread::spawn(move || {
                let samples = running.stop().map_err(|error| error.to_string());
                worker.send(&FromWorker::Profile { samples });
            });
        }
    }

    /// Exits if the last result may mix two models.
    fn exit_if_changed(&self) {
        if self.watched.have_changed() {
            self.exit_changed();
        }
    }

    /// Exits if the loaded data may mix two models.
    fn exit_if_any_file_changed(&self) {
        if self.watched.have_any_changed() {
            self.exit_changed();
        }
    }

    fn exit_changed(&self) {
        self.send(&FromWorker::Changed);
        std::process::exit(EXIT_CHANGED);
    }

    fn start(&self, job: JobId, work: InferenceJob) {
        let work = match (work, self.generates.get()) {
            (InferenceJob::Generate(generation), Some(())) => return self.generations.start(job, generation),
            (work, Some(())) => {
                let reason = format!("the model does {}, not {}", TaskKind::Generation, work.kind());
                let result = Err(InferenceError::ModelFailed(reason.into()));
                return self.send(&FromWorker::Done { job, micros: 0, result });
            }
            (work, None) => work,
        };
        let requests = match self.model.get() {
            Some(model) => requests(model, work),
            None => Err("the model is not loaded".to_owned()),
        };
        match requests {
            Ok(requests) => {
                self.update(|queue| queue.start(job, requests));
                self.more.notify_all();
            }
            Err(reason) => {
                let result = Err(InferenceError::ModelFailed(reason.into()));
                self.send(&FromWorker::Done { job, micros: 0, result });
            }
        }
    }

    /// Computes batches for ever.
    fn compute(&self, model: &Model<'_>, threads: usize) {
        let mut workspace = Workspace::alone();
        loop {
            let mut queue = self.queue();
            let batch = loop {
                let batch = queue.take(threads);
                if !batch.is_empty() {
                    break batch;
                }
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            let busy = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
            let alone = busy == 1 && queue.is_idle();
            drop(queue);
            let all_cores =
                self.all_cores.get().filter(|_| alone).and_then(|all_cores| all_cores.try_lock().ok());
            match all_cores {
                Some(mut all_cores) => self.run(model, &mut all_cores, batch),
                None => self.run(model, &mut workspace, batch),
            }
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn run(&self, model: &Model<'_>, workspace: &mut Workspace, batch: Vec<Text>) {
        let mut tokenized = Vec::with_capacity(batch.len());
        for Text { job, place, input, is_label } in batch {
            let started = Instant::now();
            let label = match &input {
                Input::One(EmbeddingInput::Text(text) | EmbeddingInput::WholeText(text)) if is_label => {
                    Some(text.clone())
                }
                Input::One(_) | Input::Pair { .. } => None,
            };
            if let Some(vector) = label.as_deref().and_then(|label| self.labels.find(label)) {
                let output = TextOutput { vector, tokens: 0, dropped: 0 };
                self.update(|queue| queue.finish(job, place, micros_since(started), Ok(output)));
                continue;
            }
            match tokenize(model, &input) {
                Ok(tokens) => {
                    let micros = micros_since(started);
                    tokenized.push(Tokenized { job, place, tokens, label, micros });
                }
                Err(reason) => {
                    let rejected = Err(InferenceError::InputRejected(reason.into()));
                    self.update(|queue| queue.finish(job, place, micros_since(started), rejected));
                }
            }
        }
        tokenized.sort_by_key(Tokenized::len);
        let mut rest = tokenized.as_slice();
        while !rest.is_empty() {
            let (pass, later) = rest.split_at(pass_len(rest));
            self.pass(model, workspace, pass);
            rest = later;
        }
    }

    /// Runs one forward pass.
    fn pass(&self, model: &Model<'_>, workspace: &mut Workspace, texts: &[Tokenized]) {
        let (pass, wanted): (_, Vec<bool>) = {
            let mut queue = self.queue();
            let pass = queue.begin_pass(texts.iter().map(|text| text.job));
            (pass, texts.iter().map(|text| !queue.is_cancelled(text.job)).collect())
        };
        let sequences: Vec<Sequence<'_>> = texts
            .iter()
            .zip(&wanted)
            .filter(|(_, wanted)| **wanted)
            .map(|(text, _)| text.tokens.as_sequence())
            .collect();
        let started = Instant::now();
        let result = model.compute(workspace, &sequences, &pass.stop);
        let micros = micros_since(started);
        self.exit_if_changed();
        self.queue().end_pass(pass);
        let tokens: u64 = sequences.iter().map(|sequence| sequence.tokens.len() as u64).sum();
        let mut vectors = result.as_ref().map(|vectors| vectors.iter());
        for (text, wanted) in texts.iter().zip(wanted) {
            let output = match &mut vectors {
                _ if !wanted => Err(InferenceError::Cancelled),
                Ok(vectors) => {
                    let vector = vectors.next().cloned().unwrap_or_default();
                    // A truncated label is not cached, so that each task reports the truncation.
                    let dropped = u32::try_from(text.tokens.dropped).unwrap_or(u32::MAX);
                    if let Some(label) = text.label.as_ref().filter(|_| dropped == 0) {
                        self.labels.keep(label, &vector);
                    }
                    Ok(TextOutput { vector, tokens: text.len() as u32, dropped })
                }
                Err(EncodeError::Stopped) => Err(InferenceError::Cancelled),
                Err(EncodeError::Failed(reason)) => Err(InferenceError::ModelFailed(reason.clone().into())),
            };
            // The time of a pass is divided by tokens.
            let share = if wanted { micros * text.len() as u64 / tokens.max(1) } else { 0 };
            self.update(|queue| queue.finish(text.job, text.place, text.micros + share, output));
        }
    }

    /// Updates the batcher, and reports the job that ended by it, if any.
    fn update(&self, change: impl FnOnce(&mut Batcher) -> Option<EndedJob>) {
        let ended = change(&mut self.queue());
        if let Some(EndedJob { job, micros, result }) = ended {
            self.send(&FromWorker::Done { job, micros, result });
        }
    }

    fn queue(&self) -> MutexGuard<'_, Batcher> {
        self.batcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message. Exits if the node has closed the pipe.
    fn send(&self, message: &FromWorker) {
        let written = protocol::encode(message).and_then(|bytes| {
            let _turn = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            let mut output = io::stdout().lock();
            output.write_all(&bytes)?;
            output.flush()
        });
        if let Err(error) = written {
            eprintln!("inference worker: cannot report to the node: {error}");
            std::process::exit(EXIT_OUTPUT_CLOSED);
        }
    }
}

struct Tokenized {
    job: JobId,
    place: Place,
    tokens: Pair,
    /// The text, if it is a label.
    label: Option<String>,
    micros: u64,
}

impl Tokenized {
    fn len(&self) -> usize {
        self.tokens.tokens.len()
    }
}

/// Returns the inputs of a job, and how its outputs are computed from the vectors.
///
/// # Errors
/// Returns a message if the model does not support this kind of task.
fn requests(model: &Model<'_>, work: InferenceJob) -> Result<Vec<Request>, String> {
    let kind = work.kind();
    let labels = model.labels().zip(model.scores());
    match (work, labels) {
        (InferenceJob::Embed { inputs }, None) => {
            let one = |inputs: Vec<_>| inputs.into_iter().map(Input::One).collect();
            Ok(inputs
                .into_iter()
                .map(|inputs| Request { inputs: one(inputs), purpose: Purpose::Embed })
                .collect())
        }
        (InferenceJob::Rerank { inputs }, Some((labels, (_, scores)))) if labels.len() == 1 => {
            Ok(inputs.into_iter().map(|input| reranking(input, scores)).collect())
        }
        (InferenceJob::Rerank { inputs }, None) => Ok(inputs.into_iter().map(similarity_ranking).collect()),
        (InferenceJob::Classify { inputs }, labels) => {
            let own = labels.map(|(labels, (scores, _))| (labels, scores));
            Ok(inputs.into_iter().map(|input| classification(input, own)).collect())
        }
        (InferenceJob::Embed { .. }, Some(_))
        | (InferenceJob::Generate(_) | InferenceJob::Rerank { .. }, _) => {
            let kinds: Vec<String> = model.kinds().iter().map(TaskKind::to_string).collect();
            Err(format!("the model does {}, not {kind}", kinds.join(" and ")))
        }
    }
}

/// Returns the request of a classification: with the model's own labels, or zero-shot with any labels.
fn classification(input: Classification, own: Option<(&Arc<[String]>, Scores)>) -> Request {
    let Classification { text: own_text, labels, truncate } = input;
    let text = |text| {
        let text = EmbeddingInput::Text(text);
        Input::One(if truncate { text } else { text.whole() })
    };
    match own {
        Some((own, scores)) => {
            let purpose = Purpose::Scores { labels: Arc::clone(own), asked: labels, scores };
            Request { inputs: vec![text(own_text)], purpose }
        }
        None => {
            let inputs = std::iter::once(own_text).chain(labels.iter().cloned()).map(text).collect();
            Request { inputs, purpose: Purpose::Similarity { labels } }
        }
    }
}

/// Returns the request of a reranking: each text paired with the query.
fn reranking(input: Reranking, scores: Scores) -> Request {
    let query: Arc<str> = input.query.into();
    let truncate = input.truncate;
    let pair = |text| Input::Pair { query: Arc::clone(&query), text, truncate };
    Request { inputs: input.texts.into_iter().map(pair).collect(), purpose: Purpose::Rank { scores } }
}

/// Returns the request of a reranking by embeddings. The query comes last, so that the texts keep their indices.
fn similarity_ranking(input: Reranking) -> Request {
    let Reranking { query, texts, truncate } = input;
    let text = |text| {
        let text = EmbeddingInput::Text(text);
        Input::One(if truncate { text } else { text.whole() })
    };
    Request { inputs: texts.into_iter().chain([query]).map(text).collect(), purpose: Purpose::Nearness }
}

/// Returns the tokens of an input, truncated to the model's maximum. Rejects an input that is too long if it must not
/// be truncated.
fn tokenize(model: &Model<'_>, input: &Input) -> Result<Pair, String> {
    let (pair, truncate) = match input {
        Input::One(input) => (model.sequence(input)?, !input.is_whole()),
        Input::Pair { query, text, truncate } => (model.tokenize_pair(query, text)?, *truncate),
    };
    if pair.dropped > 0 && !truncate {
        let (taken, all) = (pair.tokens.len(), pair.tokens.len() + pair.dropped);
        return Err(format!("it has {all} tokens, the model takes {taken}"));
    }
    Ok(pair)
}

/// Returns how many of these texts one pass takes: at least one, up to a maximum of tokens.
fn pass_len(texts: &[Tokenized]) -> usize {
    let mut tokens = 0;
    let fits = |text: &&Tokenized| {
        tokens += text.len();
        tokens <= PASS_TOKENS_MAX
    };
    texts.iter().take_while(fits).count().max(1)
}

fn read_model(model: &OsStr, precision: Precision) -> Result<Model<'static>, String> {
    let backend = Backend::Kernels(precision);
    if model == super::EMBEDDED_MODEL {
        return Model::load(embedded_model::FILE, backend).map_err(|error| error.to_string());
    }
    let path = Path::new(model);
    if !path.exists() {
        return Err(format!("{} is not there", path.display()));
    }
    Model::open(path, backend).map_err(|error| format!("{}: {error}", path.display()))
}

fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The maximum number of tokens of a pass, unless one text is longer.
pub(super) const PASS_TOKENS_MAX: usize = 512;
/// Exit status after a panic, the same as Rust's own.
const EXIT_PANIC: i32 = 101;
/// Exit status after the model could not be loaded.
const EXIT_NOT_LOADED: i32 = 3;
/// Exit status after the model's files were replaced.
const EXIT_CHANGED: i32 = 5;
/// Exit status after standard output was closed.
const EXIT_OUTPUT_CLOSED: i32 = 4;
