//! Splits a journal into steps: one input each, with the uses of the key and the outputs.

use super::{Records, ReplayError};
use core::ops::Range;
use engine::journal::{End, JournalError, Record, Start};
use engine::{Input, Instant, Saved};
use std::sync::mpsc::SyncSender;

/// An item from the reading thread.
#[derive(Debug)]
pub(super) enum Item {
    /// How the node was constructed; always the first item.
    Open(Box<(Start, Saved)>),
    /// Some steps.
    Steps(Batch),
    /// Reading failed.
    Failed(ReplayError),
}

/// Steps, and the bytes that they refer to.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) steps: Vec<Step>,
    pub(super) bytes: Vec<u8>,
    pub(super) uses: Vec<Range<usize>>,
    pub(super) outputs: Vec<Range<usize>>,
}

/// One input and its outputs.
#[derive(Debug)]
pub(super) struct Step {
    /// The number of its first record.
    pub(super) record: u64,
    pub(super) at: Instant,
    /// The number of records of the input: none in the first step, in which the node is constructed.
    told: u64,
    /// Taken out when the node gets it.
    pub(super) input: Option<Input>,
    /// A range of the batch's uses.
    pub(super) uses: Range<usize>,
    /// A range of the batch's outputs.
    pub(super) outputs: Range<usize>,
    pub(super) follower: Follower,
}

/// What follows a step. A step is complete if anything follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follower {
    End(End),
    Input,
    Nothing,
}

impl Step {
    /// Returns the number of an output's record, or of the record after the last output.
    pub(super) fn output_record(&self, index: usize) -> u64 {
        self.record + self.told + u64::try_from(self.uses.len() + index).unwrap_or_default()
    }

    /// Returns the number of the first record after the step.
    pub(super) fn next_record(&self) -> u64 {
        self.output_record(self.outputs.len())
    }
}

/// Reads a journal to its end, or as long as the receiver exists.
pub(super) fn read(mut records: Records, items: SyncSender<Item>) {
    let mut cutter = Cutter { items, opening: None, step: None, batch: Batch::default() };
    let read = cutter.cut_all(&mut records).and_then(|()| {
        cutter.close(Follower::Nothing)?;
        let records = records.read();
        if cutter.opening.is_some() || records == 0 {
            Err(ReplayError::Empty { records }.into())
        } else {
            Ok(())
        }
    });
    // Complete steps come before the error. If the receiver is gone, nobody needs the error.
    let _ = cutter.flush();
    if let Err(Stop::Failed(error)) = read {
        let _ = cutter.items.send(Item::Failed(error));
    }
}

struct Cutter {
    items: SyncSender<Item>,
    /// How the node is constructed, until its first step starts.
    opening: Option<Box<(Start, Saved)>>,
    step: Option<Step>,
    batch: Batch,
}

/// Why reading stops.
enum Stop {
    Failed(ReplayError),
    Unheard,
}

impl From<ReplayError> for Stop {
    fn from(error: ReplayError) -> Self {
        Self::Failed(error)
    }
}

impl Cutter {
    fn cut_all(&mut self, records: &mut Records) -> Result<(), Stop> {
        loop {
            let number = records.read();
            let Some(record) = records.next()? else { return Ok(()) };
            self.cut(number, record)?;
        }
    }

    fn cut(&mut self, number: u64, record: Record<'_>) -> Result<(), Stop> {
        let misplaced = || Stop::Failed(JournalError::Malformed { record: number }.into());
        match record {
            Record::Start(start) => self.opening = Some(Box::new((*start, Saved::default()))),
            Record::SavedTask(task) => {
                self.opening.as_mut().ok_or_else(misplaced)?.1.tasks.push(*task);
            }
            Record::SavedResult(result) => {
                self.opening.as_mut().ok_or_else(misplaced)?.1.results.push(*result);
            }
            Record::KeyUse(body) => {
                self.open(number)?;
                let step = self.step.as_mut().filter(|step| step.outputs.is_empty()).ok_or_else(misplaced)?;
                self.batch.uses.push(append(&mut self.batch.bytes, body));
                step.uses.end = self.batch.uses.len();
            }
            Record::Output(body) => {
                self.open(number)?;
                let step = self.step.as_mut().ok_or_else(misplaced)?;
                self.batch.outputs.push(append(&mut self.batch.bytes, body));
                step.outputs.end = self.batch.outputs.len();
            }
            Record::Input(now, input) => {
                self.open(number)?;
                self.close(Follower::Input)?;
                self.begin(number, now, Some(input));
            }
            Record::End(end) => {
                self.open(number)?;
                self.close(Follower::End(end))?;
            }
        }
        Ok(())
    }

    /// Starts the step in which the node is constructed, if it has not started.
    fn open(&mut self, number: u64) -> Result<(), Stop> {
        if let Some(opening) = self.opening.take() {
            let now = opening.0.now;
            self.items.send(Item::Open(opening)).map_err(|_| Stop::Unheard)?;
            self.begin(number, now, None);
        }
        Ok(())
    }

    fn begin(&mut self, record: u64, at: Instant, input: Option<Input>) {
        let (uses, outputs) = (self.batch.uses.len(), self.batch.outputs.len());
        let (told, follower) = (u64::from(input.is_some()), Follower::Nothing);
        let (uses, outputs) = (uses..uses, outputs..outputs);
        self.step = Some(Step { record, at, told, input, uses, outputs, follower });
    }

    fn close(&mut self, follower: Follower) -> Result<(), Stop> {
        self.batch.steps.extend(self.step.take().map(|step| Step { follower, ..step }));
        if self.batch.steps.len() >= BATCH_STEPS || self.batch.bytes.len() >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.steps.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.items.send(Item::Steps(batch)).map_err(|_| Stop::Unheard)
    }
}

fn append(bytes: &mut Vec<u8>, body: &[u8]) -> Range<usize> {
    let start = bytes.len();
    bytes.extend_from_slice(body);
    start..bytes.len()
}

/// The most steps in a batch.
const BATCH_STEPS: usize = 256;
/// The bytes after which a batch takes no further step.
const BATCH_BYTES: usize = 256 << 10;
