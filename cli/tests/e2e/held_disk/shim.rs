//! Loaded into a node in front of the C library: while there is a file, whose path `HELD_DISK` holds, nothing of what
//! the node keeps its tasks in is written to the disk; where the file names a thread, nothing that this thread writes.
//!
//! Nothing is ever written through: no test that uses this takes the machine's power away.

use std::path::PathBuf;
use std::time::Duration;

#[no_mangle]
pub extern "C" fn fdatasync(file: i32) -> i32 {
    wait(file)
}

#[no_mangle]
pub extern "C" fn fsync(file: i32) -> i32 {
    wait(file)
}

fn wait(file: i32) -> i32 {
    let is_store = std::fs::read_link(format!("/proc/self/fd/{file}")).is_ok_and(|path| path.ends_with("node.redb"));
    let held = std::env::var_os("HELD_DISK").map(PathBuf::from).filter(|_| is_store);
    let thread = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    let is_held = |path: &PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|held| held.is_empty() || held == thread.trim_end())
    };
    while held.as_ref().is_some_and(is_held) {
        std::thread::sleep(Duration::from_millis(5));
    }
    0
}
