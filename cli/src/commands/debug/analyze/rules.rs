//! The rules: each looks at a few figures of a snapshot and returns its findings.

use crate::commands::doctor::finding::Finding;
use crate::commands::doctor::storage;
use crate::commands::node::health::shown;
use crate::commands::trace::words;
use crate::output;
use api::{Availability, LogLevel, ProcessRole, SettingValue, Snapshot, Word};
use engine::health::HealthReason;
use engine::heartbeat::Liveness;
use engine::lifecycle::State;
use engine::request::{DiscoveryState, TASK_AGES};
use engine::task::TaskStatus;
use std::collections::BTreeSet;

/// Applies all rules.
pub(super) fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let rules: [fn(&Snapshot) -> Vec<Finding>; 13] = [
        state, health, machine, models, occupancy, outcomes, waiting, peers, issues, faults, versions,
        discovery, log,
    ];
    rules.into_iter().flat_map(|rule| rule(snapshot)).collect()
}

fn state(snapshot: &Snapshot) -> Vec<Finding> {
    let state = snapshot.node.state;
    (state != State::Active).then(|| Finding::not_active(state)).into_iter().collect()
}

fn health(snapshot: &Snapshot) -> Vec<Finding> {
    let Some(health) = &snapshot.health else { return Vec::new() };
    let memory = health.memory_bytes.map_or_else(
        || "its memory could not be measured".to_owned(),
        |bytes| format!("{} of {}", output::bytes(bytes), output::bytes(health.memory_bytes_max)),
    );
    let finding = |found: &engine::health::Finding| {
        let unwell = format!("the check of {} says {}", words::name(&found.component), shown(found.verdict));
        Some(match found.reason? {
            HealthReason::ConfigUnreadable => Finding::problem(
                "config_wrong",
                "The configuration file cannot be read, or is no longer valid.".to_owned(),
                "the node does not start with it again",
                "p2p-ai-agents node config says what is wrong with it",
            )
            .shown_by(unwell),
            HealthReason::CryptoTimeout => Finding::problem(
                "machine_busy",
                "Signing takes too long.".to_owned(),
                "the machine has too little processor time for the node",
                "reduce the load of the machine, or lower max_cpu_percent",
            )
            .shown_by(unwell),
            HealthReason::MemoryThresholdExceeded => Finding::problem(
                "memory_high",
                "The node and its models are near their memory limit.".to_owned(),
                "idle models are unloaded, and the system may end a model's process",
                "raise max_memory_mb, or run fewer or smaller models",
            )
            .shown_by(memory.clone()),
            HealthReason::StorageFailed => storage::storage_failed().shown_by(unwell),
            HealthReason::StorageTimeout => Finding::problem(
                "storage_slow",
                "The disk of the node is too slow, or hangs.".to_owned(),
                "accepting a task waits for the disk",
                "check the load and the health of the disk",
            )
            .shown_by(unwell),
            HealthReason::RecordsDamaged => Finding::problem(
                "records_damaged",
                "Stored records are damaged.".to_owned(),
                "the node does not return them, so their tasks must be submitted again",
                "check the disk; p2p-ai-agents doctor on that machine names the records",
            )
            .shown_by(format!("{} records", snapshot.storage.records_damaged)),
        })
    };
    health.components.iter().filter_map(finding).collect()
}

fn machine(snapshot: &Snapshot) -> Vec<Finding> {
    let machine = &snapshot.machine;
    let disk = snapshot.storage.free_bytes.filter(|bytes| *bytes < DISK_BYTES_MIN).map(|bytes| {
        Finding::problem(
            "disk_full",
            format!("Only {} are free on the disk of the data file.", output::bytes(bytes)),
            "tasks and results that cannot be stored are refused",
            "make room, or move the home with --home DIR",
        )
    });
    let memory = machine.memory_available_bytes.filter(|bytes| *bytes < MEMORY_BYTES_MIN);
    let memory = memory.map(|bytes| Finding::memory_short(bytes >> 10));
    let wanted = number(snapshot, "max_memory_mb").map(|megabytes| megabytes << 20);
    let limited = machine.memory_limit_bytes.zip(wanted).filter(|(limit, wanted)| limit < wanted);
    let limited = limited.map(|(limit, wanted)| {
        Finding::problem(
            "memory_limited",
            "The container may have less memory than the node allows itself.".to_owned(),
            "the kernel may end the node or its models",
            "give the container more memory, or lower max_memory_mb",
        )
        .shown_by(format!("limit {}, max_memory_mb {}", output::bytes(limit), output::bytes(wanted)))
    });
    let plain = machine.architecture.as_str() == "x86_64" && machine.features.is_empty();
    let slow = (plain && !snapshot.models.is_empty()).then(|| {
        Finding::note(
            "processor_slow",
            "The processor has no AVX2.".to_owned(),
            "models run several times slower than on other machines",
            "run the models on another machine, and this node with --no-model",
        )
    });
    disk.into_iter().chain(memory).chain(limited).chain(slow).collect()
}

