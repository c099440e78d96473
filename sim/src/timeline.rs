//! A run as a picture: what every node did and said, when, and what went wrong meanwhile.
//!
//! A recorder sees what the invariants see and keeps it within limits: where a run is larger, what explains least is
//! left out first, heartbeats before all, and the picture says so. It is shown as one page that needs no network, or
//! in the trace event format that ui.perfetto.dev reads. The same run gives the same file, byte for byte.

mod page;
mod recorder;
mod spans;
mod tape;
#[cfg(test)]
mod tests;
mod trace_events;
mod wires;
mod words;

pub(crate) use recorder::Recorder;

use crate::report::Report;
use engine::Instant;
use spans::{Band, Life, Mood, Run, Task};
use tape::{Kind, Row};

/// Everything that the picture of a run shows.
#[derive(Debug)]
pub struct Timeline {
    report: Report,
    end: Instant,
    node_ids: Vec<String>,
    rows: Vec<Row>,
    left_out: Vec<(Kind, u64)>,
    texts: Vec<String>,
    texts_left_out: u64,
    lives: Vec<Life>,
    moods: Vec<Mood>,
    tasks: Vec<Task>,
    runs: Vec<Run>,
    bands: Vec<Band>,
}

impl Timeline {
    pub(crate) fn new(recorder: Recorder, report: Report) -> Self {
        recorder.finish(report)
    }

    /// Returns the picture as one page for a browser.
    pub fn to_html(&self) -> String {
        page::html(self)
    }

    /// Returns the picture in the trace event format.
    pub fn to_trace_events(&self) -> String {
        trace_events::json(self)
    }
}
