//! What a node computes now, for itself and for others.

use crate::commands::node_names::label;
use crate::error::Failure;
use crate::output;
use api::{Attempt, Attempts, OriginWork, Work};
use engine::NodeId;

/// Describes what a node computes, such as `3 of 4 slots busy: 20 tasks for cedar, 1 own, for 2.1s; 7 waiting`.
pub(in crate::commands) fn summary(work: &Work, me: NodeId) -> String {
    let slots = format!("{} of {} slots busy", work.slots_busy, work.slots);
    let origin = |origin: &&OriginWork| {
        let count = origin.running;
        if origin.id == me {
            return format!("{count} own");
        }
        let tasks = if count == 1 { "task" } else { "tasks" };
        format!("{count} {tasks} for {}", label(&origin.name, origin.id))
    };
    let running: Vec<&OriginWork> = work.origins.iter().filter(|origin| origin.running > 0).collect();
    let waiting: u32 = work.origins.iter().map(|origin| origin.queued).sum();
    let mut text = if running.is_empty() { "nothing".to_owned() } else { slots };
    if !running.is_empty() {
        let parts: Vec<String> = running.iter().map(origin).collect();
        text = format!("{text}: {}", parts.join(", "));
    }
    if let Some(longest) = running.iter().filter_map(|origin| origin.running_ms).max() {
        text = format!("{text}; the longest for {}", output::duration(longest));
    }
    if waiting > 0 {
        text = format!("{text}; {waiting} waiting");
    }
    text
}

/// Prints the attempts of a node.
pub(super) fn print(attempts: &Attempts, me: NodeId) -> Result<(), Failure> {
    let Attempts { slots, slots_busy, attempts } = attempts;
    output::line(&format!("\nThis node runs ({slots_busy} of {slots} slots busy):"))?;
    if attempts.is_empty() {
        return output::line("Nothing");
    }
    let rows: Vec<[String; 6]> = attempts.iter().map(|attempt| row(attempt, me)).collect();
    output::table(["FOR", "TASK", "TYPE", "MODEL", "STATE", "SINCE"], &rows)
}

fn row(attempt: &Attempt, me: NodeId) -> [String; 6] {
    let (state, since) = match attempt.running_ms {
        Some(running) => ("RUNNING", running),
        None => ("WAITING", attempt.queued_ms),
    };
    let origin = if attempt.origin == me {
        "this node".to_owned()
    } else {
        label(&attempt.origin_name, attempt.origin)
    };
    [
        origin,
        attempt.task.to_string(),
        attempt.kind.to_string(),
        attempt.model.clone(),
        state.to_owned(),
        output::duration(since),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::NodeName;

    #[test]
    fn what_a_node_runs_is_told_by_origin() {
        let (me, other) = (NodeId([1; 16]), NodeId([2; 16]));
        let idle = Work { slots: 4, slots_busy: 0, origins: Vec::new() };
        assert_eq!(summary(&idle, me), "nothing");
        let own =
            OriginWork { id: me, name: NodeName::default(), running: 1, queued: 2, running_ms: Some(900) };
        let cedar = NodeName::new("cedar").unwrap();
        let theirs = OriginWork { id: other, name: cedar, running: 20, queued: 5, running_ms: Some(2_100) };
        let busy = Work { slots: 4, slots_busy: 3, origins: vec![own, theirs] };
        assert_eq!(
            summary(&busy, me),
            "3 of 4 slots busy: 1 own, 20 tasks for cedar; the longest for 2.1s; 7 waiting"
        );
    }
}