fn models(snapshot: &Snapshot) -> Vec<Finding> {
    let finding = |model: &api::ModelFigures| match model.state {
        Availability::Unusable => Some(Finding::model_unusable(model.name.as_str())),
        Availability::Loading => Some(Finding::model_not_ready(model.name.as_str())),
        Availability::Loaded | Availability::OnDemand => None,
    };
    let conflicts = (snapshot.model_conflicts > 0).then(|| {
        Finding::problem(
            "model_conflict",
            format!(
                "{} model names stand for different models on different nodes.",
                snapshot.model_conflicts
            ),
            "a request is computed by one of them only: vectors of two models cannot be compared",
            "give all nodes the same files and the same precision, or each model a name of its own",
        )
    });
    snapshot.models.iter().filter_map(finding).chain(conflicts).collect()
}

fn occupancy(snapshot: &Snapshot) -> Vec<Finding> {
    let is_full = |of: &&api::OccupancyFigures| {
        // Histories and caches are meant to be full, and others have limits that follow their content.
        WATCHED.contains(&of.name.as_str())
            && of.limit > 0
            && of.current.saturating_mul(100) >= of.limit.saturating_mul(FULL_PERCENT)
    };
    let finding = |of: &api::OccupancyFigures| {
        Finding::problem(
            "nearly_full",
            format!("The collection {} is nearly full.", of.name),
            "the node refuses or drops more of it",
            "submit more slowly, or add a node that runs the same model",
        )
        .shown_by(format!("{} of {}", of.current, of.limit))
    };
    snapshot.occupancy.iter().filter(is_full).map(finding).collect()
}

fn outcomes(snapshot: &Snapshot) -> Vec<Finding> {
    let ended = |wanted: TaskStatus| -> u64 {
        let recent = snapshot.tasks.iter().filter(|ages| ages.status == wanted);
        // Those of the last ten minutes.
        recent.map(|ages| ages.counts[..4].iter().map(|count| u64::from(*count)).sum::<u64>()).sum()
    };
    let (completed, failed, timed_out) =
        (ended(TaskStatus::Completed), ended(TaskStatus::Failed), ended(TaskStatus::Timeout));
    let all = completed + failed + timed_out;
    let is_bad = all >= OUTCOMES_MIN && (failed + timed_out) * 100 > all * FAILED_PERCENT;
    let finding = is_bad.then(|| {
        Finding::problem(
            "tasks_fail",
            "Many tasks fail.".to_owned(),
            "users do not get their results",
            "p2p-ai-agents task list --status failed shows them, and task result ID the reason of one",
        )
        .shown_by(format!("of {all} tasks in ten minutes, {failed} failed and {timed_out} took too long"))
    });
    finding.into_iter().collect()
}

fn waiting(snapshot: &Snapshot) -> Vec<Finding> {
    let old: u32 = snapshot
        .tasks
        .iter()
        .filter(|ages| ages.status == TaskStatus::Queued)
        .flat_map(|ages| &ages.counts[WAITING_AGE..])
        .sum();
    let able = snapshot.models.iter().any(|model| model.state != Availability::Unusable);
    let why =
        if able { "it has more tasks than its nodes can compute" } else { "this node has no usable model" };
    let finding = (old > 0).then(|| {
        Finding::problem(
            "tasks_wait",
            format!("{old} tasks have waited for more than {} s.", TASK_AGES[WAITING_AGE - 1]),
            why,
            "add a node that runs the model, or submit more slowly",
        )
        .shown_by(format!("{} queued, {} running", snapshot.node.tasks_queued, snapshot.node.tasks_running))
    });
    finding.into_iter().collect()
}

