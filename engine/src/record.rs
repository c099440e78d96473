//! The records that a node stores on disk and reads back at its start.
//!
//! A record on disk has a header: a magic number, its kind, its task's id, its length, and a checksum over all of this
//! and the value. A changed record is therefore never mistaken for another one, and intact records can be recovered
//! from a file whose own structure is lost.

mod v1;

use crate::error::DecodeError;
use crate::ids::TaskId;
use crate::observers::alerts::SavedAlerts;
use crate::task::{ResultSummary, StoredTask, TaskResult};
use core::fmt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One change to the stored records. The records of one [`crate::Output::Write`] become durable together or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Stores the alerts and their thresholds, replacing the earlier ones.
    Alerts(Box<SavedAlerts>),
    /// Stores nothing that is read back. Tests whether storage completes writes.
    Probe,
    /// Deletes a result.
    RemoveResult(TaskId),
    /// Deletes a task that is no longer open.
    RemoveTask(TaskId),
    /// Stores a result, replacing the earlier one of the same task.
    Result(Box<TaskResult>),
    /// Stores an open task, replacing its earlier version.
    Task(Box<StoredTask>),
}

/// What storage contained when the node started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The alerts and their thresholds.
    pub alerts: SavedAlerts,
    /// Accepted tasks without an outcome.
    pub tasks: Vec<StoredTask>,
    /// Results without their outputs, oldest first.
    pub results: Vec<ResultSummary>,
}

/// The type of the value in a record on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A [`SavedAlerts`].
    Alerts,
    /// A [`TaskResult`].
    Result,
    /// A [`ResultSummary`].
    Summary,
    /// A [`StoredTask`].
    Task,
    /// Steps of traces. Not among the records of tasks.
    Trace,
}

impl RecordKind {
    /// Returns the byte that encodes the kind on disk.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Result => 1,
            Self::Summary => 2,
            Self::Task => 3,
            Self::Alerts => 4,
            Self::Trace => 5,
        }
    }

    /// Decodes a byte on disk.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Result),
            2 => Some(Self::Summary),
            3 => Some(Self::Task),
            4 => Some(Self::Alerts),
            5 => Some(Self::Trace),
            _ => None,
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alerts => "alerts",
            Self::Result => "result",
            Self::Summary => "summary",
            Self::Task => "task",
            Self::Trace => "trace",
        })
    }
}

/// The id under which the alerts are stored: that of no task.
pub const ALERTS_ID: TaskId = TaskId([0xff; 16]);

/// A value that can be stored on disk.
pub trait Stored: DeserializeOwned {
    /// Decodes a value that the first version of the program wrote, without its header.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are truncated or too long.
    fn from_v1(body: &[u8]) -> Result<Self, DecodeError> {
        whole(body)
    }
}

impl Stored for ResultSummary {}

impl Stored for SavedAlerts {}

impl Stored for StoredTask {
    fn from_v1(body: &[u8]) -> Result<Self, DecodeError> {
        v1::task(body)
    }
}

impl Stored for TaskResult {
    fn from_v1(body: &[u8]) -> Result<Self, DecodeError> {
        v1::result(body)
    }
}

/// Encodes a value for storage: a header with a checksum, then the value in postcard.
pub fn encode<T: Serialize>(kind: RecordKind, id: TaskId, value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&MARK);
    bytes.extend_from_slice(&[LAYOUT, kind.byte()]);
    bytes.extend_from_slice(&id.0);
    bytes.extend_from_slice(&[0; LENGTH_BYTES + CHECKSUM_BYTES]);
    // Serialising plain data into a vector fails only when memory runs out, and that aborts.
    seal(postcard::to_extend(value, bytes).unwrap_or_default())
}

/// Decodes a record that [`encode`] made for this kind and task.
///
/// # Errors
/// [`DecodeError::Damaged`] if the checksum is wrong or missing, or the record is for another kind or task;
/// [`DecodeError::Version`] if another version of the program wrote it; [`DecodeError::Malformed`] if its value does
/// not decode.
pub fn decode<T: Stored>(kind: RecordKind, id: TaskId, bytes: &[u8]) -> Result<T, DecodeError> {
    let Some(found) = Found::at(bytes).filter(|found| found.bytes.len() == bytes.len()) else {
        return Err(DecodeError::Damaged);
    };
    if (found.kind, found.id) != (kind, id) {
        return Err(DecodeError::Damaged);
    }
    match bytes[LAYOUT_AT] {
        LAYOUT => whole(&bytes[HEADER_BYTES..]),
        LAYOUT_1 => T::from_v1(&bytes[HEADER_BYTES..]),
        layout => Err(DecodeError::Version(layout)),
    }
}

