//! The worker process: one model, spoken to over standard input and output, gone when its node is.
//!
//! One thread reads, one thread per core computes whole batches on its own, and whoever finishes a job writes its
//! result. Anything that goes wrong here, a panic included, ends the process: its node starts another one, and the
//! node itself is never at stake. So does the end of standard input, even while the model computes: a node that was
//! killed leaves no worker behind.

use super::model::Model;
use super::protocol::{self, FromWorker, Hello, ToWorker};
use super::queue::{Ended, Place, Queue, Text};
use engine::InferenceError;
use engine::ids::JobId;
use engine::output::Work;
use engine::task::{EmbeddingInput, TaskKind};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Runs a worker until its standard input ends. `model` is [`super::EMBEDDED_MODEL`] or the path of a file that
/// [`super::quantize::quantize`] wrote. To be called first thing in a process of its own.
pub fn worker_main(model: &OsStr) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
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
        Some(other) => return Err(io::Error::other(format!("the node speaks another language: {other:?}"))),
        None => return Ok(()),
    }
    let Some(first) = protocol::read(input)? else { return Ok(()) };
    let ToWorker::Load { threads } = first else {
        return Err(io::Error::other("the node began with something else than Load"));
    };
    let worker = Arc::new(Worker::default());
    let loader = Arc::clone(&worker);
    let model = model.to_owned();
    // Reading goes on meanwhile, to see the end of the node.
    thread::spawn(move || loader.load(&model, threads));
    while let Some(message) = protocol::read(input)? {
        match message {
            ToWorker::Cancel { job } => worker.end(|queue| queue.cancel(job)),
            ToWorker::Load { .. } => return Err(io::Error::other("the node said Load twice")),
            ToWorker::Start { job, work } => worker.start(job, work),
        }
    }
    Ok(())
}

/// What the threads of a worker share.
#[derive(Default)]
struct Worker {
    queue: Mutex<Queue>,
    /// Told when the queue has more texts.
    more: Condvar,
    output: Mutex<()>,
}

impl Worker {
    /// Loads the model and starts to compute.
    fn load(self: &Arc<Self>, model: &OsStr, threads: u16) {
        let loaded = read_model(model).and_then(|file| Model::load(file).map_err(|error| error.to_string()));
        let model = match loaded {
            Ok(model) => Arc::new(model),
            Err(reason) => {
                self.say(&FromWorker::Failed { reason });
                std::process::exit(EXIT_NOT_LOADED);
            }
        };
        self.say(&FromWorker::Ready { kind: TaskKind::Embedding });
        let threads = usize::from(threads.max(1));
        for _ in 0..threads {
            let (worker, model) = (Arc::clone(self), Arc::clone(&model));
            thread::spawn(move || worker.compute(&model, threads));
        }
    }

    fn start(&self, job: JobId, work: Work) {
        let kind = work.kind();
        match work {
            Work::Embed { inputs } => {
                self.end(|queue| queue.start(job, inputs));
                self.more.notify_all();
            }
            Work::Classify { .. } | Work::Generate(_) => {
                let reason =
                    format!("the loaded model makes embeddings; there is no model of this kind: {kind}");
                let result = Err(InferenceError::ModelFailed(reason));
                self.say(&FromWorker::Done { job, micros: 0, result });
            }
        }
    }

