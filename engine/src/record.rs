//! What a node keeps on disk, and what it gets back from there when it starts.

use crate::error::DecodeError;
use crate::ids::TaskId;
use crate::task::{ResultSummary, StoredTask, TaskResult};
use serde::{Deserialize, Serialize};

/// One change to what is kept. The records of one [`crate::Output::Write`] become durable together or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Writes nothing that is read back: asks whether storage still takes writes.
    Probe,
    /// Forgets a result.
    RemoveResult(TaskId),
    /// Forgets a task that is no longer open.
    RemoveTask(TaskId),
    /// Keeps a result, or replaces the one of the same task.
    Result(Box<TaskResult>),
    /// Keeps an open task, or replaces it.
    Task(Box<StoredTask>),
}

/// What storage held when the node started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Tasks that were accepted and have no outcome yet.
    pub tasks: Vec<StoredTask>,
    /// Results, without their outputs, oldest first.
    pub results: Vec<ResultSummary>,
}

/// Encodes a value for storage: postcard, one version byte before it.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Serialising plain data into a vector has no failure but memory, which aborts.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default()
}

/// Decodes what [`encode`] made.
///
/// # Errors
/// [`DecodeError`] where the bytes are of another version, cut short, or followed by more.
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let body = match bytes.split_first() {
        Some((&VERSION, body)) => body,
        Some((&other, _)) => return Err(DecodeError::Version(other)),
        None => return Err(DecodeError::Malformed),
    };
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(DecodeError::Malformed),
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        let record = Record::RemoveTask(TaskId([3; 16]));
        assert_eq!(decode::<Record>(&encode(&record)), Ok(record));
    }

    #[test]
    fn other_versions_and_damage_are_told_apart() {
        let mut bytes = encode(&Record::RemoveTask(TaskId([3; 16])));
        bytes.push(0);
        assert_eq!(decode::<Record>(&bytes), Err(DecodeError::Malformed));
        bytes.truncate(5);
        assert_eq!(decode::<Record>(&bytes), Err(DecodeError::Malformed));
        bytes[0] = 9;
        assert_eq!(decode::<Record>(&bytes), Err(DecodeError::Version(9)));
        assert_eq!(decode::<Record>(&[]), Err(DecodeError::Malformed));
    }
}