/// Adds a header to a record of the first version of the program, which had no checksum. Returns `None` for other
/// records.
pub fn upgrade(kind: RecordKind, id: TaskId, bytes: &[u8]) -> Option<Vec<u8>> {
    let (&VERSION_UNCHECKED, body) = bytes.split_first()? else { return None };
    let mut upgraded = encode(kind, id, &());
    *upgraded.get_mut(LAYOUT_AT)? = LAYOUT_1;
    upgraded.extend_from_slice(body);
    Some(seal(upgraded))
}

/// An intact record, at any position in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its kind.
    pub kind: RecordKind,
    /// Its task.
    pub id: TaskId,
    /// All of its bytes, as [`decode`] expects them.
    pub bytes: &'a [u8],
}

impl<'a> Found<'a> {
    /// Reads the record at the beginning of `bytes`; `None` if it is not intact.
    fn at(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?;
        if header[0] != VERSION || header[1..LAYOUT_AT] != MARK {
            return None;
        }
        let kind = RecordKind::from_byte(header[KIND_AT])?;
        let id = TaskId(header[ID_AT..LENGTH_AT].try_into().ok()?);
        let length = u32::from_le_bytes(header[LENGTH_AT..CHECKSUM_AT].try_into().ok()?);
        let end = HEADER_BYTES.checked_add(usize::try_from(length).ok()?)?;
        let bytes = bytes.get(..end)?;
        (checksum(bytes) == header[CHECKSUM_AT..]).then_some(Self { kind, id, bytes })
    }
}

/// Finds the intact records in any bytes, such as a file that can no longer be opened.
pub fn find(bytes: &[u8]) -> impl Iterator<Item = Found<'_>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        while let Some(step) = bytes.get(at..)?.windows(1 + MARK.len()).position(is_start) {
            at += step;
            if let Some(found) = Found::at(&bytes[at..]) {
                at += found.bytes.len();
                return Some(found);
            }
            at += 1;
        }
        at = bytes.len();
        None
    })
}

fn is_start(window: &[u8]) -> bool {
    window[0] == VERSION && window[1..] == MARK
}

/// Writes the length and the checksum into a record's header.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    // No record is that long; one with a wrong length does not decode.
    let length = u32::try_from(bytes.len().saturating_sub(HEADER_BYTES)).unwrap_or(u32::MAX);
    if bytes.len() >= HEADER_BYTES {
        bytes[LENGTH_AT..CHECKSUM_AT].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(&bytes);
        bytes[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&checksum);
    }
    bytes
}

/// Returns the checksum of a record. It covers everything except itself.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = blake3::Hasher::new();
    hash.update(&bytes[..CHECKSUM_AT]).update(&bytes[HEADER_BYTES..]);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hash.finalize().as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

fn whole<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(DecodeError::Malformed),
    }
}

