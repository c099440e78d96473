//! A check for free disk space that allocates some.

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Allocates [`FREE_BYTES_MIN`] on the disk of a directory and frees them at once.
///
/// # Errors
/// The error of the system: [`io::ErrorKind::StorageFull`] if there is not enough space.
pub fn check_free_space(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".room-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    // Without a name, the file disappears with this process, however that ends.
    fs::remove_file(&path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, i64::from(FREE_BYTES_MIN)) {
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => fill(file),
        taken => Ok(taken?),
    }
}

/// Allocates by writing, for file systems that lack another way.
fn fill(mut file: File) -> io::Result<()> {
    let block = [0; 1 << 16];
    let mut left = usize::try_from(FREE_BYTES_MIN).unwrap_or_default();
    while left > 0 {
        let part = left.min(block.len());
        file.write_all(&block[..part])?;
        left -= part;
    }
    file.sync_all()
}

/// With less free space a disk counts as full: a node could not store a task and its result.
pub const FREE_BYTES_MIN: u32 = 1 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn space_is_taken_and_given_back() {
        let directory = tempfile::tempdir().unwrap();
        check_free_space(directory.path()).unwrap();
        fill(File::create(directory.path().join("filled")).unwrap()).unwrap();
        assert_eq!(fs::metadata(directory.path().join("filled")).unwrap().len(), u64::from(FREE_BYTES_MIN));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(check_free_space(&directory.path().join("none")).is_err());
    }
}
