//! Where the memory of a node and its models is, as far as the system and the node know without a special allocator.

use super::snapshot::{ModelFigures, OccupancyFigures, ProcessFigures, StorageFigures};
use serde::{Deserialize, Serialize};

/// The memory of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The process of the node, then those of its models.
    pub processes: Vec<ProcessFigures>,
    /// The memory of the node's own process, by kind.
    pub mappings: Vec<MappingMemory>,
    /// The node's collections: entries, or bytes where the name ends in `bytes`.
    pub collections: Vec<OccupancyFigures>,
    /// The models.
    pub models: Vec<ModelFigures>,
    /// The storage.
    pub storage: StorageFigures,
}

/// The memory of one kind in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingMemory {
    /// The kind.
    pub kind: MappingKind,
    /// Number of mappings.
    pub mappings: u32,
    /// Address space.
    pub bytes: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Resident memory that the system cannot take back.
    pub dirty_bytes: u64,
    /// Memory in swap space.
    pub swapped_bytes: u64,
}

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingKind {
    /// Memory without a file: allocations of other threads than the main one, large allocations, and stacks of threads.
    Anonymous,
    /// The heap of the main thread.
    Heap,
    /// Libraries.
    Library,
    /// Other files, such as data and weights.
    OtherFile,
    /// The program.
    Program,
    /// The stack of the main thread.
    Stack,
}
