//! Selects the newer of the two commits in a data file.
//!
//! A file holds its last two commits, and one header bit says which is newer. If that bit is damaged, redb would use
//! the older one and silently lose the newer. Therefore a complete newer commit is used whatever the bit says. A commit
//! that a crash interrupted is incomplete, and was never acknowledged.
//!
//! The layout is that of redb's file format 3.

use super::overlay::Overlay;
use super::salvage::verify;
use ::redb::StorageBackend as _;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Selects the newest complete commit. A file that another process uses, or that is not a data file, is not changed.
pub(super) fn take_newest(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let mut header = [0; HEADER_BYTES];
    if file.read_exact_at(&mut header, 0).is_err() || header[..MAGIC.len()] != MAGIC {
        return Ok(());
    }
    let current = usize::from(header[FLAGS_AT] & NEWER_IS_SECOND);
    if commit_number(&header, 1 - current) <= commit_number(&header, current) || is_used(file) {
        return Ok(());
    }
    let flags = [header[FLAGS_AT] ^ NEWER_IS_SECOND];
    let overlay = Overlay::open(path)?;
    overlay.write(FLAGS_AT as u64, &flags)?;
    if verify(overlay).is_err() {
        return Ok(());
    }
    tracing::info!(file = %path.display(), "using the newest commit of the data file");
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&flags, FLAGS_AT as u64)?;
    file.sync_all()
}

fn commit_number(header: &[u8; HEADER_BYTES], slot: usize) -> u64 {
    let at = SLOTS_AT + slot * SLOT_BYTES + NUMBER_AT;
    header[at..].first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}

fn is_used(file: File) -> bool {
    let Ok(backend) = ::redb::backends::FileBackend::new(file) else { return true };
    matches!(backend.try_lock_shared_range(Bound::Unbounded, Bound::Unbounded), Ok(false))
}

const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
const FLAGS_AT: usize = MAGIC.len();
const NEWER_IS_SECOND: u8 = 1;
const SLOTS_AT: usize = 64;
const SLOT_BYTES: usize = 128;
const NUMBER_AT: usize = 104;
const HEADER_BYTES: usize = SLOTS_AT + 2 * SLOT_BYTES;
