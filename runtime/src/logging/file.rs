//! A rotated log file: `node.log` is the newest, `node.log.1` the one before, and so on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A log file that is rotated to `.1` before it exceeds its maximum size.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    retention: Duration,
    /// Whether the last write failed, perhaps in the middle of a line.
    torn: bool,
}

impl LogFile {
    pub(super) fn open(path: &Path, bytes_max: u64, retention: Duration) -> io::Result<Self> {
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        let file = Self { path: path.to_owned(), file, bytes, bytes_max, retention, torn: false };
        file.forget_old();
        Ok(file)
    }

    /// Appends whole lines, as many as fit in one write. Returns how many could not be written.
    pub(super) fn append_all(&mut self, lines: &[&[u8]]) -> u64 {
        let mut lost = 0;
        let mut rest = lines;
        while !rest.is_empty() {
            if self.bytes > 0 && self.bytes.saturating_add(rest[0].len() as u64) > self.bytes_max {
                // If the rotation fails the file grows. A log that is too long is better than none.
                if self.rotate().is_err() {
                    self.bytes = 0;
                }
            }
            let room = self.bytes_max.saturating_sub(self.bytes);
            let mut chunk = if self.torn { b"\n".to_vec() } else { Vec::new() };
            chunk.extend_from_slice(rest[0]);
            let mut taken = 1;
            while let Some(line) = rest.get(taken).filter(|line| (chunk.len() + line.len()) as u64 <= room) {
                chunk.extend_from_slice(line);
                taken += 1;
            }
            let written = self.file.write_all(&chunk);
            match written {
                Ok(()) => self.bytes = self.bytes.saturating_add(chunk.len() as u64),
                Err(_) => lost += taken as u64,
            }
            self.torn = written.is_err();
            rest = &rest[taken..];
        }
        lost
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let oldest =
            (1..FILES_MAX).find(|number| !rotated(&self.path, *number).exists()).unwrap_or(FILES_MAX);
        for number in (1..oldest).rev() {
            fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1))?;
        }
        fs::rename(&self.path, rotated(&self.path, 1))?;
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        self.forget_old();
        Ok(())
    }

    /// Removes rotated files that are older than the retention time.
    fn forget_old(&self) {
        for number in 1..=FILES_MAX {
            let path = rotated(&self.path, number);
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let age = metadata.modified().ok().and_then(|written| written.elapsed().ok());
            if age.is_some_and(|age| age > self.retention) {
                // If this fails, the next rotation tries again.
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// Returns the path of the log that was rotated `number` rotations ago.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Maximum number of rotated files. Beyond, the oldest is removed, whatever its age.
const FILES_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn append(file: &mut LogFile, line: &str) {
        assert_eq!(file.append_all(&[line.as_bytes()]), 0);
    }

    fn content(path: &Path, number: u32) -> Option<String> {
        let path = if number == 0 { path.to_owned() } else { rotated(path, number) };
        fs::read_to_string(path).ok()
    }

    #[test]
    fn a_full_file_moves_aside_and_no_line_is_torn_or_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let mut file = LogFile::open(&path, 10, WEEK).unwrap();
        let lines: Vec<&[u8]> = vec![b"aaaa\n", b"bbbb\n", b"cccc\n", b"dddd\n", b"eeee\n"];
        assert_eq!(file.append_all(&lines), 0);
        assert_eq!(content(&path, 0).unwrap(), "eeee\n");
        assert_eq!(content(&path, 1).unwrap(), "cccc\ndddd\n");
        assert_eq!(content(&path, 2).unwrap(), "aaaa\nbbbb\n");
        let mut reopened = LogFile::open(&path, 10, WEEK).unwrap();
        append(&mut reopened, "ffffffffffffff\n");
        assert_eq!(
            content(&path, 0).unwrap(),
            "ffffffffffffff\n",
            "one that is too long has a file of its own"
        );
        assert_eq!(content(&path, 3).unwrap(), "aaaa\nbbbb\n");
    }

    #[test]
    fn old_files_and_too_many_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let mut file = LogFile::open(&path, 1, WEEK).unwrap();
        (0..FILES_MAX + 5).for_each(|number| append(&mut file, &format!("{number}\n")));
        assert_eq!(content(&path, FILES_MAX).unwrap(), "4\n");
        assert_eq!(content(&path, FILES_MAX + 1), None);
        let long_ago = std::time::SystemTime::now() - WEEK - Duration::from_secs(60);
        File::open(rotated(&path, 2)).unwrap().set_modified(long_ago).unwrap();
        let file = LogFile::open(&path, 1, WEEK).unwrap();
        assert_eq!((content(&path, 2), content(&path, 3).is_some()), (None, true));
        drop(file);
    }
}
