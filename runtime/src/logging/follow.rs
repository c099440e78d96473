//! Reads a log while it is being written, across rotations.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Reads whole lines, and continues with lines that are written later.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// The beginning of an incomplete line.
    begun: Vec<u8>,
}

impl Follower {
    /// Starts at the first line of the file. The file need not exist yet.
    pub fn at_start(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, begun: Vec::new() }
    }

    /// Returns the next line without its line end, or `None` if there is none yet.
    ///
    /// # Errors
    /// The error of the file system, unless the file does not exist.
    pub fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if self.file.is_none() {
                self.file = open(&self.path)?.map(BufReader::new);
            }
            let Some(file) = &mut self.file else { return Ok(None) };
            let room = LINE_BYTES_MAX.saturating_sub(self.begun.len() as u64);
            file.by_ref().take(room).read_until(b'\n', &mut self.begun)?;
            let whole = self.begun.last() == Some(&b'\n');
            if whole || self.begun.len() as u64 >= LINE_BYTES_MAX {
                self.begun.truncate(self.begun.len() - usize::from(whole));
                let line = String::from_utf8_lossy(&self.begun).into_owned();
                self.begun.clear();
                return Ok(Some(line));
            }
            // The end of this file. It may have been rotated.
            if !self.is_set_aside()? {
                return Ok(None);
            }
            self.file = None;
            self.begun.clear();
        }
    }

    fn is_set_aside(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let own = file.get_ref().metadata()?;
        Ok(fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) != (own.dev(), own.ino())))
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// Longer lines are split.
const LINE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_are_whole_and_rotations_lose_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut follower = Follower::at_start(&path);
        let mut next = || follower.next_line().unwrap();
        assert_eq!(next(), None);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(next().as_deref(), Some("one"));
        assert_eq!(next(), None);
        file.write_all(b"o\n").unwrap();
        assert_eq!(next().as_deref(), Some("two"));
        file.write_all(b"three\n").unwrap();
        fs::rename(&path, directory.path().join("log.1")).unwrap();
        fs::write(&path, "four\n").unwrap();
        assert_eq!((next().as_deref(), next().as_deref()), (Some("three"), Some("four")));
        assert_eq!(next(), None);
    }
}
