//! A journal records all inputs and outputs of a node from its start, so that the run can be replayed.
//!
//! A node is a function of its start and its inputs, so a journal that begins with the start suffices for a replay.
//! Comparing the outputs proves that the replay is exact. A journal cannot begin later, as a node's state cannot be
//! saved while it runs. The node's private key is not recorded; the results of its uses ([`KeyUses`]) are. A journal is
//! still sensitive: it contains the inputs and results of tasks, the keys of the sessions that carried them, and the
//! seed of the node's random number generator.
//!
//! ```text
//! journal = magic (8 bytes), format (1), start, what storage held, step 0, steps, perhaps an end
//! step    = input (but for step 0), uses of the key, outputs
//! ```
//!
//! Records are numbered from 0, the start. A journal without an end was truncated, for example by a crash; all records
//! before that point are valid. Reading is total: any bytes give records, or an error with the number of a record.

mod frame;

pub use frame::FRAME_BYTES_MAX;

use crate::bounded_text::ForeignVersion;
use crate::config::Config;
use crate::identity::{KeyUses, PublicKey};
use crate::input::Input;
use crate::output::Output;
use crate::record::Saved;
use crate::task::{ResultSummary, StoredTask};
use crate::time::{Instant, UnixMillis};
use core::fmt;
use frame::{Reader, Writer};
use serde::{Deserialize, Serialize};

/// How a node was created, except for its private key and the contents of its storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The product's version. It is the first field, so that it can be read in any format.
    pub version: String,
    /// The node's public key.
    pub key: PublicKey,
    /// Its settings.
    pub config: Config,
    /// The seed of its random number generator.
    pub seed: [u8; 32],
    /// The time of its start.
    pub now: Instant,
    /// The wall-clock time of its start.
    pub wall: UnixMillis,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The recording reached its maximum size.
    Full,
    /// The disk was too slow.
    Late,
    /// The node stopped.
    Stopped,
    /// An input or output was larger than a record may be.
    TooLarge,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "it reached its maximum size",
            Self::Late => "the disk was too slow",
            Self::Stopped => "the node stopped",
            Self::TooLarge => "an input or output was too large to record",
        })
    }
}

/// Encodes the journal of one node. Nothing is encoded after the end.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    uses: KeyUses,
    ended: bool,
}

impl Recorder {
    /// Begins the journal of a node that is about to be created. `uses` are the [`KeyUses`] of its identity.
    pub fn begin(start: &Start, saved: &Saved, uses: KeyUses, out: &mut Vec<u8>) -> Self {
        let mut recorder = Self { writer: Writer::default(), uses, ended: false };
        out.extend_from_slice(&MAGIC);
        out.push(FORMAT);
        recorder.record(Kind::Start, start, out);
        for task in &saved.tasks {
            recorder.record(Kind::SavedTask, task, out);
        }
        for result in &saved.results {
            recorder.record(Kind::SavedResult, result, out);
        }
        recorder
    }

    /// Records an input that is about to be handled.
    pub fn input(&mut self, now: Instant, input: &Input, out: &mut Vec<u8>) {
        self.key_uses(out);
        self.record(Kind::Input, &(now, input), out);
    }

    /// Records an output.
    pub fn output(&mut self, output: &Output, out: &mut Vec<u8>) {
        self.key_uses(out);
        self.record(Kind::Output, output, out);
    }

    /// Ends the journal, after the outputs of the last input.
    pub fn end(&mut self, end: End, out: &mut Vec<u8>) {
        self.key_uses(out);
        self.record(Kind::End, &end, out);
        self.ended = true;
        self.uses.close();
    }

    /// Tells whether the journal has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn key_uses(&mut self, out: &mut Vec<u8>) {
        if self.uses.is_closed() && !self.ended {
            // Without these results, later records could not be replayed.
            self.ended = true;
        }
        while let Some(result) = self.uses.pop() {
            self.raw(Kind::KeyUse, out, |out| out.extend_from_slice(&result));
        }
    }

    fn record<T: Serialize>(&mut self, kind: Kind, value: &T, out: &mut Vec<u8>) {
        self.raw(kind, out, |out| encode(value, out));
    }

    fn raw(&mut self, kind: Kind, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
        if !self.ended && !self.writer.frame(kind as u8, out, fill) {
            self.end(End::TooLarge, out);
        }
    }
}

/// Appends the encoding of an input, an output or a part of one to `out`, in the form that records use.
pub fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let buffer = core::mem::take(out);
    // Serialising plain data into a vector fails only when memory runs out, and that aborts.
    *out = postcard::to_extend(value, buffer).unwrap_or_default();
}

