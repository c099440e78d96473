//! Durable records: what a node must still know after a crash.

mod damage;
mod memory;
mod note;
mod path;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "redb")]
mod room;

pub use self::damage::Damage;
pub use self::memory::MemoryStore;
pub use self::note::{Missing, missing_data, note_data};
pub use self::path::{PathError, check_directory, is_full};
#[cfg(feature = "redb")]
pub use self::redb::{
    Checked, OpenError, ReadError, RedbStore, ResultReader, Salvaged, check, kept_files, salvage, set_aside,
};
#[cfg(feature = "redb")]
pub use self::room::{ROOM_BYTES, room_in};
