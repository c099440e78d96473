//! What each invariant demands, as a sentence: the first paragraph of its file.

use crate::invariant::NO_PANIC;
use crate::reference::{origin, store};

/// Returns what an invariant demands; `None` for an unknown name.
pub fn for_invariant(invariant: &str) -> Option<String> {
    let (_, text) = FILES.iter().find(|(name, _)| *name == invariant)?;
    let opening = text.lines().map_while(|line| line.strip_prefix("//! "));
    let sentence = opening.collect::<Vec<_>>().join(" ");
    // A report shows plain text, so the markup of documentation links is removed.
    Some(sentence.replace("crate::", "").replace(['[', ']', '`'], ""))
}

const FILES: &[(&str, &str)] = &[
    ("accepted_exists", include_str!("accepted_exists.rs")),
    ("adverts_go_forward", include_str!("adverts_go_forward.rs")),
    ("alerts_alternate", include_str!("alerts_alternate.rs")),
    ("asks_before_it_judges", include_str!("asks_before_it_judges.rs")),
    ("attempts_within_limit", include_str!("attempts_within_limit.rs")),
    ("copies_settle", include_str!("copies_settle.rs")),
    ("counters_agree", include_str!("counters_agree.rs")),
    ("deadlines_are_kept", include_str!("deadlines_are_kept.rs")),
    ("degree_at_most_max_peers", include_str!("degree_at_most_max_peers.rs")),
    ("dials_back_off", include_str!("dials_back_off.rs")),
    ("durable_before_acknowledged", include_str!("durable_before_acknowledged.rs")),
    ("fetched_files_are_true", include_str!("fetched_files_are_true.rs")),
    ("goodbye_is_heard", include_str!("goodbye_is_heard.rs")),
    ("honest_peers_make_no_faults", include_str!("honest_peers_make_no_faults.rs")),
    ("lifecycle_along_arrows", include_str!("lifecycle_along_arrows.rs")),
    ("messages_are_retried", include_str!("messages_are_retried.rs")),
    ("messages_carry_traces", include_str!("messages_carry_traces.rs")),
    ("neighbours_agree_at_rest", include_str!("neighbours_agree_at_rest.rs")),
    ("no_duplicate_delivery", include_str!("no_duplicate_delivery.rs")),
    ("no_effect_from_strangers", include_str!("no_effect_from_strangers.rs")),
    ("no_false_death", include_str!("no_false_death.rs")),
    ("no_false_suspicion", include_str!("no_false_suspicion.rs")),
    ("no_forged_member", include_str!("no_forged_member.rs")),
    ("no_live_lease_lost", include_str!("no_live_lease_lost.rs")),
    ("no_retry_storm", include_str!("no_retry_storm.rs")),
    ("no_work_for_the_slow", include_str!("no_work_for_the_slow.rs")),
    ("no_work_twice", include_str!("no_work_twice.rs")),
    ("nothing_starts_late", include_str!("nothing_starts_late.rs")),
    ("one_link_per_pair", include_str!("one_link_per_pair.rs")),
    ("one_model_per_request", include_str!("one_model_per_request.rs")),
    ("one_terminal_outcome", include_str!("one_terminal_outcome.rs")),
    ("streams_agree", include_str!("streams_agree.rs")),
    ("terminal_never_changes", include_str!("terminal_never_changes.rs")),
    ("ttl_never_exceeded", include_str!("ttl_never_exceeded.rs")),
    ("view_is_true", include_str!("view_is_true.rs")),
    ("within_bounds", include_str!("within_bounds.rs")),
    (origin::NAME, include_str!("../reference/origin.rs")),
    (store::NAME, include_str!("../reference/store.rs")),
    ("liveness", include_str!("../observer/liveness.rs")),
    ("never_alerts", "//! No node raises an alert that the scenario excludes."),
    (
        "deadlines_lie_ahead",
        "//! After a drain, the next deadline of a node lies in the future: it never spins.",
    ),
    ("one_answer_per_request", "//! A node answers each question once."),
    ("nodes_do_not_fail", "//! The loop around the engine ends only when it is told to."),
    (NO_PANIC, "//! Nothing that happens makes a node panic."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants;

    #[test]
    fn every_invariant_has_a_sentence() {
        for name in invariants::NAMES.iter().chain([&crate::observer::liveness::NAME]) {
            let sentence = for_invariant(name).unwrap_or_else(|| panic!("{name} is missing here"));
            assert!(sentence.ends_with('.') && sentence.len() > 20, "{name}: {sentence}");
        }
        assert_eq!(for_invariant("nothing"), None);
    }
}