/// One record of a journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// The recording ended here; no record follows.
    End(End),
    /// An input was handled.
    Input(Instant, Input),
    /// The private key was used.
    KeyUse(&'a [u8]),
    /// An output; [`decode_output`] decodes it.
    Output(&'a [u8]),
    /// Storage contained a result.
    SavedResult(Box<ResultSummary>),
    /// Storage contained a task.
    SavedTask(Box<StoredTask>),
    /// The node was created.
    Start(Box<Start>),
}

/// Decodes the body of an output's record. Returns `None` if it is not an output of this version, or if its encoding
/// cannot be decoded.
pub fn decode_output(body: &[u8]) -> Option<Output> {
    exactly(body)
}

/// Decodes a journal incrementally.
#[derive(Debug, Default)]
pub struct Decoder {
    reader: Reader,
    begun: bool,
    ended: bool,
}

impl Decoder {
    /// Decodes the record at the beginning of `bytes`, which continue where the previous record ended. Returns the
    /// record and its length, or `None` if more bytes are needed. No record is longer than [`FRAME_BYTES_MAX`], except
    /// the first, which the preamble precedes.
    ///
    /// # Errors
    /// [`JournalError`]. Nothing can be decoded after an error.
    pub fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Record<'a>, usize)>, JournalError> {
        let preamble = if self.begun { 0 } else { MAGIC.len() + 1 };
        let Some((head, rest)) = bytes.split_at_checked(preamble) else {
            let expected = MAGIC.iter().zip(bytes).all(|(expected, byte)| expected == byte);
            return if expected { Ok(None) } else { Err(JournalError::NotAJournal) };
        };
        if let Some((&format, magic)) = head.split_last() {
            if magic != MAGIC {
                return Err(JournalError::NotAJournal);
            }
            if format != FORMAT {
                return Err(JournalError::Format(format));
            }
        }
        let number = self.reader.read;
        if self.ended {
            return if rest.is_empty() { Ok(None) } else { Err(JournalError::Damaged { record: number }) };
        }
        let Some(frame) = self.reader.frame(rest)? else { return Ok(None) };
        let record = record(number, frame.kind, frame.body)?;
        self.begun = true;
        self.ended = matches!(record, Record::End(_));
        Ok(Some((record, preamble + frame.bytes)))
    }

    /// Tells whether `bytes` end before the next record does, without decoding it.
    pub fn wants_more(&self, bytes: &[u8]) -> bool {
        let preamble = if self.begun { 0 } else { MAGIC.len() + 1 };
        match bytes.split_at_checked(preamble) {
            Some((_, rest)) => Reader::wants_more(rest),
            None => MAGIC.starts_with(bytes.get(..MAGIC.len()).unwrap_or(bytes)),
        }
    }

    /// Returns the number of the next record.
    pub fn next_record(&self) -> u64 {
        self.reader.read
    }
}

fn record(number: u64, kind: u8, body: &[u8]) -> Result<Record<'_>, JournalError> {
    let malformed = JournalError::Malformed { record: number };
    let kind = Kind::from_byte(kind).ok_or_else(|| malformed.clone())?;
    if (number == 0) != (kind == Kind::Start) {
        return Err(malformed);
    }
    let record = match kind {
        Kind::End => exactly(body).map(Record::End),
        Kind::Input => exactly(body).map(|(now, input)| Record::Input(now, input)),
        Kind::KeyUse => Some(Record::KeyUse(body)),
        Kind::Output => Some(Record::Output(body)),
        Kind::SavedResult => exactly(body).map(Record::SavedResult),
        Kind::SavedTask => exactly(body).map(Record::SavedTask),
        Kind::Start => {
            // The rest may differ in another version.
            let version = postcard::take_from_bytes::<String>(body).map(|(version, _)| version);
            match version {
                Ok(version) if version != VERSION => return Err(JournalError::Version(version.into())),
                Ok(_) => exactly(body).map(Record::Start),
                Err(_) => None,
            }
        }
    };
    record.ok_or(malformed)
}

fn exactly<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Some(value),
        Ok(_) | Err(_) => None,
    }
}

/// Why a journal, or the rest of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// A record was changed, or its frame is out of order.
    Damaged {
        /// The record's number.
        record: u64,
    },
    /// The journal has an unknown format.
    Format(u8),
    /// A record is intact but invalid.
    Malformed {
        /// The record's number.
        record: u64,
    },
    /// The file is not a journal.
    NotAJournal,
    /// The journal was written by another version of the product, whose nodes may behave differently.
    Version(ForeignVersion),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { record } => write!(f, "record {record} is damaged"),
            Self::Format(format) => {
                write!(f, "record 0 has the unknown format {format}; this program reads format {FORMAT}")
            }
            Self::Malformed { record } => write!(f, "record {record} is invalid"),
            Self::NotAJournal => f.write_str("this is not a journal"),
            Self::Version(version) => {
                write!(f, "record 0 was written by version {version:?}; this program is version {VERSION:?}")
            }
        }
    }
}

impl core::error::Error for JournalError {}

/// The kind byte of a record. Its values are part of the format.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Start = 0,
    SavedTask = 1,
    SavedResult = 2,
    Input = 3,
    KeyUse = 4,
    Output = 5,
    End = 6,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Start,
            1 => Self::SavedTask,
            2 => Self::SavedResult,
            3 => Self::Input,
            4 => Self::KeyUse,
            5 => Self::Output,
            6 => Self::End,
            _ => return None,
        })
    }
}

/// The version that this program writes into its journals.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first bytes of every journal.
pub const MAGIC: [u8; 8] = *b"p2pajrnl";

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests;
