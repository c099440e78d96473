//! Replays a journal: constructs the same node, gives it the same inputs, and compares every output with the recorded
//! one.
//!
//! A replay ends at the first difference, because the node's state differs from there on. Reading and decoding run in
//! a thread of their own, ahead of the node by a bounded number of batches.

mod drawing;
mod playback;
mod records;
mod state;
mod steps;

pub use playback::Playback;
pub use records::{Records, describe};
pub use state::State;

use crate::timeline::Timeline;
use core::fmt;
use core::time::Duration;
use drawing::Drawing;
use engine::identity::KeyUses;
use engine::journal::{self, End, JournalError, Record, Start};
use engine::lifecycle::State as Lifecycle;
use engine::{Event, Identity, Instant, Node, NodeId, Output};
use std::io;
use std::path::Path;
use steps::{Batch, Follower, Item, Step};

/// A replayed node, in its final state.
#[derive(Debug)]
pub struct Replayed {
    /// How the node was constructed.
    pub start: Start,
    /// The number of records read.
    pub records: u64,
    /// The number of inputs.
    pub inputs: u64,
    /// The number of outputs compared. All were equal.
    pub outputs: u64,
    /// The time of the last input.
    pub at: Instant,
    /// Why the replay ended there.
    pub ended: Ended,
    /// The duration of the replay.
    pub wall: Duration,
    /// The last moment before the node began to stop; `None` if it runs at the end.
    pub before_stop: Option<Instant>,
    node: Node,
}

/// Why a replay ended without a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The journal ends early, as that of a killed process does.
    Cut,
    /// The recording ended in order.
    Recorded(End),
    /// The requested time was reached.
    Until,
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal ends before the node had done anything.
    #[error("the journal ends after record {records}, before the node's first step is complete")]
    Empty {
        /// The number of complete records.
        records: u64,
    },
    /// The file cannot be read.
    #[error("cannot read the journal")]
    Io(#[from] io::Error),
    /// The file is not a journal, or is damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The node behaved differently from the recording.
    #[error("{0}")]
    Mismatch(Box<Mismatch>),
}

impl ReplayError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Empty { .. } => "nothing can be replayed: record the node again".to_owned(),
            Self::Io(_) => "name a file that `node start --record` or `sim run --record` wrote".to_owned(),
            Self::Journal(JournalError::NotAJournal) => {
                "name a file that `node start --record` or `sim run --record` wrote".to_owned()
            }
            Self::Journal(JournalError::Version(version)) => {
                format!(
                    "replay it with version {version} of this program: another one's nodes may do other things"
                )
            }
            Self::Journal(JournalError::Format(_)) => {
                "replay it with the version of this program that wrote it".to_owned()
            }
            Self::Journal(JournalError::Damaged { record } | JournalError::Malformed { record }) => format!(
                "the file was changed after it was written; with --until a time before it, all up to record {record} \
                 can still be replayed"
            ),
            Self::Mismatch(mismatch) => format!(
                "this program's node differs from the recorded one; --until {}us --state shows it just before",
                mismatch.at.as_micros().saturating_sub(1)
            ),
        }
    }
}

/// The first difference between a node and its journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// The number of the record that differs.
    pub record: u64,
    /// The time of the last input.
    pub at: Instant,
    /// The last input; `None` if the node was just constructed.
    pub input: Option<String>,
    /// The recorded output; `None` if there was none.
    pub expected: Option<String>,
    /// The actual output; `None` if there was none.
    pub got: Option<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |what: &Option<String>| what.clone().unwrap_or_else(|| "nothing more".to_owned());
        writeln!(f, "the replay differs from the journal at record {}, at {}", self.record, self.at)?;
        writeln!(f, "  after:    {}", self.input.clone().unwrap_or_else(|| "the start".to_owned()))?;
        writeln!(f, "  expected: {}", show(&self.expected))?;
        write!(f, "  got:      {}", show(&self.got))
    }
}

/// Replays a journal, up to a time if one is given.
///
/// # Errors
/// [`ReplayError`], with the number of the record if that is known.
pub fn replay(path: &Path, until: Option<Instant>) -> Result<Replayed, ReplayError> {
    replay_with(path, until, |_| {})
}

