//! One stretch of memory for all packed weights: of the process alone, or a file's.
//!
//! A file lets several processes share the weights, and the next one start without packing them again.

use memmap2::{Advice, Mmap, MmapMut};
use std::fs::File;
use std::io;

/// Bytes that begin at a page.
pub struct Arena {
    memory: Memory,
}

enum Memory {
    File(Mmap),
    Own(MmapMut),
}

impl Arena {
    /// Memory of the process alone, all zeros.
    ///
    /// # Errors
    /// Where the system has no such stretch of addresses.
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        let memory = MmapMut::map_anon(bytes.max(1))?;
        // Fewer, larger pages save a part of the time; without them all still works.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(Advice::HugePage);
        Ok(Self { memory: Memory::Own(memory) })
    }

    /// Gives a file this length and maps it for writing. The file is to be the caller's alone, under a name that
    /// nobody else looks for, until it is complete.
    ///
    /// # Errors
    /// What the system says; the space is not set aside, see `posix_fallocate`.
    pub fn create(file: &File, bytes: usize) -> io::Result<Self> {
        file.set_len(bytes.max(1) as u64)?;
        // SAFETY: bytes of a file have no invalid values; that nobody else writes or cuts the file is the caller's
        // part, and where it fails nothing but this process's numbers is at stake.
        let memory = unsafe { MmapMut::map_mut(file) }?;
        Ok(Self { memory: Memory::Own(memory) })
    }

    /// Maps a complete file.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(file: &File) -> io::Result<Self> {
        // SAFETY: as in `create`: complete files of this kind are replaced, never changed.
        let memory = unsafe { Mmap::map(file) }?;
        // Read from the beginning to the end for each token: worth reading ahead.
        let _ = memory.advise(Advice::WillNeed);
        Ok(Self { memory: Memory::File(memory) })
    }

    /// Returns all bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::File(memory) => memory,
            Memory::Own(memory) => memory,
        }
    }

    /// Returns all bytes to write; `None` where they belong to a complete file.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match &mut self.memory {
            Memory::File(_) => None,
            Memory::Own(memory) => Some(memory),
        }
    }

    /// Waits until a created file's bytes are on its disk.
    ///
    /// # Errors
    /// What the system says, a full disk among it.
    pub fn flush(&self) -> io::Result<()> {
        match &self.memory {
            Memory::File(_) => Ok(()),
            Memory::Own(memory) => memory.flush(),
        }
    }
}
