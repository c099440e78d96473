//! `sim`: scenarios in simulated time.

pub(super) mod check;
pub(super) mod list;
pub(super) mod new;
pub(super) mod replay;
pub(super) mod run;
pub(super) mod shrink;
pub(super) mod timeline;
