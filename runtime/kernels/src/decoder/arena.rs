//! One memory region for all packed weights: anonymous, or a mapped file.
//!
//! A file lets several processes share the weights, and lets the next process start without packing them again.

use memmap2::{Advice, Mmap, MmapMut};
use std::fs::File;
use std::io;

/// A memory region that is aligned to a page.
pub struct Arena {
    memory: Memory,
}

enum Memory {
    File(Mmap),
    Own(MmapMut),
}

impl Arena {
    /// Maps anonymous memory, all zeros.
    ///
    /// # Errors
    /// Returns the error of the system if it has no such address range.
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        let memory = MmapMut::map_anon(bytes.max(1))?;
        // Huge pages save some time; without them everything still works.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(Advice::HugePage);
        Ok(Self { memory: Memory::Own(memory) })
    }

    /// Maps a complete file. Writing to the file changes the results, and truncating it kills the process: such a file
    /// must only be replaced under its name, never modified.
    ///
    /// # Errors
    /// Returns the error of the system.
    pub fn open(file: &File) -> io::Result<Self> {
        // SAFETY: all byte values are valid. The caller ensures that the file does not change, as documented.
        let memory = unsafe { Mmap::map(file) }?;
        // Each token reads it from start to end, so read-ahead is worth it.
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

    /// Returns all bytes to write, or `None` for a mapped file.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match &mut self.memory {
            Memory::File(_) => None,
            Memory::Own(memory) => Some(memory),
        }
    }
}
