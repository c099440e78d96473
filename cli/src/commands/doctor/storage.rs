//! Storage checks of the doctor: damaged records, lost data and directory permissions.

use super::finding::Finding;
use api::{DamagedRecord, Diagnosis, Status};
use engine::health::{Component, HealthReason};
use nix::unistd::{AccessFlags, access};
use runtime::config::Settings;
use runtime::home::Home;
use runtime::hub::Hub;
use runtime::inference::decoder::packed_folder;
use runtime::service::STORE_FILE;
use runtime::store::{Checked, Missing, check, kept_files, missing_data};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Checks the data of a stopped node.
pub(super) fn stopped_node(home: &Home, settings: &Settings) -> Vec<Finding> {
    let file = settings.storage_path.join(STORE_FILE);
    match missing_data(home, &file) {
        Some(Missing::Gone) => return vec![data_lost(&file)],
        Some(Missing::Elsewhere { .. }) | None => {}
    }
    // Reading a large file takes too long here; `store check` does that.
    let is_small = fs::metadata(&file).is_ok_and(|metadata| (1..CHECKED_BYTES_MAX).contains(&metadata.len()));
    let checked = is_small.then(|| check(&file).ok()).flatten();
    checked
        .filter(|checked| !checked.is_sound())
        .map(|checked| data_damaged(&file, &checked))
        .into_iter()
        .collect()
}

/// Reports what a running node knows about its storage.
pub(super) fn running_node(status: &Status, diagnosis: &Diagnosis) -> Vec<Finding> {
    let failed = status.health.iter().flat_map(|health| &health.components).any(|found| {
        found.component == Component::Storage && found.reason == Some(HealthReason::StorageFailed)
    });
    let damaged = (diagnosis.records_damaged > 0).then(|| records_damaged(diagnosis));
    failed.then(storage_failed).into_iter().chain(damaged).collect()
}

/// Checks the permissions of the directories, and the copies of damaged files.
pub(super) fn directories(home: &Home, settings: Option<&Settings>) -> Vec<Finding> {
    let parts = ["config", "data", "logs", "run"].map(|part| home.root().join(part));
    let storage = settings.map(|settings| settings.storage_path.clone());
    let elsewhere = storage.clone().filter(|path| !parts.contains(path));
    let places = std::iter::once(home.root()).chain(parts.iter().chain(&elsewhere).map(PathBuf::as_path));
    let open = places.filter_map(|path| {
        let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then(|| directory_open(path, mode))
    });
    let kept = storage.map(|path| kept_files(&path.join(STORE_FILE))).unwrap_or_default();
    open.chain((!kept.is_empty()).then(|| damaged_file_kept(&kept[0], kept.len()))).collect()
}

/// Checks whether models can be stored. A service may see other directories as read-only.
pub(super) fn caches() -> Vec<Finding> {
    let hub = Hub::from_environment(|name| std::env::var_os(name)).ok();
    let models = hub.map(|hub| (hub.cache.root().to_owned(), "the node cannot fetch models"));
    let packed =
        packed_folder().map(|path| (path, "the node packs the weights of a model again at each start"));
    let shut = |(path, _): &(PathBuf, _)| {
        // A directory that does not exist yet is created in its nearest existing ancestor.
        let place = path.ancestors().find(|path| path.exists());
        place.is_none_or(|place| {
            !place.is_dir() || access(place, AccessFlags::W_OK | AccessFlags::X_OK).is_err()
        })
    };
    let caches = models.into_iter().chain(packed).filter(shut);
    caches.map(|(path, why)| cache_read_only(&path, why)).collect()
}

pub(super) fn cache_read_only(path: &Path, why: &str) -> Finding {
    Finding::note(
        "cache_read_only",
        format!("The cache {} cannot be written.", path.display()),
        why,
        "change its permissions, or name a directory that can be written in HF_HOME or XDG_CACHE_HOME",
    )
}

pub(super) fn data_lost(file: &Path) -> Finding {
    Finding::problem(
        "data_lost",
        format!("The data of this node are lost: {} is missing or empty.", file.display()),
        "it held the earlier tasks and results, and the node does not start without it unless told to",
        "mount its disk, or restore it from a backup; to start without: p2p-ai-agents node start --accept-data-loss",
    )
}

pub(super) fn data_damaged(file: &Path, checked: &Checked) -> Finding {
    let (tasks, results) = (checked.tasks, checked.results);
    Finding::problem(
        "data_damaged",
        format!(
            "The data file {} is damaged; {tasks} open tasks and {results} results can be read.",
            file.display()
        ),
        "the damaged records are lost, and the disk may cause more damage",
        "start the node to save the rest, or run p2p-ai-agents store salvage; check the disk",
    )
}

pub(super) fn records_damaged(diagnosis: &Diagnosis) -> Finding {
    let what = match (diagnosis.records_damaged, diagnosis.damaged.first()) {
        (1, Some(DamagedRecord { kind, task })) => {
            format!("A stored record is damaged: the {kind} of task {task}.")
        }
        (count, Some(DamagedRecord { kind, task })) => {
            format!("{count} stored records are damaged, such as the {kind} of task {task}.")
        }
        (count, None) => {
            format!("At least {count} stored records are damaged and cannot be identified.")
        }
    };
    Finding::problem(
        "records_damaged",
        what,
        "the node does not return them, so their tasks must be submitted again; the disk may cause more damage",
        "check the disk: sudo smartctl -a DEVICE; p2p-ai-agents node logs --level WARN shows when it happened",
    )
}

pub(in crate::commands) fn storage_failed() -> Finding {
    Finding::problem(
        "storage_failed",
        "The node cannot write to its storage.".to_owned(),
        "tasks and results that cannot be stored are refused",
        "make room on its disk, and check that it is not mounted read-only",
    )
}

pub(super) fn damaged_file_kept(first: &Path, count: usize) -> Finding {
    let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    Finding::note(
        "damaged_file_kept",
        format!("A damaged data file is kept: {}{more}.", first.display()),
        "its readable records are in the new file; it takes disk space",
        "remove it when it is no longer needed",
    )
}

pub(super) fn directory_open(path: &Path, mode: u32) -> Finding {
    let (what, why) = if mode & 0o022 != 0 {
        ("change", "they can replace what the node keeps there")
    } else {
        ("look into", "they see the names of the files, but not their contents")
    };
    let what = format!("Other users of this machine may {what} {} (mode {mode:o}).", path.display());
    let fix = format!("chmod 700 {}", path.display());
    if mode & 0o022 != 0 {
        Finding::problem("directory_open", what, why, fix)
    } else {
        Finding::note("directory_open", what, why, fix)
    }
}

/// Maximum size of a data file that the doctor reads.
const CHECKED_BYTES_MAX: u64 = 256 << 20;
