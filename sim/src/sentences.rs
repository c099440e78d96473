//! What each property demands, in a sentence: the one that its file opens with.

use crate::liveness;

/// Returns the sentence that a property guards; `None` where no such property is known.
pub fn of(invariant: &str) -> Option<String> {
    let (_, text) = FILES.iter().find(|(name, _)| *name == invariant)?;
    let opening = text.lines().map_while(|line| line.strip_prefix("//! "));
    let sentence = opening.collect::<Vec<_>>().join(" ");
    // What is a link in documentation is a plain word to whoever reads a report.
    Some(sentence.replace("crate::", "").replace(['[', ']', '`'], ""))
}

const FILES: &[(&str, &str)] = &[
    ("degree_at_most_max_peers", include_str!("invariants/degree_at_most_max_peers.rs")),
    ("durable_before_acknowledged", include_str!("invariants/durable_before_acknowledged.rs")),
    ("no_duplicate_delivery", include_str!("invariants/no_duplicate_delivery.rs")),
    ("no_false_death", include_str!("invariants/no_false_death.rs")),
    ("one_link_per_pair", include_str!("invariants/one_link_per_pair.rs")),
    ("one_terminal_outcome", include_str!("invariants/one_terminal_outcome.rs")),
    ("ttl_never_exceeded", include_str!("invariants/ttl_never_exceeded.rs")),
    ("view_is_true", include_str!("invariants/view_is_true.rs")),
    (liveness::NAME, include_str!("liveness.rs")),
    (
        "deadlines_lie_ahead",
        "//! After a drain, the next deadline of a node lies in the future: it never spins.",
    ),
    ("one_answer_per_request", "//! A node answers each question once."),
    ("nodes_do_not_fail", "//! The loop around the engine ends only when it is told to."),
    (NO_PANIC, "//! Nothing that happens makes a node panic."),
];

/// The property that a panic violates.
pub(crate) const NO_PANIC: &str = "no_panic";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants;

    #[test]
    fn every_invariant_has_a_sentence() {
        for name in invariants::NAMES.iter().chain([&liveness::NAME]) {
            let sentence = of(name).unwrap_or_else(|| panic!("{name} is missing here"));
            assert!(sentence.ends_with('.') && sentence.len() > 20, "{name}: {sentence}");
        }
        assert_eq!(of("nothing"), None);
    }
}