/// The version of the header.
const VERSION: u8 = 2;
/// The version without a header: only this byte precedes the value.
const VERSION_UNCHECKED: u8 = 1;
/// The version of the value after the header.
const LAYOUT: u8 = 2;
/// The first version of the value.
const LAYOUT_1: u8 = 1;
/// The magic number by which records are found in a file that can no longer be opened.
const MARK: [u8; 3] = *b"p2r";
const LAYOUT_AT: usize = 1 + MARK.len();
const KIND_AT: usize = LAYOUT_AT + 1;
const ID_AT: usize = KIND_AT + 1;
const LENGTH_AT: usize = ID_AT + 16;
const LENGTH_BYTES: usize = 4;
const CHECKSUM_AT: usize = LENGTH_AT + LENGTH_BYTES;
const CHECKSUM_BYTES: usize = 8;
const HEADER_BYTES: usize = CHECKSUM_AT + CHECKSUM_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Fingerprint, TraceId};
    use crate::task::ModelChoice;
    use crate::task::{Outcome, TaskInput, TaskKind, TaskSpec};
    use crate::time::UnixMillis;
    use crate::trace::{Caller, SpanId};
    use core::time::Duration;

    const ID: TaskId = TaskId([3; 16]);

    impl Stored for Record {}

    fn encoded() -> Vec<u8> {
        encode(RecordKind::Task, ID, &Record::RemoveTask(ID))
    }

    fn read(bytes: &[u8]) -> Result<Record, DecodeError> {
        decode(RecordKind::Task, ID, bytes)
    }

    #[test]
    fn what_is_encoded_comes_back() {
        assert_eq!(read(&encoded()), Ok(Record::RemoveTask(ID)));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = encoded();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes), Err(DecodeError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_record_is_not_taken_for_another() {
        let bytes = encoded();
        assert_eq!(decode::<Record>(RecordKind::Result, ID, &bytes), Err(DecodeError::Damaged));
        assert_eq!(decode::<Record>(RecordKind::Task, TaskId([4; 16]), &bytes), Err(DecodeError::Damaged));
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Err(DecodeError::Damaged), "cut to {end}");
        }
        assert_eq!(read(&[&bytes[..], &[0]].concat()), Err(DecodeError::Damaged));
        let longer = upgrade(RecordKind::Task, ID, &[1, 2, 3, 4, 5]).unwrap();
        assert_eq!(read(&longer), Err(DecodeError::Malformed));
    }

    #[test]
    fn records_of_other_versions_are_told_apart_and_old_ones_upgraded() {
        let old = postcard::to_extend(&Record::RemoveTask(ID), vec![VERSION_UNCHECKED]).unwrap();
        assert_eq!(read(&old), Err(DecodeError::Damaged));
        let upgraded = upgrade(RecordKind::Task, ID, &old).unwrap();
        assert_eq!(read(&upgraded), Ok(Record::RemoveTask(ID)));
        assert_eq!((upgraded.len(), upgraded[LAYOUT_AT]), (encoded().len(), LAYOUT_1));
        assert_eq!(upgrade(RecordKind::Task, ID, &encoded()), None);
        let mut bytes = encoded();
        bytes[LAYOUT_AT] = 7;
        assert_eq!(read(&seal(bytes)), Err(DecodeError::Version(7)));
    }

    #[test]
    fn whole_records_are_found_in_any_bytes() {
        let other = encode(RecordKind::Result, TaskId([5; 16]), &"a result");
        let mut damaged = encoded();
        damaged[HEADER_BYTES] ^= 1;
        let noise = [2, b'p', b'2', b'r', 1, 3, 2, b'p'];
        let bytes = [&noise[..], &encoded(), &damaged, &noise, &other, &other[..20]].concat();
        let found: Vec<_> = find(&bytes).map(|found| (found.kind, found.id)).collect();
        assert_eq!(found, [(RecordKind::Task, ID), (RecordKind::Result, TaskId([5; 16]))]);
        assert_eq!(find(&bytes).nth(1).unwrap().bytes, other);
        assert_eq!(find(b"").count() + find(&noise).count(), 0);
    }

    #[test]
    fn records_from_before_there_were_fingerprints_are_read() {
        let spec = TaskSpec {
            input: TaskInput::from_text(TaskKind::Embedding, "a".to_owned()),
            model: Some("m".to_owned()),
            timeout: Duration::from_secs(30),
        };
        let (submitted_at, trace) = (UnixMillis(4), TraceId([5; 16]));
        let task = StoredTask { id: ID, spec, submitted_at, trace, attempts: 6, choice: None, caller: None };
        let summary = crate::testing::completed(ID, submitted_at, submitted_at);
        let result = TaskResult { summary, outcome: Outcome::Cancelled, fingerprint: None };
        let mut old_task = postcard::to_extend(&task, vec![VERSION_UNCHECKED]).unwrap();
        let mut old_result = postcard::to_extend(&result, vec![VERSION_UNCHECKED]).unwrap();
        // The old records end before the bytes that encode `None`.
        assert_eq!((old_task.pop(), old_task.pop(), old_result.pop()), (Some(0), Some(0), Some(0)));
        let upgraded = upgrade(RecordKind::Task, ID, &old_task).unwrap();
        assert_eq!(decode::<StoredTask>(RecordKind::Task, ID, &upgraded), Ok(task.clone()));
        let upgraded = upgrade(RecordKind::Result, ID, &old_result).unwrap();
        assert_eq!(decode::<TaskResult>(RecordKind::Result, ID, &upgraded), Ok(result));
        let choice = Some(ModelChoice { fingerprint: Fingerprint([7; 16]), required: true });
        let caller = Caller { parent: Some(SpanId([8; 8])), sampled: false, state: "a=b".to_owned() };
        let chosen = StoredTask { choice, caller: Some(Box::new(caller)), ..task };
        let bytes = encode(RecordKind::Task, ID, &chosen);
        assert_eq!(decode::<StoredTask>(RecordKind::Task, ID, &bytes), Ok(chosen));
    }
}
