//! `task submit --file IN --output OUT`: runs a file of tasks into a file of results, and resumes after an
//! interruption.
//!
//! Each result is one line that names its input line, written as a whole when the task has ended. So the output
//! also records the progress: another run skips the completed lines and retries the others. The tasks of an
//! interrupted run are in [`Accepted`]: the next run fetches their results. At the end, the results are sorted by
//! their input lines. At most [`IN_FLIGHT_MAX`] tasks are in flight; a full queue delays the next one.

mod accepted;
mod total;

use super::{Arguments, FileTask, LINE_BYTES_MAX, file_task, open, submit};
use crate::client::Client;
use crate::error::Failure;
use crate::progress;
use accepted::Accepted;
use api::{NewTask, ResultBody};
use engine::TaskId;
use engine::task::TaskStatus;
use runtime::home::{Home, create_draft};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use total::Total;
use xxhash_rust::xxh3::xxh3_64;

pub(super) async fn run(
    home: &Home,
    input: &Path,
    output: &Path,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let client = Client::connect(home)?;
    if same_file(input, output) {
        return Err(Failure::new("the output would overwrite the input")
            .id("output_is_input")
            .hint("name another --output"));
    }
    let mut lines = open(input).map_err(|error| unreadable(input, &error))?;
    let mut results = Results::open(output).map_err(|error| match error {
        OpenError::Io(error) => unwritable(output, &error),
        OpenError::Foreign { line } => Failure::new(format!(
            "{} is not a file of results: line {line} is not a result",
            output.display()
        ))
        .id("output_not_results")
        .hint("name another --output, or move this file away; nothing was changed"),
    })?;
    let accepted = Arc::new(Accepted::open(&results.path).map_err(|error| unwritable(output, &error))?);
    let (skipped, bar) = (results.done.len() as u64, progress::bar(count(input)?, "tasks"));
    let (mut number, mut at_end, mut total) = (0_u64, false, Total::new(skipped));
    let mut under_way = JoinSet::new();
    let submissions = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        while !at_end && under_way.len() < IN_FLIGHT_MAX {
            let Some(line) = next_line(&mut *lines).map_err(|error| unreadable(input, &error))? else {
                at_end = true;
                break;
            };
            number += 1;
            let line = Line::new(number, &line);
            if results.has(&line, output)? {
                // Lines that were done before say nothing about the speed.
                bar.inc(1);
                bar.reset_eta();
                continue;
            }
            match line.task(arguments) {
                Ok(None) => bar.inc(1),
                Ok(Some(FileTask { task, custom_id })) => {
                    let (client, line, accepted) = (client.clone(), line.name, Arc::clone(&accepted));
                    let submissions = Arc::clone(&submissions);
                    under_way.spawn(async move {
                        (line, custom_id, finish(&client, &task, line, &accepted, &submissions).await)
                    });
                }
                Err(failure) => {
                    total.refused += 1;
                    bar.suspend(|| failure.at(&format!("{} line {number}", input.display())).report());
                }
            }
        }
        let ended = tokio::select! {
            ended = under_way.join_next() => ended,
            _ = &mut interrupted => {
                bar.finish_and_clear();
                // Each task that the node accepts must be in the list, or it would run again. No other one begins.
                let all = IN_FLIGHT_MAX as u32;
                tokio::select! {
                    _ = timeout(SUBMISSIONS_TIMEOUT, submissions.acquire_many(all)) => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
                return total.interrupted(under_way.len());
            }
        };
        let Some(ended) = ended else { break };
        let (line, custom_id, ended) =
            ended.map_err(|error| Failure::from_error(&error).id("internal_error"))?;
        bar.inc(1);
        match ended {
            Ok(result) => {
                total.count(line.number, &result);
                let entry = Entry { line, custom_id, result };
                results.write(&entry).map_err(|error| unwritable(output, &error))?;
            }
            Err(failure) if is_gone(home, &client) => {
                bar.finish_and_clear();
                return Err(failure.hint("start the node and run the same command again to resume"));
            }
            Err(failure) => {
                total.refused += 1;
                let place = format!("{} line {}", input.display(), line.number);
                bar.suspend(|| failure.at(&place).report());
            }
        }
    }
    bar.finish_and_clear();
    results.sort().map_err(|error| unwritable(output, &error))?;
    accepted.remove();
    total.report()
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read {}", path.display()))
        .id("input_unreadable")
        .because(Some(error))
        .hint("check its path and permissions; - reads standard input")
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}", path.display()))
        .id("output_unwritable")
        .because(Some(error))
        .hint("check its directory, its permissions and the free space")
}

