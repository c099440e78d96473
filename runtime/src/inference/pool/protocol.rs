//! The protocol between a node and its worker process, over the worker's standard input and output.
//!
//! A message is a little-endian u32 length and that many bytes of postcard. Both sides begin with [`Hello`], whose
//! encoding never changes; all later messages are of one version. A message above [`MESSAGE_BYTES_MAX`] ends the
//! connection before any of it is read. Both sides check this, since neither trusts the other.

use crate::inference::encoder::Precision;
use crate::inference::files::fingerprint::ModelFile;
use crate::profile::Samples;
use engine::InferenceError;
use engine::ids::JobId;
use engine::output::InferenceJob;
use engine::task::{TaskKind, TaskOutput};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first message of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Always [`MAGIC`], to detect that another program was started as a worker.
    pub(crate) magic: [u8; 8],
    /// The version of all later messages.
    pub(crate) version: u16,
}

/// A message from a node to its worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// Cancel a job. It still ends exactly once.
    Cancel { job: JobId },
    /// Load the model from these files and use this many threads. Sent once, before any job.
    Load { threads: u16, precision: Precision, files: Vec<ModelFile> },
    /// Run a job.
    Start { job: JobId, work: InferenceJob },
    /// Start a CPU profile of the worker, or end it.
    Profile { on: bool },
}

/// A message from a worker to its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// A job ended.
    Done { job: JobId, micros: u64, result: JobResult },
    /// The model cannot be loaded; the worker exits.
    Failed { reason: String },
    /// A generation job produced more text: the next piece, and the total number of tokens so far.
    Progress { job: JobId, text: String, tokens: u32 },
    /// The model is loaded and can do these kinds of task.
    Ready { kinds: Vec<TaskKind> },
    /// The model's files have changed: results since then are invalid, and the worker exits.
    Changed,
    /// The CPU profile that was ended, or the reason why there is none.
    Profile { samples: Result<Samples, String> },
}

/// The result of a job: one item for each of its tasks, or one error for all.
pub(crate) type JobResult = Result<Vec<Result<TaskOutput, InferenceError>>, InferenceError>;

impl Hello {
    /// The greeting of this program.
    pub(crate) const OWN: Self = Self { magic: MAGIC, version: VERSION };
}

/// Encodes a message with its length.
///
/// # Errors
/// Returns `InvalidData` if the message is too long.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let mut bytes = length_prefix(body.len())?.to_vec();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Reads the next message, blocking. Returns `None` at a clean end of the stream.
///
/// # Errors
/// Returns `InvalidData` for bytes that are not such a message, or the error of the reader.
pub(crate) fn read<M: DeserializeOwned>(reader: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    if let Err(error) = reader.read_exact(&mut length) {
        return ended(error);
    }
    let mut body = vec![0; body_bytes(length)?];
    reader.read_exact(&mut body)?;
    decode(&body)
}

/// Reads the next message like [`read`], asynchronously. Not cancel-safe.
pub(crate) async fn receive<M: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    if let Err(error) = reader.read_exact(&mut length).await {
        return ended(error);
    }
    let mut body = vec![0; body_bytes(length)?];
    reader.read_exact(&mut body).await?;
    decode(&body)
}

fn ended<M>(error: io::Error) -> io::Result<Option<M>> {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) }
}

fn length_prefix(body_bytes: usize) -> io::Result<[u8; 4]> {
    match u32::try_from(body_bytes) {
        Ok(length) if body_bytes <= MESSAGE_BYTES_MAX => Ok(length.to_le_bytes()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {body_bytes} bytes"))),
    }
}

fn body_bytes(length: [u8; 4]) -> io::Result<usize> {
    let bytes = u32::from_le_bytes(length) as usize;
    if bytes <= MESSAGE_BYTES_MAX {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {bytes} bytes")))
    }
}

fn decode<M: DeserializeOwned>(body: &[u8]) -> io::Result<Option<M>> {
    postcard::from_bytes(body).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The maximum length of a message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// The protocol version.
const VERSION: u16 = 3;
const MAGIC: [u8; 8] = *b"p2pworkr";

#[cfg(test)]
mod tests {
    use super::*;
    use engine::task::{EmbeddingInput, Generation, Prompt};

    #[test]
    fn what_is_written_is_what_is_read() {
        let messages = [
            ToWorker::Load { threads: 2, precision: Precision::Auto, files: Vec::new() },
            ToWorker::Start {
                job: JobId(7),
                work: InferenceJob::Embed {
                    inputs: vec![vec![EmbeddingInput::Text("é".to_owned())], Vec::new()],
                },
            },
            ToWorker::Start {
                job: JobId(8),
                work: InferenceJob::Generate(Box::new(Generation::from_prompt(Prompt::Text("a".to_owned())))),
            },
            ToWorker::Cancel { job: JobId(8) },
        ];
        let stream: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
        let mut reader = stream.as_slice();
        for message in &messages {
            assert_eq!(read::<ToWorker>(&mut reader).unwrap().as_ref(), Some(message));
        }
        assert_eq!(read::<ToWorker>(&mut reader).unwrap(), None);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_before_memory_is_taken_for_it() {
        let error = read::<ToWorker>(&mut [0xff_u8; 8].as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "a message of 4294967295 bytes");
        let text = "a".repeat(MESSAGE_BYTES_MAX);
        assert!(encode(&FromWorker::Progress { job: JobId(1), text, tokens: 1 }).is_err());
    }

    #[test]
    fn half_a_message_and_a_senseless_one_are_errors() {
        let whole =
            encode(&ToWorker::Load { threads: 2, precision: Precision::Auto, files: Vec::new() }).unwrap();
        assert!(read::<ToWorker>(&mut &whole[..whole.len() - 1]).is_err());
        assert!(read::<ToWorker>(&mut [2, 0, 0, 0, 9, 9].as_slice()).is_err());
    }
}
