//! Tools for finding faults: log levels, snapshots, profiles and memory.

mod closed;
mod log_level;
mod memory;
mod snapshot;

pub use closed::{NotAnId, ShortId, Word};
pub use log_level::{ComponentLevel, LogLevel, LogLevels, NewLogLevel};
pub use memory::{MappingKind, MappingMemory, Memory};
pub use snapshot::{
    IssueFigures, IssueKind, LineFigures, LogFigures, MachineFigures, MemberFigures, ModelFigures,
    NodeFigures, OccupancyFigures, PeerFigures, ProcessFigures, ProcessRole, ProgramFigures, SNAPSHOT_FORMAT,
    SettingFigure, SettingValue, Snapshot, StorageFigures,
};