fn peers(snapshot: &Snapshot) -> Vec<Finding> {
    let slow = snapshot.peers.iter().filter(|peer| peer.liveness != Liveness::Alive).map(|peer| {
        Finding::problem(
            "peer_slow",
            format!("Node {} does not answer heartbeats in time.", peer.id),
            "it gets no new tasks, and those that it has may move",
            "check the load of that machine and the network to it",
        )
        .shown_by(format!(
            "{:?}, last heard {} ago",
            peer.liveness,
            output::duration(peer.last_heard_ms)
        ))
    });
    let far = snapshot.peers.iter().filter_map(|peer| Some((peer, peer.round_trip_ms?)));
    let far = far.filter(|(_, millis)| *millis > ROUND_TRIP_MS_MAX).map(|(peer, millis)| {
        Finding::note(
            "link_slow",
            format!("The link to node {} is slow.", peer.id),
            "tasks for it take longer",
            "p2p-ai-agents debug network-test measures it; prefer a cable to Wi-Fi",
        )
        .shown_by(format!("a round trip of {millis:.1} ms"))
    });
    let alone = (snapshot.peers.is_empty() && snapshot.node.state == State::Active).then(|| {
        Finding::note(
            "alone",
            "The node has no link to another one.".to_owned(),
            "all tasks run on this machine",
            "start a node on another machine of this local network; if there is one, run doctor there too",
        )
        .shown_by(format!("{} nodes heard by mDNS", snapshot.node.heard))
    });
    slow.chain(far).chain(alone).collect()
}

fn issues(snapshot: &Snapshot) -> Vec<Finding> {
    snapshot.issues.iter().map(Finding::from_figures).collect()
}

fn faults(snapshot: &Snapshot) -> Vec<Finding> {
    let faults = &snapshot.faults;
    let dropped: u64 = faults.dropped.values().sum();
    let finding = (dropped > 0).then(|| {
        let kinds: Vec<String> =
            faults.dropped.iter().map(|(reason, count)| format!("{count} × {reason:?}")).collect();
        Finding::note(
            "messages_dropped",
            format!("{dropped} messages between nodes were dropped since the start."),
            "their senders send them again or give up",
            "p2p-ai-agents debug network-test measures the paths; a few while nodes leave are normal",
        )
        .shown_by(kinds.join(", "))
    });
    finding.into_iter().collect()
}

fn versions(snapshot: &Snapshot) -> Vec<Finding> {
    let versions: BTreeSet<&Word> = snapshot.members.iter().map(|member| &member.version).collect();
    let finding = (versions.len() > 1).then(|| {
        let versions: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
        Finding::note(
            "versions_differ",
            "The nodes run different versions.".to_owned(),
            "features of the newer ones may be missing",
            "install the same version on all machines",
        )
        .shown_by(versions.join(", "))
    });
    finding.into_iter().collect()
}

fn discovery(snapshot: &Snapshot) -> Vec<Finding> {
    let wanted = snapshot.settings.get(&Word::new("discovery")).map(|setting| setting.value);
    if wanted != Some(SettingValue::Switch(true)) || snapshot.node.state != State::Active {
        return Vec::new();
    }
    let discovery = &snapshot.node.discovery;
    let finding = match discovery.state {
        DiscoveryState::Unavailable => Some(Finding::multicast_blocked(&[])),
        // A node announces itself within its first seconds.
        DiscoveryState::Available
            if discovery.packets_own == 0
                && snapshot.node.uptime_ms.is_some_and(|millis| millis > ANNOUNCED_MS) =>
        {
            Some(Finding::multicast_blocked(&[]).shown_by("none of the node's own packets came back"))
        }
        DiscoveryState::Available | DiscoveryState::Off => None,
    };
    finding.into_iter().collect()
}

