//! Durable records: the state that a node must keep across a crash.

mod damage;
mod free_space;
mod memory;
mod note;
mod path;
mod redb;
mod traces;

pub use self::damage::Damage;
pub use self::free_space::{FREE_BYTES_MIN, check_free_space};
pub use self::memory::MemoryStore;
pub use self::note::{Missing, missing_data, note_data};
pub use self::path::{PathError, check_directory, is_full};
pub use self::redb::{
    Checked, OpenError, ReadError, RedbStore, ResultReader, Salvaged, check, kept_files, salvage, set_aside,
};
pub use self::traces::TraceStore;
