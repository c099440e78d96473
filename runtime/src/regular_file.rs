//! Opens regular files only.
//!
//! Opening a pipe would block until another program writes to it.

use nix::fcntl::OFlag;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file for reading, without blocking.
///
/// # Errors
/// The error of the system, or that the file is not a regular one.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // The flag changes nothing for a regular file.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_or_a_folder_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::fs::write(&file, "x").unwrap();
        assert!(open(&file).is_ok());
        for other in [pipe.as_path(), folder.path()] {
            assert_eq!(open(other).unwrap_err().to_string(), "it is no regular file");
        }
        let missing = open(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
