//! Simulated inference: takes as long as the scenario says and returns a pure function of the input. Its outputs mean
//! nothing.

use crate::random::{Purpose, Random};
use crate::scenario::Range;
use core::time::Duration;
use engine::health::{DiskSpace, HostFacts};
use engine::model::ModelOffer;
use engine::output::InferenceJob;
use engine::task::{
    Classification, EmbeddingInput, FinishReason, Generation, Reranking, TaskKind, TaskOutput,
};
use engine::{Fingerprint, InferenceError};
use sha2::{Digest, Sha256};

/// The memory that a simulated node uses.
pub(crate) const MEMORY_BYTES: u64 = 20 << 20;

/// Returns what the host of a simulated node reports to a health check: it is healthy.
pub(crate) const fn host_facts() -> HostFacts {
    let disk = Some(DiskSpace { bytes_free: 60 << 30, bytes_total: 100 << 30 });
    let memory_bytes = MEMORY_BYTES;
    HostFacts { config_readable: true, crypto_micros: 50, memory_bytes, records_damaged: 0, disk }
}

/// The number of the models that nodes have by default.
pub(crate) const DEFAULT_MODEL: u16 = 1;

/// Returns the models of a simulated node. Nodes with the same number have the same models under the same names;
/// replaced models equal no others.
pub(crate) fn all(number: u16, replaced: bool) -> Vec<ModelOffer> {
    let fingerprint = Some(fingerprint(number, replaced));
    [TaskKind::Embedding, TaskKind::Classification, TaskKind::Generation, TaskKind::Reranking]
        .map(|kind| ModelOffer { name: format!("simulated-{kind}"), kind, fingerprint })
        .into()
}

/// Returns the fingerprint of models.
pub(crate) const fn fingerprint(number: u16, replaced: bool) -> Fingerprint {
    let [high, low] = number.to_be_bytes();
    let mut bytes = [0; 16];
    (bytes[0], bytes[1], bytes[2]) = (high, low, replaced as u8);
    Fingerprint(bytes)
}

/// Returns the outputs of a job, computed by a model.
pub(crate) fn outputs(model: Fingerprint, work: &InferenceJob) -> Vec<Result<TaskOutput, InferenceError>> {
    match work {
        InferenceJob::Classify { inputs } => inputs.iter().map(|input| Ok(label(model, input))).collect(),
        InferenceJob::Embed { inputs } => inputs.iter().map(|inputs| Ok(vectors(model, inputs))).collect(),
        InferenceJob::Generate(generation) => vec![Ok(continuation(model, generation))],
        InferenceJob::Rerank { inputs } => inputs.iter().map(|input| Ok(scores(model, input))).collect(),
    }
}

/// Returns the text that a job streams, in pieces.
pub(crate) fn pieces(model: Fingerprint, work: &InferenceJob) -> Vec<String> {
    let InferenceJob::Generate(generation) = work else { return Vec::new() };
    let TaskOutput::Generation { text, .. } = continuation(model, generation) else { return Vec::new() };
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(PIECE_CHARS).map(|piece| piece.iter().collect()).collect()
}

/// Returns how long a job takes: each text has its own time on every node, and the texts of one job are computed in
/// parallel.
pub(crate) fn compute_time(random: Random, range: Range, work: &InferenceJob) -> Duration {
    let one = |text: &str| {
        let who = u64::from_le_bytes(first_bytes(&plain_digest(text)));
        random.between(range.ends(), Purpose::Compute, who, 0)
    };
    work.texts().into_iter().map(one).max().unwrap_or_default()
}

/// Hashes a text under a model: every model gives another result.
fn digest(model: Fingerprint, text: &str) -> [u8; 32] {
    if model == fingerprint(DEFAULT_MODEL, false) {
        plain_digest(text)
    } else {
        plain_digest(&format!("{model} {text}"))
    }
}

fn plain_digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn first_bytes(digest: &[u8; 32]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    bytes
}

fn vectors(model: Fingerprint, inputs: &[EmbeddingInput]) -> TaskOutput {
    let texts: Vec<&str> = inputs.iter().map(|input| input.text().unwrap_or_default()).collect();
    TaskOutput::Embedding {
        vectors: texts.iter().map(|text| vector(model, text)).collect(),
        tokens: texts.iter().map(|text| words(text)).sum(),
        truncated: Vec::new(),
    }
}

