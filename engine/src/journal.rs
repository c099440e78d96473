//! A journal: all that went into one start of a node and all that came out, so that it can be done again.
//!
//! A node is a function of how it was made and of its inputs, so a journal that begins with its start suffices to
//! replay it, and comparing outputs proves that the replay is true. It can only begin there: a node's state cannot be
//! taken down midway. The node's private key is not in it; [`KeyUses`] are. What is in it nevertheless deserves
//! care: the texts and results of tasks, the keys of the sessions that carried them, and the seed of the node's
//! random draws.
//!
//! ```text
//! journal = magic (8 bytes), format (1), start, what storage held, step 0, steps, perhaps an end
//! step    = input (but for step 0), uses of the key, outputs
//! ```
//!
//! Records are numbered from 0, the start. A journal without an end was cut short, by the death of its process for
//! one; all before the cut is good. Reading is total: any bytes give records or an error that names one.

mod frame;

pub use frame::FRAME_BYTES_MAX;

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

/// How a node was made, but for its private key and what storage held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The product's version. First, so that it can be read whatever follows.
    pub version: String,
    /// Who the node is.
    pub key: PublicKey,
    /// What it was told.
    pub config: Config,
    /// The seed of its random draws.
    pub seed: [u8; 32],
    /// When it was made.
    pub now: Instant,
    /// The wall clock at that moment.
    pub wall: UnixMillis,
}

/// Why a recording ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It has reached its largest size.
    Full,
    /// The disk did not keep up.
    Late,
    /// The node stopped.
    Stopped,
    /// An input or output was too large for a record.
    TooLarge,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "it reached its largest size",
            Self::Late => "the disk did not keep up",
            Self::Stopped => "the node stopped",
            Self::TooLarge => "an input or output was too large to record",
        })
    }
}

/// Encodes the journal of one node. After an end nothing more is encoded.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    uses: KeyUses,
    ended: bool,
}

impl Recorder {
    /// Begins the journal of a node that is about to be made; `uses` is where its identity notes what the key did.
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

    /// Takes down an input that is about to be handled.
    pub fn input(&mut self, now: Instant, input: &Input, out: &mut Vec<u8>) {
        self.key_uses(out);
        self.record(Kind::Input, &(now, input), out);
    }

    /// Takes down an output that came out.
    pub fn output(&mut self, output: &Output, out: &mut Vec<u8>) {
        self.key_uses(out);
        self.record(Kind::Output, output, out);
    }

    /// Ends the journal, after what the last input led to.
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
            // Without them what follows could not be replayed.
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

/// Appends the encoding of an input, an output or a part of one, as records hold it.
pub fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let buffer = core::mem::take(out);
    // Serialising plain data into a vector has no failure but memory, which aborts.
    *out = postcard::to_extend(value, buffer).unwrap_or_default();
}

/// One record of a journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// The recording ended in good order; nothing follows.
    End(End),
    /// An input was handled.
    Input(Instant, Input),
    /// The key was used.
    KeyUse(&'a [u8]),
    /// An output came out; [`decode_output`] reads it.
    Output(&'a [u8]),
    /// Storage held a result.
    SavedResult(Box<ResultSummary>),
    /// Storage held a task.
    SavedTask(Box<StoredTask>),
    /// The node was made.
    Start(Box<Start>),
}

/// Decodes the body of an output's record.
///
/// # Errors
/// `None` where it is no output of this version, or one whose encoding says too little to be read back.
pub fn decode_output(body: &[u8]) -> Option<Output> {
    exactly(body)
}

/// Decodes a journal piece by piece.
#[derive(Debug, Default)]
pub struct Decoder {
    reader: Reader,
    begun: bool,
    ended: bool,
}

impl Decoder {
    /// Decodes the record at the beginning of `bytes`, which go on where the last one ended, and returns it with its
    /// length; `None` where it takes more bytes, of which no record has more than [`FRAME_BYTES_MAX`] and some.
    ///
    /// # Errors
    /// [`JournalError`], after which nothing more can be read.
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

    /// Tells whether `bytes` end before the next record does, as far as can be told without decoding it.
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
            // Another version may have made something else of the rest.
            let version = postcard::take_from_bytes::<String>(body).map(|(version, _)| version);
            match version {
                Ok(version) if version != VERSION => return Err(JournalError::Version(version)),
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

/// Why a journal cannot be read, or not on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// A record is not what was written.
    Damaged {
        /// The record's number.
        record: u64,
    },
    /// The journal has a form that this program does not know.
    Format(u8),
    /// A record is whole but makes no sense.
    Malformed {
        /// The record's number.
        record: u64,
    },
    /// The file is no journal at all.
    NotAJournal,
    /// Another version of the product wrote it, whose nodes may well do other things.
    Version(String),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { record } => write!(f, "record {record} is damaged"),
            Self::Format(format) => {
                write!(f, "record 0 has the unknown format {format}; this program reads format {FORMAT}")
            }
            Self::Malformed { record } => write!(f, "record {record} makes no sense"),
            Self::NotAJournal => f.write_str("this is not a journal"),
            Self::Version(version) => {
                write!(f, "record 0 was written by version {version:?}; this program is version {VERSION:?}")
            }
        }
    }
}

impl core::error::Error for JournalError {}

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

/// The version of the product that this program's journals name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How every journal begins.
pub const MAGIC: [u8; 8] = *b"p2pajrnl";

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests;
