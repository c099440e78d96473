//! Whether a directory can hold a node's data.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A directory cannot hold a node's data.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// It does not exist and cannot be made.
    #[error("{} cannot be created", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No space is left on its disk.
    #[error("no space is left in {}", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// What is written there does not come back.
    #[error("{} is not readable", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nothing can be written there.
    #[error("{} is not writable", path.display())]
    Write {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Makes sure that a directory exists and takes and gives back a file.
///
/// # Errors
/// [`PathError`] says what stands in the way.
pub fn check_directory(path: &Path) -> Result<(), PathError> {
    let owned = || path.to_path_buf();
    if path.exists() && !path.is_dir() {
        return Err(PathError::NotADirectory { path: owned() });
    }
    crate::home::create_directory(path).map_err(|source| PathError::Create { path: owned(), source })?;
    // The name is this process's own, so that two checks at the same time do not see each other's file.
    let probe = path.join(format!(".probe-{}", std::process::id()));
    let outcome = check_file(&probe, path);
    // A probe that was never made, or cannot be removed, changes nothing about the outcome.
    let _ = fs::remove_file(&probe);
    outcome
}

fn check_file(probe: &Path, directory: &Path) -> Result<(), PathError> {
    let path = || directory.to_path_buf();
    let written = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(probe).and_then(
        |mut file| {
            file.write_all(PROBE)?;
            file.sync_all()?;
            Ok(file)
        },
    );
    let mut file = written.map_err(|source| {
        if is_full(&source) {
            PathError::Full { path: path() }
        } else {
            PathError::Write { path: path(), source }
        }
    })?;
    let mut back = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut back));
    read.map_err(|source| PathError::Read { path: path(), source })?;
    if back == PROBE {
        Ok(())
    } else {
        Err(PathError::Read { path: path(), source: io::ErrorKind::InvalidData.into() })
    }
}

/// Tells whether the disk, or this user's part of it, has no space left.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull)
}

const PROBE: &[u8] = b"probe";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_and_left_empty() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        check_directory(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, b"").unwrap();
        assert!(matches!(check_directory(&path), Err(PathError::NotADirectory { .. })));
        assert!(matches!(check_directory(&path.join("below")), Err(PathError::Create { .. })));
        assert!(matches!(check_directory(Path::new("/proc/self")), Err(PathError::Write { .. })));
    }
}
