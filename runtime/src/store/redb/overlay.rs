//! A read-only view of a data file. redb's writes stay in memory, so that checking a damaged file does not change it.

use ::redb::StorageBackend;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The file, and the blocks that redb has written.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    bytes: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, changed: Mutex::new(Changed { bytes, blocks: BTreeMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a block of the file. Beyond its end there are zeros.
    fn block(&self, number: u64) -> io::Result<Box<[u8; BLOCK]>> {
        let mut block = Box::new([0; BLOCK]);
        self.read_file(number * BLOCK as u64, &mut *block)?;
        Ok(block)
    }

    /// Reads bytes of the file. Beyond its end there are zeros.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            match self.file.read_at(&mut out[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        out[filled..].fill(0);
        Ok(())
    }
}

/// Splits a byte range at block borders: block, offset in the block, range in the buffer.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let place = offset + at as u64;
        let within = usize::try_from(place % BLOCK as u64).unwrap_or_default();
        let end = (at + BLOCK - within).min(length);
        let part = (at < length).then(|| (place / BLOCK as u64, within, at..end));
        at = end;
        part
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > changed.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, part) in parts(offset, out.len()) {
            let length = part.len();
            match changed.blocks.get(&number) {
                Some(block) => out[part].copy_from_slice(&block[within..within + length]),
                None => self.read_file(number * BLOCK as u64 + within as u64, &mut out[part])?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().bytes = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.lock();
        for (number, within, part) in parts(offset, data.len()) {
            let block = match changed.blocks.entry(number) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(self.block(number)?),
            };
            block[within..within + part.len()].copy_from_slice(&data[part]);
        }
        Ok(())
    }
}

const BLOCK: usize = 4096;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_not_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let bytes: Vec<u8> = (0..10_000_u32).map(|at| at as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let overlay = Overlay::open(&path).unwrap();
        overlay.write(4_000, &[7; 200]).unwrap();
        overlay.set_len(12_000).unwrap();
        overlay.write(9_990, &[9; 20]).unwrap();
        let mut read = vec![1; 12_000];
        overlay.read(0, &mut read).unwrap();
        let mut expected = bytes.clone();
        expected.resize(12_000, 0);
        expected[4_000..4_200].fill(7);
        expected[9_990..10_010].fill(9);
        assert!(read == expected);
        assert!(overlay.read(11_999, &mut [0; 2]).is_err());
        assert!(std::fs::read(&path).unwrap() == bytes);
    }
}
