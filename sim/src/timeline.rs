//! The timeline of a run: what every node did and sent, when, and which faults were in effect.
//!
//! The recorder observes what the invariants observe, within limits: in a larger run the least informative rows are
//! dropped first, heartbeats before all, and the timeline says so. It is rendered as one page that needs no network,
//! or in the trace event format that ui.perfetto.dev reads. The same run gives the same file, byte for byte.

mod page;
#[cfg(test)]
mod tests;
mod trace_events;

use crate::observer::recorder::{Recorder, Recording};
use crate::report::Report;
use engine::Instant;

/// A complete timeline.
#[derive(Debug)]
pub struct Timeline {
    report: Report,
    end: Instant,
    recording: Recording,
    /// Whether it shows a replayed node; otherwise a simulation.
    is_replay: bool,
}

impl Timeline {
    pub(crate) fn new(recorder: Recorder, report: Report) -> Self {
        let end = Instant::ZERO.after(report.simulated);
        Self { end, report, recording: recorder.finish(), is_replay: false }
    }

    pub(crate) fn of_replay(recorder: Recorder, report: Report) -> Self {
        Self { is_replay: true, ..Self::new(recorder, report) }
    }

    /// Renders the timeline as one HTML page.
    pub fn to_html(&self) -> String {
        page::html(&self.report, self.end, &self.recording, self.is_replay)
    }

    /// Renders the timeline in the trace event format.
    pub fn to_trace_events(&self) -> String {
        trace_events::json(&self.report, self.end, &self.recording)
    }
}
