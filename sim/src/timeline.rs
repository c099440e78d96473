//! A run as a picture: what every node did and said, when, and what went wrong meanwhile.
//!
//! A recorder sees what the invariants see and keeps it within limits: where a run is larger, what explains least is
//! left out first, heartbeats before all, and the picture says so. It is shown as one page that needs no network, or
//! in the trace event format that ui.perfetto.dev reads. The same run gives the same file, byte for byte.

mod page;
#[cfg(test)]
mod tests;
mod trace_events;

use crate::observer::recorder::{Recorder, Recording};
use crate::report::Report;
use engine::Instant;

/// Everything that the picture of a run shows.
#[derive(Debug)]
pub struct Timeline {
    report: Report,
    end: Instant,
    recording: Recording,
}

impl Timeline {
    pub(crate) fn new(recorder: Recorder, report: Report) -> Self {
        Self { end: Instant::ZERO.after(report.simulated), report, recording: recorder.finish() }
    }

    /// Returns the picture as one page for a browser.
    pub fn to_html(&self) -> String {
        page::html(&self.report, self.end, &self.recording)
    }

    /// Returns the picture in the trace event format.
    pub fn to_trace_events(&self) -> String {
        trace_events::json(&self.report, self.end, &self.recording)
    }
}
