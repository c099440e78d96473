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

    /// Maps a file that is complete. To change it is to change what the program computes, and to cut it is to end the
    /// program: such files are to be replaced under their names, never changed.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(file: &File) -> io::Result<Self> {
        // SAFETY: bytes of a file have no invalid values; that they stay as they are is the caller's part, as its terms
        // say.
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
}