/// Returns whether the node that accepted the tasks has ended.
fn is_gone(home: &Home, client: &Client) -> bool {
    !Client::connect(home).is_ok_and(|now| now.info().pid == client.info().pid)
}

/// Waits for the result of a line. Takes the task of an earlier run unless it did not complete.
async fn finish(
    client: &Client,
    task: &NewTask,
    line: LineName,
    accepted: &Accepted,
    submissions: &Semaphore,
) -> Result<ResultBody, Failure> {
    if let Some(id) = accepted.earlier(line) {
        // A node keeps results for a day; and another node may have accepted the task.
        if let Ok(result) = result_of(client, id).await
            && result.status == TaskStatus::Completed
        {
            return Ok(result);
        }
    }
    let permit =
        submissions.acquire().await.map_err(|error| Failure::from_error(&error).id("internal_error"))?;
    let id = submit(client, task).await?;
    accepted.add(line, id);
    drop(permit);
    result_of(client, id).await
}

async fn result_of(client: &Client, id: TaskId) -> Result<ResultBody, Failure> {
    // The bar shows the progress of all tasks together.
    super::ended_with(client, id, |_| Ok(())).await?;
    client.get(&format!("/api/v1/tasks/{id}/result")).await
}

/// A line of the input.
struct Line {
    name: LineName,
    text: Vec<u8>,
}

/// The number and hash of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LineName {
    #[serde(rename = "line")]
    number: u64,
    #[serde(rename = "line_hash")]
    hash: u64,
}

impl Line {
    fn new(number: u64, text: &[u8]) -> Self {
        // 53 bits, which every JSON reader keeps exact.
        let hash = xxh3_64(text.trim_ascii()) & ((1 << 53) - 1);
        Self { name: LineName { number, hash }, text: text.to_owned() }
    }

    fn task(&self, arguments: &Arguments) -> Result<Option<FileTask>, Failure> {
        if self.text.len() as u64 > LINE_BYTES_MAX {
            return Err(Failure::new(format!("the line has more than {LINE_BYTES_MAX} bytes"))
                .id("input_exceeds_max_length"));
        }
        file_task(&self.text, arguments)
    }
}

