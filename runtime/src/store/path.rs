//! Checks whether a directory can hold a node's data.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A directory cannot hold a node's data.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// It does not exist and cannot be created.
    #[error("{} cannot be created", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Its disk is full.
    #[error("no space is left in {}", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
    },
    /// It is not a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A file written there cannot be read back.
    #[error("{} is not readable", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No file can be written there.
    #[error("{} is not writable", path.display())]
    Write {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Ensures that a directory exists and that a file can be written to it and read back.
///
/// # Errors
/// [`PathError`] says what failed.
pub fn check_directory(path: &Path) -> Result<(), PathError> {
    let owned = || path.to_path_buf();
    if path.exists() && !path.is_dir() {
        return Err(PathError::NotADirectory { path: owned() });
    }
    crate::home::create_directory(path).map_err(|source| PathError::Create { path: owned(), source })?;
    // The name is unique to this process, so two checks do not interfere.
    let probe = path.join(format!(".probe-{}", std::process::id()));
    let outcome = check_file(&probe, path);
    // A leftover probe does not change the outcome.
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

/// Tells whether an error means that the disk or the user's quota is full.
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
