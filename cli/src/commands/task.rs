//! `task`: tasks and their results.

pub(super) mod cancel;
mod id;
pub(super) mod list;
pub(super) mod result;
pub(super) mod status;
pub(super) mod submit;
pub(super) mod watch;