/// Reads a line, or the beginning of one that is too long; `None` at the end.
fn next_line(lines: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if lines.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() as u64 > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
        lines.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// The file of results, and the input lines that it completes.
struct Results {
    path: PathBuf,
    file: File,
    /// The hash of each completed line, by its number.
    done: BTreeMap<u64, u64>,
    /// The input line of the last result.
    last: u64,
    /// Whether the results are in the order of the input.
    sorted: bool,
}

/// One line of the file of results.
#[derive(Serialize, Deserialize)]
struct Entry<T> {
    #[serde(flatten)]
    line: LineName,
    /// What the caller calls the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom_id: Option<Value>,
    #[serde(flatten)]
    result: T,
}

/// The part of a result that decides whether its task runs again.
#[derive(Serialize, Deserialize)]
struct Ended {
    id: TaskId,
    status: TaskStatus,
}

/// Why a file cannot hold results.
#[derive(Debug)]
enum OpenError {
    /// A line is not a result, so the file belongs to something else.
    Foreign {
        /// The line number, from 1.
        line: u64,
    },
    Io(io::Error),
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => error,
            OpenError::Foreign { line } => Self::other(format!("line {line} is not a result")),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The meaning of one line of an earlier file of results.
enum OldLine {
    Completed(LineName),
    /// The task did not complete, or the line is truncated: the task runs again.
    Again,
    Foreign,
}

impl OldLine {
    fn parse(line: &[u8]) -> Self {
        match serde_json::from_slice::<Entry<Ended>>(line) {
            Ok(entry) if line.ends_with(b"\n") && entry.result.status == TaskStatus::Completed => {
                Self::Completed(entry.line)
            }
            Ok(_) => Self::Again,
            // Only the last line can lack its end, if this program was killed during a write.
            Err(_) if is_truncated(line) => Self::Again,
            Err(_) => Self::Foreign,
        }
    }
}

/// Returns whether a line may be a truncated result. It can end anywhere, also within [`LINE_START`].
fn is_truncated(line: &[u8]) -> bool {
    !line.ends_with(b"\n") && (line.starts_with(LINE_START) || LINE_START.starts_with(line))
}

impl Results {
    /// Opens a file of results and keeps only its completed lines.
    ///
    /// # Errors
    /// [`OpenError::Foreign`] unless every line is a result; the file is then unchanged.
    fn open(path: &Path) -> Result<Self, OpenError> {
        // A link stays a link; the file behind it is replaced.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut done = BTreeMap::new();
        let (mut whole, mut sorted, mut last) = (true, true, 0);
        read_lines(path, |number, line| {
            match OldLine::parse(line) {
                OldLine::Completed(name) => {
                    done.insert(name.number, name.hash);
                    sorted &= name.number > last;
                    last = name.number;
                }
                OldLine::Again => whole = false,
                OldLine::Foreign => return Err(OpenError::Foreign { line: number }),
            }
            Ok(())
        })?;
        if !whole {
            replace(path, |kept| {
                read_lines(path, |_, line| match OldLine::parse(line) {
                    OldLine::Completed(_) => Ok(kept.write_all(line)?),
                    OldLine::Again | OldLine::Foreign => Ok(()),
                })
            })?;
        }
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { path: path.clone(), file, done, last, sorted })
    }

    /// Puts the results into the order of the input lines, unless they are.
    fn sort(&mut self) -> io::Result<()> {
        if self.sorted {
            return Ok(());
        }
        let (mut places, mut start) = (BTreeMap::new(), 0);
        let mut visit = |_, line: &[u8]| {
            // A task that did not complete has a result, too.
            if let Ok(entry) = serde_json::from_slice::<Entry<Ended>>(line) {
                places.insert(entry.line.number, (start, line.len() as u64));
            }
            start += line.len() as u64;
            Ok(())
        };
        read_lines(&self.path, &mut visit).map_err(io::Error::from)?;
        let mut unsorted = File::open(&self.path)?;
        let sorted = replace(&self.path, |sorted| {
            for (start, length) in places.values() {
                unsorted.seek(SeekFrom::Start(*start))?;
                io::copy(&mut Read::by_ref(&mut unsorted).take(*length), sorted)?;
            }
            Ok(())
        });
        sorted.map_err(io::Error::from)
    }

    /// Returns whether a line is completed.
    fn has(&mut self, line: &Line, path: &Path) -> Result<bool, Failure> {
        match self.done.get(&line.name.number) {
            None => Ok(false),
            Some(hash) if *hash == line.name.hash => Ok(true),
            Some(_) => Err(Failure::new(format!(
                "{} holds the results of another file: line {} differs",
                path.display(),
                line.name.number
            ))
            .id("output_of_another_file")
            .hint("name another --output, or move this file away to start again")),
        }
    }

    /// Writes a result with one write, so that an interruption leaves whole lines.
    fn write(&mut self, entry: &Entry<ResultBody>) -> io::Result<()> {
        let mut text = serde_json::to_vec(entry)?;
        text.push(b'\n');
        self.sorted &= entry.line.number > self.last;
        self.last = entry.line.number;
        self.file.write_all(&text)
    }
}

/// Replaces a file by what `write` writes, or leaves it as it is.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let (draft, file) = create_draft(path, 0o600)?;
    let mut file = BufWriter::new(file);
    let replaced = write(&mut file).and_then(|()| {
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.set_permissions(std::fs::metadata(path)?.permissions())?;
        file.sync_all()?;
        Ok(std::fs::rename(&draft, path)?)
    });
    // A draft that stays behind only takes a little disk space.
    replaced.inspect_err(|_| drop(std::fs::remove_file(&draft)))
}

/// Passes each line of a file with its number to `visit`; a missing file has no lines.
fn read_lines(
    path: &Path,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    // Only a regular file is opened: a pipe would block.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file").into()),
    }
    let (mut file, mut line, mut number) = (BufReader::new(File::open(path)?), Vec::new(), 0);
    while file.by_ref().take(RESULT_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
        number += 1;
        visit(number, &line)?;
        line.clear();
    }
    Ok(())
}

/// Counts the lines of a file for the progress bar. Standard input counts as 0.
fn count(path: &Path) -> Result<u64, Failure> {
    if path == Path::new("-") || !path.is_file() {
        return Ok(0);
    }
    let (mut file, mut buffer, mut lines) = (File::open(path)?, vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            read => lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

fn same_file(input: &Path, output: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(input).is_some_and(|input| real(output) == Some(input))
}

/// Maximum number of tasks in flight: half of the node's queue.
const IN_FLIGHT_MAX: usize = 128;
/// Maximum time for which an interrupted run waits for the answers to its submissions.
const SUBMISSIONS_TIMEOUT: Duration = Duration::from_secs(5);
/// The beginning of every line of results.
const LINE_START: &[u8] = br#"{"line":"#;
/// Maximum size of a line of results: as much as one response of a node.
const RESULT_BYTES_MAX: u64 = 64 << 20;
