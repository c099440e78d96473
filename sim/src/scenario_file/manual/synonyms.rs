//! Words of other tools and of everyday language for what a scenario calls by another name.

use runtime::text::misspelled;

/// What a word may mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::scenario_file) struct Meant {
    /// Valid names, the most likely first.
    pub(in crate::scenario_file) names: Vec<&'static str>,
    /// Where else a scenario has it.
    pub(in crate::scenario_file) note: Option<&'static str>,
}

/// Returns what an unknown word may mean where `known` names are allowed.
pub(in crate::scenario_file) fn meant(word: &str, known: &[&'static str]) -> Meant {
    let word = word.trim().to_lowercase().replace(['-', ' '], "_");
    if let Some(name) = known.iter().find(|name| **name == word) {
        return Meant { names: vec![name], note: None };
    }
    let found = SYNONYMS.iter().find(|synonym| synonym.words.contains(&word.as_str()));
    let names: Vec<_> = found
        .iter()
        .flat_map(|synonym| synonym.names)
        .filter_map(|name| known.iter().find(|known| *known == name).copied())
        .collect();
    let note = found.and_then(|synonym| synonym.note);
    if names.is_empty() && note.is_none() {
        let nearest = misspelled(&word, known.iter().copied())
            .and_then(|name| known.iter().find(|known| **known == name));
        return Meant { names: nearest.into_iter().copied().collect(), note: None };
    }
    Meant { names, note }
}

/// Words for the same thing.
struct Synonym {
    words: &'static [&'static str],
    /// Names of faults, keys, events or outcomes.
    names: &'static [&'static str],
    note: Option<&'static str>,
}

const fn same(words: &'static [&'static str], names: &'static [&'static str]) -> Synonym {
    Synonym { words, names, note: None }
}

const fn elsewhere(
    words: &'static [&'static str],
    names: &'static [&'static str],
    note: &'static str,
) -> Synonym {
    Synonym { words, names, note: Some(note) }
}

