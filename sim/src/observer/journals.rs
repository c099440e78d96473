//! The journals of a run: one file per start of each node. `n2.1.journal` is the first of node 2.
//!
//! They have the format of a real node's journal, so each can be replayed alone. Two runs are equal if their journals
//! are. If not, the first differing record shows where the runs diverge.

use crate::invariant::Observation;
use crate::node_set::NodeIndex;
use crate::replay::{self, Records, ReplayError};
use core::fmt;
use engine::journal::{End, Record, Recorder, Start};
use engine::record::Saved;
use engine::{Identity, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes the journals of one run, without influencing it.
#[derive(Debug)]
pub(crate) struct Journals {
    directory: PathBuf,
    open: BTreeMap<NodeIndex, Journal>,
    failed: Option<io::Error>,
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    recorder: Recorder,
    unwritten: Vec<u8>,
}

impl Journals {
    /// Writes into a directory, which is created; a directory that is not empty is refused.
    pub(crate) fn into(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        if fs::read_dir(directory)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the directory is not empty"));
        }
        Ok(Self { directory: directory.to_owned(), open: BTreeMap::new(), failed: None })
    }

    /// Starts the journal of a node's next incarnation; returns the identity to construct the node with.
    pub(crate) fn begin(
        &mut self,
        (node, incarnation): (NodeIndex, u32),
        start: &Start,
        saved: &Saved,
        identity: Identity,
    ) -> Identity {
        self.end(node);
        let (identity, uses) = identity.noted();
        let mut unwritten = Vec::new();
        let recorder = Recorder::begin(start, saved, uses, &mut unwritten);
        let path = self.directory.join(format!("n{node}.{incarnation}.journal"));
        self.open.insert(node, Journal { path, recorder, unwritten });
        identity
    }

    /// Records what happened to a node.
    pub(crate) fn observe(&mut self, now: Instant, node: NodeIndex, observation: Observation<'_>) {
        let Some(journal) = self.open.get_mut(&node) else { return };
        match observation {
            Observation::Input(input) => journal.recorder.input(now, input, &mut journal.unwritten),
            Observation::Output(output) => journal.recorder.output(output, &mut journal.unwritten),
            Observation::Durable(_) | Observation::Started => {}
            Observation::Stopped => self.end(node),
        }
        if let Some(journal) =
            self.open.get_mut(&node).filter(|journal| journal.unwritten.len() >= WRITE_BYTES)
            && let Err(error) = journal.write()
        {
            self.failed.get_or_insert(error);
        }
    }

    /// Ends all journals.
    ///
    /// # Errors
    /// The first error of writing any of them.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        while let Some((&node, _)) = self.open.first_key_value() {
            self.end(node);
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn end(&mut self, node: NodeIndex) {
        if let Some(mut journal) = self.open.remove(&node) {
            journal.recorder.end(End::Stopped, &mut journal.unwritten);
            if let Err(error) = journal.write() {
                self.failed.get_or_insert(error);
            }
        }
    }
}

impl Journal {
    /// Files are not kept open: there may be more nodes than a process may open files.
    fn write(&mut self) -> io::Result<()> {
        let mut file = File::options().append(true).create(true).open(&self.path)?;
        file.write_all(&self.unwritten)?;
        self.unwritten.clear();
        Ok(())
    }
}

/// The point at which two runs diverge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The name of the first journal that differs.
    pub journal: String,
    /// The number of the record.
    pub record: u64,
    /// The time of the record.
    pub at: Instant,
    /// The record of the first run; `None` if its journal has ended.
    pub first: Option<String>,
    /// The record of the second run; `None` if its journal has ended.
    pub second: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the runs diverge at record {} of {}, at {}", self.record, self.journal, self.at)?;
        let show = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing more".to_owned());
        writeln!(f, "  first:  {}", show(&self.first))?;
        write!(f, "  second: {}", show(&self.second))
    }
}

/// Compares the journals in two directories record by record; returns the earliest difference.
///
/// # Errors
/// [`ReplayError`] if a journal cannot be read.
pub fn first_difference(first: &Path, second: &Path) -> Result<Option<Difference>, ReplayError> {
    let mut names: BTreeSet<String> = journals(first)?;
    names.extend(journals(second)?);
    let mut earliest: Option<Difference> = None;
    for name in names {
        let difference = difference(&name, &first.join(&name), &second.join(&name))?;
        earliest = match (earliest, difference) {
            (Some(earliest), Some(other)) if other.at < earliest.at => Some(other),
            (None, difference) => difference,
            (earliest, _) => earliest,
        };
    }
    Ok(earliest)
}

/// Returns the names of the journals in a directory, in order.
///
/// # Errors
/// The error of the file system.
pub fn journals(directory: &Path) -> io::Result<BTreeSet<String>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names
        .filter(|name: &io::Result<String>| name.as_ref().is_ok_and(|name| name.ends_with(".journal")))
        .collect()
}

fn difference(name: &str, first: &Path, second: &Path) -> Result<Option<Difference>, ReplayError> {
    let open = |path: &Path| path.exists().then(|| Records::open(path)).transpose();
    let (mut first, mut second) = (open(first)?, open(second)?);
    let mut at = Instant::ZERO;
    for number in 0.. {
        let a = first.as_mut().map(Records::next).transpose()?.flatten();
        let b = second.as_mut().map(Records::next).transpose()?.flatten();
        match [&a, &b].into_iter().flatten().next() {
            None => break,
            Some(Record::Input(now, _)) => at = *now,
            Some(Record::Start(start)) => at = start.now,
            Some(
                Record::End(_)
                | Record::KeyUse(_)
                | Record::Output(_)
                | Record::SavedResult(_)
                | Record::SavedTask(_),
            ) => {}
        }
        if a != b {
            let show = |record: Option<Record<'_>>| record.map(|record| replay::describe(&record));
            let (first, second) = (show(a), show(b));
            return Ok(Some(Difference { journal: name.to_owned(), record: number, at, first, second }));
        }
    }
    Ok(None)
}

/// The bytes that a journal buffers before it is written.
const WRITE_BYTES: usize = 32 << 10;
