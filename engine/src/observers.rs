//! Observers of [events](crate::event): they keep counts, recent problems and alerts, and feed nothing back.

pub mod alerts;
pub mod diagnostics;
pub mod fault_counters;
pub mod metrics;
pub mod traces;
