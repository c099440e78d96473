//! Durable records: what a node must still know after a crash.

mod memory;
mod path;
#[cfg(feature = "redb")]
mod redb;

pub use self::memory::MemoryStore;
pub use self::path::{PathError, check_directory};
#[cfg(feature = "redb")]
pub use self::redb::{OpenError, ReadError, RedbStore, ResultReader};
