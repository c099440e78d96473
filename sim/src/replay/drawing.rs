//! Draws the timeline of a recorded node: its states, tasks and jobs, and its messages with each peer.
//!
//! One journal holds one node's view. When a message left a peer is not known, so arrows are upright.

use super::{Ended, Replayed};
use crate::invariant::Observation;
use crate::observer::recorder::Recorder;
use crate::observer::trace::TraceSummary;
use crate::report::Report;
use crate::scenario::Executor;
use crate::timeline::Timeline;
use engine::{Input, Instant, NodeId, Output};
use std::collections::BTreeMap;
use std::path::Path;

/// Records the replay of one node.
#[derive(Debug)]
pub(super) struct Drawing {
    recorder: Recorder,
}

impl Drawing {
    pub(super) fn new(node: NodeId, from: Instant) -> Self {
        let mut drawing = Self { recorder: Recorder::of_one_node(node) };
        drawing.observe(from, Observation::Started);
        drawing
    }

    pub(super) fn input(&mut self, at: Instant, input: &Input) {
        self.observe(at, Observation::Input(input));
    }

    pub(super) fn output(&mut self, at: Instant, output: &Output) {
        self.observe(at, Observation::Output(output));
    }

    fn observe(&mut self, at: Instant, observation: Observation<'_>) {
        self.recorder.observe(at, OWN, observation);
    }

    pub(super) fn finish(mut self, path: &Path, replayed: &Replayed) -> Timeline {
        if matches!(replayed.ended, Ended::Recorded(_)) {
            self.observe(replayed.at, Observation::Stopped);
        }
        let journal = path.display().to_string();
        let start = &replayed.start;
        let report = Report {
            why: format!(
                "what n0, {}, did and saw from {} on; the others are its peers",
                replayed.id(),
                start.wall
            ),
            repeat: format!("p2p-ai-agents sim replay {journal}"),
            scenario: journal,
            executor: Executor::EventQueue,
            seed: 0,
            nodes: 1,
            simulated: replayed.at.since(Instant::ZERO),
            wall: replayed.wall,
            outcomes: Vec::new(),
            rejections: BTreeMap::new(),
            story: Vec::new(),
            story_left_out: 0,
            invariants: BTreeMap::new(),
            events: BTreeMap::new(),
            liveness: None,
            trace: TraceSummary { hash: String::new(), inputs: replayed.inputs, outputs: replayed.outputs },
            faults: BTreeMap::new(),
            failures: Vec::new(),
            last_events: Vec::new(),
            injected: Vec::new(),
            asked: BTreeMap::new(),
        };
        Timeline::of_replay(self.recorder, report)
    }
}

/// The recorded node's own lane.
const OWN: u32 = 0;