fn log(snapshot: &Snapshot) -> Vec<Finding> {
    let log = &snapshot.log;
    let dropped = (log.dropped > 0).then(|| {
        Finding::note(
            "log_lines_lost",
            format!("{} log lines were lost.", log.dropped),
            "the log could not be written as fast as lines came",
            "check the disk, or raise the level: p2p-ai-agents debug log-level info",
        )
    });
    let errors: Vec<&api::LineFigures> =
        log.lines.iter().filter(|line| line.level >= LogLevel::Error).collect();
    let errors = (!errors.is_empty()).then(|| {
        let named: Vec<String> = errors
            .iter()
            .take(ERRORS_SHOWN)
            .map(|line| format!("{} × {} {}", line.count, line.component, line.name))
            .collect();
        Finding::note(
            "errors_logged",
            "The node has logged errors since its start.".to_owned(),
            "it failed to do something",
            "p2p-ai-agents node logs --level error shows them",
        )
        .shown_by(named.join(", "))
    });
    let verbose = log.levels.levels.iter().filter(|level| level.level < LogLevel::Info).count();
    let verbose = (verbose > 0).then(|| {
        Finding::note(
            "log_verbose",
            "The log has more than INFO.".to_owned(),
            "it costs processor time and disk space",
            if log.levels.configured < LogLevel::Info {
                "set log_level to INFO in the configuration"
            } else {
                "undo it with: p2p-ai-agents debug log-level --reset"
            },
        )
    });
    let node = snapshot.processes.iter().find(|process| process.role == ProcessRole::Node);
    let files = node.and_then(|process| process.open_files).filter(|files| *files > OPEN_FILES_MANY);
    let files = files.map(|files| {
        Finding::problem(
            "files_many",
            "The node has many open files.".to_owned(),
            "beyond the limit of the system it accepts no connections",
            "close clients that keep connections to the API open",
        )
        .shown_by(format!("{files} files"))
    });
    dropped.into_iter().chain(errors).chain(verbose).chain(files).collect()
}

fn number(snapshot: &Snapshot, key: &str) -> Option<u64> {
    match snapshot.settings.get(&Word::new(key))?.value {
        SettingValue::Number(number) => Some(number),
        SettingValue::Entries(_)
        | SettingValue::Level(_)
        | SettingValue::Switch(_)
        | SettingValue::Text(_) => None,
    }
}

