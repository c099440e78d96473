//! Observers of a running node: each sees what goes in and comes out, and feeds nothing back.

mod event_log;
pub mod recording;

pub use event_log::EventLog;
