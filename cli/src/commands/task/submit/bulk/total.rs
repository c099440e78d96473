//! The summary of a file of tasks: counts, and which lines failed and why.

use crate::commands::task::result;
use crate::error::Failure;
use crate::output;
use crate::terminal;
use api::{OutputBody, ResultBody};
use engine::task::TaskStatus;

/// Counts of the outcomes.
#[derive(Default)]
pub(super) struct Total {
    completed: u64,
    /// Completed tasks whose input was longer than the model accepts.
    truncated: u64,
    failed: u64,
    pub(super) refused: u64,
    done_before: u64,
    /// The first failures: line and reason.
    failures: Vec<(u64, String)>,
}

impl Total {
    pub(super) fn new(done_before: u64) -> Self {
        Self { done_before, ..Self::default() }
    }

    pub(super) fn count(&mut self, line: u64, result: &ResultBody) {
        if result.status == TaskStatus::Completed {
            self.completed += 1;
            self.truncated += u64::from(result.output.as_ref().is_some_and(is_truncated));
            return;
        }
        self.failed += 1;
        if self.failures.len() < FAILURES_SHOWN {
            let reason = result::reason(result.status, &result.summary);
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            self.failures.push((line, format!("{}{reason}", result.status)));
        }
    }

    /// Says how a run ended that Ctrl-C interrupted.
    pub(super) fn interrupted(&self, under_way: usize) -> Result<(), Failure> {
        let text = format!(
            "\ninterrupted: {}; {under_way} accepted tasks go on in the node\n\
             hint: the same command resumes and fetches their results first\n",
            self.text()
        );
        output::write_error(text.as_bytes())?;
        Err(Failure::interrupted())
    }

    pub(super) fn report(&self) -> Result<(), Failure> {
        output::write_error(self.failure_lines().as_bytes())?;
        output::notice(&self.text())?;
        if self.failed + self.refused > 0 { Err(Failure::silent()) } else { Ok(()) }
    }

    /// Returns the failed lines in their order, with their reasons.
    fn failure_lines(&self) -> String {
        let mut failures: Vec<_> = self.failures.iter().collect();
        failures.sort();
        let lines = failures.into_iter();
        let lines = lines.map(|(line, reason)| format!("line {line}: {}\n", terminal::sanitize_line(reason)));
        let more = self.failed - self.failures.len() as u64;
        let more = if more > 0 { format!("and {more} more failed lines\n") } else { String::new() };
        format!("{}{more}", lines.collect::<String>())
    }

    fn text(&self) -> String {
        let Self { completed, truncated, failed, refused, done_before, .. } = self;
        let mut text = format!("{completed} completed");
        if *truncated > 0 {
            text = format!("{text} ({truncated} of them truncated: the model takes no longer inputs)");
        }
        for (count, what) in [(failed, "failed"), (refused, "refused"), (done_before, "done before")] {
            if *count > 0 {
                text = format!("{text}, {count} {what}");
            }
        }
        text
    }
}

/// Tells whether the model did not see all tokens of the inputs.
const fn is_truncated(output: &OutputBody) -> bool {
    match output {
        OutputBody::Classification { dropped, .. }
        | OutputBody::Embedding { dropped, .. }
        | OutputBody::Embeddings { dropped, .. }
        | OutputBody::Reranking { dropped, .. } => dropped.dropped_tokens > 0,
        OutputBody::Generation { .. } => false,
    }
}

/// More of them would hide the counts below.
const FAILURES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failed_lines_are_told_in_order_and_not_all() {
        let result = |status: &str| -> ResultBody {
            let result = json!({
                "id": "01010101-0101-0101-0101-010101010101", "type": "embedding", "model": "m", "status": status,
                "submitted_at": "", "elapsed_ms": 1, "attempts": 1, "completed_at": "", "expires_at": "",
                "execution_ms": 0.0, "output_bytes": 0, "trace_id": "01010101010101010101010101010101",
                "error": {"code": "input_rejected", "message": "too long"},
            });
            serde_json::from_value(result).unwrap()
        };
        let mut total = Total::new(3);
        total.count(1, &result("COMPLETED"));
        assert_eq!(total.text(), "1 completed, 3 done before");
        let output = json!({"vector": [1.0], "tokens": 256, "dropped_tokens": 9});
        let truncated = ResultBody { output: serde_json::from_value(output).unwrap(), ..result("COMPLETED") };
        total.count(2, &truncated);
        assert!(total.text().starts_with("2 completed (1 of them truncated: "), "{}", total.text());
        total = Total::new(3);
        total.count(1, &result("COMPLETED"));
        (0..12).for_each(|line| total.count(40 - line, &result("FAILED")));
        assert_eq!(total.text(), "1 completed, 12 failed, 3 done before");
        let lines = total.failure_lines();
        assert!(lines.starts_with("line 31: FAILED: too long (input_rejected)\nline 32: "), "{lines}");
        assert!(lines.ends_with("and 2 more failed lines\n"), "{lines}");
    }
}
