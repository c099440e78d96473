//! What a process gives up that holds keys, or texts of others: each step is one that it never needs to take back.

use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, setrlimit};

/// Keeps this process's memory out of core dumps and from other processes of the same user, and keeps the process
/// and all that it starts from gaining privileges. To be called before anything secret is read.
///
/// Returns what the system refused, in words, for a log that is not open yet. Sandboxes may refuse any of it, and have
/// rules of their own.
pub fn harden_this_process() -> Vec<String> {
    let steps = [
        ("core dumps stay allowed", setrlimit(Resource::RLIMIT_CORE, 0, 0)),
        ("other processes may read this one", set_dumpable(false)),
        ("programs may gain privileges", set_no_new_privs()),
    ];
    steps.into_iter().filter_map(|(what, step)| Some(format!("{what}: {}", step.err()?))).collect()
}
