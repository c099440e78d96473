//! Reads the records of a journal file, and describes them.

use super::ReplayError;
use engine::journal::{Decoder, Record, decode_output};
use engine::wire::Message;
use engine::{Input, Output};
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads the records of a journal.
#[derive(Debug)]
pub struct Records {
    file: File,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// The decoded part of the buffer.
    used: usize,
    at_end: bool,
}

impl Records {
    /// Opens a journal.
    ///
    /// # Errors
    /// If the file cannot be opened, or is not a regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        Ok(Self { file, decoder: Decoder::default(), buffer: Vec::new(), used: 0, at_end: false })
    }

    /// Reads the next record; `None` at the end of the file, also in the middle of a record.
    ///
    /// # Errors
    /// [`ReplayError::Io`] and [`ReplayError::Journal`].
    #[allow(clippy::should_implement_trait, reason = "an iterator cannot lend from itself")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReplayError> {
        while !self.at_end && self.decoder.wants_more(&self.buffer[self.used..]) {
            self.fill()?;
        }
        let Some((record, bytes)) = self.decoder.decode(&self.buffer[self.used..])? else { return Ok(None) };
        self.used += bytes;
        Ok(Some(record))
    }

    /// Returns the number of records read.
    pub fn read(&self) -> u64 {
        self.decoder.next_record()
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let read = (&mut self.file).take(CHUNK_BYTES).read_to_end(&mut self.buffer)?;
        self.at_end = read == 0;
        Ok(())
    }
}

/// Describes a record.
pub fn describe(record: &Record<'_>) -> String {
    match record {
        Record::Input(now, Input::Frame { link, bytes }) => match Message::decode(bytes) {
            Ok(message) => shorten(&format!("input at {now} Frame from {link:?}: {message:?}")),
            Err(_) => shorten(&format!("input at {now} Frame from {link:?}: {bytes:?}")),
        },
        Record::Input(now, Input::Frames { link, frames }) => {
            let words: Vec<String> = frames
                .iter()
                .map(|bytes| match Message::decode(bytes) {
                    Ok(message) => format!("{message:?}"),
                    Err(_) => format!("{bytes:?}"),
                })
                .collect();
            shorten(&format!("input at {now} {} frames from {link:?}: {}", frames.len(), words.join(", ")))
        }
        Record::Input(now, input) => named(&format!("input at {now}"), input),
        Record::Output(body) => describe_output(body),
        Record::End(end) => format!("the end: {end}"),
        Record::KeyUse(_) | Record::SavedResult(_) | Record::SavedTask(_) | Record::Start(_) => {
            shorten(&format!("{record:?}"))
        }
    }
}

/// Describes a recorded output.
pub(super) fn describe_output(body: &[u8]) -> String {
    match decode_output(body) {
        Some(output) => describe_decoded(&output),
        None => shorten(&format!("output {body:?}")),
    }
}

/// Describes an output.
pub(super) fn describe_decoded(output: &Output) -> String {
    #[allow(clippy::wildcard_enum_match_arm, reason = "only a frame needs decoding")]
    match output {
        Output::Send { link, frame, .. } => match Message::decode(frame) {
            Ok(message) => shorten(&format!("output Send to {link:?}: {message:?}")),
            Err(_) => named("output", output),
        },
        other => named("output", other),
    }
}

fn named(what: &str, value: &impl Debug) -> String {
    shorten(&format!("{what} {value:?}"))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(DESCRIPTION_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

const CHUNK_BYTES: u64 = 256 << 10;
/// The longest description of a record, in characters.
const DESCRIPTION_CHARS_MAX: usize = 1_000;
