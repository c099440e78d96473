//! Gathers a [`Snapshot`] of a running node: the answers of the node itself, and figures of its process and machine.

use crate::catalog::Catalog;
use crate::cgroup;
use crate::clock;
use crate::config::{Effective, FIELDS, Kind, LogLevel};
use crate::host;
use crate::logging::Log;
use api::{
    Availability, Health, LineFigures, LogFigures, LogLevels, MachineFigures, ModelAvailability,
    ModelFigures, NodeFigures, ProcessFigures, ProcessRole, ProgramFigures, SNAPSHOT_FORMAT, SettingFigure,
    SettingValue, Snapshot, StorageFigures, Word,
};
use engine::request::{DumpView, StatusView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

/// What a snapshot shows besides the answers of the node.
#[derive(Debug, Default)]
pub struct Inspected {
    /// The settings, without their texts.
    pub settings: BTreeMap<Word, SettingFigure>,
    /// The data file.
    pub data_file: PathBuf,
}

impl Inspected {
    /// Keeps the values of settings that are no texts.
    pub fn new(effective: &Effective, data_file: PathBuf) -> Self {
        let values = effective.values();
        let figure = |field: &crate::config::Field| {
            let value = figure(field.kind, values.get(field.key).unwrap_or(&Value::Null));
            (Word::new(field.key), SettingFigure { value, explicit: effective.is_explicit(field.key) })
        };
        Self { settings: FIELDS.iter().map(figure).collect(), data_file }
    }
}

/// Returns the value of a setting if its kind holds no text. Otherwise, returns whether it is set.
fn figure(kind: Kind, value: &Value) -> SettingValue {
    match kind {
        Kind::Integer(..) => SettingValue::Number(value.as_u64().unwrap_or_default()),
        Kind::OptionalPort => match value.as_u64() {
            Some(port) => SettingValue::Number(port),
            None => SettingValue::Text(false),
        },
        Kind::Switch => SettingValue::Switch(value.as_bool().unwrap_or_default()),
        Kind::Level => {
            let level = serde_json::from_value::<LogLevel>(value.clone()).unwrap_or(LogLevel::Info);
            SettingValue::Level(level)
        }
        Kind::Addresses | Kind::Command | Kind::Interfaces | Kind::Models => {
            SettingValue::Entries(value.as_array().map_or(0, |all| all.len() as u64))
        }
        Kind::File | Kind::Name | Kind::NodeName | Kind::Path | Kind::Share | Kind::Url => {
            SettingValue::Text(!value.is_null())
        }
    }
}

/// Gathers a snapshot from the answer of the node. It reads files of the system, so it may block.
pub(crate) fn gather(
    begun: Instant,
    dump: DumpView,
    models: &Catalog,
    inspected: &Inspected,
    records_damaged: u64,
    log: &Log,
    levels: LogLevels,
) -> Snapshot {
    let DumpView { status, peers, members, diagnosis, occupancy, tasks } = dump;
    Snapshot {
        format: SNAPSHOT_FORMAT,
        taken_at: Word::new(&status.timestamp.to_string()),
        program: ProgramFigures {
            version: Word::new(&status.version),
            protocol: engine::wire::PROTOCOL_VERSION,
            debug_build: cfg!(debug_assertions),
        },
        machine: machine(),
        models: model_figures(models, &status),
        node: node_figures(&status, diagnosis.heard),
        settings: inspected.settings.clone(),
        health: status.health.map(Health::from),
        occupancy: occupancy.into_iter().map(Into::into).collect(),
        peers: peers.into_iter().map(Into::into).collect(),
        members: members.into_iter().map(Into::into).collect(),
        tasks,
        issues: diagnosis.issues.into_iter().map(Into::into).collect(),
        faults: status.faults,
        model_conflicts: count(diagnosis.conflicts.len()),
        storage: storage_figures(inspected, records_damaged),
        log: log_figures(log, levels),
        processes: processes(),
        took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
    }
}

pub(crate) fn storage_figures(inspected: &Inspected, records_damaged: u64) -> StorageFigures {
    StorageFigures {
        file_bytes: fs::metadata(&inspected.data_file).map_or(0, |metadata| metadata.len()),
        free_bytes: host::disk_space(&inspected.data_file).map(|disk| disk.bytes_free),
        records_damaged,
    }
}

fn node_figures(status: &StatusView, heard: u32) -> NodeFigures {
    NodeFigures {
        id: status.node_id.into(),
        state: status.state,
        uptime_ms: status.uptime_millis,
        addresses: count(status.addresses.len()),
        tasks_queued: status.tasks_queued,
        tasks_running: status.tasks_running,
        results: status.results,
        heard,
        discovery: status.discovery,
    }
}

pub(crate) fn model_figures(models: &Catalog, status: &StatusView) -> Vec<ModelFigures> {
    let offered: BTreeSet<&str> =
        status.models.iter().filter(|model| model.ready).map(|model| model.name.as_str()).collect();
    let figures = |status: api::ModelStatus| {
        let state = Availability::new(offered.contains(status.name.as_str()), Some(&status));
        ModelFigures::from(ModelAvailability { status, state })
    };
    models.models().into_iter().map(figures).collect()
}

fn machine() -> MachineFigures {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let line = |name: &str| host::kilobytes(&memory, name);
    MachineFigures {
        system: Word::new(std::env::consts::OS),
        kernel: Word::new(read("/proc/sys/kernel/osrelease").trim()),
        architecture: Word::new(std::env::consts::ARCH),
        processors: std::thread::available_parallelism().map_or(1, |cores| count(cores.get())),
        features: kernels::cpu_features().into_iter().map(Word::new).collect(),
        memory_bytes: line("MemTotal:"),
        memory_available_bytes: line("MemAvailable:"),
        memory_limit_bytes: cgroup::memory_limit().map(|limit| limit.bytes),
    }
}

fn log_figures(log: &Log, levels: LogLevels) -> LogFigures {
    let now = clock::wall().0;
    let line = |line: crate::logging::LineCount| LineFigures {
        level: line.level,
        component: Word::new(&line.component),
        // Names are constants of the program.
        name: Word::from_constant(&line.name),
        count: line.count,
        age_ms: now.saturating_sub(line.last_at.0),
    };
    LogFigures { levels, dropped: log.dropped(), lines: log.counts().into_iter().map(line).collect() }
}

/// Returns the figures of this process, then those of its children, which run models.
pub(crate) fn processes() -> Vec<ProcessFigures> {
    let own = std::process::id();
    let models = host::children(own).filter_map(|pid| process(pid, ProcessRole::Model));
    process(own, ProcessRole::Node).into_iter().chain(models).collect()
}

fn process(pid: u32, role: ProcessRole) -> Option<ProcessFigures> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let bytes = |name: &str| host::kilobytes(&status, name).unwrap_or_default();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    Some(ProcessFigures {
        role,
        resident_bytes: bytes("VmRSS:"),
        anonymous_bytes: bytes("RssAnon:"),
        resident_bytes_max: bytes("VmHWM:"),
        cpu_ms: host::cpu_ticks(&stat)?.saturating_mul(1000 / host::TICKS_PER_SECOND),
        threads: threads.and_then(|text| text.trim().parse().ok()).unwrap_or_default(),
        open_files: host::open_files(pid).and_then(|files| u32::try_from(files).ok()),
    })
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Found, Sources};
    use crate::logging::LogOptions;
    use engine::NodeId;
    use engine::observers::diagnostics::Issue;
    use engine::request::{DiagnosisView, MemberView, OccupancyView};
    use serde_json::json;
    use std::path::Path;

    const SECRET: &str = "/home/alice/swordfish";

    /// A dump with the secret wherever it has a text, and an address of a stranger.
    fn dump() -> DumpView {
        let id = NodeId([7; 16]);
        let address = "203.0.113.9:9000".parse().unwrap();
        let secret = || SECRET.to_owned();
        let member = MemberView {
            node_id: id,
            name: engine::NodeName::new(SECRET).unwrap(),
            addresses: vec![address],
            version: secret(),
            hops: 1,
            links: vec![id],
            models: Vec::new(),
            slots: 1,
            load: None,
            link: None,
            unreachable_millis: None,
        };
        let status = StatusView {
            node_id: id,
            name: engine::NodeName::new(SECRET).unwrap(),
            version: secret(),
            network: secret(),
            addresses: vec![address],
            ..engine::testing::status()
        };
        let error = engine::error::DialError::Timeout;
        DumpView {
            status,
            peers: Vec::new(),
            members: vec![member],
            diagnosis: DiagnosisView {
                heard: 0,
                issues: vec![(5, Issue::DialFailed { address, error })],
                conflicts: Vec::new(),
            },
            occupancy: vec![OccupancyView { name: "tasks.open".to_owned(), current: 1, limit: 256 }],
            tasks: Vec::new(),
        }
    }

    #[test]
    fn a_snapshot_holds_no_text_from_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(&directory.path().join("node.log"), LogOptions::default()).unwrap();
        let subscriber = tracing_subscriber::layer::SubscriberExt::with(
            tracing_subscriber::registry(),
            log.tracing_layer(),
        );
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(component = SECRET, path = SECRET, "cannot read {SECRET}");
        });
        let unusable = api::ModelStatus {
            place: SECRET.to_owned(),
            reason: Some(SECRET.to_owned()),
            hint: Some(SECRET.to_owned()),
            ..api::ModelStatus::from_name(SECRET)
        };
        let found = Found { unusable: vec![unusable], ..Found::default() };
        let models = Catalog::new(Sources::default(), None, found);
        let inspected = Inspected {
            settings: [("network", Kind::Name), ("storage_path", Kind::Path), ("models", Kind::Models)]
                .into_iter()
                .map(|(key, kind)| {
                    let value = figure(kind, &json!([SECRET]));
                    (Word::new(key), SettingFigure { value, explicit: true })
                })
                .collect(),
            data_file: Path::new(SECRET).to_owned(),
        };
        let levels = LogLevels { configured: LogLevel::Info, levels: Vec::new() };
        let snapshot = gather(Instant::now(), dump(), &models, &inspected, 0, &log, levels);
        let text = serde_json::to_string_pretty(&snapshot).unwrap();
        for secret in ["swordfish", "alice", "203.0.113", "0707070707"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        assert_eq!(snapshot.models.len(), 1);
        assert_eq!(snapshot.log.lines.len(), 1, "{text}");
        let name = snapshot.log.lines[0].name.as_str();
        assert!(name.starts_with("runtime::snapshot::tests:"), "{name}");
        assert_eq!(snapshot.members[0].id.to_string(), "07070707");
        assert!(snapshot.processes[0].resident_bytes > 1 << 20 && snapshot.processes[0].threads > 0);
        let read: Snapshot = serde_json::from_str(&text).unwrap();
        assert_eq!(read, snapshot);
    }
}