/// Replays a journal, up to a time if one is given, and draws its timeline.
///
/// # Errors
/// [`ReplayError`], with the number of the record if that is known.
pub fn replay_drawn(path: &Path, until: Option<Instant>) -> Result<(Replayed, Timeline), ReplayError> {
    let (replayed, drawing) = replay_observed(path, until, |_| {}, true)?;
    let drawing = drawing.ok_or(ReplayError::Empty { records: 0 })?;
    let timeline = drawing.finish(path, &replayed);
    Ok((replayed, timeline))
}

/// Replays a journal on a node with a changed configuration, to see where the change shows.
///
/// # Errors
/// [`ReplayError`], with the number of the record if that is known.
pub fn replay_with(
    path: &Path,
    until: Option<Instant>,
    adjust: impl FnOnce(&mut engine::Config),
) -> Result<Replayed, ReplayError> {
    replay_observed(path, until, adjust, false).map(|(replayed, _)| replayed)
}

fn replay_observed(
    path: &Path,
    until: Option<Instant>,
    adjust: impl FnOnce(&mut engine::Config),
    draw: bool,
) -> Result<(Replayed, Option<Drawing>), ReplayError> {
    let began = std::time::Instant::now();
    let records = Records::open(path)?;
    let (items, received) = std::sync::mpsc::sync_channel(BATCHES_AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(move || steps::read(records, items));
        let (start, saved) = match received.recv() {
            Ok(Item::Open(opening)) => *opening,
            Ok(Item::Failed(error)) => return Err(error),
            Ok(Item::Steps(_)) | Err(_) => return Err(ReplayError::Empty { records: 0 }),
        };
        let mut config = start.config.clone();
        adjust(&mut config);
        let mut player = Player::new(start, config, saved, draw);
        let ended = player.play(&received, until);
        // The reader stops once nobody receives any more.
        drop(received);
        player.finish(ended.map_err(|error| explain(path, error))?, began.elapsed())
    })
}

/// A node during its replay.
struct Player {
    start: Start,
    config: engine::Config,
    saved: engine::Saved,
    identity: Identity,
    uses: KeyUses,
    /// Constructed with the first step, which contains the uses of the key.
    node: Option<Node>,
    scratch: Vec<u8>,
    records: u64,
    inputs: u64,
    outputs: u64,
    at: Instant,
    exited: bool,
    before_stop: Option<Instant>,
    drawing: Option<Drawing>,
}

impl Player {
    fn new(start: Start, config: engine::Config, saved: engine::Saved, draw: bool) -> Self {
        let (identity, uses) = Identity::replayed(start.key);
        let at = start.now;
        let (scratch, node) = (Vec::new(), None);
        let (records, inputs, outputs, exited) = (0, 0, 0, false);
        let drawing = draw.then(|| Drawing::new(identity.node_id(), at));
        let before_stop = None;
        Self {
            start,
            config,
            saved,
            identity,
            uses,
            node,
            scratch,
            records,
            inputs,
            outputs,
            at,
            exited,
            before_stop,
            drawing,
        }
    }

    fn play(
        &mut self,
        received: &std::sync::mpsc::Receiver<Item>,
        until: Option<Instant>,
    ) -> Result<Ended, ReplayError> {
        for item in received.iter() {
            let mut batch = match item {
                Item::Steps(batch) => batch,
                Item::Failed(error) => return Err(error),
                Item::Open(_) => return Err(ReplayError::Empty { records: self.records }),
            };
            for mut step in std::mem::take(&mut batch.steps) {
                if until.is_some_and(|until| step.at > until) {
                    return Ok(Ended::Until);
                }
                let follower = step.follower;
                if follower == Follower::Nothing && step.outputs.is_empty() {
                    // The uses of the key may be incomplete.
                    self.records = step.next_record();
                    return Ok(Ended::Cut);
                }
                self.step(&mut step, &batch)?;
                match follower {
                    Follower::Input => {}
                    Follower::End(end) => return Ok(Ended::Recorded(end)),
                    Follower::Nothing => return Ok(Ended::Cut),
                }
            }
        }
        Ok(Ended::Cut)
    }

