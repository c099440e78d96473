//! The tasks that the node has accepted for an unfinished file of results: a file beside it, with a line for each
//! task. It exists while the results are not complete.

use super::LineName;
use engine::TaskId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The tasks of this run and of an earlier one.
pub(super) struct Accepted {
    path: PathBuf,
    file: File,
    /// The task of each line in an earlier run, and the hash of the line.
    earlier: BTreeMap<u64, (u64, TaskId)>,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct AcceptedLine {
    #[serde(flatten)]
    line: LineName,
    id: TaskId,
}

impl Accepted {
    /// Opens the file beside a file of results.
    pub(super) fn open(results: &Path) -> io::Result<Self> {
        let name = results.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
        let path = results.with_file_name(format!("{}.accepted", name.to_string_lossy()));
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(&path)?;
        let mut earlier = BTreeMap::new();
        // What is not such a line, as after a power failure, names no task; its line runs again.
        for line in BufReader::new((&file).take(FILE_BYTES_MAX)).split(b'\n') {
            if let Ok(AcceptedLine { line, id }) = serde_json::from_slice(&line?) {
                earlier.insert(line.number, (line.hash, id));
            }
        }
        // A truncated line must not spoil the next one.
        (&file).write_all(b"\n")?;
        Ok(Self { path, file, earlier })
    }

    /// Returns the task of a line in an earlier run.
    pub(super) fn earlier(&self, line: LineName) -> Option<TaskId> {
        self.earlier.get(&line.number).filter(|(hash, _)| *hash == line.hash).map(|(_, id)| *id)
    }

    /// Adds a task. One that is missing only runs again after an interruption, so errors are ignored.
    pub(super) fn add(&self, line: LineName, id: TaskId) {
        if let Ok(mut text) = serde_json::to_vec(&AcceptedLine { line, id }) {
            text.push(b'\n');
            let _ = (&self.file).write_all(&text);
        }
    }

    /// Removes the file: the results are complete.
    pub(super) fn remove(&self) {
        // A file that stays behind names tasks whose results are known.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A line takes about 100 bytes: enough for ten million tasks.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_of_an_interrupted_run_are_known_to_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let results = directory.path().join("out.jsonl");
        let (one, two) = (LineName { number: 1, hash: 7 }, LineName { number: 2, hash: 8 });
        let id = TaskId([3; 16]);
        let accepted = Accepted::open(&results).unwrap();
        accepted.add(one, id);
        (&accepted.file).write_all(b"{\"line\":2,\"line_").unwrap();
        let accepted = Accepted::open(&results).unwrap();
        accepted.add(two, id);
        let accepted = Accepted::open(&results).unwrap();
        assert_eq!((accepted.earlier(one), accepted.earlier(two)), (Some(id), Some(id)));
        assert_eq!(accepted.earlier(LineName { number: 1, hash: 9 }), None, "the line is another one now");
        accepted.remove();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