/// The collections that refuse users when they are full.
const WATCHED: [&str; 4] = ["tasks.open", "tasks.bytes", "waiting", "router.sent"];
const FULL_PERCENT: u64 = 80;
/// Share of failed tasks from which it is a problem, as the alert has it.
const FAILED_PERCENT: u64 = 10;
const OUTCOMES_MIN: u64 = 10;
/// The first count of [`TASK_AGES`] that is too old for a queued task.
const WAITING_AGE: usize = 3;
const ROUND_TRIP_MS_MAX: f64 = 100.0;
const DISK_BYTES_MIN: u64 = 256 << 20;
const MEMORY_BYTES_MIN: u64 = 128 << 20;
const ANNOUNCED_MS: u64 = 10_000;
const OPEN_FILES_MANY: u32 = 3_500;
const ERRORS_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Report;
    use engine::error::DialError;
    use engine::event::DropReason;
    use engine::health::{Component, Verdict};
    use engine::task::TaskKind;
    use serde_json::json;

    /// A snapshot in which nothing is wrong.
    fn sound() -> Snapshot {
        serde_json::from_value(json!({
            "format": 1,
            "taken_at": "2026-01-31T12:00:00.000Z",
            "took_us": 900,
            "program": {"version": "0.1.0", "protocol": 2, "debug_build": false},
            "machine": {
                "system": "linux", "kernel": "6.1.0", "architecture": "x86_64", "processors": 2,
                "features": ["avx2"], "memory_bytes": 8_000_000_000_u64, "memory_available_bytes": 4_000_000_000_u64,
            },
            "node": {
                "id": "07070707", "state": "ACTIVE", "uptime_ms": 60_000, "addresses": 1, "tasks_queued": 0,
                "tasks_running": 0, "results": 0, "heard": 1,
                "discovery": {
                    "state": "available", "nodes": 1, "packets_own": 3, "packets_heard": 3, "packets_dropped": 0,
                    "packets_unusable": 0,
                },
            },
            "settings": {
                "discovery": {"value": {"switch": true}, "explicit": false},
                "max_memory_mb": {"value": {"number": 512}, "explicit": false},
            },
            "occupancy": [{"name": "tasks.open", "current": 0, "limit": 256}],
            "peers": [{
                "id": "08080808", "version": "0.1.0", "liveness": "ALIVE", "connected_ms": 50_000, "messages_in": 5,
                "messages_out": 5, "last_heard_ms": 100, "round_trip_ms": 0.4,
            }],
            "members": [
                {"id": "07070707", "version": "0.1.0", "hops": 0, "addresses": 1, "links": ["08080808"], "models": 1},
                {"id": "08080808", "version": "0.1.0", "hops": 1, "addresses": 1, "links": ["07070707"], "models": 1},
            ],
            "models": [{"name": "m", "kinds": ["embedding"], "state": "loaded", "bytes": 1}],
            "tasks": [],
            "issues": [],
            "faults": {"peers": {}, "refused": {}, "dropped": {}, "strangers": {}},
            "model_conflicts": 0,
            "storage": {"file_bytes": 1, "free_bytes": 9_000_000_000_u64, "records_damaged": 0},
            "log": {"levels": {"configured": "INFO", "levels": [{"level": "INFO"}]}, "dropped": 0, "lines": []},
            "processes": [{
                "role": "node", "resident_bytes": 1, "anonymous_bytes": 1, "resident_bytes_max": 1, "cpu_ms": 1,
                "threads": 1, "open_files": 40,
            }],
        }))
        .unwrap()
    }

    #[test]
    fn nothing_is_wrong_with_a_sound_node() {
        assert_eq!(findings(&sound()), []);
    }

    #[test]
    fn each_rule_finds_its_fault_and_says_why() {
        let mut snapshot = sound();
        snapshot.node.state = State::ShuttingDown;
        snapshot.health = Some(api::Health {
            status: Verdict::Fail,
            components: [
                (Component::Configuration, HealthReason::ConfigUnreadable),
                (Component::Crypto, HealthReason::CryptoTimeout),
                (Component::Memory, HealthReason::MemoryThresholdExceeded),
                (Component::Storage, HealthReason::StorageFailed),
                (Component::Storage, HealthReason::StorageTimeout),
                (Component::Storage, HealthReason::RecordsDamaged),
            ]
            .map(|(component, reason)| engine::health::Finding {
                component,
                verdict: Verdict::Fail,
                reason: Some(reason),
            })
            .to_vec(),
            memory_bytes: Some(500 << 20),
            disk_bytes_free: None,
            disk_bytes_total: None,
            memory_bytes_max: 512 << 20,
            took_ms: 1.0,
        });
        snapshot.machine.memory_available_bytes = Some(50 << 20);
        snapshot.machine.memory_limit_bytes = Some(256 << 20);
        snapshot.machine.features.clear();
        snapshot.storage =
            api::StorageFigures { file_bytes: 1, free_bytes: Some(5 << 20), records_damaged: 2 };
        snapshot.models[0].state = Availability::Unusable;
        snapshot.model_conflicts = 1;
        snapshot.occupancy[0].current = 250;
        let ages = |status, counts| engine::request::TaskAges { status, kind: TaskKind::Embedding, counts };
        snapshot.tasks = vec![
            ages(TaskStatus::Queued, [1, 2, 0, 4, 0, 0]),
            ages(TaskStatus::Completed, [9, 0, 0, 0, 0, 900]),
            ages(TaskStatus::Failed, [0, 0, 2, 0, 0, 0]),
            ages(TaskStatus::Timeout, [0, 1, 0, 0, 0, 0]),
        ];
        snapshot.peers[0].liveness = Liveness::Slow;
        snapshot.peers[0].round_trip_ms = Some(250.0);
        let issue = api::IssueKind::DialFailed { error: DialError::Timeout };
        snapshot.issues = vec![api::IssueFigures { age_ms: 12_000, issue }];
        snapshot.faults.dropped.insert(DropReason::NoRoute, 7);
        snapshot.members[1].version = Word::new("0.2.0");
        snapshot.log.dropped = 3;
        snapshot.log.levels.levels[0].level = LogLevel::Debug;
        snapshot.log.lines = vec![api::LineFigures {
            level: LogLevel::Error,
            component: Word::new("storage"),
            name: Word::new("write_failed"),
            count: 4,
            age_ms: 1,
        }];
        snapshot.processes[0].open_files = Some(4_000);
        insta::assert_snapshot!(Report::new(findings(&snapshot), None).text());
    }

    #[test]
    fn an_active_node_alone_and_a_blocked_multicast_are_found() {
        let mut snapshot = sound();
        snapshot.peers.clear();
        snapshot.node.discovery.packets_own = 0;
        snapshot.health = None;
        let text = Report::new(findings(&snapshot), None).text();
        assert!(text.contains("The node has no link") && text.contains("Multicast does not work"), "{text}");
    }
}
