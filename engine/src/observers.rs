//! Observers of [events](crate::event): they keep counts and recent problems, and feed nothing back.

pub mod diagnostics;
pub mod fault_counters;
pub mod metrics;
