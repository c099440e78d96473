//! A file that is set aside when it has grown enough.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A log file that appends, and moves to `.1` before it would pass [`FILE_BYTES_MAX`].
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, FILE_BYTES_MAX)
    }

    fn with_limit(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, bytes_max })
    }

    /// Appends a whole line in one write, so that lines of two processes would not mix.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.bytes_max {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut older = self.path.clone().into_os_string();
        older.push(".1");
        fs::rename(&self.path, older)?;
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A log file may have this many bytes.
pub(super) const FILE_BYTES_MAX: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_moves_aside_and_no_line_is_torn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let mut file = LogFile::with_limit(&path, 10).unwrap();
        for line in ["aaaa\n", "bbbb\n", "cccc\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "cccc\n");
        assert_eq!(fs::read_to_string(directory.path().join("node.log.1")).unwrap(), "aaaa\nbbbb\n");
        let mut reopened = LogFile::with_limit(&path, 10).unwrap();
        reopened.append(b"dddddddd\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "dddddddd\n");
    }
}