    /// Computes batches for ever.
    fn compute(&self, model: &Model<'_>, threads: usize) {
        loop {
            let mut queue = self.queue();
            let batch = loop {
                let batch = queue.take(threads);
                if !batch.is_empty() {
                    break batch;
                }
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            self.run(model, batch);
        }
    }

    fn run(&self, model: &Model<'_>, batch: Vec<Text>) {
        let mut tokenized = Vec::with_capacity(batch.len());
        for Text { job, place, input } in batch {
            let started = Instant::now();
            match tokenize(model, &input) {
                Ok(tokens) => tokenized.push(Tokenized { job, place, tokens, micros: micros_since(started) }),
                Err(reason) => {
                    let rejected = Err(InferenceError::InputRejected(reason));
                    self.end(|queue| queue.finish(job, place, micros_since(started), rejected));
                }
            }
        }
        tokenized.sort_by_key(|text| text.tokens.len());
        let mut rest = tokenized.as_slice();
        while !rest.is_empty() {
            let (pass, later) = rest.split_at(pass_len(rest));
            self.embed(model, pass);
            rest = later;
        }
    }

    /// One pass through the model.
    fn embed(&self, model: &Model<'_>, pass: &[Tokenized]) {
        let wanted: Vec<bool> = {
            let queue = self.queue();
            pass.iter().map(|text| !queue.is_cancelled(text.job)).collect()
        };
        let sequences: Vec<&[u32]> = pass
            .iter()
            .zip(&wanted)
            .filter(|(_, wanted)| **wanted)
            .map(|(text, _)| text.tokens.as_slice())
            .collect();
        let started = Instant::now();
        let result = model.embed(&sequences);
        let micros = micros_since(started);
        let tokens: u64 = sequences.iter().map(|tokens| tokens.len() as u64).sum();
        let mut vectors = result.as_ref().map(|vectors| vectors.iter());
        for (text, wanted) in pass.iter().zip(wanted) {
            let output = match &mut vectors {
                _ if !wanted => Err(InferenceError::Cancelled),
                Ok(vectors) => Ok((vectors.next().cloned().unwrap_or_default(), text.tokens.len() as u32)),
                Err(reason) => Err(InferenceError::ModelFailed((*reason).clone())),
            };
            // A text's share of the pass.
            let share = if wanted { micros * text.tokens.len() as u64 / tokens.max(1) } else { 0 };
            self.end(|queue| queue.finish(text.job, text.place, text.micros + share, output));
        }
    }

    /// Changes the queue, and reports the job that ended by it, if any.
    fn end(&self, change: impl FnOnce(&mut Queue) -> Option<Ended>) {
        let ended = change(&mut self.queue());
        if let Some(Ended { job, micros, result }) = ended {
            self.say(&FromWorker::Done { job, micros, result });
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message; a node that no longer listens ends this process.
    fn say(&self, message: &FromWorker) {
        let written = protocol::encode(message).and_then(|bytes| {
            let _turn = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            let mut output = io::stdout().lock();
            output.write_all(&bytes)?;
            output.flush()
        });
        if let Err(error) = written {
            eprintln!("inference worker: cannot report to the node: {error}");
            std::process::exit(EXIT_NOT_HEARD);
        }
    }
}

struct Tokenized {
    job: JobId,
    place: Place,
    tokens: Vec<u32>,
    micros: u64,
}

fn tokenize(model: &Model<'_>, input: &EmbeddingInput) -> Result<Vec<u32>, String> {
    if input.bytes() > TEXT_BYTES_MAX {
        return Err(format!("a text of {} bytes, at most {TEXT_BYTES_MAX} are accepted", input.bytes()));
    }
    match input {
        EmbeddingInput::Text(text) => model.tokenize(text),
        EmbeddingInput::Tokens(tokens) => model.wrap_tokens(tokens),
    }
}

/// How many of these texts one pass takes: at least one, and no more than keeps a pass short.
fn pass_len(texts: &[Tokenized]) -> usize {
    let mut tokens = 0;
    let fits = |text: &&Tokenized| {
        tokens += text.tokens.len();
        tokens <= PASS_TOKENS_MAX
    };
    texts.iter().take_while(fits).count().max(1)
}

/// Returns the bytes of a model file. They stay for as long as the process does, which is what its model needs.
fn read_model(model: &OsStr) -> Result<&'static [u8], String> {
    #[cfg(feature = "embedded-model")]
    if model == super::EMBEDDED_MODEL {
        return Ok(super::embedded::FILE);
    }
    let failed = |error: io::Error| format!("cannot read {}: {error}", model.display());
    let file = fs::File::open(model).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    if found > MODEL_BYTES_MAX {
        return Err(format!("{} has {found} bytes, at most {MODEL_BYTES_MAX} are accepted", model.display()));
    }
    let mut bytes = Vec::with_capacity(found as usize);
    file.take(MODEL_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes.leak())
}

fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Tokens in one pass through the model, which is what a cancelled job waits for: about 0.1 s on one slow core.
const PASS_TOKENS_MAX: usize = 256;
/// The longest text; a node's own limit is lower by default.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// The largest model file.
const MODEL_BYTES_MAX: u64 = 4 << 30;
/// Exit status after a panic, as Rust's own.
const EXIT_PANIC: i32 = 101;
/// Exit status after the model could not be loaded.
const EXIT_NOT_LOADED: i32 = 3;
/// Exit status after standard output was closed.
const EXIT_NOT_HEARD: i32 = 4;