fn vector(model: Fingerprint, text: &str) -> Vec<f32> {
    let raw: Vec<f32> = digest(model, text)[..8].iter().map(|&byte| f32::from(byte) - 127.5).collect();
    let length = raw.iter().map(|component| component * component).sum::<f32>().sqrt();
    raw.iter().map(|component| component / length).collect()
}

fn label(model: Fingerprint, input: &Classification) -> TaskOutput {
    let digest = digest(model, &input.text);
    let share = f32::from(digest[0]) / 510.0 + 0.5;
    let (first, second) = if digest[1].is_multiple_of(2) { ("even", "odd") } else { ("odd", "even") };
    TaskOutput::Classification {
        label: first.to_owned(),
        scores: vec![(first.to_owned(), share), (second.to_owned(), 1.0 - share)],
        truncated: Vec::new(),
    }
}

fn scores(model: Fingerprint, input: &Reranking) -> TaskOutput {
    let score = |text: &String| f32::from(digest(model, &format!("{} {text}", input.query))[0]) / 255.0;
    TaskOutput::Reranking {
        scores: input.texts.iter().map(score).collect(),
        tokens: input.all().map(words).sum(),
        truncated: Vec::new(),
    }
}

fn continuation(model: Fingerprint, generation: &Generation) -> TaskOutput {
    let prompt = generation.prompt.texts().join(" ");
    let tokens = generation.max_tokens.min(GENERATED_TOKENS_MAX);
    let digest = digest(model, &format!("{prompt} {:?}", generation.seed));
    let text = digest.iter().take(tokens as usize).map(|byte| format!(" {byte:02x}")).collect();
    TaskOutput::Generation { text, prompt_tokens: words(&prompt), tokens, finish: FinishReason::Length }
}

fn words(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

/// Characters per streamed piece: one token of the simulated model.
const PIECE_CHARS: usize = 3;
/// The most generated tokens: a digest has no more bytes.
const GENERATED_TOKENS_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use engine::task::Prompt;

    const MODEL: Fingerprint = fingerprint(DEFAULT_MODEL, false);

    #[test]
    fn the_same_text_gives_the_same_output_and_time() {
        let random = Random::new(1);
        let range = Range { from: Duration::from_millis(1), to: Duration::from_secs(1) };
        let work =
            |text: &str| InferenceJob::Embed { inputs: vec![vec![EmbeddingInput::Text(text.to_owned())]] };
        assert_eq!(outputs(MODEL, &work("a")), outputs(MODEL, &work("a")));
        assert_ne!(outputs(MODEL, &work("a")), outputs(MODEL, &work("b")));
        assert_ne!(outputs(MODEL, &work("a")), outputs(fingerprint(2, false), &work("a")));
        assert_ne!(outputs(MODEL, &work("a")), outputs(fingerprint(DEFAULT_MODEL, true), &work("a")));
        assert_eq!(compute_time(random, range, &work("a")), compute_time(random, range, &work("a")));
        assert_ne!(compute_time(random, range, &work("a")), compute_time(random, range, &work("b")));
    }

    #[test]
    fn the_pieces_of_a_text_are_the_text() {
        let work = InferenceJob::Generate(Box::new(Generation::from_prompt(Prompt::Text("a".to_owned()))));
        let outputs = outputs(MODEL, &work);
        let Ok(TaskOutput::Generation { text, tokens, .. }) = &outputs[0] else { panic!("{outputs:?}") };
        let pieces = pieces(MODEL, &work);
        assert_eq!((pieces.concat().as_str(), pieces.len()), (text.as_str(), *tokens as usize));
    }

    #[test]
    fn every_kind_of_work_has_one_output_per_input() {
        let text = |text: &str| Classification { text: text.to_owned(), labels: Vec::new(), truncate: true };
        for work in [
            InferenceJob::Classify { inputs: vec![text("a"), text("b")] },
            InferenceJob::Embed { inputs: vec![vec![EmbeddingInput::Text("a".to_owned()); 3]; 2] },
            InferenceJob::Generate(Box::new(Generation::from_prompt(Prompt::Text("a".to_owned())))),
            InferenceJob::Rerank {
                inputs: vec![Reranking {
                    query: "a".to_owned(),
                    texts: vec!["b".to_owned(); 3],
                    truncate: true,
                }],
            },
        ] {
            assert_eq!(outputs(MODEL, &work).len(), work.len());
        }
    }
}
