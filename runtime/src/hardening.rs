//! Privileges that a process with keys or foreign texts gives up. No step is ever reversed.

use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, setrlimit};

/// Excludes the memory of this process from core dumps and from other processes of the same user, and prevents new
/// privileges for it and its children. Call it before any secret is read.
///
/// Returns what the system refused, as text, because no log is open yet. Sandboxes may refuse any step.
pub fn harden_this_process() -> Vec<String> {
    let steps = [
        ("core dumps stay allowed", setrlimit(Resource::RLIMIT_CORE, 0, 0)),
        ("other processes may read this one", set_dumpable(false)),
        ("programs may gain privileges", set_no_new_privs()),
    ];
    steps.into_iter().filter_map(|(what, step)| Some(format!("{what}: {}", step.err()?))).collect()
}
