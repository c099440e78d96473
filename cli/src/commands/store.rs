//! `store`: what a stopped node has stored.

pub(super) mod check;
pub(super) mod salvage;