    fn step(&mut self, step: &mut Step, batch: &Batch) -> Result<(), ReplayError> {
        self.at = step.at;
        self.records = step.next_record();
        for range in &batch.uses[step.uses.clone()] {
            self.uses.push(batch.bytes[range.clone()].to_vec());
        }
        let node = match (&mut self.node, step.input.take()) {
            (Some(node), Some(input)) => {
                self.inputs += 1;
                if let Some(drawing) = &mut self.drawing {
                    drawing.input(step.at, &input);
                }
                node.handle_input(step.at, input);
                node
            }
            (made, _) => {
                let (config, saved) = (self.config.clone(), std::mem::take(&mut self.saved));
                let Start { seed, now, wall, .. } = self.start;
                made.insert(Node::new(config, self.identity.clone(), seed, now, wall, saved))
            }
        };
        for (index, range) in batch.outputs[step.outputs.clone()].iter().enumerate() {
            let expected = &batch.bytes[range.clone()];
            let got = node.poll_output();
            self.exited |= matches!(got, Some(Output::Exit { .. }));
            if let Some(Output::Event(Event::StateChanged {
                to: Lifecycle::ShuttingDown | Lifecycle::Stopped,
                ..
            })) = &got
            {
                let before = || Instant::from_micros(step.at.as_micros().saturating_sub(1));
                self.before_stop.get_or_insert_with(before);
            }
            if let (Some(drawing), Some(got)) = (&mut self.drawing, &got) {
                drawing.output(step.at, got);
            }
            self.scratch.clear();
            if let Some(got) = &got {
                journal::encode(got, &mut self.scratch);
            }
            if got.is_none() || self.scratch != expected {
                let expected = records::describe_output(expected);
                return Err(mismatch(step, index, Some(expected), got.as_ref()));
            }
            self.outputs += 1;
        }
        // After an exit nobody carries out the remaining outputs, and a recording may end in the middle of a step.
        let complete = match step.follower {
            Follower::Input => true,
            Follower::End(end) => end == End::Stopped && !self.exited,
            Follower::Nothing => false,
        };
        let more = complete.then(|| node.poll_output()).flatten();
        let left = if step.uses.is_empty() { 0 } else { self.uses.len() };
        if more.is_some() || complete && left > 0 {
            let expected = (left > 0).then(|| format!("{left} more uses of the key"));
            return Err(mismatch(step, step.outputs.len(), expected, more.as_ref()));
        }
        Ok(())
    }

    fn finish(self, ended: Ended, wall: Duration) -> Result<(Replayed, Option<Drawing>), ReplayError> {
        let Self { start, node, records, inputs, outputs, at, before_stop, drawing, .. } = self;
        let node = node.ok_or(ReplayError::Empty { records })?;
        Ok((Replayed { start, records, inputs, outputs, at, ended, wall, before_stop, node }, drawing))
    }
}

impl Replayed {
    /// Returns the id of the node.
    pub fn id(&self) -> NodeId {
        self.node.id()
    }

    /// Queries the node's state `at` a time that is not before its current one; `None` if it has stopped. The answers
    /// are those that users get.
    pub fn state(&mut self, at: Instant) -> Option<State> {
        State::query(&mut self.node, self.at.max(at))
    }
}

fn mismatch(step: &Step, index: usize, expected: Option<String>, got: Option<&Output>) -> ReplayError {
    let record = step.output_record(index);
    let got = got.map(records::describe_decoded);
    ReplayError::Mismatch(Box::new(Mismatch { record, at: step.at, input: None, expected, got }))
}

/// Adds a description of the last input to a mismatch.
fn explain(path: &Path, error: ReplayError) -> ReplayError {
    let ReplayError::Mismatch(mut mismatch) = error else { return error };
    if let Ok(mut records) = Records::open(path) {
        while let Ok(Some(record)) = records.next() {
            if matches!(record, Record::Input(..)) {
                mismatch.input = Some(describe(&record));
            }
            if records.read() > mismatch.record {
                break;
            }
        }
    }
    ReplayError::Mismatch(mismatch)
}

/// The most batches that may wait for the node.
const BATCHES_AHEAD: usize = 4;

#[cfg(test)]
mod tests;