const SYNONYMS: &[Synonym] = &[
    same(
        &["crash", "node_crash", "process_crash", "die", "death", "sigkill", "kill_node", "fail", "failure"],
        &["kill", "power_loss", "inference_crash", "failed"],
    ),
    elsewhere(
        &["reboot", "restart", "node_restart", "bounce"],
        &["kill", "leave", "power_loss", "rolling_restart", "restart_after"],
        "a node starts again with `restart_after` in its [[fault]]",
    ),
    same(&["stop", "shutdown", "graceful_stop", "terminate", "exit", "quit", "sigterm", "drain"], &["leave"]),
    same(&["power_failure", "power_cut", "power_off", "blackout", "unplug", "outage"], &["power_loss"]),
    elsewhere(
        &["delay", "latency", "lag", "slow_network", "network_delay", "jitter", "high_latency"],
        &["latency_step", "asymmetry", "stall", "add", "latency"],
        "`latency` in [network] is the latency without a fault",
    ),
    elsewhere(
        &["drop", "loss", "packet_loss", "drop_packets", "drop_messages", "message_loss", "lossy", "lost"],
        &["one_way_loss", "partition", "loss", "message_dropped"],
        "`loss` in [network] is a share of all traffic",
    ),
    same(&["slow_disk", "disk_latency", "disk_delay", "slow_io", "io_delay"], &["disk_slow"]),
    same(&["full_disk", "no_space", "enospc", "out_of_space", "disk_space"], &["disk_full", "disk_used"]),
    same(
        &["disk_failure", "disk_fault", "io_error", "failed_write", "write_error", "eio", "bad_disk"],
        &["disk_error", "write_failed"],
    ),
    same(
        &["clock_skew", "clock", "time_skew", "skew", "clock_change", "time_jump", "ntp"],
        &["clock_drift", "clock_jump", "clock_differs"],
    ),
    same(
        &["network_partition", "netsplit", "split", "split_brain", "cut", "disconnect_groups"],
        &["partition", "isolate_one", "flap"],
    ),
    same(&["isolate", "isolation", "network_down", "cable", "link_loss"], &["isolate_one", "partition"]),
    elsewhere(
        &["byzantine", "malicious", "attack", "attacker", "evil", "adversary"],
        &["hostile"],
        "`hostile` in [[host]] makes a node attack others",
    ),
    same(
        &["sleep", "machine_sleep", "laptop", "lid", "suspend", "hibernate", "standby"],
        &["machine_asleep", "process_stopped"],
    ),
    same(
        &["pause", "freeze", "hang", "sigstop", "stopped", "gc_pause", "stop_the_world"],
        &["process_stopped", "stall", "machine_asleep"],
    ),
    same(&["reset", "disconnect", "connection_loss", "rst", "broken_connection"], &["connection_reset"]),
    same(&["corrupt", "corruption", "bit_flip", "bitflip", "bitrot"], &["corrupt_frame"]),
    same(&["duplication", "dup", "duplicated"], &["duplicate"]),
    same(&["reordering", "out_of_order", "shuffle"], &["reorder"]),
    same(
        &["oom", "memory", "memory_pressure", "out_of_memory", "memory_full"],
        &["memory_used", "memory_critical"],
    ),
    same(&["load", "overload", "spike", "flood_tasks", "traffic", "rush"], &["burst"]),
    same(&["slow_model", "slow_inference", "slow_worker", "slow", "cpu", "busy"], &["inference_slow"]),
    same(&["model_crash", "worker_crash", "segfault"], &["inference_crash"]),
    same(&["model_error", "inference_failure", "model_failure"], &["inference_error"]),
    same(&["torn", "partial_write", "half_write"], &["torn_write"]),
    same(&["flapping", "flaky", "intermittent", "unstable"], &["flap"]),
    same(&["join", "nodes_join", "node_joins"], &["churn", "member_joined"]),
    elsewhere(
        &["explode", "chaos", "random", "monkey", "chaos_monkey"],
        &["churn", "swarm"],
        "[swarm] lets each seed draw some of many faults",
    ),
    same(&["asymmetric", "one_way", "unidirectional"], &["one_way_loss", "asymmetry"]),
    // Keys.
    same(
        &[
            "duration",
            "for",
            "length",
            "until",
            "ends",
            "end",
            "lasts_for",
            "lasts",
            "heal",
            "heals_after",
            "recover_after",
        ],
        &["heal_after", "lasts", "duration", "within"],
    ),
    same(
        &["restart_in", "comes_back", "back_after", "downtime", "restarts_after"],
        &["restart_after", "away"],
    ),
    same(&["time", "when", "start_at", "begin", "after_time"], &["at", "start"]),
    same(&["target", "nodes_affected", "host_name", "on", "victim", "name", "id"], &["node"]),
    same(
        &["rate", "percent", "percentage", "ratio", "fraction", "amount"],
        &["share", "probability", "loss"],
    ),
    same(&["chance", "odds"], &["probability", "share"]),
    same(&["kind_of_fault", "fault_type", "type"], &["kind", "type"]),
    same(&["interval", "period", "pause_between"], &["every"]),
    same(&["source", "sender", "senders"], &["from"]),
    same(&["target_nodes", "destination", "receiver", "receivers"], &["to"]),
    same(&["number", "size", "how_many", "requests"], &["count", "tasks", "bytes"]),
    same(&["faults", "troubles", "events"], &["fault"]),
    same(&["hosts"], &["host"]),
    same(&["files"], &["file"]),
    same(&["seeds"], &["seed"]),
    same(&["runtime", "length_of_run", "run_time"], &["duration"]),
    same(&["invariants", "invariant", "properties", "checks"], &["always"]),
    same(&["expectations", "expected", "assert", "assertions"], &["expect"]),
    // Outcomes.
    same(&["done", "success", "succeeded", "ok", "finished", "complete"], &["completed", "task_finished"]),
    same(&["timed_out", "timeouts", "expired", "late"], &["timeout"]),
    same(&["error", "errors"], &["failed", "disk_error", "inference_error"]),
    same(&["refused", "denied"], &["rejected", "link_refused"]),
    same(&["aborted", "canceled"], &["cancelled"]),
    same(&["pending", "running", "queued", "unfinished"], &["open"]),
];

#[cfg(test)]
mod tests {
    use super::super::{SECTIONS, Topic};
    use super::*;

    #[test]
    fn every_synonym_names_something_that_exists_and_is_listed_once() {
        let keys = SECTIONS.iter().flat_map(|section| section.keys).map(|key| key.name);
        let known: Vec<_> = Topic::ALL.into_iter().flat_map(Topic::names).chain(keys).collect();
        let mut seen = std::collections::BTreeSet::new();
        for Synonym { words, names, note } in SYNONYMS {
            assert!(!names.is_empty() || note.is_some(), "{words:?}");
            for name in *names {
                assert!(known.contains(name), "{name} of {words:?}");
            }
            for word in *words {
                assert!(seen.insert(word), "{word} is listed twice");
            }
        }
    }

    #[test]
    fn words_of_other_tools_name_the_right_fault() {
        let faults = Topic::Faults.names();
        for (word, names) in [
            ("crash", &["kill", "power_loss", "inference_crash"][..]),
            ("reboot", &["kill", "leave", "power_loss", "rolling_restart"]),
            ("delay", &["latency_step", "asymmetry", "stall"]),
            ("drop", &["one_way_loss", "partition"]),
            ("slow_disk", &["disk_slow"]),
            ("Slow-Disk", &["disk_slow"]),
            ("disk_ful", &["disk_full"]),
            ("clock_skew", &["clock_drift", "clock_jump"]),
            ("network_partition", &["partition", "isolate_one", "flap"]),
            ("byzantine", &[]),
            ("sleep", &["machine_asleep", "process_stopped"]),
            ("powerloss", &["power_loss"]),
            ("xyzzy", &[]),
        ] {
            assert_eq!(meant(word, &faults).names, names, "{word}");
        }
        assert!(meant("byzantine", &faults).note.is_some());
    }
}
